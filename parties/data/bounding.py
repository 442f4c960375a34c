"""What one company computes at home for a query with differential privacy: nothing but the totals depends on its rows,
and no unit moves them by more than the spec says.

Rows. A number, date or timestamp outside its bounds is clamped to the nearest, unless its column says "drop". A row is
left out if a column that the task uses has in it what cannot be read, clamped or encoded (text that is no number, NaN,
digits too fine, an integer that the engine has no type for), an undeclared value, or a NULL that the spec excludes; or
if its unit is NULL. Nothing is counted or refused.

Units. Of the rows for which the conditions hold, in cells of the answer, each unit keeps the first `unit.groups` cells, in
an order that a hash of the unit and the cell gives, and in each the first `unit.rows` rows, in an order that a hash of the
unit and of all that the task uses of the row gives. All leaves of a tree of intervals count as one cell here. A row counts
also if what it adds is NULL, so 0. Equal hashes are told apart by what is added, so the totals depend neither on the order
of rows nor does what one unit adds on any other unit. (The choice is by value: of rows that are alike in all that the task
uses, the first comes with the others.)

Totals. What a row adds is proven to fit its type by the bounds alone. A sum of 64-bit integers cannot overflow the 128
bits that the engine adds them in before 2^64 rows, and wider integers are added in two parts. Totals beyond what
`max_rows` rows can give are clamped to that, as Python integers, which moves no two answers further apart.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import duckdb
from sqlglot import exp

from parties.data.encode import Encoded, code, declared_values, with_raw
from parties.data.place import TableSource
from parties.data.render import all_of, cast, column, integer, is_narrow, render, text
from parties.data.source import run
from protocols.expression import Node, Reference, magnitude
from protocols.planning.task import HomeTask, Key
from protocols.statistics.base import Measure
from protocols.tables import Table, Unit

_SEED = "comity: contribution bounding, version 1"
_PART = 1 << 63

# names with # cannot be those of columns
_UNIT, _CELL, _ORDER, _PLACE, _FIRST, _GROUPS = "#unit", "#cell", "#order", "#place", "#first", "#groups"


def clamping(table: Table) -> Table:
    """`table`, with every number, date and timestamp clamped to its bounds where it was to be refused."""
    columns = {
        name: replace(column, outside="clamp") if _is_number(column.kind) and column.outside == "refuse" else column
        for name, column in table.columns.items()
    }
    return replace(table, columns=columns)


def aggregate_bounded(
    connection: duckdb.DuckDBPyConnection,
    task: HomeTask,
    encoded: Mapping[str, Encoded],
    source: TableSource,
) -> Iterator[tuple[Any, list[int]]]:
    """The totals of `task`, which has a unit, in each cell that has rows: its number, or the text that it is of. `encoded` are the columns of the `clamping` table."""
    assert task.unit is not None
    added = [_added(measure) for measure in task.measures]
    values = {f"#value{number}": part for number, part in enumerate(part for parts in added for part in parts)}
    rows = _in_cells(task, task.unit, encoded, values)
    if task.unit.key is not None:
        rows = _taken(rows, task.unit, task, list(values))
    counted = [exp.Count(this=exp.Star()), *(exp.Sum(this=column(name)) for name in values)]
    query = _select([column(_CELL), *counted], rows).group_by(column(_CELL), copy=False)
    if task.text is not None:
        query = query.limit(task.cells + 1, copy=False)  # with more it is refused

    for cell, count, *sums in run(connection, source, query).fetchall():
        parts = iter(sums)
        totals = (_whole([next(parts) for _ in own]) if own else count for own in added)
        yield cell, [max(-largest, min(largest, total)) for total, largest in zip(totals, map(task.largest, task.measures), strict=True)]


def _is_number(kind: str) -> bool:
    return kind not in ("category", "boolean", "text")


def _in_cells(task: HomeTask, unit: Unit, encoded: Mapping[str, Encoded], added: Mapping[str, exp.Expression]) -> exp.Select:
    """The rows that count: the unit, the number of the cell, what is added, and by what hash the unit's rows are ordered."""
    items = [encoded[column.name] for column in task.columns]
    own = [] if unit.key is None else [exp.alias_(column(unit.key), _UNIT, quoted=True)]
    conditions = [_is_fit(items), *(_is_there(column(_UNIT)) for _ in own)]
    fit = _from([exp.Star()], with_raw(items, "agreed", own), conditions)
    who = [column(_UNIT) for _ in own]
    values = [exp.alias_(item.value.copy(), item.declared.name, quoted=True) for item in items]
    rows = _select([exp.Literal.number(1), *who, *values], fit)

    new = {_CELL: _cell(task.keys), **added}
    if who and (added or task.groups < task.cells):
        new[_ORDER] = _hash([*who, *(column(item.declared.name) for item in items)])
    named = [exp.alias_(expression, name, quoted=True) for name, expression in new.items()]
    placed = _select([*(item.copy() for item in who), *named], rows, [render(node) for node in task.where])
    return _select([exp.Star()], placed, [_is_there(column(_CELL))])


def _select(
    selected: Sequence[exp.Expr], rows: exp.Select, conditions: Sequence[exp.Expression] = ()
) -> exp.Select:
    return _from(selected, rows.subquery("rows", copy=False), conditions)


