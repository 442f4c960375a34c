"""Release rules: whether a cell is opened is decided on shares, and of a cell that is withheld nothing but that is opened.

Every rule is a number that must not be negative, formed from each company's own totals on shares: what remains of the count without
the largest company is at least k if it is without any company; and so on. One comparison for each such number and cell, joined by AND into
one bit; opened are the bit, and bit times value.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
    BitShare,
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
WORD = 64

Against = Literal["company", "coalition"]


@dataclass(frozen=True)
class Rules:
    """What a cell must meet to be released. `minimum_group`: of its count so many remain when any company (of a coalition:
    any `colluding` ones) takes its own away. `minimum_contributors`: so many companies have a row in it. `maximum_share`: no
    company has more of its count, nor of the sum of the sizes of the companies' sums. A cell without rows meets none."""

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
            said.append(f"no company with more than {float(self.maximum_share):g} of the rows, or of a sum")
        return ", ".join(said)

    def weaker(self, floor: "Rules") -> str:
        """The first rule that is weaker than `floor`, and what would do, as in a spec; empty if none is."""
        if self.minimum_group < floor.minimum_group:
            return f"minimum_group = {floor.minimum_group} or more"
        if floor.minimum_group and floor.against == "coalition" and self.against == "company":
            return 'against = "coalition"'
        if self.minimum_contributors < floor.minimum_contributors:
            return f"minimum_contributors = {floor.minimum_contributors} or more"
        return f"maximum_share = {float(floor.maximum_share):g} or less" if self.maximum_share > floor.maximum_share else ""


NO_RULES = Rules()


@dataclass(frozen=True)
class Gate:
    """The rules of a query over `companies` companies. The home totals are counts of rows, number `count` among the measures, and
    `sums`, the numbers of those measures that are sums."""

    rules: Rules
    companies: int
    colluding: int
    count: int
    sums: tuple[int, ...]

    @property
    def extra(self) -> int:
        """Vectors that each company shares besides its totals: whether it has rows, and the sizes of its sums."""
        return (self.rules.minimum_contributors > 0) + (len(self.sums) if self.rules.maximum_share < 1 else 0)

    def of(self, totals: Sequence[Array]) -> list[Array]:
        """Those of one company, from its totals by measure."""
        vectors = [(totals[self.count] > 0).astype(np.int64)] if self.rules.minimum_contributors else []
        return vectors + ([abs(totals[k]) for k in self.sums] if self.rules.maximum_share < 1 else [])

    @property
    def taken(self) -> int:
        """So many companies' rows are taken away."""
        return 1 if self.rules.against == "company" else self.colluding

    @property
    def conditions(self) -> int:
        """Comparisons a cell."""
        rules, of_each = self.rules, self.companies * (1 + len(self.sums))
        groups = comb(self.companies, self.taken) if rules.minimum_group else 1
        return groups + (rules.minimum_contributors > 0) + (of_each if rules.maximum_share < 1 else 0)

    def ranges(self, largest: Sequence[int]) -> list[tuple[str, int]]:
        """The greatest magnitude of what is compared, given that of each company's totals by measure."""
        rules, n = self.rules, self.companies
        found = [("what remains of the count, less the minimum", n * largest[self.count] + rules.minimum_group)]
        if rules.maximum_share < 1:
            weight = rules.maximum_share.numerator * n + rules.maximum_share.denominator
            found += [("what a company may have at most, less what it has", weight * largest[k]) for k in (self.count, *self.sums)]
        return found

    def passed(self, ctx: Context, totals: Mapping[PartyId, Sequence[Share]], extra: Mapping[PartyId, Sequence[Share]]) -> BitShare:
        """Whether each cell is released; `totals` and `extra` are the companies' vectors. Discloses nothing."""
        holders, rules = list(totals), self.rules
        counts = {i: totals[i][self.count] for i in holders}
        everything = reduce(add, counts.values())
        must_not_be_negative = []
        if rules.minimum_group:
            for away in itertools.combinations(holders, self.taken):
                must_not_be_negative.append(reduce(lambda left, i: left - counts[i], away, everything) - rules.minimum_group)
        else:
            must_not_be_negative.append(everything - 1)
        if rules.minimum_contributors:
            must_not_be_negative.append(reduce(add, (extra[i][0] for i in holders)) - rules.minimum_contributors)
        if rules.maximum_share < 1:
            first = int(rules.minimum_contributors > 0)
            for sizes in (counts, *({i: extra[i][first + k] for i in holders} for k in range(len(self.sums)))):
                total = reduce(add, sizes.values())
                most, whole = rules.maximum_share.numerator, rules.maximum_share.denominator
                must_not_be_negative += [most * total - whole * sizes[i] for i in holders]
        (cells,) = everything.shape
        padded = concatenate([part for x in must_not_be_negative for part in (x, _zeros(x, -cells % WORD))])
        bits = ~negative(ctx, padded)
        found = all_of(ctx, bits.reshape(len(must_not_be_negative), cells + -cells % WORD))
        return BitShare(found.words, (cells,))

    def released(self, ctx: Context, passed: BitShare, values: Share) -> Share:
        """The bits as numbers, then `values`, cell by cell as often as there are measures, where they are 1, and else 0: flat."""
        bits = as_numbers(ctx, passed)
        (cells,) = bits.shape
        every = bits.broadcast_to((values.data.size // cells, cells)).reshape(-1)
        return concatenate([multiply(ctx, every, values.reshape(-1)), bits])

    def cost(self, scheme: Scheme, me: PartyId, source: Costed | None, cells: int, values: int) -> Cost:
        """What `passed` and `released` cost party `me`."""
        padded = cells + -cells % WORD
        cost = negative_cost(scheme, me, source, self.conditions * padded)
        cost += all_of_cost(scheme, me, source, self.conditions, padded)
        return cost + as_numbers_cost(scheme, me, source, cells) + multiply_cost(scheme, me, source, values)


def _zeros(like: Share, count: int) -> Share:
    return replace(like, data=np.zeros(count, like.data.dtype))
