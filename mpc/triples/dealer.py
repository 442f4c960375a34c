"""Triples from a dealer: a node that holds no data, sees no online traffic, and colludes with no company.

The dealer and each party share a random stream, which fixes most shares; only what it leaves open travels. With
additive shares that is c for party 0: 8 bytes a triple in all. With Shamir shares of degree t the streams fix t + 1
shares of a and b and t of c, so a party beyond those gets one element for each.
"""

import itertools
from collections import deque
from collections.abc import Mapping
from math import prod

import numpy as np

from mpc.algebra import Array, Shape
from mpc.channel import SessionEnded, Tag
from mpc.context import Context, blocks
from mpc.cost import Cost
from mpc.errors import PeerError, ProtocolError
from mpc.schemes import DEALER, PartyId, Scheme
from mpc.share import Share

LARGEST_REQUEST = 1 << 24
OPERATION = "triples"


def _drawn(scheme: Scheme) -> tuple[tuple[PartyId, ...], ...]:
    """For a, b and c: the parties whose share comes from their stream with the dealer."""
    return scheme.seeded(random=True), scheme.seeded(random=True), scheme.seeded()


class DealerTriples:
    """A party's end. A request is one exchange with the dealer: one element up, the corrections down, block by block."""

    name = "dealer"

    def __init__(self) -> None:
        self._step = 0
        self._left = 0  # triples that were asked for and not taken yet
        self._coming: deque[tuple[Tag, int]] = deque()  # the blocks in which they are dealt
        self._block: list[Array] = []  # what is left of the one taken from now

    def request(self, ctx: Context, count: int) -> None:
        """Discloses the number of triples to the dealer, nothing else."""
        missing = count - self._left
        if missing <= 0:
            return
        if missing > LARGEST_REQUEST:
            raise ProtocolError(f"at most {LARGEST_REQUEST} triples can be asked for at once, not {missing}")
        tag = Tag(self._step, OPERATION)
        self._step += 1
        ctx.send(DEALER, tag, ctx.scheme.algebra.encode([missing]))
        ctx.measured += Cost(rounds=1)
        self._coming.extend((tag, block.stop - block.start) for block in blocks(missing))
        self._left += missing

    def take(self, ctx: Context, shape: Shape) -> tuple[Share, Share, Share]:
        count = prod(shape)
        if count < 1:
            raise ProtocolError(f"at least 1 triple must be taken, not {count}")
        self.request(ctx, count)
        self._left -= count
        parts: list[list[Array]] = []
        while count:
            if not self._block or not self._block[0].size:
                self._block = self._dealt(ctx, *self._coming.popleft())
            parts.append([x[:count] for x in self._block])
            self._block = [x[count:] for x in self._block]
            count -= parts[-1][0].size
        a, b, c = (np.concatenate(xs) if len(xs) > 1 else xs[0] for xs in zip(*parts, strict=True))
        return (
            Share(a.reshape(shape), ctx.scheme, ctx.me),
            Share(b.reshape(shape), ctx.scheme, ctx.me),
            Share(c.reshape(shape), ctx.scheme, ctx.me),
        )

    def _dealt(self, ctx: Context, tag: Tag, size: int) -> list[Array]:
        """a, b and c of a block: each from this party's stream, or from the dealer's corrections."""
        drawn = _drawn(ctx.scheme)
        corrections = sum(ctx.me not in parties for parties in drawn)
        dealt = iter(ctx.receive(DEALER, tag, (corrections, size)) if corrections else ())
        stream = ctx.stream(DEALER, ctx.me)
        return [
            ctx.scheme.algebra.uniform((size,), stream) if ctx.me in parties else next(dealt) for parties in drawn
        ]

    def cost(self, scheme: Scheme, me: PartyId, count: int) -> Cost:
        return Cost(rounds=1, bytes=scheme.algebra.element_bytes, triples=count)


def deal(ctx: Context) -> None:
    """The dealer's end: answers requests, the same from every party, until the session ends."""
    scheme = ctx.scheme
    parties = range(scheme.parties)
    for step in itertools.count():
        tag = Tag(step, OPERATION)
        try:
            asked = {i: int(scheme.algebra.decode(ctx.receive(i, tag, (1,)))[0]) for i in parties}
        except SessionEnded:
            return
        if not 0 < asked[0] <= LARGEST_REQUEST:
            raise PeerError(0, f"between 1 and {LARGEST_REQUEST} triples can be asked for at once")
        for i in parties:
            if asked[i] != asked[0]:
                raise PeerError(i, "out of step: it asked for another number of triples than party 0")
        for block in blocks(asked[0]):
            for i, rows in _corrections(ctx, block.stop - block.start).items():
                ctx.send(i, tag, np.stack(rows))


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
