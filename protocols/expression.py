"""Row expressions: a checked tree over declared columns, with the range of every node proven.

Numbers are integers times 10^-scale throughout, dates days, timestamps microseconds, so all arithmetic is exact. The trees are neutral: `parties/spec`
makes them from SQL, `parties/data` renders them for a company's own engine.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Literal

from mpc.errors import ComityError
from protocols.tables import EPOCH, MICROSECOND, Column, as_date

Type = Literal["number", "text", "truth", "date", "timestamp"]
ArithmeticOperator = Literal["+", "-", "*"]
ComparisonOperator = Literal["=", "<>", "<", "<=", ">", ">="]


class ExpressionError(ComityError):
    """Operands that do not fit together. The message says why; the caller adds the place."""


@dataclass(frozen=True, slots=True)
class Node:
    """A row expression. Numbers have `lower`, `upper` (integers at `scale`); `str()` gives its SQL text."""

    @property
    def type(self) -> Type:
        return "truth"

    @property
    def scale(self) -> int:
        return 0

    @property
    def lower(self) -> int:
        return 0

    @property
    def upper(self) -> int:
        return 1

    @property
    def children(self) -> tuple["Node", ...]:
        return ()

    @property
    def rounding(self) -> Fraction:
        """How far a number may lie from what unrounded floats would give, where conditions on them come out the same."""
        return Fraction(0)

    def nullable(self, known: frozenset["Node"] = frozenset()) -> bool:
        """Whether it may be NULL in rows where the nodes in `known` are not."""
        return self not in known and any(child.nullable(known) for child in self.children)

    def walk(self) -> Iterator["Node"]:
        yield self
        for child in self.children:
            yield from child.walk()

    @property
    def tables(self) -> frozenset[str]:
        return frozenset(node.table for node in self.walk() if isinstance(node, Reference))


@dataclass(frozen=True, slots=True)
class Reference(Node):
    """A column of a table."""

    table: str
    column: Column

    @property
    def type(self) -> Type:
        kinds: dict[str, Type] = {"category": "text", "text": "text", "boolean": "truth", "date": "date", "timestamp": "timestamp"}
        return kinds.get(self.column.kind, "number")

    @property
    def scale(self) -> int:
        return self.column.scale

    @property
    def lower(self) -> int:
        return self.column.lower

    @property
    def upper(self) -> int:
        return self.column.upper

    @property
    def rounding(self) -> Fraction:
        if self.column.kind != "float":
            return Fraction(0)
        # half a step, and what the machine loses in dividing by it
        return Fraction(self.column.step, 2 * 10**self.scale) + largest(self) / (1 << 52)

    def nullable(self, known: frozenset[Node] = frozenset()) -> bool:
        return self.column.nullable and self not in known

    def __str__(self) -> str:
        return self.column.name


@dataclass(frozen=True, slots=True)
class Number(Node):
    """The literal value * 10^-scale."""

    value: int
    digits: int = 0

    @property
    def type(self) -> Type:
        return "number"

    @property
    def scale(self) -> int:
        return self.digits

    @property
    def lower(self) -> int:
        return self.value

    @property
    def upper(self) -> int:
        return self.value

    def __str__(self) -> str:
        if not self.digits:
            return str(self.value)
        text = str(abs(self.value)).rjust(self.digits + 1, "0")
        return f"{'-' if self.value < 0 else ''}{text[: -self.digits]}.{text[-self.digits :]}"


@dataclass(frozen=True, slots=True)
class Text(Node):
    value: str

    @property
    def type(self) -> Type:
        return "text"

    def __str__(self) -> str:
        return "'" + self.value.replace("'", "''") + "'"


@dataclass(frozen=True, slots=True)
class Moment(Node):
    """A date (days since 1970) or a timestamp (microseconds)."""

    kind: Literal["date", "timestamp"]
    value: int

    @property
    def type(self) -> Type:
        return self.kind

    @property
    def lower(self) -> int:
        return self.value

    @property
    def upper(self) -> int:
        return self.value

    def __str__(self) -> str:
        moment = as_date(self.value) if self.kind == "date" else (EPOCH + self.value * MICROSECOND).isoformat(" ")
        return f"{self.kind.upper()} '{moment}'"


@dataclass(frozen=True, slots=True)
class Truth(Node):
    value: bool

    def __str__(self) -> str:
        return "TRUE" if self.value else "FALSE"


@dataclass(frozen=True)
class Arithmetic(Node):
    operator: ArithmeticOperator
    left: Node
    right: Node

    def __post_init__(self) -> None:
        if self.operator == "-" and self.left.type == self.right.type == "date":
            return  # days
        for side in self.children:
            if side.type != "number":
                raise ExpressionError(f"{self.operator} needs numbers, and {side} is none")

    @property
    def type(self) -> Type:
        return "number"

    @property
    def children(self) -> tuple[Node, ...]:
        return self.left, self.right

    @cached_property
    def scale(self) -> int:
        if self.operator == "*":
            return self.left.scale + self.right.scale
        return max(self.left.scale, self.right.scale)

    @property
    def rounding(self) -> Fraction:
        x, y = self.left.rounding, self.right.rounding
        if self.operator != "*":
            return x + y
        return largest(self.left) * y + largest(self.right) * x + x * y

    @cached_property
    def _range(self) -> tuple[int, int]:
        (a, b), (c, d) = (
            (aligned(side.lower, side, self), aligned(side.upper, side, self)) if self.operator != "*" else
            (side.lower, side.upper)
            for side in self.children
        )
        if self.operator == "*":
            ends = (a * c, a * d, b * c, b * d)
            is_square = self.left == self.right
            return max(min(ends), 0) if is_square else min(ends), max(ends)
        return (a + c, b + d) if self.operator == "+" else (a - d, b - c)

    @property
    def lower(self) -> int:
        return self._range[0]

    @property
    def upper(self) -> int:
        return self._range[1]

    def __str__(self) -> str:
        return f"{_inner(self.left)} {self.operator} {_inner(self.right)}"


@dataclass(frozen=True, slots=True)
class Comparison(Node):
    operator: ComparisonOperator
    left: Node
    right: Node

    def __post_init__(self) -> None:
        if self.left.type != self.right.type:
            raise ExpressionError(f"cannot compare {self.left} with {self.right}: different types")
        if self.left.type in ("text", "truth") and self.operator not in ("=", "<>"):
            raise ExpressionError(f"{self.operator} needs numbers, dates or timestamps, and {self.left} is none")
        for column, literal in ((self.left, self.right), (self.right, self.left)):
            _check_declared(column, literal)

    @property
    def children(self) -> tuple[Node, ...]:
        return self.left, self.right

    def __str__(self) -> str:
        return f"{_inner(self.left)} {self.operator} {_inner(self.right)}"


@dataclass(frozen=True, slots=True)
class Membership(Node):
    """`operand IN (options)`, options literals."""

    operand: Node
    options: tuple[Node, ...]

    def __post_init__(self) -> None:
        for option in self.options:
            if option.type != self.operand.type:
                raise ExpressionError(f"cannot compare {self.operand} with {option}: different types")
            _check_declared(self.operand, option)

    @property
    def children(self) -> tuple[Node, ...]:
        return self.operand, *self.options

    def __str__(self) -> str:
        return f"{_inner(self.operand)} IN ({', '.join(map(str, self.options))})"


@dataclass(frozen=True, slots=True)
class IsNull(Node):
    operand: Node

    @property
    def children(self) -> tuple[Node, ...]:
        return (self.operand,)

    def nullable(self, known: frozenset[Node] = frozenset()) -> bool:
        return False

    def __str__(self) -> str:
        return f"{_inner(self.operand)} IS NULL"


@dataclass(frozen=True, slots=True)
class Logic(Node):
    operator: Literal["AND", "OR"]
    operands: tuple[Node, ...]

    def __post_init__(self) -> None:
        for operand in self.operands:
            if operand.type != "truth":
                raise ExpressionError(f"{self.operator} needs conditions, and {operand} is none")

    @property
    def children(self) -> tuple[Node, ...]:
        return self.operands

    def __str__(self) -> str:
        return f" {self.operator} ".join(map(_inner, self.operands))


@dataclass(frozen=True, slots=True)
class Not(Node):
    operand: Node

    def __post_init__(self) -> None:
        if self.operand.type != "truth":
            raise ExpressionError(f"NOT needs a condition, and {self.operand} is none")

    @property
    def children(self) -> tuple[Node, ...]:
        return (self.operand,)

    def __str__(self) -> str:
        if isinstance(self.operand, IsNull):
            return f"{_inner(self.operand.operand)} IS NOT NULL"
        return f"NOT {_inner(self.operand)}"


@dataclass(frozen=True)
class Case(Node):
    """`CASE WHEN condition THEN value ... ELSE otherwise END` of numbers; without ELSE it may be NULL."""

    branches: tuple[tuple[Node, Node], ...]
    otherwise: Node | None

    def __post_init__(self) -> None:
        for condition, value in self.branches:
            if condition.type != "truth":
                raise ExpressionError(f"WHEN needs a condition, and {condition} is none")
            if value.type != "number":
                raise ExpressionError(f"THEN needs a number, and {value} is none")
        if self.otherwise is not None and self.otherwise.type != "number":
            raise ExpressionError(f"ELSE needs a number, and {self.otherwise} is none")

    @property
    def type(self) -> Type:
        return "number"

    @property
    def values(self) -> tuple[Node, ...]:
        return tuple(value for _, value in self.branches) + ((self.otherwise,) if self.otherwise else ())

    @property
    def children(self) -> tuple[Node, ...]:
        return tuple(condition for condition, _ in self.branches) + self.values

    def nullable(self, known: frozenset[Node] = frozenset()) -> bool:
        return self not in known and (self.otherwise is None or any(value.nullable(known) for value in self.values))

    @cached_property
    def scale(self) -> int:
        return max(value.scale for value in self.values)

    @property
    def rounding(self) -> Fraction:
        return max(value.rounding for value in self.values)

    @cached_property
    def _range(self) -> tuple[int, int]:
        return (
            min(aligned(value.lower, value, self) for value in self.values),
            max(aligned(value.upper, value, self) for value in self.values),
        )

    @property
    def lower(self) -> int:
        return self._range[0]

    @property
    def upper(self) -> int:
        return self._range[1]

    def __str__(self) -> str:
        branches = "".join(f" WHEN {condition} THEN {value}" for condition, value in self.branches)
        return f"CASE{branches}{f' ELSE {self.otherwise}' if self.otherwise else ''} END"


@dataclass(frozen=True, slots=True)
class Bin(Node):
    """The number of the bin that `operand` falls into: 1 to `bins` for equal bins [a, b) from `start` to `stop`, the
    last one closed; 0 below, `bins` + 1 above. NULL where the operand is. `start` and `stop` are at `operand.scale`
    or finer: integers at scale `digits`."""

    operand: Node
    start: int
    stop: int
    digits: int
    bins: int

    @property
    def type(self) -> Type:
        return "number"

    @property
    def upper(self) -> int:
        return self.bins + 1

    @property
    def children(self) -> tuple[Node, ...]:
        return (self.operand,)

    def __str__(self) -> str:
        return f"bin of {self.operand}"


@dataclass(frozen=True, slots=True)
class Leaf(Bin):
    """A bin of an operand whose bounds prove that it is never outside: 1 to `bins`."""

    @property
    def lower(self) -> int:
        return 1

    @property
    def upper(self) -> int:
        return self.bins


def aligned(number: int, node: Node, to: Node) -> int:
    """`number`, at the scale of `node`, at the finer scale of `to`."""
    factor: int = 10 ** (to.scale - node.scale)
    return number * factor


def magnitude(node: Node) -> int:
    """The largest absolute value, as an integer at the node's scale."""
    return max(abs(node.lower), abs(node.upper))


