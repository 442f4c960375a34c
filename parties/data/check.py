"""Whether a company's rows are as agreed: within their bounds, declared, not NULL, not too many, their key unique.

That all is well is found from counts, extremes and distinct values, which costs little (a Parquet file has most of them
written down). Only where that leaves a doubt is each value looked at, and what is wrong is counted.
"""

from collections.abc import Iterable, Mapping

import duckdb
from sqlglot import exp

from parties.data.encode import Encoded, Problem, is_valid, lies_within, smallest_and_largest, with_raw
from parties.data.place import DataError, TableSource
from parties.data.render import all_of, column
from parties.data.source import run
from protocols.tables import Table

_PREVIEW = 10_000


def check_rows(
    connection: duckdb.DuckDBPyConnection, table: Table, encoded: Mapping[str, Encoded], source: TableSource
) -> None:
    """DataError that says what is wrong with the view `agreed`, and in how many rows."""
    if not _is_well(connection, table, encoded, source):
        _look_at_each(connection, table, encoded, source)


def check_first_rows(
    connection: duckdb.DuckDBPyConnection, encoded: Mapping[str, Encoded], source: TableSource
) -> None:
    """DataError where text is of no declared type, in the first rows."""
    found = [(item, problem) for item in encoded.values() for problem in item.problems if problem.is_of_type]
    if not found:
        return
    first_rows = exp.select("*").from_(exp.to_table("agreed")).limit(_PREVIEW).subquery("first_rows")
    query = exp.select(*(_count_where(problem) for _, problem in found)).from_(first_rows)
    counts = run(connection, source, query).fetchall()[0]
    wrong = _in_words(found, counts, _PREVIEW)
    if wrong:
        raise DataError(_report(source, wrong))


def _is_well(
    connection: duckdb.DuckDBPyConnection, table: Table, encoded: Mapping[str, Encoded], source: TableSource
) -> bool:
    """True only where nothing is wrong; False where something is, or may be."""
    selected: list[exp.Expression] = [exp.Count(this=exp.Star())]
    for item in encoded.values():
        extremes = smallest_and_largest(item)
        is_listed = item.declared.kind == "category" or item.type.id == "boolean"
        if extremes is None and not is_listed:
            return False
        selected += [exp.Count(this=column(item.declared.name)), *(extremes or (exp.null(), exp.null()))]
    agreed = exp.to_table("agreed")
    rows, *found = run(connection, source, exp.select(*selected).from_(agreed)).fetchall()[0]
    if rows > table.max_rows:
        return False
    for item, present, smallest, largest in zip(encoded.values(), found[::3], found[1::3], found[2::3], strict=True):
        if present < rows and not item.declared.nullable:
            return False
        if item.declared.outside == "drop":
            continue
        if not lies_within(item.declared, smallest, largest):
            return False
        if item.declared.kind == "category" and not _is_declared(connection, item, source):
            return False
    if not table.key:
        return True
    keys = [column(name) for name in table.key]
    twice = exp.GT(this=exp.Count(this=exp.Star()), expression=exp.Literal.number(1))
    repeated = exp.select(exp.Literal.number(1)).from_(agreed).group_by(*keys).having(twice).limit(1)
    return not run(connection, source, repeated).fetchall()


def _is_declared(connection: duckdb.DuckDBPyConnection, item: Encoded, source: TableSource) -> bool:
    """Whether all of a category's values are declared. The first rows alone tell free text, whose distinct values
    would be many."""
    declared = {None, *item.declared.values}
    agreed = exp.to_table("agreed")
    for rows in (exp.select("*").from_(agreed).limit(_PREVIEW).subquery("first_rows"), agreed):
        query = exp.select(exp.alias_(item.value.copy(), "value", quoted=True)).distinct().from_(rows)
        found = run(connection, source, query.limit(len(declared) + 1)).fetchall()
        if any(value not in declared for (value,) in found):
            return False
    return True


def _look_at_each(
    connection: duckdb.DuckDBPyConnection, table: Table, encoded: Mapping[str, Encoded], source: TableSource
) -> None:
    """Counts, in one pass over all rows, everything that may be wrong with them. DataError where anything is."""
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
        f"{source.place}: {'; '.join(wrong)}. Correct the data, leave such rows out in this company's own view (`sql` in "
        "node.toml), or agree on other bounds in the spec"
    )
