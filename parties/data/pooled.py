"""The oracle for tests and the demo: the answer on all companies' rows put together, which no company ever has.

It shares as little as it can with what it checks: columns are encoded by the engine's own DECIMAL casts, joins are SQL
joins, and every statistic comes from its `reference` over the rows' values, in exact integers and fractions.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import product
from typing import Any, TypeGuard

import duckdb
from sqlglot import exp

from parties.data.place import TableSource
from parties.data.render import all_of, cast, integer_type, render, text
from parties.data.render import column as named
from parties.data.source import DIALECT, connect, open_source, run
from protocols.expression import Node, Reference, magnitude
from protocols.planning.query import Query, StatisticOutput, never_null
from protocols.statistics import histogram
from protocols.statistics.across import Across
from protocols.statistics.base import Value
from protocols.tables import Column, KeyValue, Table, as_date

Sources = Mapping[str, Mapping[str, TableSource]]
"""The tables' files of each party: party -> table -> source."""

PooledValue = Fraction | int | float | str | bool | None
PooledRow = tuple[PooledValue, ...]

_INFINITE = float("inf")


def pooled_answer(query: Query, sources: Sources) -> list[PooledRow]:
    """The rows that `protocols.planning.execute.answer` gives, exact but for the one rounding of a square root."""
    held = [
        (table, sources[holder][table.name])
        for table in query.tables
        for holder in table.holders
        if table.name in sources.get(holder, {})
    ]
    connection = connect([source.path for _, source in held])
    try:
        for table in query.tables:
            connection.execute(_create(table).sql(DIALECT))
        for table, source in held:
            _pool(connection, table, source)
        if query.histogram is not None:
            (values,), _ = _fetch(connection, query, [query.histogram.operand], held[0][1])
            return [*histogram.reference(query.histogram, values)]
        return _grouped(connection, query, held[0][1])
    finally:
        connection.close()


def differences(rows: Sequence[Sequence[Value]], pooled: Sequence[PooledRow]) -> list[float]:
    """For each column the greatest absolute difference; infinite where a key, a NULL or the number of rows differs.
    In `rows` a decimal may be text, as in a node's report."""
    if len(rows) != len(pooled):
        return [_INFINITE] * max(len(row) for row in (*rows, *pooled))
    greatest = [0.0] * len(pooled[0])
    for row, exact in zip(rows, pooled, strict=True):
        for position, pair in enumerate(zip(row, exact, strict=True)):
            greatest[position] = max(greatest[position], _difference(*pair))
    return greatest


def _difference(value: Value, exact: PooledValue) -> float:
    if isinstance(value, str) and isinstance(exact, Fraction):
        value = Decimal(value)
    if value is None or exact is None or isinstance(value, bool | str) or isinstance(exact, bool | str):
        return 0.0 if value == exact and type(value) is type(exact) else _INFINITE
    return float(abs(Fraction(value) - Fraction(exact)))


def _stored_type(column: Column) -> str:
    number = integer_type(max(abs(column.lower), abs(column.upper)))
    return {"category": "VARCHAR", "text": "VARCHAR", "boolean": "BOOLEAN"}.get(column.kind, number)


def _encoded(column: Column) -> exp.Expression:
    value = named(column.name)
    if column.kind in ("integer", "decimal"):
        digits = cast(cast(value, f"DECIMAL(38, {column.scale})"), "VARCHAR")
        value = exp.Anonymous(this="replace", expressions=[digits, text("."), text("")])
    elif column.kind == "float":
        units, step = (exp.Literal.number(f"{number}e0") for number in (10**column.scale, column.step))
        steps = exp.Div(this=exp.Paren(this=exp.Mul(this=cast(value, "DOUBLE"), expression=units)), expression=step)
        value = exp.Mul(this=cast(steps, "BIGINT"), expression=exp.Literal.number(column.step))
    elif column.kind in ("date", "timestamp"):
        unit, type_ = ("day", "DATE") if column.kind == "date" else ("microsecond", "TIMESTAMP")
        arguments = [text(unit), cast(text("1970-01-01"), type_), cast(value, type_)]
        value = exp.Anonymous(this="date_diff", expressions=arguments)
    if column.outside == "clamp":
        value = exp.Anonymous(this="least", expressions=[cast(value, "HUGEINT"), exp.Literal.number(column.upper)])
        value = exp.Anonymous(this="greatest", expressions=[value, exp.Literal.number(column.lower)])
        value = exp.Case(ifs=[exp.If(this=exp.Not(this=_is_null(column)), true=value)])  # those ignore NULL
    return exp.TryCast(this=value, to=exp.DataType.build(_stored_type(column), dialect=DIALECT))


def _is_null(column: Column) -> exp.Expression:
    return exp.Paren(this=exp.Is(this=named(column.name), expression=exp.null()))


def _is_kept(column: Column) -> exp.Expression:
    """Whether the row of a column that drops what is outside stays."""
    declared: exp.Expression = exp.Between(
        this=_encoded(column), low=exp.Literal.number(column.lower), high=exp.Literal.number(column.upper)
    )
    if column.kind == "category":
        declared = exp.In(this=named(column.name), expressions=[text(value) for value in column.values])
    return exp.Or(this=_is_null(column), expression=exp.Paren(this=declared))


