"""What one company computes at home: the vector of a `HomeTask`, exactly, from its own file."""

from collections.abc import Iterable, Mapping

import duckdb
import numpy as np
from duckdb.sqltypes import DuckDBPyType
from sqlglot import exp

from mpc.algebra import Array
from parties.data.encode import Encoded, Problem, WrongType, code, encode, is_valid, with_raw
from parties.data.render import all_of, cast, column, integer, is_narrow, render
from parties.data.source import Columns, DataError, TableSource, connect, open_source, run, stamp
from protocols.expression import Node, Reference
from protocols.planning.task import HomeTask
from protocols.statistics.base import Measure
from protocols.tables import Table

__all__ = ["DataError", "TableSource", "check_source", "compute"]

_PREVIEW = 10_000

_TAKEN = {
    "integer": "an integer or DECIMAL type",
    "decimal": "a DECIMAL or integer type",
    "category": "VARCHAR",
    "boolean": "BOOLEAN",
}


def compute(task: HomeTask, source: TableSource) -> Array:
    """The totals of `task`, in its order: `int64` where their proven ranges allow, else Python integers. DataError
    where the table, in any of its rows, is not as agreed."""
    connection = connect([source.path])
    try:
        columns = open_source(connection, source)
        is_narrow_task = all(is_narrow(task.largest(measure)) for measure in task.measures)
        vector = np.zeros(len(task.measures) * task.cells, dtype=np.int64 if is_narrow_task else object)
        if not columns:
            return vector
        before = stamp(source)
        encoded = _encode(task.table, columns, source)
        _check_rows(connection, task.table, encoded, source)
        _aggregate(connection, task, encoded, source, vector)
        if stamp(source) != before or not _in_range(task, vector):
            raise DataError(f"{source.path}: changed while it was read: run the query again")
        return vector
    finally:
        connection.close()


def check_source(table: Table, source: TableSource) -> None:
    """DataError unless the file is there and has the columns of `table`, of their types. Where all is text, its first
    rows are read for that; values are not checked."""
    connection = connect([source.path])
    try:
        columns = open_source(connection, source)
        if not columns:
            return
        encoded = _encode(table, columns, source)
        found = [(item, problem) for item in encoded.values() for problem in item.problems if problem.is_of_type]
        if not found:
            return
        first_rows = exp.select("*").from_(exp.to_table("agreed")).limit(_PREVIEW).subquery("first_rows")
        query = exp.select(*(_count_where(problem) for _, problem in found)).from_(first_rows)
        counts = run(connection, source, query).fetchall()[0]
        wrong = _in_words(found, counts, _PREVIEW)
        if wrong:
            raise DataError(_report(source, wrong))
    finally:
        connection.close()


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
    if wrong:
        raise DataError(f"{source.path}: " + "; ".join(wrong))
    return encoded


def _type(type_: DuckDBPyType) -> str:
    """Without an enumeration's values."""
    return type_.id.upper() if type_.id == "enum" else str(type_)


def _check_rows(
    connection: duckdb.DuckDBPyConnection, table: Table, encoded: Mapping[str, Encoded], source: TableSource
) -> None:
    """One pass over all rows for everything that may be wrong with them."""
    found = [(item, problem) for item in encoded.values() for problem in item.problems]
    counts: list[exp.Expression] = [exp.Count(this=exp.Star())]
    counts += [_count_where(problem) for _, problem in found]
    if table.key:
        items = [encoded[name] for name in table.key]
        row = exp.Anonymous(this="row", expressions=[item.value.copy() for item in items])
        # the values of other rows may not even be computable
        keys = exp.Case(ifs=[exp.If(this=all_of([is_valid(item) for item in items]), true=row)])
        counts += [exp.Count(this=keys), exp.Count(this=exp.Distinct(expressions=[keys.copy()]))]
    query = exp.select(*counts).from_(with_raw(encoded.values(), "agreed"))
    rows, *numbers = run(connection, source, query).fetchall()[0]

    wrong = []
    if rows > table.max_rows:
        wrong.append(f"{rows:,} rows, more than tables.{table.name}.max_rows = {table.max_rows:,}")
    wrong += _in_words(found, numbers[: len(found)])
    if table.key:
        repeated = numbers[-2] - numbers[-1]
        if repeated:
            wrong.append(f"in {_counted(repeated)} the key ({', '.join(table.key)}) is that of another row")
    if wrong:
        raise DataError(_report(source, wrong))


def _aggregate(
    connection: duckdb.DuckDBPyConnection,
    task: HomeTask,
    encoded: Mapping[str, Encoded],
    source: TableSource,
    vector: Array,
) -> None:
    """Fills in the cells that have rows."""
    expressions = [*task.where, *(key.expression for key in task.keys)]
    expressions += [measure.expression for measure in task.measures if measure.expression is not None]
    used = _columns(expressions)
    items = [item for name, item in encoded.items() if name in used]
    values = [exp.alias_(item.value.copy(), item.declared.name, quoted=True) for item in items]
    # names with # cannot be those of columns
    values.append(exp.alias_(integer(0), "#zero", quoted=True))
    rows = exp.select(*values).from_(with_raw(items, "agreed")).subquery("encoded")

    totals = [_total(task, measure) for measure in task.measures]
    cell = exp.alias_(_cell(task), "#cell", quoted=True)
    kept = exp.select(cell, "*").from_(rows).where(all_of([render(node) for node in task.where])).subquery("kept")
    is_somewhere = exp.Not(this=exp.Is(this=column("#cell"), expression=exp.null()))
    query = exp.select(column("#cell"), *totals).from_(kept).where(is_somewhere).group_by(column("#cell"))

    result = run(connection, source, query).fetchnumpy()
    cells, *answers = result.values()
    for index, answer in enumerate(answers):
        whole = answer if answer.dtype != object else [int(value) for value in answer]
        vector[index * task.cells + cells.astype(np.int64)] = whole


def _cell(task: HomeTask) -> exp.Expression:
    """The number of a row's cell; NULL where a key is."""
    cell = integer(0)
    for key in task.keys:
        shifted = exp.Paren(this=exp.Mul(this=cell, expression=integer(key.size)))
        cell = exp.Paren(this=exp.Add(this=shifted, expression=code(key, render(key.expression))))
    return cell


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
    return all(
        abs(int(value)) <= task.largest(measure)
        for measure, part in zip(task.measures, vector.reshape(len(task.measures), -1), strict=True)
        for value in (part.min(), part.max())
    )


def _columns(expressions: Iterable[Node]) -> set[str]:
    return {node.column.name for item in expressions for node in item.walk() if isinstance(node, Reference)}


def _count_where(problem: Problem) -> exp.Expression:
    return exp.Filter(this=exp.Count(this=exp.Star()), expression=exp.Where(this=problem.condition.copy()))


def _in_words(found: Iterable[tuple[Encoded, Problem]], counts: Iterable[int], preview: int = 0) -> list[str]:
    return [
        f"column {item.declared.name}: in {_counted(count, preview)} it {problem.what}"
        for (item, problem), count in zip(found, counts, strict=True)
        if count
    ]


def _counted(rows: int, preview: int = 0) -> str:
    if preview:
        return f"{rows:,} of the first {preview:,} rows"
    return f"{rows:,} row{'' if rows == 1 else 's'}"


def _report(source: TableSource, wrong: list[str]) -> str:
    return (
        f"{source.path}: {'; '.join(wrong)}. Correct the data, leave such rows out in this company's own view (`sql` in "
        "node.toml), or agree on other bounds in the spec"
    )
