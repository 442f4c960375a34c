"""AVG(x): the opened sum over the opened count; NULL at count 0."""

import math
from collections.abc import Sequence
from fractions import Fraction

from protocols.expression import Node, largest
from protocols.statistics.base import Estimate, Measure, Noisy, Value, centred, half_ulp, upwards


class Mean:
    names = ("AVG",)
    takes_star = False
    discloses = "the sum and the count, not only their ratio"

    def measures(self, name: str, argument: Node | None) -> tuple[Measure, ...]:
        return Measure("count", argument), Measure("sum", argument)

    def finish(self, name: str, argument: Node | None, opened: Sequence[int]) -> Value:
        assert argument is not None
        count, total = opened
        return float(Fraction(total, count * 10**argument.scale)) if count else None

    def private_measures(self, name: str, argument: Node | None) -> tuple[Measure, ...]:
        assert argument is not None
        return Measure("count", argument), Measure("sum", centred(argument))

    def estimate(self, name: str, argument: Node | None, opened: Sequence[Noisy]) -> Estimate:
        """Kept within the bounds of the argument; NULL where the noisy count is not above zero. The error is that of a
        ratio to first order, so right where the count is well above its own error."""
        assert argument is not None
        count, total = opened
        if count.value <= 0:
            return Estimate(None, None)
        unit = 2 * 10**argument.scale
        ratio = total.number / count.number
        mean = (ratio + argument.lower + argument.upper) / unit
        mean = min(max(mean, Fraction(2 * argument.lower, unit)), Fraction(2 * argument.upper, unit))
        error = math.hypot(total.deviation, float(ratio) * count.deviation) / float(count.number) / unit
        return Estimate(float(mean), error)

    def error_bound(self, name: str, argument: Node | None, rows: int) -> float:
        assert argument is not None
        return upwards(argument.rounding) + half_ulp(largest(argument))

    def reference(self, name: str, argument: Node | None, values: Sequence[int | None]) -> Fraction | float | None:
        assert argument is not None
        present = [value for value in values if value is not None]
        return Fraction(sum(present), len(present) * 10**argument.scale) if present else None
