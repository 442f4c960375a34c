"""Triples made ahead of time: each party has kept its shares of them, and every one is used at most once, whatever happens.

What is kept came from sessions of their own (a *lot* each), so a lot and an index in it name one triple, and each party's
share of it. Before any is used:

1. All tell what they have of each lot: `next`, before which all is used or given up, and `end`. The range begins at the
   highest `next` that any of them has, and ends at the lowest `end`. So a party that comes back with an older state
   gives nothing out twice, as long as one other remembers.
2. Each writes down, durably, that the range is used up, and reads its shares; then it tells whether it has. Only where all
   have, and mean the same ranges, are they used; else nobody uses them, ever. So of two sessions at the same time,
   none gets what the other has.
3. Each keeps that all have (`confirmed`) before the first is used: a party whose own `next` lies before what another has as
   confirmed knows that it has been put back to an older state, and destroys the lot.

A party that does not keep to this (it says that it has used everything, say) can waste what is in stock. It learns nothing by it:
each party counts for itself, and never uses an index of its own twice, unless it was put back and *all* others lie to it.
"""

import hashlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import NamedTuple, Protocol

from mpc.algebra import Array, Shape
from mpc.context import Context
from mpc.correlations import Kind, Triples
from mpc.cost import Cost
from mpc.errors import ProtocolError
from mpc.schemes import PartyId, Scheme
from mpc.share import Share
from mpc.triples.pool import Pool

LOT_BYTES = 16
LOTS = 32
"""Lots that a party tells of; it keeps no more of one kind with the same parties."""
ATTEMPTS = 3
"""Times that a session tries to get what it needs, where others are after the same."""

_MARK = struct.Struct(f">{LOT_BYTES}sQQQ")
_NO_LOT = bytes(LOT_BYTES)


class Mark(NamedTuple):
    """How far a party is with one lot."""

    lot: bytes
    next: int
    """The first index that it has not used, or given up."""
    confirmed: int
    """What `next` was when it last knew that all parties were that far."""
    end: int
    """How many it has made."""


class Range(NamedTuple):
    lot: bytes
    start: int
    stop: int


Marks = Mapping[PartyId, Mapping[bytes, Mark]]
"""What all parties told, this one too, by party and lot."""


class Supply(Protocol):
    """What a party keeps of one kind, made with exactly the parties of the session, under its scheme."""

    def marks(self) -> Sequence[Mark]:
        """Of all lots, at most `LOTS`."""
        ...

    def compare(self, told: Marks) -> None:
        """Destroys what cannot be used any more, by what all have told."""
        ...

    def take(self, ranges: Sequence[Range]) -> list[list[Array]] | None:
        """This party's shares, a batch of columns for each range, after it is written down, durably, that all of them are
        used. None where one of them is used already, or not there; then nothing was written, or the lot is destroyed."""
        ...

    def confirm(self, ranges: Sequence[Range]) -> None:
        """Writes down, durably, that all parties have taken them."""
        ...


class Maker(Protocol):
    """What makes triples here and now (ot.py)."""

    name: str

    def made(self, ctx: Context, count: int) -> Iterator[list[Array]]: ...
    def cost(self, scheme: Scheme, me: PartyId, count: int) -> Cost: ...
    def make(self, ctx: Context, kind: Kind) -> tuple[Share, ...]: ...
    def cost_of(self, scheme: Scheme, me: PartyId, kind: Kind) -> Cost: ...


class StockedTriples:
    """From `supply`, and from `making` what is not there. Its declared cost is that without a supply: `from_stock` counts
    the triples which have saved theirs."""

    def __init__(self, supply: Supply, making: Maker) -> None:
        self.name = making.name
        self.asked = self.from_stock = 0
        self._supply, self._making, self._pool = supply, making, Pool()
        self._is_short = False

    def request(self, ctx: Context, count: int) -> None:
        """Discloses to the other parties how many triples are kept, and which lots; nothing else."""
        missing = count - self._pool.size
        if missing <= 0:
            return
        self.asked += missing
        if not self._is_short:
            for batch in draw(ctx, self._supply, missing):
                self._pool.put(batch)
                self.from_stock += batch[0].size
            missing = count - self._pool.size
            self._is_short = missing > 0  # for all parties alike; the next request need not ask again
        for batch in self._making.made(ctx, missing):
            self._pool.put(batch)

    def take(self, ctx: Context, shape: Shape) -> tuple[Share, Share, Share]:
        count = prod(shape)
        if count < 1:
            raise ProtocolError(f"at least 1 triple must be taken, not {count}")
        self.request(ctx, count)
        a, b, c = (Share(x.reshape(shape), ctx.scheme, ctx.me) for x in self._pool.take(count))
        return a, b, c

    def cost(self, scheme: Scheme, me: PartyId, count: int) -> Cost:
        return self._making.cost(scheme, me, count)

    def make(self, ctx: Context, kind: Kind) -> tuple[Share, ...]:
        """Nothing but triples is in stock: other kinds are made here and now."""
        return self.take(ctx, (kind.count,)) if type(kind) is Triples else self._making.make(ctx, kind)

    def cost_of(self, scheme: Scheme, me: PartyId, kind: Kind) -> Cost:
        return self._making.cost_of(scheme, me, kind)


def draw(ctx: Context, supply: Supply, count: int) -> list[list[Array]]:
    """Batches of at most `count` in all, fewer where the stock is short; at all parties of the same indices. At most six
    rounds of small messages, that are no cost of the protocol, as the agreement is not."""
    for _ in range(ATTEMPTS):
        ranges = _ranges(usable(ctx, supply), count)
        if not ranges:
            break
        batches = supply.take(ranges)
        said = bytes([batches is not None]) + _digest(ranges)
        if set(ctx.tell("stock taken", said).values()) == {bytes([True]) + _digest(ranges)} and batches is not None:
            supply.confirm(ranges)
            return batches
    return []


def usable(ctx: Context, supply: Supply) -> list[Range]:
    """What is in stock at all parties and used at none, the smallest first; the same at all. One round; what is over for
    this party is destroyed."""
    packed = b"".join(_MARK.pack(*mark) for mark in supply.marks())
    heard = ctx.tell("stock", packed.ljust(LOTS * _MARK.size, b"\0"))
    told = {party: {mark.lot: mark for mark in map(Mark._make, _MARK.iter_unpack(raw))} for party, raw in heard.items()}
    for marks in told.values():
        marks.pop(_NO_LOT, None)
    supply.compare(told)  # after which it may have less than it told: `take` finds that
    found = []
    for lot in set.intersection(*(set(marks) for marks in told.values())):
        of = [marks[lot] for marks in told.values()]
        found.append(Range(lot, max(mark.next for mark in of), min(mark.end for mark in of)))
    return sorted((x for x in found if x.start < x.stop), key=lambda x: (x.stop - x.start, x.lot))


def _ranges(found: Sequence[Range], count: int) -> list[Range]:
    ranges = []
    for lot, start, stop in found:
        if count > 0:
            ranges.append(Range(lot, start, min(stop, start + count)))
            count -= ranges[-1].stop - start
    return ranges


def _digest(ranges: Sequence[Range]) -> bytes:
    packed = b"".join(_MARK.pack(lot, start, stop, 0) for lot, start, stop in ranges)
    return hashlib.sha256(b"comity stock 1" + packed).digest()
