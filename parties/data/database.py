"""Tables of a database through Ibis, in record batches.

Numbers stay exact: they come as the driver's integers and decimals, and never through pandas, which some of Ibis's
backends put them through.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import parse_qsl, unquote, unquote_plus, urlsplit

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
import pyarrow as pa
import sqlglot
from ibis.backends.sql import SQLBackend
from ibis.common.exceptions import TableNotFound
from ibis.util import backend_entry_points
from sqlglot import exp

from parties.data.place import DatabaseSource, DataError, shown
from parties.data.source import identifiers, names_there, no_such_table
from protocols.tables import Table

_BATCH = 1 << 16
_DIGITS = 38
_THROUGH_PANDAS = ("impala", "mysql", "singlestoredb")
_FILES = ("duckdb", "file")
_CONNECT_SECONDS = "10"


@contextmanager
def batches(
    source: DatabaseSource, url: str, table: Table, limit: int | None
) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    """The declared columns of the table, or of the company's view of it, and its unit's."""
    backend = _connect(source, url)
    try:
        rows = _agreed(backend, source)
        schema = rows.schema()
        names = names_there(source, table, list(schema.names))
        _check_types(source, {name: schema[own] for name, own in names.items()})
        selected = {name: rows[own] for name, own in names.items()}
        for name in names.keys() - table.columns.keys():
            if schema[names[name]].is_uuid():  # the file has none; whose a row is, its text says as well
                selected[name] = selected[name].cast("string")
        query = rows.select(**selected)
        to_batches = SQLBackend.to_pyarrow_batches if backend.name in _THROUGH_PANDAS else type(backend).to_pyarrow_batches
        reader = to_batches(backend, query if limit is None else query.limit(limit), chunk_size=_BATCH)
        yield reader.schema, reader
    finally:
        backend.disconnect()


def _connect(source: DatabaseSource, url: str) -> SQLBackend:
    parts = urlsplit(url)
    kind = parts.scheme.replace("postgresql", "postgres")
    if kind in _FILES:
        raise DataError(f'{source.place}: a file is named without a URL: say source = "data.duckdb" in node.toml')
    known = {entry.name for entry in backend_entry_points()} - set(_FILES)
    if kind not in known:
        raise DataError(f"{source.place}: no kind of database is named {kind}: there are {', '.join(sorted(known))}")
    try:
        # an address at which nobody answers would hold the node up for minutes
        options = {"connect_timeout": _CONNECT_SECONDS} if kind == "postgres" else {}
        backend: SQLBackend = ibis.connect(url, **{**options, **dict(parse_qsl(parts.query))})
        return backend
    except ImportError:
        failure = f'its driver is missing: install "ibis-framework[{kind}]" (for PostgreSQL: "comity[databases]")'
    except Exception as error:
        # no row is read before there is a connection: the driver's words tell who refused, and of what
        failure = f"cannot be connected to: {_without_secrets(str(error) or type(error).__name__, url)}"
    raise DataError(f"{source.place}: {failure}")


def _without_secrets(said: str, url: str) -> str:
    parts = urlsplit(url)
    password = parts.password or ""
    secrets = {password, unquote(password), unquote_plus(password), *(value for _, value in parse_qsl(parts.query))}
    said = said.replace(url, shown(url))
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        said = said.replace(secret, "***")
    return " ".join(said.split())


def _agreed(backend: SQLBackend, source: DatabaseSource) -> ir.Table:
    """The table, or the company's view of it. No row is read: what the database says can quote the company's SQL alone."""
    *schema, name = identifiers(source, backend.dialect)
    database = (schema[0], schema[1]) if len(schema) == 2 else next(iter(schema), None)
    table = None
    with suppress(TableNotFound):
        table = backend.table(name, database=database)
    if table is None:
        raise no_such_table(source, sorted(backend.list_tables(database=database)))
    if source.view is None:
        return table
    try:
        query = _query(source.view, backend.compile(table), backend.dialect)
        types = _postgres_types(backend, query) if backend.name == "postgres" else None
        return backend.sql(query.sql(backend.dialect), schema=types)
    except Exception as error:  # drivers have no common errors
        said = " ".join(str(error).split())
    raise DataError(f"{source.place}: the view (`sql` in node.toml) is not valid: {said}")


def _query(view: str, table: str, dialect: str) -> exp.Select:
    """The view, in which `source` is the table."""
    statements = sqlglot.parse(view, dialect=dialect)
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        raise ValueError("it must be one SELECT ... FROM source")
    agreed = exp.select("*").from_(statements[0].subquery("agreed"))
    return agreed.with_("source", as_=sqlglot.parse_one(table, dialect=dialect))


def _postgres_types(backend: SQLBackend, query: exp.Select) -> dict[str, dt.DataType]:
    """Ibis would create a temporary view to find them, which a replica that can only be read has no place for."""
    cursor = backend.raw_sql(query.limit(0).sql(backend.dialect))
    types = {}
    for column in cursor.description:
        is_known = not column.type_display.isdecimal()  # else it is the number of a type of the company's own
        types[column.name] = backend.compiler.type_mapper.from_string(column.type_display) if is_known else dt.unknown
    cursor.close()
    return types


def _check_types(source: DatabaseSource, types: dict[str, dt.DataType]) -> None:
    wrong = []
    for name, type_ in types.items():
        if isinstance(type_, dt.Decimal) and (type_.precision is None or type_.scale is None):
            wrong.append(f"column {name} is NUMERIC without a number of digits: CAST it to NUMERIC(precision, scale)")
        elif isinstance(type_, dt.Decimal) and type_.precision > _DIGITS:
            wrong.append(f"column {name} is NUMERIC of {type_.precision} digits: CAST it to one of at most {_DIGITS}")
        elif isinstance(type_, dt.Unknown):
            wrong.append(f"column {name} is of a type that only this database has: CAST it")
    if wrong:
        raise DataError(f"{source.place}: {'; '.join(wrong)} in this company's own view, `sql` in node.toml")