def largest(node: Node) -> Fraction:
    """The largest absolute value, as the number it stands for."""
    return Fraction(magnitude(node), 10**node.scale)


def not_null(conditions: tuple[Node, ...]) -> frozenset[Node]:
    """The nodes that are not NULL in a row for which all of `conditions` hold."""
    known = set()
    for condition in conditions:
        if isinstance(condition, Not) and isinstance(condition.operand, IsNull):
            known.add(condition.operand.operand)
        elif isinstance(condition, Comparison | Membership):
            known.update(child for child in condition.children if isinstance(child, Reference))
    return frozenset(known)


def beside(node: Node, other: Node) -> Node:
    """`node` in rows in which `other` is not NULL, else NULL."""
    return Case(((Not(IsNull(other)), node),), None)


def without_tests(node: Node, known: frozenset[Node]) -> Node:
    """`node` itself for what `beside` makes of it and another that cannot be NULL where the nodes in `known` are not."""
    match node:
        case Case(((Not(IsNull(other)), value),), None) if not other.nullable(known):
            return without_tests(value, known)
    return node


def _inner(node: Node) -> str:
    return f"({node})" if isinstance(node, Arithmetic | Comparison | Logic | Membership | IsNull | Not) else str(node)


def _check_declared(operand: Node, literal: Node) -> None:
    if isinstance(operand, Reference) and isinstance(literal, Text) and literal.value not in operand.column.values:
        declared = ", ".join(operand.column.values[:5]) + (", ..." if len(operand.column.values) > 5 else "")
        raise ExpressionError(f"{literal} is not a declared value of {operand} ({declared})")
