"""Triples and other correlations from a dealer: a node that holds no data, sees no online traffic, and colludes with no company.

The dealer and each party share a random stream, which fixes most shares; only what it leaves open travels. With
additive shares that is what follows from the random parts, for party 0: of a triple c, 8 bytes in all. With Shamir shares of
degree t the streams fix t + 1 shares of a and b and t of c, so a party beyond those gets one element for each.
"""

import itertools
import struct
from collections import deque
from math import prod

from mpc.algebra import Shape
from mpc.channel import SessionEnded, Tag
from mpc.context import BLOCK, Context
from mpc.correlations import LARGEST_REQUEST, Kind, Triples, check, joined, numbered, of_number, shared, triples
from mpc.cost import Cost
from mpc.errors import PeerError, ProtocolError
from mpc.schemes import DEALER, PartyId, Scheme
from mpc.share import Share
from mpc.triples.pool import Pool

__all__ = ["LARGEST_REQUEST", "OPERATION", "DealerTriples", "deal"]

OPERATION = "triples"
_REQUEST = struct.Struct("<4Q")
"""The number of the kind, and its dimensions, those that it has not 0."""


class DealerTriples:
    """A party's end. A request is one exchange with the dealer: 32 bytes up, the corrections down, block by block. It
    discloses the kind and the dimensions to the dealer, nothing else."""

    name = "dealer"

    def __init__(self) -> None:
        self._step = 0
        self._left: dict[Scheme, int] = {}  # triples that were asked for and not taken yet
        self._pools: dict[Scheme, Pool] = {}  # those of them that have arrived
        self._coming: deque[tuple[Tag, Scheme, Kind]] = deque()  # in the order in which they are dealt

    def request(self, ctx: Context, count: int) -> None:
        missing = count - self._left.get(ctx.scheme, 0)
        if missing > 0:
            self._ask(ctx, triples(ctx.scheme, missing))
            self._left[ctx.scheme] = count

    def take(self, ctx: Context, shape: Shape) -> tuple[Share, Share, Share]:
        count = prod(shape)
        if count < 1:
            raise ProtocolError(f"at least 1 triple must be taken, not {count}")
        self.request(ctx, count)
        self._left[ctx.scheme] -= count
        pool = self._pools.setdefault(ctx.scheme, Pool())
        while pool.size < count:
            self._arrive(ctx)
        a, b, c = (Share(x.reshape(shape), ctx.scheme, ctx.me) for x in pool.take(count))
        return a, b, c

    def make(self, ctx: Context, kind: Kind) -> tuple[Share, ...]:
        check(kind, ctx.scheme)
        if isinstance(kind, Triples):
            part, *_ = kind.drawn(ctx.scheme)
            return self.take(ctx.under(part.scheme), part.shape)
        self._ask(ctx, kind)
        return joined([piece for _ in range(len(self._coming)) if (piece := self._arrive(ctx))])

    def _ask(self, ctx: Context, kind: Kind) -> None:
        check(kind, ctx.scheme)
        tag = Tag(self._step, OPERATION)
        self._step += 1
        ctx.send_bytes(DEALER, tag, _REQUEST.pack(*numbered(kind)))
        ctx.measured += Cost(rounds=1)
        self._coming.extend((tag, ctx.scheme, piece) for piece in kind.pieces(BLOCK))

    def _arrive(self, ctx: Context) -> list[Share]:
        """The next piece; nothing where it is of triples, which go to their pool."""
        tag, scheme, kind = self._coming.popleft()
        shares = []
        for parts, random in ((kind.drawn(scheme), True), (kind.following(scheme), False)):
            for part in parts:
                if ctx.me in part.scheme.seeded(random=random):
                    share = part.uniform(ctx.stream(DEALER, ctx.me))
                else:
                    share = ctx.under(part.scheme).receive(DEALER, tag, part.shape)
                shares.append(Share(share, part.scheme, ctx.me))
        if not isinstance(kind, Triples):
            return shares
        self._pools.setdefault(shares[0].scheme, Pool()).put([share.data for share in shares])
        return []

    def cost(self, scheme: Scheme, me: PartyId, count: int) -> Cost:
        return self.cost_of(scheme, me, Triples(count)) + Cost(triples=count)

    def cost_of(self, scheme: Scheme, me: PartyId, kind: Kind) -> Cost:
        return Cost(rounds=1, bytes=_REQUEST.size)


def deal(ctx: Context) -> None:
    """The dealer's end: answers requests, the same from every party, until the session ends."""
    parties = range(ctx.parties)
    for step in itertools.count():
        tag = Tag(step, OPERATION)
        try:
            asked = {i: bytes(ctx.receive_bytes(i, tag, _REQUEST.size)) for i in parties}
        except SessionEnded:
            return
        kind = _requested(ctx.scheme, asked[0])
        for i in parties:
            if asked[i] != asked[0]:
                raise PeerError(i, "out of step: it asked for another kind or number of triples than party 0")
        for piece in kind.pieces(BLOCK):
            for part, _, rest in shared(piece, ctx.scheme, lambda i, part: part.uniform(ctx.stream(DEALER, i))):
                for i, share in rest.items():
                    ctx.under(part.scheme).send(i, tag, share)


def _requested(scheme: Scheme, request: bytes) -> Kind:
    """PeerError where this is no request, or one for too much."""
    try:
        kind = of_number(*_REQUEST.unpack(request))
        check(kind, scheme)
    except ProtocolError as error:
        raise PeerError(0, str(error)) from None
    return kind