def _from(selected: Sequence[exp.Expr], rows: exp.Expression, conditions: Sequence[exp.Expression]) -> exp.Select:
    """Nothing is copied: of a wide table's trees that takes longer than the engine does."""
    query = exp.select(*selected, copy=False).from_(rows, copy=False)
    return query.where(all_of(conditions), copy=False) if conditions else query


def _taken(rows: exp.Select, unit: Unit, task: HomeTask, added: Sequence[str]) -> exp.Select:
    """Those of a unit's rows that are taken. One sort puts each unit's groups, and each group's rows, in their order. A group is
    a cell, or all leaves of a tree together."""
    by_row = [column(_ORDER), *map(column, added)] if added else []
    group, leaves = column(_CELL), task.cells // task.groups
    if leaves > 1:
        group = exp.Paren(this=exp.IntDiv(this=column(_CELL), expression=integer(leaves)))
        by_row = [column(_ORDER), *map(column, added), column(_CELL)]
    if unit.groups >= task.groups:
        places = {_PLACE: _window(exp.RowNumber(), [column(_UNIT), group], by_row)}
        place: exp.Expression = column(_PLACE)
        are_first: list[exp.Expression] = [exp.LTE(this=place, expression=integer(unit.rows))]
    else:
        of, by_group = [column(_UNIT)], [_hash([column(_UNIT), group]), group]
        places = {
            _PLACE: _window(exp.RowNumber(), of, [*by_group, *by_row]),
            _FIRST: _window(exp.Anonymous(this="rank"), of, by_group),
            _GROUPS: _window(exp.Anonymous(this="dense_rank"), of, by_group),
        }
        place = exp.Sub(this=column(_PLACE), expression=column(_FIRST))  # in the group, from 0
        are_first = [
            exp.LT(this=exp.Paren(this=place), expression=integer(unit.rows)),
            exp.LTE(this=column(_GROUPS), expression=integer(unit.groups)),
        ]
    named = [exp.alias_(window, name, quoted=True) for name, window in places.items()]
    return _select([exp.Star()], _select([exp.Star(), *named], rows), are_first)


def _window(
    function: exp.Expression, of: Sequence[exp.Expression], order: Sequence[exp.Expression]
) -> exp.Expression:
    ordered = exp.Order(expressions=[exp.Ordered(this=item.copy()) for item in order]) if order else None
    return exp.Window(this=function, partition_by=[item.copy() for item in of], order=ordered)


def _hash(values: Iterable[exp.Expression]) -> exp.Expression:
    """Hashed twice: the engine joins the hashes of several values by XOR, after which some are first too often."""
    hashed = exp.Anonymous(this="hash", expressions=[text(_SEED), *(value.copy() for value in values)])
    return exp.Anonymous(this="hash", expressions=[hashed])


def _is_there(value: exp.Expression) -> exp.Expression:
    return exp.Not(this=exp.Is(this=value, expression=exp.null()))


def _is_fit(items: Iterable[Encoded]) -> exp.Expression:
    """Whether a row can be taken. What the engine cannot tell is a no."""
    wrong = [problem.condition for item in items for problem in item.problems]
    wrong += [item.outside for item in items if item.outside is not None and item.declared.outside == "drop"]
    right = all_of([exp.Not(this=exp.Paren(this=condition.copy())) for condition in wrong])
    return exp.Coalesce(this=exp.Paren(this=right), expressions=[exp.false()])


def _cell(keys: Sequence[Key]) -> exp.Expression:
    """The number of the cell, or the text that it is of, NULL for nowhere."""
    if keys and keys[0].text is not None:
        return render(keys[0].expression)
    cell = integer(0)
    for key in keys:
        cell = exp.Add(this=exp.Mul(this=exp.Paren(this=cell), expression=integer(key.size)), expression=_number(key))
    return cell


def _number(key: Key) -> exp.Expression:
    """The number of the key's cell."""
    value = render(key.expression)
    if key.expression.type != "text":
        return code(key, value)
    assert isinstance(key.expression, Reference)
    declared = exp.TryCast(this=value, to=declared_values(key.expression.column))
    number = cast(exp.Anonymous(this="enum_code", expressions=[declared]), "BIGINT")
    return exp.Coalesce(this=number, expressions=[integer(key.size - 1)]) if key.has_null else number


def _added(measure: Measure) -> list[exp.Expression]:
    """What a row adds to the measure, in parts (see `_whole`); none where every row adds 1."""
    node = measure.expression
    if node is None or (measure.kind == "count" and not node.nullable()):
        return []
    if measure.kind == "count":
        is_null = exp.Is(this=exp.Paren(this=render(node)), expression=exp.null())
        return [exp.Case(ifs=[exp.If(this=is_null, true=integer(0))], default=integer(1))]
    return _parts(node)


def _parts(node: Node) -> list[exp.Expression]:
    """Of a wide number what is above 63 bits, and what is not, both with its sign."""
    value = exp.Coalesce(this=render(node), expressions=[integer(0)])
    if is_narrow(magnitude(node)):
        return [value]
    above = exp.IntDiv(this=exp.Paren(this=value), expression=integer(_PART))
    below = exp.Mod(this=exp.Paren(this=value.copy()), expression=integer(_PART))
    return [above, cast(below, "BIGINT")]


def _whole(parts: Sequence[int]) -> int:
    *above, below = parts
    return sum(above) * _PART + below
