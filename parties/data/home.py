"""What one company computes at home: the vector of a `HomeTask`, exactly, from its own table."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace

import duckdb
import numpy as np
from duckdb.sqltypes import DuckDBPyType
from sqlglot import exp

from mpc.algebra import Array
from parties.data.bounding import aggregate_bounded, clamping
from parties.data.check import check_first_rows, check_rows
from parties.data.encode import Encoded, WrongType, code, encode, with_raw
from parties.data.place import DatabaseSource, DataError, TableSource
from parties.data.render import all_of, any_of, cast, column, integer, is_narrow, render
from parties.data.source import Columns, Working, no_unit, opened, run, stamp
from protocols.expression import Node, Reference, magnitude
from protocols.planning.search import Ranks
from protocols.planning.task import Adjustment, HomeTask, Key
from protocols.planning.undeclared import coded
from protocols.statistics.base import Measure
from protocols.tables import Table

__all__ = ["DataError", "DatabaseSource", "TableSource", "Working", "check_source", "compute"]

_TAKEN = {
    "integer": "an integer or DECIMAL type",
    "decimal": "a DECIMAL or integer type",
    "float": "a number",
    "date": "DATE",
    "timestamp": "TIMESTAMP without a time zone",
    "category": "VARCHAR",
    "boolean": "BOOLEAN",
    "text": "VARCHAR",
}


def compute(
    task: HomeTask, source: TableSource | DatabaseSource, working: Working = nullcontext, ranks: list[Ranks] | None = None
) -> Array:
    """The totals of `task`, in its order: `int64` where their proven ranges allow, else Python integers. `ranks`, if there is such a list,
    gets the values of each of its `ordered` in each cell, of the same reading of the table: 16 bytes for each that is another. DataError where the
    table, in any of its rows, is not as agreed; of a task with a unit, where its columns are not."""
    table = replace(task.table, unit=task.unit)
    with opened(source, table, working) as (connection, file, columns):
        is_narrow_task = all(is_narrow(task.largest(measure)) for measure in task.measures)
        vector = np.zeros(task.size, dtype=np.int64 if is_narrow_task else object)
        if task.text is not None:
            vector[:] = coded(task.text, {}, len(task.measures))
        found: list[Ranks] = []
        if not columns:
            if ranks is not None:
                ranks += [Ranks(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)) for _ in range(len(task.ordered) * task.cells)]
            return vector
        before = stamp(file)
        if task.unit is None:
            encoded = _encode(table, columns, file)
            check_rows(connection, table, encoded, file)
            _aggregate(connection, task, encoded, file, vector)
            found = [ranks_ for node in task.ordered for ranks_ in _ranks(connection, task, encoded, file, node)]
        else:
            by_cell = dict(aggregate_bounded(connection, task, _encode(clamping(table), columns, file), file))
            if len(by_cell) > task.cells:
                raise DataError(_too_many(task, file))
            if task.text is not None:
                vector[:] = coded(task.text, by_cell, len(task.measures))
            else:
                for cell, totals in by_cell.items():
                    vector.reshape(-1, task.cells)[:, cell] = totals
        if stamp(file) != before or not _in_range(task, vector) or any(x.count > task.table.max_rows for x in found):
            raise DataError(f"{file.place}: changed while it was read: run the query again")
        if ranks is not None:
            ranks += found
        return vector


def check_source(table: Table, source: TableSource | DatabaseSource) -> None:
    """DataError unless the table is there and has the columns of `table`, of their types, and its unit's. Where all is
    text, its first rows are read for that; values are not checked."""
    with opened(source, table, is_preview=True) as (connection, file, columns):
        if columns:
            check_first_rows(connection, _encode(table, columns, file), file)


def _encode(table: Table, columns: Columns, source: TableSource) -> dict[str, Encoded]:
    """The encoded columns by name; DataError names all that are missing or of another type."""
    types = {name.lower(): type_ for name, type_ in columns.items()}  # the engine's names know no case
    encoded = {}
    wrong = []
    for name, declared in table.columns.items():
        if name not in types:
            # the first row of a CSV file without a header would stand here for its names
            there = f"{len(columns)} others" if source.is_text else ", ".join(columns)
            wrong.append(f"column {name} is missing (there are: {there})")
            continue
        try:
            encoded[name] = encode(declared, types[name], source.is_text)
        except WrongType:
            wrong.append(
                f"column {name} is {_type(types[name])}, and {declared.kind} needs {_TAKEN[declared.kind]}: CAST it in "
                "this company's own view, `sql` in node.toml"
            )
    if table.unit is not None and table.unit.key is not None and table.unit.key.lower() not in types:
        wrong.append(no_unit(table, table.unit.key))
    if wrong:
        raise DataError(f"{source.place}: " + "; ".join(wrong))
    return encoded


def _type(type_: DuckDBPyType) -> str:
    """Without an enumeration's values."""
    return type_.id.upper() if type_.id == "enum" else str(type_)


