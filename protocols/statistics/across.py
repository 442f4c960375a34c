"""RANK_OF_MINE(f), MEDIAN_ACROSS(f), QUARTILES_ACROSS(f): where each company stands among the companies. f is a COUNT, SUM or AVG over
a company's own rows, its *figure*, and each company is one observation.

Figures are compared on shares, each pair of companies once, or both ways round for ranks; no comparison is opened. A rank, 1 for
the largest, goes to its own company alone. For quartiles each figure gets its place in ascending order (of equal ones the first
company's first); the two at the places around q (n - 1) / 4 are picked by equality with the place, and opened is four times the
quartile, their sum with weights: so neither is opened by itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from operator import add

import numpy as np

from mpc.algebra import Array
from mpc.context import Context, Costed
from mpc.cost import Cost
from mpc.schemes import PartyId, Scheme
from mpc.share import Share, concatenate
from protocols.expression import Node, magnitude
from protocols.gadgets import (
    as_numbers,
    as_numbers_cost,
    equal,
    is_zero_cost,
    less,
    multiply,
    multiply_cost,
    negative_cost,
    reveal_each,
    reveal_each_cost,
)
from protocols.statistics.base import Measure, Value, decimal, upwards

RANK, MEDIAN, QUARTILES = "RANK_OF_MINE", "MEDIAN_ACROSS", "QUARTILES_ACROSS"
NAMES = (RANK, MEDIAN, QUARTILES)
FIGURES = ("COUNT", "SUM", "AVG")
FEWEST = {RANK: 3, MEDIAN: 5, QUARTILES: 9}
"""Companies: with fewer the answer gives figures away."""
FEWEST_AGREED = {**FEWEST, QUARTILES: FEWEST[MEDIAN]}
"""With fewer than this there is no answer at all; with fewer than `FEWEST` where every company's node.toml says so. Quartiles tell the median, too."""
DIGITS = 6
"""An average is rounded to so many more digits than its argument has."""


class NoFigure(ValueError):
    """A company has no rows to average."""


@dataclass(frozen=True)
class Figure:
    """A COUNT, SUM or AVG (`function`) of a company's own rows; an integer at `scale`."""

    function: str
    argument: Node | None = None

    def __str__(self) -> str:
        return f"{self.function}({'*' if self.argument is None else self.argument})"

    @property
    def scale(self) -> int:
        scale = 0 if self.function == "COUNT" or self.argument is None else self.argument.scale
        return scale + DIGITS if self.function == "AVG" else scale

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What it is made of, at home."""
        count, total = Measure("count", self.argument), Measure("sum", self.argument)
        return {"COUNT": (count,), "SUM": (total,), "AVG": (count, total)}[self.function]

    def of(self, totals: Sequence[Array]) -> Array:
        """The figure in each cell, from those of `measures`; an average to the nearest even last digit. NoFigure where a company
        has no rows to average."""
        if self.function != "AVG":
            return totals[0]
        if any(count == 0 for count in totals[0].tolist()):
            raise NoFigure(f"{self} of no rows")
        pairs = zip(totals[0].tolist(), totals[1].tolist(), strict=True)
        return np.array([round(Fraction(total * 10**DIGITS, count)) for count, total in pairs], dtype=object)

    def largest(self, of_measure: Callable[[Measure], int]) -> int:
        """The largest magnitude, given that of each measure at one company."""
        if self.function != "AVG":
            return of_measure(self.measures[0])
        assert self.argument is not None
        largest: int = magnitude(self.argument) * 10**DIGITS
        return largest

    def rounding(self, rows: int) -> Fraction:
        """How far it may lie from the figure of the values as they were before floats were rounded."""
        if self.argument is None or self.function == "COUNT":
            return Fraction(0)
        if self.function == "SUM":
            return rows * Fraction(self.argument.rounding)
        return Fraction(self.argument.rounding) + Fraction(1, 2 * 10**self.scale)


@dataclass(frozen=True)
class Across:
    """One column of the answer: the company's own rank where `quarter` is 0, else that quartile, the second of which is the median."""

    function: str
    figure: Figure
    quarter: int

    def __str__(self) -> str:
        if self.quarter == 0:
            return f"each company's own rank by {self.figure}"
        which = {1: "first quartile", 2: "median", 3: "third quartile"}[self.quarter]
        return f"the {which} of the companies' {self.figure}"

    @property
    def discloses(self) -> str:
        if self.quarter == 0:
            return "each its own rank alone: how many companies have a larger figure"
        return "how many companies lie on either side of it; where a place is one company's, its figure, but not whose"

    def is_of_few(self, companies: int) -> bool:
        """Whether among so many it gives figures away."""
        return companies < FEWEST[QUARTILES] and self.quarter in (1, 3)

    def finish(self, opened: int) -> Value:
        """The rank, or the quartile from four times itself: exact."""
        return opened if self.quarter == 0 else decimal(opened * 25, self.figure.scale + 2)

    def error_bound(self, rows: int) -> float:
        """Of the quartile; a rank is one among figures as they are after rounding. `rows` are the most of one company."""
        return 0.0 if self.quarter == 0 else upwards(self.figure.rounding(rows))

    def largest(self, of_measure: Callable[[Measure], int], companies: int) -> int:
        """The largest magnitude of what is opened."""
        return companies if self.quarter == 0 else 4 * self.figure.largest(of_measure)

    def weights(self, companies: int) -> dict[int, int]:
        """By place in ascending order, from 0: what four times the quartile is made of."""
        place, part = divmod(self.quarter * (companies - 1), 4)
        return {place: 4 - part} | ({place + 1: part} if part else {})

    def reference(self, figures: Sequence[int], mine: int) -> Fraction | int:
        """From all companies' figures, in their order; `mine` is the number of the one that asks."""
        if self.quarter == 0:
            return 1 + sum(figure > figures[mine] for figure in figures)
        ordered = sorted(figures)
        total = sum(ordered[place] * weight for place, weight in self.weights(len(figures)).items())
        return Fraction(total, 4 * 10**self.figure.scale)


