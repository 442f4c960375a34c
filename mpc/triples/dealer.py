"""Triples from a dealer: a node that holds no data, sees no online traffic, and colludes with no company.

The dealer and each party share a random stream, which fixes most shares; only what it leaves open travels. With
additive shares that is c for party 0: 8 bytes a triple in all. With Shamir shares of degree t the streams fix t + 1
shares of a and b and t of c, so a party beyond those gets one element for each.
"""

from collections.abc import Mapping

import numpy as np

from mpc.algebra import Array, Shape
from mpc.channel import SessionEnded
from mpc.context import Context
from mpc.cost import Cost
from mpc.errors import PeerError, ProtocolError
from mpc.schemes import DEALER, PartyId, Scheme
from mpc.share import Share

LARGEST_REQUEST = 1 << 24


def _drawn(scheme: Scheme) -> tuple[tuple[PartyId, ...], ...]:
    """For a, b and c: the parties whose share comes from their stream with the dealer."""
    return scheme.seeded(random=True), scheme.seeded(random=True), scheme.seeded()


class DealerTriples:
    """A party's end. A `take` is one exchange with the dealer: one element up, the corrections down."""

    name = "dealer"

    def __init__(self) -> None:
        self._step = 0

    def take(self, ctx: Context, shape: Shape) -> tuple[Share, Share, Share]:
        """Discloses the number of triples to the dealer, nothing else."""
        scheme, count = ctx.scheme, int(np.prod(shape))
        if not 0 < count <= LARGEST_REQUEST:
            raise ProtocolError(f"between 1 and {LARGEST_REQUEST} triples can be asked for at once, not {count}")
        drawn = _drawn(scheme)
        corrections = sum(ctx.me not in parties for parties in drawn)
        received = ctx.exchange(
            "triples",
            {DEALER: scheme.algebra.encode([count])},
            {DEALER: (corrections, count)} if corrections else {},
            step=self._step,
        )
        self._step += 1
        stream = ctx.stream(DEALER, ctx.me)
        dealt = iter(received[DEALER]) if corrections else iter(())
        a, b, c = (
            scheme.algebra.uniform((count,), stream) if ctx.me in parties else next(dealt) for parties in drawn
        )
        make = [Share(x.reshape(shape), scheme, ctx.me) for x in (a, b, c)]
        return make[0], make[1], make[2]

    def cost(self, scheme: Scheme, me: PartyId, count: int) -> Cost:
        return Cost(rounds=1, bytes=scheme.algebra.element_bytes, triples=count)


def deal(ctx: Context) -> None:
    """The dealer's end: answers requests, the same from every party, until the session ends."""
    scheme = ctx.scheme
    parties = range(scheme.parties)
    step = 0
    while True:
        try:
            asked = ctx.exchange("triples", {}, dict.fromkeys(parties, (1,)), step=step)
        except SessionEnded:
            return
        counts = {i: int(scheme.algebra.decode(asked[i])[0]) for i in parties}
        count = counts[0]
        if not 0 < count <= LARGEST_REQUEST:
            raise PeerError(0, f"between 1 and {LARGEST_REQUEST} triples can be asked for at once")
        for i in parties:
            if counts[i] != count:
                raise PeerError(i, "out of step: it asked for another number of triples than party 0")
        for i, rows in _corrections(ctx, count).items():
            ctx.exchange("triples", {i: np.stack(rows)}, {}, step=step)
        step += 1


def _corrections(ctx: Context, count: int) -> Mapping[PartyId, list[Array]]:
    scheme = ctx.scheme
    corrections: dict[PartyId, list[Array]] = {}

    def shared(drawn_by: tuple[PartyId, ...], value: Array | None) -> Array:
        drawn = {i: scheme.algebra.uniform((count,), ctx.stream(DEALER, i)) for i in drawn_by}
        value, rest = scheme.complete(drawn, value)
        for i, share in rest.items():
            corrections.setdefault(i, []).append(share)
        return value

    for_a, for_b, for_c = _drawn(scheme)
    a, b = shared(for_a, None), shared(for_b, None)
    shared(for_c, scheme.algebra.multiply(a, b))
    return corrections
