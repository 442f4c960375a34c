"""AVG(x): the opened sum over the opened count; NULL at count 0."""

from collections.abc import Sequence
from fractions import Fraction

from protocols.expression import Node, largest
from protocols.statistics.base import Measure, Value, half_ulp, upwards


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

    def error_bound(self, name: str, argument: Node | None, rows: int) -> float:
        assert argument is not None
        return upwards(argument.rounding) + half_ulp(largest(argument))

    def reference(self, name: str, argument: Node | None, values: Sequence[int | None]) -> Fraction | float | None:
        assert argument is not None
        present = [value for value in values if value is not None]
        return Fraction(sum(present), len(present) * 10**argument.scale) if present else None
