"""What one company computes at home: totals over its rows of one table, a fixed number of them whatever the data."""

from dataclasses import dataclass
from math import prod
from typing import Literal

from protocols.expression import Bin, Leaf, Node, Reference, magnitude, without_tests
from protocols.statistics.base import Measure
from protocols.tables import Column, Table, Unit


@dataclass(frozen=True)
class Key:
    """A group key; its cells are numbered 0 to `size` - 1 in declared order, NULL (where there is one) last."""

    expression: Reference | Bin
    has_null: bool = False

    @property
    def size(self) -> int:
        return self.expression.upper - self.expression.lower + 1 + self.has_null

    @property
    def text(self) -> Column | None:
        """Its column, if no values of that are declared: the cells are those of the values that a company has, and NULL has none."""
        match self.expression:
            case Reference(column=Column(kind="text") as column):
                return column
        return None


@dataclass(frozen=True)
class Adjustment:
    """How many rows of a table were left out because of `columns`, or how many values of the one column, in the others,
    were clamped: over the whole table, whatever the query, so that asking again tells nothing more."""

    what: Literal["dropped", "clamped"]
    table: str
    columns: tuple[Column, ...]

    def __str__(self) -> str:
        names = " or ".join(column.name for column in self.columns)
        if self.what == "dropped":
            return f"rows of {self.table} left out because {names} was outside its bounds"
        return f"values of {names} in {self.table} clamped to its bounds"


@dataclass(frozen=True)
class HomeTask:
    """`measures`, each in every cell of `keys`, over the rows of `table` for which all of `where` hold.

    The answer is a vector of `size` integers: the cells of the first measure, then of the second ...; the last key runs
    fastest; an empty cell is 0; of a key without declared values the texts (see `undeclared.py`); then one for each of `adjustments`. Rows in which a key without `has_null` is NULL
    belong nowhere.

    With a `unit` (of a query with noise) nothing but the totals may depend on the rows, and no unit may move them by
    much: rows that do not meet the spec are left out, numbers outside their bounds clamped, nothing is counted or
    refused; of each unit's rows at most `unit.groups` groups are taken, and at most `unit.rows` in each; a total is
    clamped to what `max_rows` rows can give. A group is a cell; where the last key is a `Leaf`, all leaves that are
    alike in the other keys.

    Of each of `ordered` the company keeps, beside the vector, how many of its values are at most any other: nothing of that
    is shared but what a search asks for, step by step (`planning/search.py`).
    """

    table: Table
    where: tuple[Node, ...]
    keys: tuple[Key, ...]
    measures: tuple[Measure, ...]
    unit: Unit | None = None
    ordered: tuple[Node, ...] = ()
    adjusts: bool = True
    """Whether it says how often values were adjusted: of several tasks over one table the first does."""

    @property
    def cells(self) -> int:
        return prod(key.size for key in self.keys)

    @property
    def groups(self) -> int:
        """As many are told apart where a unit's rows are bounded."""
        return prod(key.size for key in self.keys if not isinstance(key.expression, Leaf))

    @property
    def expressions(self) -> tuple[Node, ...]:
        """All that are worked out in rows."""
        measured = (measure.expression for measure in self.measures if measure.expression is not None)
        return (*self.where, *(key.expression for key in self.keys), *measured, *self.ordered)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Those that the values of the task depend on."""
        used = {node.column.name for item in self.expressions for node in item.walk() if isinstance(node, Reference)}
        return tuple(c for c in self.table.columns.values() if c.name in used or c.outside == "drop")

    @property
    def adjustments(self) -> tuple[Adjustment, ...]:
        if self.unit is not None or not self.adjusts:
            return ()
        dropping = tuple(column for column in self.columns if column.outside == "drop")
        dropped = [Adjustment("dropped", self.table.name, dropping)] if dropping else []
        clamped = [Adjustment("clamped", self.table.name, (c,)) for c in self.columns if c.outside == "clamp"]
        return (*dropped, *clamped)

    @property
    def size(self) -> int:
        return len(self.measures) * self.cells + self.named + len(self.adjustments)

    @property
    def text(self) -> Column | None:
        """That of the key of which no values are declared: then it is the only key."""
        return self.keys[0].text if self.keys else None

    @property
    def named(self) -> int:
        """So many numbers say whose the cells are, after the totals: the texts of a key that has no declared values, and their hashes."""
        return (1 + self.text.words) * self.cells if self.text is not None else 0

    def largest(self, measure: Measure) -> int:
        """The largest magnitude that one company's total can have, proven from its bounds."""
        per_row = 1 if measure.kind == "count" or measure.expression is None else magnitude(measure.expression)
        return self.table.max_rows * per_row


def index_of(measures: list[Measure], measure: Measure) -> int:
    """Its place among `measures`, where it is put if it is not there."""
    if measure not in measures:
        measures.append(measure)
    return measures.index(measure)


def plain(measure: Measure, known: frozenset[Node]) -> Measure:
    """COUNT(x) of what cannot be NULL is COUNT(*), and y where such an x is not NULL is y: one value less to open."""
    expression = without_tests(measure.expression, known) if measure.expression is not None else None
    if measure.kind == "count" and expression is not None and not expression.nullable(known):
        return Measure("count", None)
    return Measure(measure.kind, expression)
