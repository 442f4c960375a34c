"""MODE(x) and TOP_K(x, k): the values of x that occur most often, of values that are declared. Their counts are not opened, nor is any comparison of them.

Each company counts its rows by value, beside the groups. The counts are added up on shares, and every two of a group compared; a value's place is the number of those
that occur more often, or as often and are declared before it. Of the value at a place its number is opened, or 0 if it does not occur.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mpc.context import Context, Costed
from mpc.cost import Cost
from mpc.schemes import PartyId, Scheme
from mpc.share import Share, concatenate
from protocols.expression import Reference
from protocols.gadgets import (
    as_numbers,
    as_numbers_cost,
    is_zero,
    is_zero_cost,
    negative,
    negative_cost,
)
from protocols.statistics.base import Arguments, Measure
from protocols.tables import KeyValue

MODE, TOP_K = "MODE", "TOP_K"
NAMES = (MODE, TOP_K)
MOST = 20
"""Values that one TOP_K gives."""


@dataclass(frozen=True)
class Place:
    """What is opened: the value of `argument` at a place, from 0, by how often it occurs; as its number in declared order, from 1, or 0 for none."""

    argument: Reference
    number: int

    def __str__(self) -> str:
        return f"the most frequent value of {self.argument}" if self.number == 0 else f"the value of {self.argument} at place {self.number + 1} by how often it occurs"


@dataclass(frozen=True)
class Frequent:
    """The `k` most frequent values of `argument`: of MODE one."""

    argument: Reference
    k: int

    @property
    def places(self) -> tuple[Place, ...]:
        return tuple(Place(self.argument, number) for number in range(self.k))

    @property
    def count(self) -> Measure:
        """How many rows have a value."""
        return Measure("count", self.argument)

    error_bound = 0.0
    discloses = "the values and their order, no count; where one company has nearly all rows, that these are its own most frequent values"

    def finish(self, function: str, opened: Sequence[int]) -> KeyValue:
        """From the numbers at its places."""
        values = [self.argument.column.value(number - 1) for number in opened if number]
        if not values:
            return None
        return values[0] if function == MODE else ", ".join(map(_written, values))

    def reference(self, function: str, arguments: Arguments, rows: Sequence[tuple[object, ...]]) -> KeyValue:
        """From the values in the pooled rows."""
        counts = Counter(value for (value,) in rows)
        column = self.argument.column
        declared = [column.value(code) for code in range(column.size)]
        ordered = sorted((value for value in declared if counts[value]), key=lambda value: -counts[value])  # stable: ties as declared
        if not ordered:
            return None
        return ordered[0] if function == MODE else ", ".join(map(_written, ordered[: self.k]))


def _written(value: KeyValue) -> str:
    """As SQL writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def arguments_of(outputs: Sequence[Frequent]) -> dict[Reference, int]:
    """Whose values are counted, and how many places are opened of each."""
    most: dict[Reference, int] = {}
    for output in outputs:
        most[output.argument] = max(most.get(output.argument, 0), min(output.k, output.argument.column.size))
    return most


def compared(size: int, places: int, cells: int) -> int:
    """How many comparisons so many places of a column of this size take."""
    return cells * (size * (size - 1) // 2 + size * (1 + places))


def secure(ctx: Context, counts: Mapping[Reference, Share], places: Mapping[Reference, int]) -> dict[Place, Share]:
    """What is opened of each place, in each cell, from the counts of each argument's values, (cells, values). Discloses nothing. Twelve rounds for each
    argument: two comparisons, whose bits become numbers."""
    found: dict[Place, Share] = {}
    for argument, of in counts.items():
        cells, size = of.shape
        before = _before(ctx, of)
        wanted = concatenate([before - number for number in range(places[argument])])
        is_there = as_numbers(ctx, is_zero(ctx, wanted)).reshape(places[argument], size, cells)
        numbers = (is_there * np.arange(1, size + 1)[:, np.newaxis]).sum(1)
        found |= {Place(argument, number): numbers[number] for number in range(places[argument])}
    return found


def _before(ctx: Context, counts: Share) -> Share:
    """How many values of the cell come before each; of one that does not occur, so many that it has no place: (values, cells)."""
    cells, size = counts.shape
    by_value = counts.reshape(-1)[np.arange(size * cells).reshape(cells, size).T]
    first, second = np.triu_indices(size, 1)
    differences = concatenate([by_value[first] - by_value[second], by_value - 1])
    is_less = as_numbers(ctx, negative(ctx, differences)).reshape(-1, cells)
    pairs, empty = is_less[: len(first)], is_less[len(first) :]
    # the second comes before the first where it occurs more often
    before = [pairs[first == v].sum(0) - pairs[second == v].sum(0) for v in range(size)]
    places: Share = concatenate(before).reshape(size, cells) + np.arange(size)[:, np.newaxis] + size * empty
    return places


def secure_cost(scheme: Scheme, me: PartyId, source: Costed | None, places: Mapping[Reference, int], cells: int) -> Cost:
    """What one `secure` costs party `me`."""
    cost = Cost()
    for argument, wanted in places.items():
        size = argument.column.size
        of_pairs, of_places = cells * (size * (size - 1) // 2 + size), cells * size * wanted
        cost += negative_cost(scheme, me, source, of_pairs) + as_numbers_cost(scheme, me, source, of_pairs)
        cost += is_zero_cost(scheme, me, source, of_places) + as_numbers_cost(scheme, me, source, of_places)
    return cost
