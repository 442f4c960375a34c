"""Release rules: whether a cell is opened is decided on shares, and of a cell that is withheld nothing but that is opened.

Every rule is a number that must not be negative, formed from each company's own totals on shares: what remains of the count without
the largest company is at least k if it is without any company; and so on. One comparison for each such number and cell, joined by AND into
one bit; opened are the bit, and bit times value.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from math import comb
from operator import add
from typing import Literal

import numpy as np

from mpc.algebra import Array
from mpc.context import Context, Costed
from mpc.cost import Cost
from mpc.schemes import PartyId, Scheme
from mpc.share import Share, concatenate
from protocols.gadgets import (
    all_of,
    all_of_cost,
    as_numbers,
    as_numbers_cost,
    multiply,
    multiply_cost,
    negative,
    negative_cost,
)

LARGEST_GROUP = 1 << 40
COALITIONS = 1_000
"""At most so many ways to choose the companies that are taken away."""

ONLY_MINIMUM = (
    "of the release rules only minimum_group goes with privacy, of the count of all companies with its noise: the others are about single "
    "companies' own counts, which no noise covers"
)

Against = Literal["company", "coalition"]


@dataclass(frozen=True)
class Rules:
    """What a cell must meet to be released. `minimum_group`: of its count so many remain when any company (of a coalition:
    any `colluding` ones) takes its own away. `minimum_contributors`: so many companies have a row in it. `maximum_share`: no
    company has more of its count, nor of the sum of the sizes of the companies' sums. A cell without rows meets none. Rows count whose
    values go into the answer: where one of its arguments is NULL they do not."""

    minimum_group: int = 0
    minimum_contributors: int = 0
    maximum_share: Fraction = Fraction(1)
    against: Against = "company"

    def __bool__(self) -> bool:
        return self != Rules(against=self.against)

    def __str__(self) -> str:
        said = []
        if self.minimum_group:
            without = "any company's own" if self.against == "company" else "the rows of any companies that may collude"
            said.append(f"at least {self.minimum_group:,} rows without {without}")
        if self.minimum_contributors:
            said.append(f"rows of at least {self.minimum_contributors} companies")
        if self.maximum_share < 1:
            said.append(f"no company with more than {float(self.maximum_share)!r} of the rows, or of a sum")
        return ", ".join(said)

    def weaker(self, floor: "Rules") -> str:
        """The first rule that is weaker than `floor`, and what would do, as in a spec; empty if none is."""
        if self.minimum_group < floor.minimum_group:
            return f"minimum_group = {floor.minimum_group} or more"
        if floor.minimum_group and floor.against == "coalition" and self.against == "company":
            return 'against = "coalition"'
        if self.minimum_contributors < floor.minimum_contributors:
            return f"minimum_contributors = {floor.minimum_contributors} or more"
        return f"maximum_share = {float(floor.maximum_share)!r} or less" if self.maximum_share > floor.maximum_share else ""


NO_RULES = Rules()


@dataclass(frozen=True)
class Gate:
    """The rules of a query over `companies` companies. `counts` are the numbers of those measures that are counts of the rows that go
    into an answer, `sums` of those that are sums in it. In a join (`is_joined`) a company does not know its part of them. `parts` are further counts, of parts of the rows, each of which must be none or as many as the minimum group."""

    rules: Rules
    companies: int
    colluding: int
    counts: tuple[int, ...]
    sums: tuple[int, ...]
    is_joined: bool = False
    parts: int = 0

    def __str__(self) -> str:
        return str(self.rules) + ", and as many, or none, in each of the parts that the filters of other queries cut it into" * bool(self.parts)

    @property
    def extra(self) -> int:
        """Vectors that each company shares besides its totals: whether it has rows, and the sizes of its sums. In a join they are formed on shares."""
        return 0 if self.is_joined else self._formed

    @property
    def _formed(self) -> int:
        return len(self.counts) * (self.rules.minimum_contributors > 0) + (len(self.sums) if self.rules.maximum_share < 1 else 0)

    def of(self, totals: Sequence[Array]) -> list[Array]:
        """Those of one company, from its totals by measure."""
        vectors = [(totals[k] > 0).astype(np.int64) for k in self.counts] if self.rules.minimum_contributors else []
        return vectors + ([abs(totals[k]) for k in self.sums] if self.rules.maximum_share < 1 else [])

    def compared(self, cells: int) -> int:
        """Comparisons in all."""
        return cells * (self.conditions + (self.companies * self._formed if self.is_joined else 0))

    @property
    def taken(self) -> int:
        """So many companies' rows are taken away."""
        return 1 if self.rules.against == "company" else self.colluding

    @property
    def conditions(self) -> int:
        """Comparisons a cell."""
        rules, groups = self.rules, comb(self.companies, self.taken) if self.rules.minimum_group else 1
        shares = self.companies * (len(self.counts) + len(self.sums)) if rules.maximum_share < 1 else 0
        return len(self.counts) * (groups + (rules.minimum_contributors > 0)) + shares + self._products

    @property
    def _products(self) -> int:
        return self.parts * comb(self.companies, self.taken)

    def ranges(self, largest: Sequence[int]) -> list[tuple[str, int]]:
        """The greatest magnitude of what is compared, given that of each company's totals by measure."""
        rules, n = self.rules, self.companies
        found = [("what remains of the count, less the minimum", n * largest[k] + rules.minimum_group) for k in self.counts[:1]]
        if self.parts:
            (rows,) = {n * largest[k] for k in self.counts}
            found.append(("the count of a part, times what remains of it, less the minimum", rows * (rows + rules.minimum_group)))
        if rules.maximum_share < 1:
            weight = rules.maximum_share.numerator * n + rules.maximum_share.denominator
            found += [("what a company may have at most, less what it has", weight * largest[k]) for k in (*self.counts, *self.sums)]
        return found

    def formed(self, ctx: Context, totals: Mapping[PartyId, Sequence[Share]]) -> dict[PartyId, list[Share]]:
        """What `of` gives, of each company, on shares. Discloses nothing."""
        contributors = len(self.counts) if self.rules.minimum_contributors else 0
        if not self._formed:
            return {i: [] for i in totals}
        sums = self.sums if self.rules.maximum_share < 1 else ()
        counts = [totals[i][k] - 1 for i in totals for k in self.counts[:contributors]]
        signed = [totals[i][k] for i in totals for k in sums]
        (cells,) = (counts + signed)[0].shape
        is_negative = as_numbers(ctx, negative(ctx, concatenate(counts + signed))).reshape(-1, cells)
        there = 1 - is_negative[: len(counts)]
        vectors = {i: [there[k * contributors + c] for c in range(contributors)] for k, i in enumerate(totals)}
        if signed:
            flat = concatenate(signed)
            sizes = (flat - 2 * multiply(ctx, is_negative[len(counts) :].reshape(-1), flat)).reshape(-1, cells)
            for k, i in enumerate(totals):
                vectors[i] += [sizes[k * len(sums) + s] for s in range(len(sums))]
        return vectors

    def required(
        self, ctx: Context, totals: Mapping[PartyId, Sequence[Share]], extra: Mapping[PartyId, Sequence[Share]], parts: Mapping[PartyId, Sequence[Share]]
    ) -> list[Share]:
        """What must not be negative in a cell that is released; `totals`, `extra` and `parts` are the companies' vectors. With parts a multiplication."""
        holders, rules = list(totals), self.rules
        counts = [{i: totals[i][k] for i in holders} for k in self.counts]
        must_not_be_negative = []
        for number, of in enumerate(counts):
            everything = reduce(add, of.values())
            if rules.minimum_group:
                for away in itertools.combinations(holders, self.taken):
                    must_not_be_negative.append(reduce(lambda left, i: left - of[i], away, everything) - rules.minimum_group)
            else:
                must_not_be_negative.append(everything - 1)
            if rules.minimum_contributors:
                must_not_be_negative.append(reduce(add, (extra[i][number] for i in holders)) - rules.minimum_contributors)
        if rules.maximum_share < 1:
            first = len(counts) * (rules.minimum_contributors > 0)
            for sizes in (*counts, *({i: extra[i][first + k] for i in holders} for k in range(len(self.sums)))):
                total = reduce(add, sizes.values())
                most, whole = rules.maximum_share.numerator, rules.maximum_share.denominator
                must_not_be_negative += [most * total - whole * sizes[i] for i in holders]
        if self.parts:
            pooled, remaining = [], []
            for k in range(self.parts):
                everything = reduce(add, (parts[i][k] for i in holders))
                for away in itertools.combinations(holders, self.taken):
                    pooled.append(everything)
                    remaining.append(reduce(add, (parts[i][k] for i in holders if i not in away)) - rules.minimum_group)
            # negative, unless there is none or enough
            products = multiply(ctx, concatenate(pooled), concatenate(remaining)).reshape(self._products, -1)
            must_not_be_negative += [products[k] for k in range(self._products)]
        return must_not_be_negative

    def cost(self, scheme: Scheme, me: PartyId, source: Costed | None, cells: int, values: int) -> Cost:
        """What `released` costs party `me`, and in a join `formed`."""
        cost, formed = Cost(), self.companies * self._formed * cells
        if self.is_joined and formed:
            cost = negative_cost(scheme, me, source, formed) + as_numbers_cost(scheme, me, source, formed)
            if self.sums and self.rules.maximum_share < 1:
                cost += multiply_cost(scheme, me, source, self.companies * len(self.sums) * cells)
        if self.parts:
            cost += multiply_cost(scheme, me, source, self._products * cells)
        return cost + released_cost(scheme, me, source, self.conditions, cells, values)


