"""MIN, MAX, MEDIAN, QUANTILE_CONT and QUANTILE_DISC without noise: values found by comparing secret counts. [AMP04]

Functionality: of all companies' values of x the one of a given rank, or two neighbours; NULL where there is no value.

The values of x are integers between its bounds. With C(t) the number of them that are at most t, over all companies, and N that of
all, a value of a given rank is the least t for which b C(t) - a N + c >= 0, for public integers a, b, c (`Rank`). In each step the
possible values are cut into at most `FANOUT` parts of one width. Each holder counts its own values up to the last of every part but the
last one, and shares the counts; the inequality is compared on shares, and the bits are opened to the receivers, which all holders are.
The next step searches the part in which the first 1 is.

What is opened follows from the answer: C grows with t, so the bit at t says whether the value v that is found is at most t, and the
t of a step follow from the bits before. So v, and the public bounds, give all bits, and they v: they disclose v and nothing
else. Where N = 0 no bit says anything but that: each is the sign of c, which is public. Whether N = 0 is a bit of its own.
By groups all this is done in every group, side by side. In one that release rules withhold holders share 0 as counts, and N is 0.

QUANTILE_CONT(x, a / b) with q = a (N - 1) / b lies between the values of rank floor(q) and ceil(q), counted from 0: the least t with
C(t) > q, and with C(t) - 1 >= q. They are searched for side by side, and disclosed. Where they are one value, that is the answer.
Where they differ, all values up to the lower one are those of rank floor(q) and below, so C(lower) - 1 = floor(q), and
a (N - 1) - b (C(lower) - 1) is b times the fraction of q; that is opened. It is a (N - 1) modulo b, so it gives N modulo b, as the answer
itself does, between its neighbours. Where a / b is 1/2 the fraction is known: it is 1/2, so N is even, or the neighbours were one.

How many steps there are, and what is sent in each, follows from the bounds alone. With k comparisons in a step: the sharing of k counts (a round
with Shamir shares), one `negative` of k and one `reveal_bits`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, reduce
from operator import add
from typing import TypeVar

import numpy as np

from mpc.algebra import Array
from mpc.context import Context, Costed
from mpc.cost import Cost
from mpc.schemes import PartyId, Scheme
from mpc.share import Share, concatenate
from protocols.expression import Node, Reference, largest
from protocols.gadgets import (
    negative,
    negative_cost,
    reveal_bits,
    reveal_bits_cost,
    share,
    share_cost,
)
from protocols.planning.query import StatisticOutput
from protocols.statistics.base import Value, decimal, half_ulp, upwards
from protocols.statistics.quantile import DISCRETE, MAX, MIN, Quantile

Item = TypeVar("Item")

FANOUT = 64
"""Parts in a step: the masks of comparisons come 64 side by side, so 63 bits cost what one does, and every step costs rounds."""


class Ranks:
    """One company's values of x in order, each once, and how many there are up to each."""

    def __init__(self, values: Array, counts: Array) -> None:
        self._values = values
        self._up_to = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts, dtype=np.int64)])

    def __repr__(self) -> str:
        return "<the values of one company>"

    @property
    def count(self) -> int:
        return int(self._up_to[-1])

    def up_to(self, thresholds: Sequence[int]) -> Array:
        """How many are at most each of `thresholds`."""
        found: Array = self._up_to[np.searchsorted(self._values, np.array(thresholds, dtype=self._values.dtype), side="right")]
        return found


@dataclass(frozen=True)
class Rank:
    """The least value t of the argument numbered `of` for which b C(t) - a N + c >= 0."""

    of: int
    a: int
    b: int
    c: int