def figures_of(outputs: Sequence[Across]) -> list[Figure]:
    """The figures that a company shares, each once."""
    return list(dict.fromkeys(output.figure for output in outputs))


def secure(ctx: Context, outputs: Sequence[Across], figures: Mapping[Figure, Sequence[Share]]) -> list[list[Share]]:
    """`figures` are each company's, flat, one share a company, in their order. Of each output what is opened: for a rank one share
    a company, else one. Discloses nothing. Six rounds for ranks, 13 where there are quartiles."""
    some = next(iter(figures.values()))
    n, (cells,) = len(some), some[0].shape
    places, compared = _picked(outputs, n), [(f, i, j) for f in figures for i, j in pairs(n, f, outputs)]
    first, second = concatenate([figures[f][i] for f, i, _ in compared]), concatenate([figures[f][j] for f, _, j in compared])
    bits = as_numbers(ctx, less(ctx, first, second))
    is_less = {pair: bits[k * cells : (k + 1) * cells] for k, pair in enumerate(compared)}
    opened: dict[Across, list[Share]] = {}
    for output in outputs:
        if output.quarter == 0:
            opened[output] = [reduce(add, (is_less[output.figure, i, j] for j in range(n) if j != i)) + 1 for i in range(n)]
    wanted = [(f, i, place) for f, of in places.items() for place in of for i in range(n)]
    if wanted:
        at = concatenate([_place(is_less, f, i, n) for f, i, _ in wanted])
        is_there = as_numbers(ctx, equal(ctx, at, np.repeat([place for _, _, place in wanted], cells)))
        picked = multiply(ctx, is_there, concatenate([figures[f][i] for f, i, _ in wanted]))
        by_place = picked.reshape(-1, n, cells).sum(1)
        at_place = {(f, place): by_place[k] for k, (f, place) in enumerate((f, place) for f, of in places.items() for place in of)}
        for output in outputs:
            if output.quarter:
                weights = output.weights(n)
                opened[output] = [reduce(add, (weight * at_place[output.figure, place] for place, weight in weights.items()))]
    return [opened[output] for output in outputs]


def secure_cost(scheme: Scheme, me: PartyId, source: Costed | None, outputs: Sequence[Across], companies: int, cells: int) -> Cost:
    """What one `secure` costs party `me`."""
    compared = sum(len(pairs(companies, figure, outputs)) for figure in figures_of(outputs)) * cells
    cost = negative_cost(scheme, me, source, compared) + as_numbers_cost(scheme, me, source, compared)
    wanted = sum(map(len, _picked(outputs, companies).values())) * companies * cells
    if wanted:
        cost += is_zero_cost(scheme, me, source, wanted) + as_numbers_cost(scheme, me, source, wanted)
        cost += multiply_cost(scheme, me, source, wanted)
    return cost


def opened_to(
    ctx: Context, outputs: Sequence[Across], found: Sequence[Sequence[Share]], adjusted: Share, holders: Sequence[PartyId], receivers: Sequence[PartyId]
) -> list[list[int]] | None:
    """Opens to each of `receivers` its own ranks, the quartiles, and `adjusted`, all in one round: a list for each output, then the
    last; None elsewhere."""
    shares = {
        to: concatenate([*(of[holders.index(to)] if len(of) > 1 else of[0] for of in found), adjusted]) for to in receivers
    }
    mine = reveal_each(ctx, shares)
    if mine is None:
        return None
    cells = found[0][0].shape[0]
    ends = [cells * k for k in range(1, len(outputs) + 1)]
    return [part.tolist() for part in np.split(mine, ends)]


def opened_cost(scheme: Scheme, me: PartyId, outputs: int, adjusted: int, receivers: Sequence[PartyId], cells: int) -> Cost:
    return reveal_each_cost(scheme, me, dict.fromkeys(receivers, outputs * cells + adjusted))


def _picked(outputs: Sequence[Across], companies: int) -> dict[Figure, list[int]]:
    """The places of each figure that quartiles are made of."""
    places: dict[Figure, set[int]] = {}
    for output in outputs:
        if output.quarter:
            places.setdefault(output.figure, set()).update(output.weights(companies))
    return {f: sorted(of) for f, of in places.items()}


def pairs(companies: int, figure: Figure, outputs: Sequence[Across]) -> list[tuple[int, int]]:
    """Who is compared with whom: a later company with each before it, and for ranks the other way round, too."""
    is_ranked = any(output.quarter == 0 for output in outputs if output.figure == figure)
    return [(i, j) for i in range(companies) for j in range(companies) if j < i or (is_ranked and j > i)]


def _place(is_less: Mapping[tuple[Figure, int, int], Share], f: Figure, i: int, companies: int) -> Share:
    """In ascending order, of equal figures the first company's first: how many come before that of company i."""
    later = [is_less[f, j, i] for j in range(i + 1, companies)]
    earlier = [1 - is_less[f, i, j] for j in range(i)]
    return reduce(add, [*later, *earlier])
