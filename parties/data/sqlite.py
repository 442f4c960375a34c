"""SQLite's tables, as text.

A column of SQLite has no type that its values keep to, and no decimals. So it is taken as a CSV file is: text, which is
read by the declared type. (Ibis would put integers and decimals through floating point.)
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from sqlglot import exp

from parties.data.place import DatabaseSource, DataError
from parties.data.source import identifiers, names_there, no_such_table
from protocols.tables import Column, Table

DIALECT = "sqlite"
_BATCH = 1 << 16
_NO_VALUE = "\0"
"""Of no number, date or truth value, nor can it be a declared value."""

Value = int | float | str | bytes | None


@contextmanager
def batches(
    source: DatabaseSource, url: str, table: Table, limit: int | None
) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    """The declared columns of the table, or of the company's view of it, and its unit's."""
    parts = urlsplit(url)
    path = source.directory / unquote(parts.netloc + parts.path)
    if not path.is_file():
        raise DataError(f"{source.place}: there is no file {path}")
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        _create_views(connection, source)
        there = [column[0] for column in connection.execute("SELECT * FROM agreed LIMIT 0").description]
        names = names_there(source, table, there)
        selected = [exp.column(exp.to_identifier(name, quoted=True)) for name in names.values()]
        query = exp.select(*selected).from_(exp.to_table("agreed")).limit(-1 if limit is None else limit)
        schema = pa.schema([(name, pa.string()) for name in names])
        if table.unit is None:
            cursor = connection.execute(query.sql(DIALECT))
            yield schema, _texts(cursor, list(table.columns.values()), schema, source)
        else:
            connection.text_factory = partial(str, encoding="utf-8", errors="backslashreplace")
            cursor = connection.execute(query.sql(DIALECT))
            yield schema, _any_texts(cursor, [table.columns.get(name) for name in names], schema)


def _create_views(connection: sqlite3.Connection, source: DatabaseSource) -> None:
    """`source` and `agreed`. No row is read here: what SQLite says can quote the company's SQL alone."""
    *schema, name = identifiers(source, DIALECT)
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') ORDER BY name")
    there = [found for (found,) in tables]
    if schema not in ([], ["main"]) or name.lower() not in map(str.lower, there):
        raise no_such_table(source, there)
    table = exp.Table(this=exp.to_identifier(name, quoted=True), db=exp.to_identifier("main"))
    try:
        connection.execute(f"CREATE TEMP VIEW source AS {exp.select('*').from_(table).sql(DIALECT)}")
        connection.execute(f"CREATE TEMP VIEW agreed AS {source.view or 'SELECT * FROM source'}")
        connection.execute("SELECT * FROM agreed LIMIT 0")
        return
    except (sqlite3.Error, sqlite3.Warning) as error:
        said = str(error)
    raise DataError(f"{source.place}: the view (`sql` in node.toml) is not valid: {said}")


def _texts(
    cursor: sqlite3.Cursor, columns: Sequence[Column], schema: pa.Schema, source: DatabaseSource
) -> Iterator[pa.RecordBatch]:
    inexact = dict.fromkeys(columns, 0)
    while rows := cursor.fetchmany(_BATCH):
        arrays = []
        for column, values in zip(columns, zip(*rows, strict=True), strict=True):
            other = bytes if column.kind == "float" else bytes | float
            inexact[column] += sum(isinstance(value, other) for value in values)
            arrays.append(pa.array([_text(column, value) for value in values], pa.string()))
        yield pa.record_batch(arrays, schema=schema)
    wrong = [
        f"column {column.name}: in {count:,} row{'' if count == 1 else 's'} it is REAL or BLOB"
        for column, count in inexact.items()
        if count
    ]
    if wrong:
        raise DataError(
            f"{source.place}: {'; '.join(wrong)}, which no text is certain for: say which is meant in this company's own "
            "view, `sql` in node.toml, for instance by printf('%.2f', price) AS price"
        )


def _any_texts(
    cursor: sqlite3.Cursor, columns: Sequence[Column | None], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """Of a table with a unit, for which no row may be refused: what no text is certain for becomes one that is of no
    type. A column that is not declared is the unit's, where all that is the same has the same text."""
    while rows := cursor.fetchmany(_BATCH):
        arrays = []
        for column, values in zip(columns, zip(*rows, strict=True), strict=True):
            found = [_key_text(value) if column is None else _text_if_certain(column, value) for value in values]
            arrays.append(pa.array(found, pa.string()))
        yield pa.record_batch(arrays, schema=schema)


def _text_if_certain(column: Column, value: Value) -> str | None:
    is_certain = not isinstance(value, bytes if column.kind == "float" else bytes | float)
    return _text(column, value) if is_certain else _NO_VALUE


def _key_text(value: Value) -> str | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value.hex() if isinstance(value, bytes) else value if value is None else str(value)


def _text(column: Column, value: Value) -> str | None:
    if column.kind == "boolean" and value in (0, 1):
        return "true" if value else "false"
    return value if value is None or isinstance(value, str) else str(value)
