"""Triples and other correlations from a dealer: a node that holds no data, sees no online traffic, and colludes with no company.

The dealer and each party share a random stream, which fixes most shares; only what it leaves open travels. With
additive shares that is what follows from the random parts, for party 0: of a triple c, 8 bytes in all. With Shamir shares of
degree t the streams fix t + 1 shares of a and b and t of c, so a party beyond those gets one element for each.
"""

import itertools
import struct
from collections import Counter, deque
from dataclasses import replace

from mpc.algebra import Array
from mpc.channel import SessionEnded, Tag
from mpc.context import BLOCK, Context
from mpc.correlations import Kind, Row, check, numbered, of_number, shared, shares
from mpc.cost import Cost
from mpc.errors import PeerError, ProtocolError
from mpc.schemes import DEALER, PartyId, Scheme
from mpc.share import Share
from mpc.triples.pool import Pool, Pools

OPERATION = "triples"
_REQUEST = struct.Struct("<4Q")
"""The number of the kind, and its dimensions, those that it has not 0."""


class DealerTriples:
    """A party's end. A request is one exchange with the dealer: 32 bytes up, the corrections down, block by block. It
    discloses the kind and the dimensions to the dealer, nothing else."""

    name = "dealer"

    def __init__(self) -> None:
        self._step = 0
        self._pools = Pools()  # what has arrived
        self._under_way: Counter[Pool] = Counter()  # how many more each was asked for
        self._coming: deque[tuple[Tag, Scheme, Kind]] = deque()  # in the order in which they are dealt

    def request(self, ctx: Context, kind: Row) -> None:
        pool = self._pools.of(kind, ctx.scheme)
        missing = kind.count - pool.size - self._under_way[pool]
        if missing > 0:
            self._ask(ctx, replace(kind, count=missing))
            self._under_way[pool] += missing

    def take(self, ctx: Context, kind: Kind) -> tuple[Share, ...]:
        check(kind, ctx.scheme)
        if not isinstance(kind, Row):
            self._ask(ctx, kind)
            columns = [self._arrive(ctx) for _ in range(len(self._coming))][-1]
            return shares(kind, ctx.scheme, ctx.me, columns)
        self.request(ctx, kind)
        pool = self._pools.of(kind, ctx.scheme)
        while pool.size < kind.count:
            self._arrive(ctx)
        return shares(kind, ctx.scheme, ctx.me, pool.take(kind.count))

    def _ask(self, ctx: Context, kind: Kind) -> None:
        check(kind, ctx.scheme)
        tag = Tag(self._step, OPERATION)
        self._step += 1
        ctx.send_bytes(DEALER, tag, _REQUEST.pack(*numbered(kind)))
        ctx.measured += Cost(rounds=1)
        self._coming.extend((tag, ctx.scheme, piece) for piece in kind.pieces(BLOCK))

    def _arrive(self, ctx: Context) -> list[Array]:
        """This party's shares of the next piece, which go to their pool, where they have one."""
        tag, scheme, kind = self._coming.popleft()
        columns = []
        for parts, random in ((kind.drawn(scheme), True), (kind.following(scheme), False)):
            for part in parts:
                if ctx.me in part.scheme.seeded(random=random):
                    columns.append(part.uniform(ctx.stream(DEALER, ctx.me)))
                else:
                    columns.append(ctx.under(part.scheme).receive(DEALER, tag, part.shape))
        if isinstance(kind, Row):
            pool = self._pools.of(kind, scheme)
            pool.put(columns)
            self._under_way[pool] -= kind.count
        return columns

    def cost(self, scheme: Scheme, me: PartyId, kind: Kind) -> Cost:
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