@dataclass(frozen=True)
class NoisyGate:
    """`minimum_group` beside privacy: a cell is released where those of its totals that are counts, `counts`, reach `least` with their noise. So
    what is opened follows from totals with noise, and costs no more of a budget than these."""

    rules: Rules
    counts: tuple[int, ...]
    least: tuple[int, ...]
    extra = 0

    def __str__(self) -> str:
        return f"a noisy count of at least {self.rules.minimum_group:,}"

    def compared(self, cells: int) -> int:
        """Comparisons in all."""
        return len(self.counts) * cells

    def ranges(self, noisy: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
        """The greatest magnitude of what is compared, given that of each total with its noise."""
        return [(f"{noisy[k][0]}, less the minimum", noisy[k][1] + least) for k, least in zip(self.counts, self.least, strict=True)]

    def required(self, totals: Sequence[Share]) -> list[Share]:
        """What must not be negative in a cell that is released, of its totals with noise."""
        return [totals[k] - least for k, least in zip(self.counts, self.least, strict=True)]

    def cost(self, scheme: Scheme, me: PartyId, source: Costed | None, cells: int, values: int) -> Cost:
        """What `released` costs party `me`."""
        return released_cost(scheme, me, source, len(self.counts), cells, values)


def released(ctx: Context, required: Sequence[Share], values: Share) -> Share:
    """`values`, cell by cell as often as there are measures, where none of `required` is negative, and else 0; then whether that is so, as
    numbers: flat. Discloses nothing; costs `released_cost`."""
    (cells,) = required[0].shape
    bits = as_numbers(ctx, all_of(ctx, (~negative(ctx, concatenate(required))).reshape(len(required), cells)))
    every = bits.broadcast_to((values.size // cells, cells)).reshape(-1)
    return concatenate([multiply(ctx, every, values.reshape(-1)), bits])


def released_cost(scheme: Scheme, me: PartyId, source: Costed | None, required: int, cells: int, values: int) -> Cost:
    """What `released` costs party `me`, of so many numbers a cell that must not be negative, and so many values in all."""
    cost = negative_cost(scheme, me, source, required * cells) + all_of_cost(scheme, me, source, required, cells)
    return cost + as_numbers_cost(scheme, me, source, cells) + multiply_cost(scheme, me, source, values)

