"""Rows drawn from the declared ranges of a table: to try a query out before any data are there."""

from pathlib import Path

import duckdb
from sqlglot import exp

from parties.data.render import cast, integer, text
from parties.data.source import DIALECT
from protocols.tables import Column, Table

NULLS = 20
"""Of a nullable column one value in so many is NULL."""
_WIDEST = 1 << 62


def write_synthetic(table: Table, rows: int, company: str, file: Path) -> int:
    """Writes `rows` rows of `table`, as `company` might hold them, as Parquet, and returns their number: of an owned
    table no more than it has keys.

    Every value is drawn from the declared ones with equal chance, by a hash of its place and of `company`, so with one version of the engine always the same.
    Where the unit's key is no declared column, each row is of a unit of its own; rows of an owned table differ in their key.
    """
    keys = 1
    for name in table.key:
        keys = min(keys * table.columns[name].size, _WIDEST)
    if table.key:
        rows = min(rows, keys)
    values = [
        exp.alias_(_value(column, _drawn(table, column, rows, keys, company)), name, quoted=True)
        for name, column in table.columns.items()
    ]
    unit = table.unit
    if unit is not None and unit.key is not None and unit.key not in table.columns:
        own = exp.DPipe(this=text(f"{company}-"), expression=cast(_row(), "VARCHAR"))
        values.append(exp.alias_(own, unit.key, quoted=True))
    numbers = exp.Table(
        this=exp.Anonymous(this="range", expressions=[integer(rows)]),
        alias=exp.TableAlias(this=exp.to_identifier("numbers"), columns=[exp.to_identifier("number")]),
    )
    query = exp.select(*values).from_(numbers)
    with duckdb.connect(":memory:", config={"temp_directory": ""}) as connection:
        connection.sql(query.sql(DIALECT)).write_parquet(str(file))
    return rows


def _row() -> exp.Expression:
    return exp.column("number")


def _drawn(table: Table, column: Column, rows: int, keys: int, company: str) -> exp.Expression:
    """The number of the value, 0 to size - 1, or NULL."""
    size = column.size if column.kind != "float" else (column.upper - column.lower) // column.step + 1
    if column.name in table.key:
        # keys are numbered; of as many stretches as there are rows, each row has one key
        stretch, below = keys // max(rows, 1), 1
        for name in table.key[table.key.index(column.name) + 1 :]:
            below *= table.columns[name].size
        number = exp.Add(
            this=exp.Mul(this=cast(_row(), "HUGEINT"), expression=integer(stretch, "HUGEINT")),
            expression=_hashed(f"key of {table.name} {company}", stretch),
        )
        above = exp.Paren(this=exp.IntDiv(this=exp.Paren(this=number), expression=integer(below, "HUGEINT")))
        return exp.Paren(this=exp.Mod(this=above, expression=integer(size, "HUGEINT")))
    drawn = _hashed(f"{table.name} {column.name} {company}", size)
    if not column.nullable:
        return drawn
    is_null = exp.EQ(this=_hashed(f"NULL {table.name} {column.name} {company}", NULLS), expression=integer(0))
    return exp.Case(ifs=[exp.If(this=is_null, true=exp.null())], default=drawn)


def _hashed(label: str, size: int) -> exp.Expression:
    """A HUGEINT from 0 to size - 1, in every row another."""
    hashed = exp.Anonymous(this="hash", expressions=[text(label), _row()])
    return exp.Paren(this=exp.Mod(this=cast(hashed, "HUGEINT"), expression=integer(size, "HUGEINT")))


def _value(column: Column, drawn: exp.Expression) -> exp.Expression:
    """The value with that number, of a type that the column takes."""
    if column.kind == "category":
        place = cast(exp.Add(this=drawn, expression=integer(1)), "BIGINT")
        listed = exp.Array(expressions=[text(value) for value in column.values])
        return exp.Anonymous(this="list_extract", expressions=[listed, place])
    if column.kind == "text":
        name = exp.Anonymous(this="format", expressions=[text(f"{column.name} {{}}"), cast(drawn, "BIGINT")])
        return exp.Anonymous(this="left", expressions=[name, integer(column.length)])
    if column.kind == "boolean":
        return exp.EQ(this=drawn, expression=integer(1))
    steps = exp.Mul(this=exp.Paren(this=drawn), expression=integer(column.step if column.kind == "float" else 1, "HUGEINT"))
    whole = cast(exp.Add(this=steps, expression=integer(column.lower, "HUGEINT")), "BIGINT")
    if column.kind == "date":
        return exp.Add(this=cast(text("1970-01-01"), "DATE"), expression=cast(whole, "INTEGER"))
    if column.kind == "timestamp":
        return exp.Anonymous(this="make_timestamp", expressions=[whole])
    if column.kind == "decimal":
        unit = exp.Literal.number(f"{'1'.zfill(column.scale + 1)[0]}.{'1'.zfill(column.scale)}")
        return exp.Mul(
            this=cast(whole, "DECIMAL(19, 0)"), expression=cast(unit, f"DECIMAL({column.scale + 1}, {column.scale})")
        )
    if column.kind == "float":
        return exp.Div(this=cast(whole, "DOUBLE"), expression=integer(10**column.scale, "DOUBLE"))
    return whole
