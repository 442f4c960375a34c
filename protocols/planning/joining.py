"""A join of a shared table with an owned one: which cells of the two tasks meet, and their products.

Both tasks have the joined key first, then their groups, then those columns of theirs that a condition compares with the other table's. Such a condition is a public matrix: which
values of the one side's columns hold with which of the other's. The owned side's cells are added up by it, for each of the shared side's values, which is local; so it takes no
more products than the shared side has cells.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from mpc.algebra import Array
from mpc.context import Context
from mpc.share import Share, concatenate
from protocols.evaluate import Values, domain, true
from protocols.expression import Arithmetic, Node, Reference
from protocols.gadgets import dot
from protocols.planning.query import PlanError, Query
from protocols.planning.task import HomeTask, Key, index_of, plain
from protocols.statistics.base import Measure
from protocols.tables import GROUPABLE_VALUES


@dataclass(frozen=True)
class Join:
    """The tasks `shared` and `owned`, whose first `joined` keys are the joined one; `keys` are those of the answer. `products[k]` are the measures of both whose cells
    are multiplied, and added up over all that is no key of the answer, where all of `conditions` hold."""

    shared: HomeTask
    owned: HomeTask
    joined: int
    keys: tuple[Key, ...]
    conditions: tuple[Node, ...]
    products: tuple[tuple[int, int], ...]

    @property
    def joined_cells(self) -> int:
        return prod(key.size for key in self.shared.keys[: self.joined])

    @property
    def owned_groups(self) -> int:
        return prod(key.size for key in self.owned.keys[self.joined :] if key in self.keys)

    @property
    def outputs(self) -> int:
        """How many values come out."""
        return len(self.products) * prod(key.size for key in self.keys)

    @property
    def length(self) -> int:
        """How many products are added up to each."""
        return self.shared.cells * self.owned_groups // prod(key.size for key in self.keys)

    @property
    def selected(self) -> tuple[Key, ...]:
        """The keys of the shared task whose values conditions are about."""
        used = {node for condition in self.conditions for node in condition.walk()}
        return tuple(key for key in self.shared.keys if key.expression in used)

    @property
    def added(self) -> int:
        """Numbers that are added up by the conditions."""
        return prod(key.size for key in self.selected) * self.owned.cells

    @cached_property
    def holding(self) -> Array:
        """Whether all conditions hold: for each combination of values of `selected`, in each cell of the owned task."""
        columns, shapes = {}, (len(self.selected), len(self.owned.keys))
        for side, keys in enumerate((self.selected, self.owned.keys)):
            for place, key in enumerate(keys):
                shape = [1] * sum(shapes)
                shape[side * shapes[0] + place] = key.size
                assert isinstance(key.expression, Reference)
                columns[key.expression] = Values(*(x.reshape(shape) for x in domain(key.expression.column, key.has_null)))
        sizes = [key.size for key in (*self.selected, *self.owned.keys)]
        holds = np.ones(sizes, dtype=bool)
        for condition in self.conditions:
            holds &= true(condition, columns)
        return holds.reshape(-1, self.owned.cells)

    @cached_property
    def places(self) -> tuple[Array, Array]:
        """For each cell of the answer, in the order of the tasks, and each product that is added up in it: the cell of the shared task, and that of the owned one, added up."""
        shared, groups, length = self.shared, self.owned_groups, self.length
        hidden = prod(key.size for key in shared.keys if key not in self.keys and key not in shared.keys[: self.joined])
        outer = length // hidden  # joined keys that are no groups come first
        cells = np.arange(shared.cells).reshape(outer, -1, hidden).transpose(1, 0, 2).reshape(-1, length)
        codes = dict(zip(shared.keys, np.unravel_index(cells, [key.size for key in shared.keys]), strict=True))
        place = np.zeros_like(cells)
        for key in (*self.selected, *shared.keys[: self.joined]):
            place = place * key.size + codes[key]
        owned = place[:, np.newaxis] * groups + np.arange(groups)[:, np.newaxis]
        return np.broadcast_to(cells[:, np.newaxis], owned.shape).reshape(-1, length), owned.reshape(-1, length)

    def multiplied(self, ctx: Context, parts: Sequence[Share], owned: Share) -> Share:
        """The products, (parts, products, cells), of the totals of each part of the shared side with those of the owned one. Discloses nothing. One round."""
        left, right = self.places
        xs = [part.reshape(len(self.shared.measures), -1)[[pair[0] for pair in self.products]][:, left] for part in parts]
        y = owned.reshape(len(self.owned.measures), -1)[[pair[1] for pair in self.products]]
        if self.conditions:
            y = self._added_up(y)
        shape = len(parts), *xs[0].shape
        return dot(ctx, concatenate(xs).reshape(*shape), y[:, right].broadcast_to(shape))

    def _added_up(self, owned: Share) -> Share:
        """For each combination of values of `selected`: what meets the conditions with it, in each cell of the joined key and group."""
        measures = owned.shape[0]
        parts = [(owned * holds).reshape(measures, self.joined_cells * self.owned_groups, -1).sum(2) for holds in self.holding]
        flat: Share = concatenate(parts).reshape(len(parts), measures, -1)
        return concatenate([flat[:, k] for k in range(measures)]).reshape(measures, -1)


def join_tasks(
    query: Query, groups: Sequence[Key], measured: Sequence[Measure], known: frozenset[Node]
) -> tuple[tuple[HomeTask, ...], list[tuple[int, int]]]:
    """Each side's totals a cell of the joined key, of its own groups, and of those of its columns that conditions compare with the other's; and which pairs of them make the
    values of `measured`."""
    shared, owned = query.tables
    sides: tuple[list[Measure], list[Measure]] = ([], [])
    products = []
    for measure in measured:
        factors = _split(measure.expression, shared.name, owned.name)
        pair = []
        for side, factor in zip(sides, factors, strict=True):
            kind: Measure = Measure("count", None) if factor is None else Measure(measure.kind, factor)
            pair.append(index_of(side, plain(kind, known)))
        products.append((pair[0], pair[1]))
    # what is no group comes first: its cells are added up
    joined = sorted(owned.key, key=lambda name: Reference(shared.name, shared.columns[name]) in query.group_by)
    conditions = [condition for condition in query.where if len(condition.tables) > 1]
    tasks = []
    for table, side in zip(query.tables, sides, strict=True):
        where = tuple(condition for condition in query.where if _belongs(condition, table.name, shared.name))
        keys = [Key(Reference(table.name, table.columns[name])) for name in joined]
        keys += [key for key in groups if key.expression.tables == {table.name} and key not in keys]
        keys += [key for key in dict.fromkeys(_compared(conditions, table.name, known)) if key not in keys]
        tasks.append(HomeTask(table, where, tuple(keys), tuple(side)))
    return tuple(tasks), products


def _compared(conditions: Sequence[Node], table: str, known: frozenset[Node]) -> Iterator[Key]:
    """The columns of `table` in conditions over both tables, each once."""
    for condition in conditions:
        for node in condition.walk():
            if isinstance(node, Reference) and node.table == table:
                if not node.column.is_groupable:
                    few = f"integers and dates with fewer than {GROUPABLE_VALUES:,} values, categories and booleans"
                    raise PlanError(f"the condition {condition} uses columns of both tables, which are to be {few}, and {node} is none of them")
                yield Key(node, node.nullable(known))


def _belongs(node: Node, table: str, fallback: str) -> bool:
    """Whether a condition is about the rows of `table` alone; one without columns is about those of `fallback`."""
    return node.tables == {table} or (not node.tables and table == fallback)


def _split(expression: Node | None, shared: str, owned: str) -> tuple[Node | None, Node | None]:
    """`expression` as a factor over the shared table and one over the owned one; None for 1."""
    if expression is None:
        return None, None
    if owned not in expression.tables:
        return expression, None
    if shared not in expression.tables:
        return None, expression
    if not isinstance(expression, Arithmetic) or expression.operator != "*":
        raise PlanError(f"{expression} uses columns of both tables: only a product of a factor from each can be joined")
    left, right = _split(expression.left, shared, owned), _split(expression.right, shared, owned)
    return _times(left[0], right[0]), _times(left[1], right[1])


def _times(x: Node | None, y: Node | None) -> Node | None:
    return Arithmetic("*", x, y) if x is not None and y is not None else x or y