def _aggregate(
    connection: duckdb.DuckDBPyConnection,
    task: HomeTask,
    encoded: Mapping[str, Encoded],
    source: TableSource,
    vector: Array,
) -> None:
    """Fills in the cells that have rows."""
    items = [encoded[column.name] for column in task.columns]
    names, keys = _named(task)
    kept, belongs = _counting(task, items, keys), _belongs(task, names)
    grouped = [column(name) for name in names]
    totals = [_total(task, measure) for measure in task.measures]
    query = exp.select(*grouped, *totals).from_(kept).where(all_of(belongs)).group_by(*grouped)

    result = list(run(connection, source, query).fetchnumpy().values())
    cells = _cells(task.keys, result[: len(keys)])
    for index, answer in enumerate(result[len(keys) :]):
        whole = answer if answer.dtype != object else [int(value) for value in answer]
        vector[index * task.cells + cells] = whole
    if task.adjustments:
        counts = [_adjusted(adjustment, items) for adjustment in task.adjustments]
        query = exp.select(*counts).from_(with_raw(items, "agreed"))
        vector[len(task.measures) * task.cells :] = run(connection, source, query).fetchall()[0]


def _named(task: HomeTask) -> tuple[list[str], list[exp.Expr]]:
    """The keys under names that no column has."""
    names = [f"#key{number}" for number in range(len(task.keys))]
    return names, [exp.alias_(_key(key), name, quoted=True) for key, name in zip(task.keys, names, strict=True)]


def _belongs(task: HomeTask, names: Sequence[str]) -> list[exp.Expression]:
    """That a row has a cell."""
    return [
        exp.Not(this=exp.Is(this=column(name), expression=exp.null()))
        for key, name in zip(task.keys, names, strict=True)
        if not key.has_null
    ]


def _counting(task: HomeTask, items: Sequence[Encoded], beside: Sequence[exp.Expr]) -> exp.Subquery:
    """The rows that meet the conditions: their encoded columns, and what is asked for `beside` them."""
    values = [exp.alias_(item.value.copy(), item.declared.name, quoted=True) for item in items]
    # names with # cannot be those of columns
    values.append(exp.alias_(integer(0), "#zero", quoted=True))
    rows = exp.select(*values).from_(_kept(items).subquery("not_dropped")).subquery("encoded")
    return exp.select(*beside, "*").from_(rows).where(all_of([render(node) for node in task.where])).subquery("kept")


def _too_many(task: HomeTask, source: TableSource) -> str:
    (key,) = task.keys
    return (
        f"{source.place}: column {key.expression} has more than the {task.cells:,} different values that the spec takes of a company: join rare ones "
        f"in this company's own view (`sql` in node.toml), or agree on more `keys` of tables.{task.table.name}.columns.{key.expression}"
    )