def _name(table: Table) -> exp.Expression:
    return exp.Table(this=exp.to_identifier(f"pooled_{table.name}", quoted=True))


def _column(table: str, column: str) -> exp.Expression:
    return exp.Column(
        this=exp.to_identifier(column, quoted=True), table=exp.to_identifier(f"pooled_{table}", quoted=True)
    )


def _qualified(reference: Reference) -> exp.Expression:
    return _column(reference.table, reference.column.name)


def _create(table: Table) -> exp.Expression:
    columns = [
        exp.ColumnDef(
            this=exp.to_identifier(name, quoted=True), kind=exp.DataType.build(_stored_type(column), dialect=DIALECT)
        )
        for name, column in table.columns.items()
    ]
    return exp.Create(this=exp.Schema(this=_name(table), expressions=columns), kind="TABLE", properties=None)


def _pool(connection: duckdb.DuckDBPyConnection, table: Table, source: TableSource) -> None:
    """Adds the rows of one holder."""
    if not open_source(connection, source):
        return
    values = [_encoded(column) for column in table.columns.values()]
    kept = [exp.Paren(this=_is_kept(column)) for column in table.columns.values() if column.outside == "drop"]
    rows = exp.select(*values).from_(exp.to_table("agreed")).where(all_of(kept))
    run(connection, source, exp.Insert(this=_name(table), expression=rows))


def _fetch(
    connection: duckdb.DuckDBPyConnection, query: Query, expressions: Sequence[Node], source: TableSource
) -> tuple[list[list[Any]], list[list[KeyValue]]]:
    """Of the joined rows for which `where` holds: the values of `expressions` (for none, 1 a row is fetched), and of
    the group keys."""
    selected: list[exp.Expression] = [exp.Literal.number(1)]
    for expression in expressions:
        selected.append(_qualified(expression) if _is_coded(expression) else cast(render(expression, _qualified), _fetched_type(expression)))
    selected += [
        cast(_qualified(key), _fetched_type(key)) if key.column.kind == "integer" else _qualified(key)
        for key in query.group_by
    ]
    rows = exp.select(*(exp.alias_(value, f"c{i}") for i, value in enumerate(selected))).from_(_name(query.tables[0]))
    if len(query.tables) == 2:
        shared, owned = query.tables
        on = [
            exp.EQ(this=_column(shared.name, name), expression=_column(owned.name, name)) for name in owned.key
        ]
        rows = rows.join(_name(owned), on=all_of(on), join_type="inner")
    rows = rows.where(all_of([render(condition, _qualified) for condition in query.where]))
    arrays = list(run(connection, source, rows).fetchnumpy().values())
    ones, *columns = [array.tolist() for array in arrays]
    values = [
        _key_values(node, column) if _is_coded(node) else _integers(column)
        for node, column in zip(expressions, columns[: len(expressions)], strict=True)
    ]
    keys = [_key_values(key, column) for key, column in zip(query.group_by, columns[len(expressions) :], strict=True)]
    return values or [ones], keys


def _is_coded(node: Node) -> TypeGuard[Reference]:
    """Whether it is a column of values that are no numbers."""
    return isinstance(node, Reference) and node.column.kind in ("category", "boolean", "date")


def _key_values(key: Reference, column: list[KeyValue]) -> list[KeyValue]:
    if key.column.kind == "date":
        return [None if day is None else as_date(int(day)).isoformat() for day in column]
    return [None if value is None else int(value) for value in column] if key.column.kind == "integer" else column


def _fetched_type(expression: Node) -> str:
    """The engine's arrays hold 64 bits; text has all digits."""
    is_wide = expression.type == "number" and integer_type(magnitude(expression)) == "HUGEINT"
    return "VARCHAR" if is_wide else "BIGINT"


def _integers(column: Sequence[int | str | None]) -> list[int | None]:
    return [None if value is None else int(value) for value in column]


def _grouped(connection: duckdb.DuckDBPyConnection, query: Query, source: TableSource) -> list[PooledRow]:
    arguments: list[Node] = []
    for output in query.statistics:
        arguments += [argument for argument in dict.fromkeys(output.arguments) if argument not in arguments]
    values, keys = _fetch(connection, query, arguments, source)
    count = len(values[0])
    groups: dict[tuple[KeyValue, ...], list[int]] = {}
    for row, group in enumerate(zip(*keys, strict=True) if keys else [()] * count):
        groups.setdefault(tuple(group), []).append(row)

    known = never_null(query.tables, query.where)
    domains = [
        [*(key.column.value(code) for code in range(key.column.size)), *([None] if key.nullable(known) else [])]
        for key in query.group_by
    ]
    answer = []
    for group in product(*domains):
        of_key = dict(zip(query.group_by, group, strict=True))
        rows = groups.get(group, [])
        line: list[PooledValue] = []
        for selected in query.select:
            if isinstance(selected, StatisticOutput):
                columns = [values[arguments.index(argument)] for argument in selected.arguments]
                taken = [tuple(column[row] for column in columns) for row in rows]
                assert not isinstance(selected.statistic, Across)  # which is about companies, and not about rows
                line.append(selected.statistic.reference(selected.function, selected.arguments, taken))
            else:
                line.append(of_key[selected.key])
        answer.append(tuple(line))
    return answer
