"""COUNT(*) and COUNT(x): rows, and rows in which x is not NULL."""

from collections.abc import Sequence
from fractions import Fraction

from protocols.expression import Node
from protocols.statistics.base import Estimate, Measure, Noisy, Value, decimal


class Count:
    names = ("COUNT",)
    takes_star = True
    discloses = "the count"

    def measures(self, name: str, argument: Node | None) -> tuple[Measure, ...]:
        return (Measure("count", argument),)

    def finish(self, name: str, argument: Node | None, opened: Sequence[int]) -> Value:
        return opened[0]

    def private_measures(self, name: str, argument: Node | None) -> tuple[Measure, ...]:
        return self.measures(name, argument)

    def estimate(self, name: str, argument: Node | None, opened: Sequence[Noisy]) -> Estimate:
        """Not kept above zero, which would bias it."""
        (count,) = opened
        return Estimate(decimal(count.value, count.digits), count.deviation)

    def error_bound(self, name: str, argument: Node | None, rows: int) -> float:
        return 0

    def reference(self, name: str, argument: Node | None, values: Sequence[int | None]) -> Fraction | float | None:
        return Fraction(sum(value is not None for value in values))
