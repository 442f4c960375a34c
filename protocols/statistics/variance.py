"""VAR_SAMP, VAR_POP, STDDEV_SAMP, STDDEV_POP, from exact integers: with N the count, S and Q the sums of x - c and
of (x - c)^2, the variance is (N Q - S^2) / (N (N - 1)). The centre c is the middle of the bounds, so Q stays small,
and nothing is lost for data far from zero."""

import math
from collections.abc import Sequence
from decimal import Context
from fractions import Fraction

from protocols.expression import Arithmetic, Node, Number
from protocols.statistics.base import Estimate, Measure, Noisy, Value, centred, half_ulp, upwards

_DIGITS = Context(prec=60)


def _centred(argument: Node) -> Node:
    return Arithmetic("-", argument, Number((argument.lower + argument.upper) // 2, argument.scale))


def _root(x: Fraction) -> float:
    return float(_DIGITS.sqrt(_DIGITS.divide(x.numerator, x.denominator)))


class Variance:
    names = ("VAR_SAMP", "VAR_POP", "STDDEV_SAMP", "STDDEV_POP")
    takes_star = False
    discloses = "the count, the sum and the sum of squares"

    def measures(self, name: str, argument: Node | None) -> tuple[Measure, ...]:
        assert argument is not None
        centred = _centred(argument)
        return (
            Measure("count", argument),
            Measure("sum", argument),
            Measure("sum", Arithmetic("*", centred, centred)),
        )

    def finish(self, name: str, argument: Node | None, opened: Sequence[int]) -> Value:
        assert argument is not None
        count, total, squares = opened
        divisor = count - name.endswith("_SAMP")
        if divisor < 1:
            return None
        centred = total - count * ((argument.lower + argument.upper) // 2)
        variance = Fraction(count * squares - centred**2, count * divisor * 100**argument.scale)
        return _root(variance) if name.startswith("STDDEV") else float(variance)

    def private_measures(self, name: str, argument: Node | None) -> tuple[Measure, ...]:
        """With y = 2 x - (lower + upper) in -w to w: the sums of y and of 2 y^2 - w^2, which lies in -w^2 to w^2."""
        assert argument is not None
        y, width = centred(argument), argument.upper - argument.lower
        squares = Arithmetic("-", Arithmetic("*", Number(2), Arithmetic("*", y, y)), Number(width**2, 2 * argument.scale))
        return Measure("count", argument), Measure("sum", y), Measure("sum", squares)

    def estimate(self, name: str, argument: Node | None, opened: Sequence[Noisy]) -> Estimate:
        """Kept between zero and the most that the bounds allow; NULL where the noisy count leaves no divisor. The error is
        to first order."""
        assert argument is not None
        n, total, squares = opened
        divisor = n.number - name.endswith("_SAMP")
        if divisor <= 0:
            return Estimate(None, None)
        width, unit = argument.upper - argument.lower, 100**argument.scale
        mean, square = total.number / n.number, squares.number / n.number
        variance = (square / 2 + Fraction(width**2, 2) - mean**2) / 4  # of the population, at the scale of squares
        slope = math.hypot(
            squares.deviation / 8, float(mean) * total.deviation / 2, float(mean**2 - square / 4) / 2 * n.deviation
        )
        error = slope / float(n.number)
        most = Fraction(width**2, 4)
        correction = n.number / divisor
        variance = min(max(variance, Fraction(0)), most) * correction / unit
        error *= float(correction) / unit
        if name.startswith("STDDEV"):
            root = _root(variance)
            return Estimate(root, min(error / (2 * root), math.sqrt(error)) if root else math.sqrt(error))
        return Estimate(float(variance), error)

    def error_bound(self, name: str, argument: Node | None, rows: int) -> float:
        assert argument is not None
        span = Fraction(argument.upper - argument.lower, 10**argument.scale)
        # The deviation is a seminorm: where values move by at most r, so does it, and the variance by at most span r + r^2;
        # over n - 1 instead of n, both by at most twice that (of two values)
        r, worst = argument.rounding, 2 if name.endswith("_SAMP") else 1
        # a sample variance is at most span^2 / 2 (two values); a root carries one more rounding, of 60 digits
        if name.startswith("STDDEV"):
            return upwards(r * worst) + half_ulp(span)
        return upwards(worst * r * (span + r)) + half_ulp(span**2 / 2)

    def reference(self, name: str, argument: Node | None, values: Sequence[int | None]) -> Fraction | float | None:
        assert argument is not None
        present = [value for value in values if value is not None]
        divisor = len(present) - name.endswith("_SAMP")
        if divisor < 1:
            return None
        mean = Fraction(sum(present), len(present))
        n, d = mean.numerator, mean.denominator
        variance = Fraction(sum((value * d - n) ** 2 for value in present), d * d * divisor * 100**argument.scale)
        return _root(variance) if name.startswith("STDDEV") else variance