@dataclass(frozen=True)
class Search:
    """All that a query searches for, side by side: of `arguments`, whose numbers of values are the measures `counts` of the task, the values
    of `ranks`. `uses` gives for each output its rank, or both. `fractions` are pairs of ranks: of neighbours that differ the fraction
    is opened. All that in each of `cells`."""

    arguments: tuple[Node, ...]
    counts: tuple[int, ...]
    ranks: tuple[Rank, ...]
    uses: tuple[tuple[str, tuple[int, ...]], ...]
    fractions: tuple[tuple[int, int], ...]
    cells: int = 1

    def domain(self, rank: Rank) -> range:
        """All values that it can be."""
        x = self.arguments[rank.of]
        step = x.column.step if isinstance(x, Reference) else 1
        return range(x.lower, x.upper + 1, step)

    @cached_property
    def widths(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """For each step, and of each rank: how many thresholds there are in it, and how many values between them."""
        left = [_size(self.domain(rank)) for rank in self.ranks]
        steps: list[tuple[tuple[int, int], ...]] = []
        while max(left) > 1 or not steps:
            widths = [-(-size // min(FANOUT, size)) for size in left]
            steps.append(tuple((-(-size // width) - 1, width) for size, width in zip(left, widths, strict=True)))
            left = widths
        return tuple(steps)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """How many counts each holder shares in each step."""
        return tuple(self.cells * sum(count for count, _ in step) for step in self.widths)

    @property
    def compared(self) -> tuple[int, ...]:
        """How many bits are opened in each step: in the first one also whether there is any value, of each argument."""
        return self.sizes[0] + len(self.arguments) * self.cells, *self.sizes[1:]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the outputs."""
        return tuple(name for name, _ in self.uses)

    @property
    def factor(self) -> int:
        """The largest b: by so much the number of rows, and one more, is multiplied at most."""
        return max(rank.b for rank in self.ranks)

    def cost(self, scheme: Scheme, me: PartyId, source: Costed | None, holders: Sequence[PartyId], receivers: Sequence[PartyId]) -> Cost:
        """What `find` costs party `me`."""
        cost = Cost()
        for size, compared in zip(self.sizes, self.compared, strict=True):
            if size:
                cost += share_cost(scheme, me, dict.fromkeys(holders, (size,)))
            cost += negative_cost(scheme, me, source, compared) + reveal_bits_cost(scheme, me, receivers, compared)
        if self.fractions:
            cost += share_cost(scheme, me, dict.fromkeys(holders, (len(self.fractions) * self.cells,)))
        return cost

    def answer(self, output: StatisticOutput, found: Sequence[Sequence[int]], cell: int = 0) -> Value:
        """In a cell, from what `find` gives, and the fractions that were opened."""
        there, values, fractions = (part[cell :: self.cells] for part in found)
        places = dict(self.uses)[output.name]
        rank = self.ranks[places[0]]
        if not there[rank.of]:
            return None
        lower, upper = values[places[0]], values[places[-1]]
        scale = self.arguments[rank.of].scale
        if not _is_between(output):
            return decimal(lower, scale)
        fraction = Fraction(1, 2)
        if places in self.fractions:
            fraction = Fraction(fractions[self.fractions.index(places)], rank.b)
        return float((lower + (upper - lower) * fraction) / 10**scale)

    def error_bound(self, output: StatisticOutput) -> float:
        """The greatest difference of the answer from the exact one, in units of x: floats were rounded at home, and a quantile
        between two values is a float."""
        x = self.arguments[self.ranks[dict(self.uses)[output.name][0]].of]
        return upwards(x.rounding) + (half_ulp(largest(x)) if _is_between(output) else 0)

    def discloses(self, output: StatisticOutput) -> str:
        """What the receivers learn, in words."""
        places = dict(self.uses)[output.name]
        if len(places) == 1:
            return "the value, which is that of a row"
        said = "the two neighbouring values, each of a row, between which it lies; where they differ, "
        if places not in self.fractions:
            return said + "that the number of values is even"
        return said + f"how far between them, which gives the number of values modulo {self.ranks[places[0]].b:,} (all of it, where there are fewer)"


def _size(values: range) -> int:
    """`len` has no more than 63 bits."""
    return (values[-1] - values[0]) // values.step + 1


def _is_between(output: StatisticOutput) -> bool:
    return output.function not in (MIN, MAX, DISCRETE)


def search_of(outputs: Sequence[StatisticOutput], count: Callable[[Node], int], cells: int) -> Search | None:
    """What `outputs` search for in each of `cells`; None where they do not. `count` gives the measure that is the number of an argument's values."""
    arguments: list[Node] = []
    ranks: list[Rank] = []
    uses, fractions = [], []
    for output in outputs:
        if isinstance(output.statistic, Quantile):
            of = _index(arguments, *output.arguments)
            places = tuple(_index(ranks, rank) for rank in _ranks(of, output.function, output.statistic.p))
            uses.append((output.name, places))
            if len(places) == 2 and output.statistic.p != Fraction(1, 2) and places not in fractions:
                fractions.append((places[0], places[1]))
    if not uses:
        return None
    return Search(tuple(arguments), tuple(map(count, arguments)), tuple(ranks), tuple(uses), tuple(fractions), cells)


def _ranks(of: int, function: str, p: Fraction) -> Iterator[Rank]:
    """Those that an output is made of: the lower neighbour, and the upper one where there may be another."""
    a, b = p.numerator, p.denominator
    if function == DISCRETE and a:
        yield Rank(of, a, b, 0)  # C(t) >= p N
        return
    yield Rank(of, a, b, a - 1)  # b C(t) > a (N - 1)
    if b > 1:
        yield Rank(of, a, b, a - b)  # b (C(t) - 1) >= a (N - 1)


def _index(items: list[Item], item: Item) -> int:
    if item not in items:
        items.append(item)
    return items.index(item)


def find(
    ctx: Context, search: Search, totals: Share, holders: Sequence[PartyId], receivers: Sequence[PartyId], mine: Sequence[Ranks], passed: Sequence[int] | None = None
) -> tuple[list[list[int]] | None, Share]:
    """At a receiver whether each argument has any value in each cell, and the value of each rank (where there is none, any); None elsewhere. Then
    the fractions, as shares: of neighbours that differ b times the fraction, else a public number.

    `totals` are the numbers of values of the arguments; `mine` are this company's values of each in each cell, where it is a holder. Where release rules withhold a cell `passed`, which holders know, is 0, and so must
    be its totals: then all that is opened of it is public. Discloses what the module says; costs `search.cost`. [AMP04]"""
    cells, domains = search.cells, [search.domain(rank) for rank in search.ranks]
    at = [[0] * cells for _ in domains]  # where the part that is searched begins: at the receivers
    keeps = [1] * cells if passed is None else passed
    there: list[int] = []
    totals = totals.reshape(len(search.arguments), cells)
    for number, step in enumerate(search.widths):
        compared, counts = [], None
        if any(count for count, _ in step):
            own = None
            if mine:
                own = [
                    mine[rank.of * cells + cell].up_to([domain[min(start + width * part, _size(domain)) - 1] for part in range(1, count + 1)]) * keeps[cell]
                    for rank, starts, (count, width), domain in zip(search.ranks, at, step, domains, strict=True)
                    for cell, start in enumerate(starts)
                ]
            counts = _added(ctx, holders, own, search.sizes[number])
            place = 0
            for rank, (count, _) in zip(search.ranks, step, strict=True):
                part = counts[place : place + cells * count].reshape(cells, count)
                compared.append((part * rank.b - totals[rank.of].reshape(cells, 1) * rank.a + rank.c).reshape(-1))
                place += cells * count
        if number == 0:
            compared.append(totals.reshape(-1) - 1)
        opened = reveal_bits(ctx, ~negative(ctx, concatenate(compared)), to=receivers)
        if opened is None:
            continue
        (bits,) = opened
        there = there or [int(bit) for bit in bits[len(bits) - len(search.arguments) * cells :]]
        place = 0
        for starts, (count, width) in zip(at, step, strict=True):
            below = count - bits[place : place + cells * count].reshape(cells, count).sum(1)
            for cell in np.flatnonzero(below).tolist():
                starts[cell] += width * int(below[cell])
            place += cells * count
    values = [domain[min(start, _size(domain) - 1)] for starts, domain in zip(at, domains, strict=True) for start in starts]
    fractions = totals.reshape(-1)[:0]
    if search.fractions:
        parts, public = [], []
        for lower, upper in search.fractions:
            rank = search.ranks[lower]
            public += [rank.b - rank.a] * cells
            for cell in range(cells) if mine else ():
                own_ranks, found = mine[rank.of * cells + cell], values[lower * cells + cell]
                is_opened = bool(there[rank.of * cells + cell]) and found != values[upper * cells + cell]
                parts.append(np.array([rank.a * own_ranks.count - rank.b * int(own_ranks.up_to([found])[0])], dtype=object) * is_opened)
        fractions = _added(ctx, holders, parts if mine else None, len(public)) + np.array(public, dtype=object)
    return ([there, values] if ctx.me in receivers else None), fractions


def _added(ctx: Context, holders: Sequence[PartyId], mine: Sequence[Array] | None, size: int) -> Share:
    """The sum of what each holder shares: `size` numbers."""
    parts = share(ctx, None if mine is None else np.concatenate(mine), shapes=dict.fromkeys(holders, (size,)))
    return reduce(add, parts)
