"""What a statistic is. Each is one file here, found by its SQL name; CONTRIBUTING.md adds one as an example."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from typing import Literal, Protocol, runtime_checkable

from protocols.expression import Arithmetic, Node, Number

Value = int | float | Decimal | str | bool | None

Arguments = tuple[Node, ...]
"""Of a statistic, numbers whose values are integers at their scales; none of them for `*`."""

Row = tuple[int | None, ...]
"""The values of a statistic's arguments in one row."""

_DIGITS = Context(prec=60)


@dataclass(frozen=True, slots=True)
class Measure:
    """A total over rows: the number of rows in which `expression` is not NULL (all rows where it is None), or the sum
    of its values. Each company computes it at home; only the total over companies is opened. Or, of a query with release
    rules, whether the cell is released."""

    kind: Literal["count", "sum", "released"]
    expression: Node | None

    def __str__(self) -> str:
        if self.kind == "released":
            return "whether the cell is released"
        return f"{self.kind.upper()}({'*' if self.expression is None else self.expression})"


@dataclass(frozen=True, slots=True)
class Noisy:
    """An opened total with noise: `value` * 10^-`digits`, in units of the measure's expression at its scale; `deviation`
    is the noise's standard deviation in the same units."""

    value: int
    digits: int
    deviation: float

    @property
    def number(self) -> Fraction:
        return Fraction(self.value, 10**self.digits)


@dataclass(frozen=True, slots=True)
class Estimate:
    """An answer from noisy totals, and its standard error; both None where the noise leaves nothing to say."""

    value: Value
    standard_error: float | None


class Statistic(Protocol):
    """From rows at home to opened totals to the answer.

    `names` are its SQL names; `takes` lists how many arguments each of them can have, 0 for `NAME(*)`. All methods get the
    SQL name in use and its arguments.
    """

    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def takes(self) -> tuple[int, ...]: ...
    @property
    def discloses(self) -> str:
        """What the receivers learn, in words, beyond the answer itself."""
        ...

    def measures(self, name: str, arguments: Arguments) -> tuple[Measure, ...]:
        """What each company computes at home and what is opened: these totals, in this order."""
        ...

    def finish(self, name: str, arguments: Arguments, opened: Sequence[int]) -> Value:
        """The answer from the opened totals (integers at the scales of the measures' expressions)."""
        ...

    def error_bound(self, name: str, arguments: Arguments, rows: int) -> float:
        """The greatest absolute difference between `finish` and the exact answer over at most `rows` rows, as they were
        before floats were rounded (`rounding` of the arguments); infinite where there is none."""
        ...

    def reference(self, name: str, arguments: Arguments, rows: Sequence[Row]) -> Fraction | float | None:
        """The answer from the pooled rows themselves, for tests and the demo: exact (integers and their ratios), but for the one last rounding of a square root."""
        ...


@runtime_checkable
class PrivateStatistic(Statistic, Protocol):
    """One that can be had with noise: how far one unit moves its totals is bounded."""

    def private_measures(self, name: str, arguments: Arguments) -> tuple[Measure, ...]:
        """The totals that are opened with noise instead: those that one row moves least."""
        ...

    def estimate(self, name: str, arguments: Arguments, opened: Sequence[Noisy]) -> Estimate:
        """The answer from `private_measures` with noise. What follows from bounds of the spec may correct it: that costs
        no privacy."""
        ...


def decimal(value: int, scale: int) -> Decimal | int:
    """value * 10^-scale with all its digits; an integer at scale 0."""
    if scale == 0:
        return value
    return Decimal((int(value < 0), tuple(map(int, str(abs(value)))), -scale))


def centred(argument: Node) -> Node:
    """2 x - (lower + upper): with a count beside it, it says what the sum of x does, and one row moves it by no more than
    the width of the bounds."""
    middle = Number(argument.lower + argument.upper, argument.scale)
    return Arithmetic("-", Arithmetic("*", Number(2), argument), middle)


def middle(argument: Node) -> int:
    """Of the bounds, rounded down."""
    return (argument.lower + argument.upper) // 2


def from_middle(argument: Node) -> Node:
    """x - c, c the middle of the bounds: its squares and products stay small, and nothing is lost for data far from zero."""
    return Arithmetic("-", argument, Number(middle(argument), argument.scale))


def root(x: Fraction) -> float:
    """The square root, rounded once, but for a rounding of 60 digits."""
    return float(_DIGITS.sqrt(_DIGITS.divide(x.numerator, x.denominator)))


def half_ulp(largest: Fraction | int) -> float:
    """The rounding error of one correctly rounded result of at most this size."""
    return upwards(Fraction(largest) * Fraction(1, 2**53))


def upwards(bound: Fraction) -> float:
    """The bound as a float that is not smaller."""
    return math.nextafter(float(bound), math.inf) if Fraction(float(bound)) < bound else float(bound)