def _ranks(
    connection: duckdb.DuckDBPyConnection, task: HomeTask, encoded: Mapping[str, Encoded], source: TableSource, node: Node
) -> list[Ranks]:
    """The values of `node` in the rows that count, in order, in each cell."""
    names, keys = _named(task)
    kept = _counting(task, [encoded[column.name] for column in task.columns], [*keys, exp.alias_(render(node), "#x", quoted=True)])
    there = exp.Not(this=exp.Is(this=column("#x"), expression=exp.null()))
    is_wide, grouped = not is_narrow(magnitude(node)), [column(name) for name in names]
    x = cast(column("#x"), "VARCHAR") if is_wide else column("#x")
    rows = exp.select(*grouped, x, exp.Count(this=exp.Star())).from_(kept).where(all_of([there, *_belongs(task, names)]))
    *found, values, counts = run(connection, source, rows.group_by(*grouped, column("#x")).order_by(column("#x"))).fetchnumpy().values()
    cells = np.broadcast_to(_cells(task.keys, found), values.shape)
    order = np.argsort(cells, kind="stable")
    values = np.array([int(value) for value in values], dtype=object) if is_wide else values
    ends = np.searchsorted(cells[order], np.arange(1, task.cells))
    return [Ranks(*part) for part in zip(np.split(values[order], ends), np.split(counts[order], ends), strict=True)]


def _kept(items: Sequence[Encoded]) -> exp.Select:
    """The rows that are not dropped, with what `items` need."""
    return exp.select("*").from_(with_raw(items, "agreed")).where(exp.Not(this=exp.Paren(this=_dropped(items))))


def _dropped(items: Sequence[Encoded]) -> exp.Expression:
    conditions = [item.outside.copy() for item in items if item.outside is not None and item.declared.outside == "drop"]
    return any_of([exp.Coalesce(this=exp.Paren(this=condition), expressions=[exp.false()]) for condition in conditions])


def _adjusted(adjustment: Adjustment, items: Sequence[Encoded]) -> exp.Expression:
    """How many rows are dropped, or how many values of the rows kept are clamped."""
    condition = _dropped(items)
    if adjustment.what == "clamped":
        (outside,) = (item.outside for item in items if item.declared in adjustment.columns)
        assert outside is not None
        condition = exp.And(this=exp.Not(this=exp.Paren(this=condition)), expression=exp.Paren(this=outside.copy()))
    return exp.Filter(this=exp.Count(this=exp.Star()), expression=exp.Where(this=condition))


def _key(key: Key) -> exp.Expression:
    """A category's own text, of which there are few once it is grouped; else the number of the key's cell."""
    value = render(key.expression)
    return value if key.expression.type == "text" else code(key, value)


def _cells(keys: Sequence[Key], columns: Sequence[Array]) -> Array:
    """The number of each group's cell."""
    cells: Array = np.zeros(1, dtype=np.int64)
    for key, found in zip(keys, columns, strict=True):
        numbers = found
        if isinstance(key.expression, Reference) and key.expression.type == "text":
            number = {value: code for code, value in enumerate(key.expression.column.values)} | {None: key.size - 1}
            numbers = np.array([number[value] for value in found.tolist()], dtype=np.int64)
        cells = cells * key.size + np.asarray(numbers, dtype=np.int64)
    return cells


def _total(task: HomeTask, measure: Measure) -> exp.Expression:
    """One measure in a cell: a BIGINT, or text, which has all the digits of a HUGEINT on the way to Python."""
    if measure.expression is None:
        total: exp.Expression = exp.Count(this=exp.Star())
    elif measure.kind == "count":
        total = exp.Count(this=render(measure.expression))
    else:
        total = exp.Coalesce(this=exp.Sum(this=render(measure.expression)), expressions=[integer(0)])
    return cast(total, "BIGINT" if is_narrow(task.largest(measure)) else "VARCHAR")


def _in_range(task: HomeTask, vector: Array) -> bool:
    """Whether all totals are within what the checked rows can give: else the rows were others."""
    cells = vector[: len(task.measures) * task.cells].reshape(len(task.measures), -1)
    return all(
        abs(int(value)) <= task.largest(measure)
        for measure, part in zip(task.measures, cells, strict=True)
        for value in (part.min(), part.max())
    ) and all(int(count) <= task.table.max_rows for count in vector[task.size - len(task.adjustments) :])
