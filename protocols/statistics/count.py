"""COUNT(*) and COUNT(x): rows, and rows in which x is not NULL."""

from collections.abc import Sequence
from fractions import Fraction

from protocols.statistics.base import Arguments, Estimate, Measure, Noisy, Row, Value, decimal


class Count:
    names = ("COUNT",)
    takes = (0, 1)
    discloses = "the count"

    def measures(self, name: str, arguments: Arguments) -> tuple[Measure, ...]:
        return (Measure("count", arguments[0] if arguments else None),)

    def finish(self, name: str, arguments: Arguments, opened: Sequence[int]) -> Value:
        return opened[0]

    def private_measures(self, name: str, arguments: Arguments) -> tuple[Measure, ...]:
        return self.measures(name, arguments)

    def estimate(self, name: str, arguments: Arguments, opened: Sequence[Noisy]) -> Estimate:
        """Not kept above zero, which would bias it."""
        (count,) = opened
        return Estimate(decimal(count.value, count.digits), count.deviation)

    def error_bound(self, name: str, arguments: Arguments, rows: int) -> float:
        return 0

    def reference(self, name: str, arguments: Arguments, rows: Sequence[Row]) -> Fraction | float | None:
        return Fraction(sum(None not in row for row in rows))
