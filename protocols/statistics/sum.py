"""SUM(x), exact. Over no values it is 0: NULL would disclose a count."""

from collections.abc import Sequence
from fractions import Fraction

from protocols.statistics.base import Arguments, Estimate, Measure, Noisy, Row, Value, decimal, upwards


class Sum:
    names = ("SUM",)
    takes = (1,)
    discloses = "the sum"

    def measures(self, name: str, arguments: Arguments) -> tuple[Measure, ...]:
        (argument,) = arguments
        return (Measure("sum", argument),)

    def finish(self, name: str, arguments: Arguments, opened: Sequence[int]) -> Value:
        (argument,) = arguments
        return decimal(opened[0], argument.scale)

    def private_measures(self, name: str, arguments: Arguments) -> tuple[Measure, ...]:
        return self.measures(name, arguments)

    def estimate(self, name: str, arguments: Arguments, opened: Sequence[Noisy]) -> Estimate:
        (argument,) = arguments
        (total,) = opened
        return Estimate(decimal(total.value, argument.scale + total.digits), total.deviation / 10**argument.scale)

    def error_bound(self, name: str, arguments: Arguments, rows: int) -> float:
        (argument,) = arguments
        return upwards(rows * argument.rounding)

    def reference(self, name: str, arguments: Arguments, rows: Sequence[Row]) -> Fraction | float | None:
        (argument,) = arguments
        return Fraction(sum(value for (value,) in rows if value is not None), 10**argument.scale)
