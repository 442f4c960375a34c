"""VAR_SAMP, VAR_POP, STDDEV_SAMP, STDDEV_POP, from exact integers: with N the count, S and Q the sums of x - c and
of (x - c)^2, the variance is (N Q - S^2) / (N (N - 1)). The centre c is the middle of the bounds, so Q stays small,
and nothing is lost for data far from zero."""

import math
from collections.abc import Sequence
from fractions import Fraction

from protocols.expression import Arithmetic, Number
from protocols.statistics.base import (
    Arguments,
    Estimate,
    Measure,
    Noisy,
    Row,
    Value,
    centred,
    from_middle,
    half_ulp,
    middle,
    root,
    upwards,
)


class Variance:
    names = ("VAR_SAMP", "VAR_POP", "STDDEV_SAMP", "STDDEV_POP")
    takes = (1,)
    discloses = "the count, the sum and the sum of squares"

    def measures(self, name: str, arguments: Arguments) -> tuple[Measure, ...]:
        (argument,) = arguments
        deviation = from_middle(argument)
        return (
            Measure("count", argument),
            Measure("sum", argument),
            Measure("sum", Arithmetic("*", deviation, deviation)),
        )

    def finish(self, name: str, arguments: Arguments, opened: Sequence[int]) -> Value:
        (argument,) = arguments
        count, total, squares = opened
        divisor = count - name.endswith("_SAMP")
        if divisor < 1:
            return None
        deviation = total - count * middle(argument)
        variance = Fraction(count * squares - deviation**2, count * divisor * 100**argument.scale)
        return root(variance) if name.startswith("STDDEV") else float(variance)

    def private_measures(self, name: str, arguments: Arguments) -> tuple[Measure, ...]:
        """With y = 2 x - (lower + upper) in -w to w: the sums of y and of 2 y^2 - w^2, which lies in -w^2 to w^2."""
        (argument,) = arguments
        y, width = centred(argument), argument.upper - argument.lower
        squares = Arithmetic("-", Arithmetic("*", Number(2), Arithmetic("*", y, y)), Number(width**2, 2 * argument.scale))
        return Measure("count", argument), Measure("sum", y), Measure("sum", squares)

    def estimate(self, name: str, arguments: Arguments, opened: Sequence[Noisy]) -> Estimate:
        """Kept between zero and the most that the bounds allow; NULL where the noisy count leaves no divisor. The error is
        to first order."""
        (argument,) = arguments
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
            deviation = root(variance)
            return Estimate(deviation, min(error / (2 * deviation), math.sqrt(error)) if deviation else math.sqrt(error))
        return Estimate(float(variance), error)

    def error_bound(self, name: str, arguments: Arguments, rows: int) -> float:
        (argument,) = arguments
        span = Fraction(argument.upper - argument.lower, 10**argument.scale)
        # The deviation is a seminorm: where values move by at most r, so does it, and the variance by at most span r + r^2;
        # over n - 1 instead of n, both by at most twice that (of two values)
        r, worst = argument.rounding, 2 if name.endswith("_SAMP") else 1
        # a sample variance is at most span^2 / 2 (two values); a root carries one more rounding, of 60 digits
        if name.startswith("STDDEV"):
            return upwards(r * worst) + half_ulp(span)
        return upwards(worst * r * (span + r)) + half_ulp(span**2 / 2)

    def reference(self, name: str, arguments: Arguments, rows: Sequence[Row]) -> Fraction | float | None:
        (argument,) = arguments
        present = [value for (value,) in rows if value is not None]
        divisor = len(present) - name.endswith("_SAMP")
        if divisor < 1:
            return None
        mean = Fraction(sum(present), len(present))
        n, d = mean.numerator, mean.denominator
        variance = Fraction(sum((value * d - n) ** 2 for value in present), d * d * divisor * 100**argument.scale)
        return root(variance) if name.startswith("STDDEV") else variance
