"""What one company computes at home: totals over its rows of one table, a fixed number of them whatever the data."""

from dataclasses import dataclass
from math import prod

from protocols.expression import Bin, Node, Reference, magnitude
from protocols.statistics.base import Measure
from protocols.tables import Table


@dataclass(frozen=True)
class Key:
    """A group key; its cells are numbered 0 to `size` - 1 in declared order, NULL (where there is one) last."""

    expression: Reference | Bin
    has_null: bool = False

    @property
    def size(self) -> int:
        return self.expression.upper - self.expression.lower + 1 + self.has_null


@dataclass(frozen=True)
class HomeTask:
    """`measures`, each in every cell of `keys`, over the rows of `table` for which all of `where` hold.

    The answer is a vector of `len(measures) * cells` integers: the cells of the first measure, then of the second ...;
    the last key runs fastest; an empty cell is 0. Rows in which a key without `has_null` is NULL belong nowhere.
    """

    table: Table
    where: tuple[Node, ...]
    keys: tuple[Key, ...]
    measures: tuple[Measure, ...]

    @property
    def cells(self) -> int:
        return prod(key.size for key in self.keys)

    @property
    def expressions(self) -> tuple[Node, ...]:
        """All that are worked out in rows."""
        measured = (measure.expression for measure in self.measures if measure.expression is not None)
        return (*self.where, *(key.expression for key in self.keys), *measured)

    def largest(self, measure: Measure) -> int:
        """The largest magnitude that one company's total can have, proven from its bounds."""
        per_row = 1 if measure.kind == "count" or measure.expression is None else magnitude(measure.expression)
        return self.table.max_rows * per_row
