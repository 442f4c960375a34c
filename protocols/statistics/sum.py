"""SUM(x), exact. Over no values it is 0: NULL would disclose a count."""

from collections.abc import Sequence
from fractions import Fraction

from protocols.expression import Node
from protocols.statistics.base import Estimate, Measure, Noisy, Value, decimal, upwards


class Sum:
    names = ("SUM",)
    takes_star = False
    discloses = "the sum"

    def measures(self, name: str, argument: Node | None) -> tuple[Measure, ...]:
        return (Measure("sum", argument),)

    def finish(self, name: str, argument: Node | None, opened: Sequence[int]) -> Value:
        assert argument is not None
        return decimal(opened[0], argument.scale)

    def private_measures(self, name: str, argument: Node | None) -> tuple[Measure, ...]:
        return self.measures(name, argument)

    def estimate(self, name: str, argument: Node | None, opened: Sequence[Noisy]) -> Estimate:
        assert argument is not None
        (total,) = opened
        return Estimate(decimal(total.value, argument.scale + total.digits), total.deviation / 10**argument.scale)

    def error_bound(self, name: str, argument: Node | None, rows: int) -> float:
        assert argument is not None
        return upwards(rows * argument.rounding)

    def reference(self, name: str, argument: Node | None, values: Sequence[int | None]) -> Fraction | float | None:
        assert argument is not None
        return Fraction(sum(value for value in values if value is not None), 10**argument.scale)
