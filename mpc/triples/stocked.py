"""Triples and other correlations made ahead of time: each party has kept its shares of them, and every one is used at most
once, whatever happens.

What is kept came from sessions of their own (a *lot* each, of one kind), so a lot and an index in it name one triple, say, and
each party's share of it. Before any is used:

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
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from mpc.algebra import Array
from mpc.context import Context
from mpc.correlations import ROWS, Kind, Row, check, shares
from mpc.cost import Cost
from mpc.schemes import PartyId, Scheme
from mpc.share import Share
from mpc.triples.pool import Pool, Pools

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
    """What makes them here and now (ot.py)."""

    name: str

    def made(self, ctx: Context, kind: Row) -> Iterator[list[Array]]: ...
    def take(self, ctx: Context, kind: Kind) -> tuple[Share, ...]: ...
    def cost(self, scheme: Scheme, me: PartyId, kind: Kind) -> Cost: ...


class StockedTriples:
    """From `supply`, one for each kind, and from `making` what is not there. Its declared cost is that without a supply:
    `from_stock` counts, by kind, what has saved its own."""

    def __init__(self, supply: Callable[[Row], Supply], making: Maker) -> None:
        self.name = making.name
        self.from_stock: Counter[str] = Counter()
        self._supply, self._making, self._pools = supply, making, Pools()
        self._short: set[Pool] = set()

    def request(self, ctx: Context, kind: Row) -> None:
        """Discloses to the other parties how many of the kind are kept, and which lots; nothing else."""
        pool = self._pools.of(kind, ctx.scheme)
        missing = kind.count - pool.size
        if missing <= 0:
            return
        if type(kind) in ROWS and pool not in self._short:
            for batch in draw(ctx, self._supply(kind), missing):
                pool.put(batch)
                self.from_stock[kind.name] += len(batch[0])
            missing = kind.count - pool.size
            if missing > 0:  # for all parties alike; the next request need not ask again
                self._short.add(pool)
        for batch in self._making.made(ctx, replace(kind, count=missing)):
            pool.put(batch)

    def take(self, ctx: Context, kind: Kind) -> tuple[Share, ...]:
        check(kind, ctx.scheme)
        if not isinstance(kind, Row):
            return self._making.take(ctx, kind)  # their shapes are known with the query alone
        self.request(ctx, kind)
        return shares(kind, ctx.scheme, ctx.me, self._pools.of(kind, ctx.scheme).take(kind.count))

    def cost(self, scheme: Scheme, me: PartyId, kind: Kind) -> Cost:
        return self._making.cost(scheme, me, kind)


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
