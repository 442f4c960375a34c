"""AVG_ONLY(x) and HHI(x): a ratio, of which neither part is opened. It is divided and rounded on shares.

AVG_ONLY(x, step) is the average, to the nearest multiple of `step` (halves upwards). From a quotient with many digits its continued
fraction gives sum and count.

HHI(x), the Herfindahl-Hirschman index, is the sum over the companies of their squared shares of SUM(x), to 1e-4. With the total, or the sum of the
squares, a receiver could solve for its competitors.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from math import floor, inf, isqrt
from operator import add

from mpc.context import Context, Costed
from mpc.cost import Cost
from mpc.schemes import PartyId, Scheme
from mpc.share import Share, concatenate
from protocols.expression import Node
from protocols.gadgets import quotient, quotient_cost, square, square_cost
from protocols.gadgets.quotient import BASE
from protocols.statistics.base import Arguments, Measure, Row, Value, decimal, upwards

AVG_ONLY, HHI = "AVG_ONLY", "HHI"
NAMES = (AVG_ONLY, HHI)
FEWEST = 3
"""Companies, for an HHI: of two it gives each the other's share."""
STEPS = 1_000
"""In so many steps the range of x is cut where AVG_ONLY names none."""
MOST_STEPS = 1 << 24
INDEX_STEP = Fraction(1, 10_000)


@dataclass(frozen=True)
class Ratio:
    """`function` of `argument`, rounded to a multiple of `step`."""

    function: str
    argument: Node
    step: Fraction

    def __str__(self) -> str:
        return f"{self.function}({self.argument}), to {float(self.step):.15g}"

    @property
    def is_of_companies(self) -> bool:
        """Whether each company is one observation."""
        return self.function == HHI

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The totals that it is made of."""
        total, count = Measure("sum", self.argument), Measure("count", self.argument)
        return (total,) if self.is_of_companies else (total, count)

    @property
    def _units(self) -> tuple[int, int]:
        """The step as p / q units of the argument."""
        step: Fraction = self.step * 10**self.argument.scale
        return step.as_integer_ratio()

    @property
    def _lowest(self) -> int:
        """Of an average, in steps."""
        p, q = self._units
        return self.argument.lower * q // p

    @property
    def largest(self) -> int:
        """What is opened is at most this many steps."""
        p, q = self._units
        return INDEX_STEP.denominator if self.is_of_companies else self.argument.upper * q // p - self._lowest + 1

    @property
    def digits(self) -> int:
        """In base 16; the number that has all of them is no ratio."""
        return next(k for k in range(1, 64) if BASE**k - 1 > self.largest)

    def divided(self, totals: Sequence[Share], square: Share | None, squares: Share | None) -> tuple[Share, Share]:
        """Two numbers whose integer quotient is what is opened, from the totals of `measures`; for an HHI also the square of the
        total, and the sum of the companies' squares."""
        if square is not None and squares is not None:
            return 2 * INDEX_STEP.denominator * squares + square, 2 * square
        p, q = self._units
        total, count = totals
        return 2 * q * total + p * (1 - 2 * self._lowest) * count, 2 * p * count

    def range(self, of_measure: Callable[[Measure], int], companies: int) -> int:
        """The largest magnitude that comes up, given that of each measure at one company."""
        p, q = self._units
        total, *counts = (companies * of_measure(measure) for measure in self.measures)
        if self.is_of_companies:
            return 2 * int(BASE**self.digits) * total**2
        return max(2 * int(BASE**self.digits) * p * counts[0], 2 * q * total + p * (1 + 2 * abs(self._lowest)) * counts[0])

    def finish(self, opened: int) -> Value:
        """The ratio, exact as a decimal; None where it is of nothing."""
        if opened == BASE**self.digits - 1:
            return None
        value = self.step * (opened if self.is_of_companies else opened + self._lowest)
        scale = next((k for k in range(60) if 10**k % self.step.denominator == 0), None)
        assert scale is not None  # a step is a decimal
        return decimal(int(value * 10**scale), scale)

    @property
    def error_bound(self) -> float:
        """Of rounding; of floats, that an index is made of, there is none."""
        if self.is_of_companies:
            return inf if self.argument.rounding else float(INDEX_STEP / 2)
        return upwards(self.step / 2 + Fraction(self.argument.rounding))

    @property
    def discloses(self) -> str:
        if self.is_of_companies:
            return "it alone, neither the total nor any company's part of it; near 1, that one company has nearly all"
        return f"it alone, neither the sum nor the count; {self.counts}"

    @property
    def counts(self) -> str:
        """Which numbers of values follow from the average, at most."""
        p, q = self._units  # an average of N values d apart is a multiple of d / N; fractions of at most N differ by 1 / N^2
        fine, coarse = isqrt(q // p), isqrt(self.largest)
        return f"{f'a count of at most {fine:,}' if fine else 'no count'} may follow from it, and where x has two values only, one of at most {coarse:,}"

    def reference(self, function: str, arguments: Arguments, rows: Sequence[Row]) -> Fraction | None:
        """Of an average, from the pooled rows."""
        present = [value for (value,) in rows if value is not None]
        if not present:
            return None
        return self.rounded(Fraction(sum(present), len(present) * 10**self.argument.scale))

    def index(self, totals: Sequence[int]) -> Fraction | None:
        """The HHI of the companies' totals."""
        return self.rounded(Fraction(sum(x * x for x in totals), sum(totals) ** 2)) if any(totals) else None

    def rounded(self, value: Fraction) -> Fraction:
        return floor(value / self.step + Fraction(1, 2)) * self.step


def secure(
    ctx: Context, ratios: Sequence[Ratio], totals: Mapping[Ratio, Sequence[Share]], squares: Mapping[Ratio, Share]
) -> list[Share]:
    """Of each ratio what is opened, from the totals of its measures, flat, and for each HHI the sum of the companies' squares. Discloses
    nothing. Rounds as `quotient` has them for the most digits, and one more where there is an HHI."""
    indices = [ratio for ratio in ratios if ratio.is_of_companies]
    (cells,) = totals[ratios[0]][0].shape
    squared: dict[Ratio, Share] = {}
    if indices:
        flat = square(ctx, concatenate([totals[ratio][0] for ratio in indices]))
        squared = {ratio: flat[k * cells : (k + 1) * cells] for k, ratio in enumerate(indices)}
    found: dict[Ratio, Share] = {}
    for digits, alike in _by_digits(ratios).items():
        pairs = [ratio.divided(totals[ratio], squared.get(ratio), squares.get(ratio)) for ratio in alike]
        flat = quotient(ctx, concatenate([x for x, _ in pairs]), concatenate([y for _, y in pairs]), digits)
        found |= {ratio: flat[k * cells : (k + 1) * cells] for k, ratio in enumerate(alike)}
    return [found[ratio] for ratio in ratios]


def secure_cost(scheme: Scheme, me: PartyId, source: Costed | None, ratios: Sequence[Ratio], cells: int) -> Cost:
    """What one `secure` costs party `me`."""
    indices = sum(ratio.is_of_companies for ratio in ratios)
    cost = square_cost(scheme, me, source, indices * cells) if indices else Cost()
    return reduce(
        add, (quotient_cost(scheme, me, source, len(alike) * cells, digits) for digits, alike in _by_digits(ratios).items()), cost
    )


def _by_digits(ratios: Sequence[Ratio]) -> dict[int, list[Ratio]]:
    found: dict[int, list[Ratio]] = {}
    for ratio in ratios:
        found.setdefault(ratio.digits, []).append(ratio)
    return found
