"""AVG(x): the opened sum over the opened count; NULL at count 0."""

import math
from collections.abc import Sequence
from fractions import Fraction

from protocols.expression import largest
from protocols.statistics.base import Arguments, Estimate, Measure, Noisy, Row, Value, centred, half_ulp, upwards


class Mean:
    names = ("AVG",)
    takes = (1,)
    discloses = "the sum and the count, not only their ratio"

    def measures(self, name: str, arguments: Arguments) -> tuple[Measure, ...]:
        (argument,) = arguments
        return Measure("count", argument), Measure("sum", argument)

    def finish(self, name: str, arguments: Arguments, opened: Sequence[int]) -> Value:
        (argument,) = arguments
        count, total = opened
        return float(Fraction(total, count * 10**argument.scale)) if count else None

    def private_measures(self, name: str, arguments: Arguments) -> tuple[Measure, ...]:
        (argument,) = arguments
        return Measure("count", argument), Measure("sum", centred(argument))

    def estimate(self, name: str, arguments: Arguments, opened: Sequence[Noisy]) -> Estimate:
        """Kept within the bounds of the argument; NULL where the noisy count is not above zero. The error is that of a
        ratio to first order, so right where the count is well above its own error."""
        (argument,) = arguments
        count, total = opened
        if count.value <= 0:
            return Estimate(None, None)
        unit = 2 * 10**argument.scale
        ratio = total.number / count.number
        mean = (ratio + argument.lower + argument.upper) / unit
        mean = min(max(mean, Fraction(2 * argument.lower, unit)), Fraction(2 * argument.upper, unit))
        error = math.hypot(total.deviation, float(ratio) * count.deviation) / float(count.number) / unit
        return Estimate(float(mean), error)

    def error_bound(self, name: str, arguments: Arguments, rows: int) -> float:
        (argument,) = arguments
        return upwards(argument.rounding) + half_ulp(largest(argument))

    def reference(self, name: str, arguments: Arguments, rows: Sequence[Row]) -> Fraction | float | None:
        (argument,) = arguments
        present = [value for (value,) in rows if value is not None]
        return Fraction(sum(present), len(present) * 10**argument.scale) if present else None
