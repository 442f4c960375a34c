"""Opens a company's table in a DuckDB that can read this one file and nothing else.

A table is a file, or in a DuckDB file, which is attached for one query and to be read alone. One in another database is
first copied to a file (`snapshot.py`). The engine's own messages may quote values (a failed cast does), so they are passed on only where no row was read.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import duckdb
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.normalize_identifiers import normalize_identifiers

from parties.data.place import (
    ARROW,
    DUCKDB,
    NO_LIMITS,
    READERS,
    SNAPSHOTS,
    DatabaseSource,
    DataError,
    EngineSettings,
    Part,
    TableSource,
)
from protocols.tables import Table

DIALECT = "duckdb"
_LONGEST_HEADER = 1 << 20

Columns = dict[str, duckdb.sqltypes.DuckDBPyType]
"""Names and types, in the engine's words."""

Working = Callable[[Callable[[], object]], AbstractContextManager[object]]
"""Entered while the engine works; gets what makes the engine stop, from any thread."""

_Result = TypeVar("_Result")
_THREADS = 4
_GLOB = "*?["
_SHOWN = 8


def connect(paths: Sequence[Path], engine: EngineSettings = NO_LIMITS) -> duckdb.DuckDBPyConnection:
    """A DuckDB in memory that can open `paths` and nothing else, whatever SQL it gets; its settings are locked.

    It has no `temp_directory`: that would be a place that SQL may write to, and rows would be left there."""
    connection = duckdb.connect(":memory:", config={
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allow_community_extensions": False,
        "temp_directory": "",  # by default `.tmp`, wherever the node was started
        "python_enable_replacements": False,  # else SQL could name this process's variables
        "threads": engine.threads or min(_THREADS, os.cpu_count() or 1),
        **({"memory_limit": engine.memory_limit} if engine.memory_limit else {}),
    })  # fmt: skip
    allowed = exp.Array(expressions=[exp.Literal.string(str(path.absolute())) for path in paths])
    connection.execute("SET enable_progress_bar = false")
    connection.execute("SET enable_external_file_cache = false")  # a file that was exchanged is read anew
    connection.execute(f"SET allowed_paths = {allowed.sql(DIALECT)}")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


@lru_cache(maxsize=64)
def _engine(path: Path, engine: EngineSettings) -> duckdb.DuckDBPyConnection:
    return connect([path], engine)


def _connect_to(source: TableSource) -> duckdb.DuckDBPyConnection:
    """A connection, with views of its own, to the engine of `source`. That of a file is kept: starting one takes longer
    than a small query does. A DuckDB file must not stay open: the company's own programs write to it."""
    if source.kind in DUCKDB:
        # the engine asks for the second path to see whether there is a journal
        return connect([source.path, source.path.with_name(source.path.name + ".wal")], source.engine)
    if source.snapshot_of is not None:
        return connect([source.path], source.engine)
    return _engine(source.path, source.engine).cursor()


@contextmanager
def opened(
    source: TableSource | DatabaseSource, table: Table, working: Working = nullcontext, *, is_preview: bool = False
) -> Iterator[tuple[duckdb.DuckDBPyConnection, TableSource, Columns]]:
    """`source` as views of a connection (see `open_source`), for the columns of `table`; what was opened for it is
    closed at the end. For a preview, a database gives no more than the types need."""
    with ExitStack() as stack:
        if isinstance(source, DatabaseSource):
            try:
                from parties.data.snapshot import snapshot
            except ImportError:
                raise DataError(f'{source.place}: a database needs more packages: install "comity[databases]"') from None
            with working(lambda: None):  # which ends with the copy: drivers have no common way to be stopped
                path = stack.enter_context(snapshot(source, table, is_preview))
            source = TableSource(path, engine=source.engine, snapshot_of=source)
        connection = stack.enter_context(closing(_connect_to(source)))
        stack.enter_context(working(connection.interrupt))
        if table.unit is not None:
            _check_kind(source)
        try:
            yield connection, source, open_source(connection, source)
        except duckdb.InterruptException:
            raise DataError(f"{source.place}: its engine was stopped") from None


def open_source(connection: duckdb.DuckDBPyConnection, source: TableSource) -> Columns:
    """Creates the views `source` (the file) and `agreed` (the company's view of it); the columns of the latter, none
    for a JSON file without a record, which has none to speak of."""
    _check_file(source)
    if source.kind in ARROW:
        _register(connection, source)
        scan: exp.Expression = exp.to_table("arrow")
    elif source.kind in DUCKDB:
        scan = _attached(connection, source)
    else:
        scan = _scan(source)
    columns = _described(connection, source, scan)
    if source.reader == "read_json" and _is_empty_json(connection, source, columns):
        return {}
    _create(connection, source, "source", exp.select("*").from_(scan).sql(DIALECT))
    agreed = "agreed" if source.part is None else "all_parts"
    if source.view is None:
        _create(connection, source, agreed, "SELECT * FROM source")
    else:
        _create(connection, source, agreed, _checked_view(source), is_own_sql=True)
    if source.part is not None:
        there = _described(connection, source, exp.to_table(agreed))
        _create(connection, source, "agreed", _part(source, source.part, there).sql(DIALECT))
    return _described(connection, source, exp.to_table("agreed"))


def run(connection: duckdb.DuckDBPyConnection, source: TableSource, query: exp.Expression) -> duckdb.DuckDBPyConnection:
    """Runs a rendered SELECT. A failure says what kind it is, and nothing that the engine says of values."""
    text = query.sql(DIALECT)
    return _guarded(source, lambda: connection.execute(text))


def stamp(source: TableSource) -> tuple[int, int, int]:
    """Changes when the file does."""
    try:
        status = source.path.stat()
    except OSError:
        return 0, 0, 0
    return status.st_ino, status.st_size, status.st_mtime_ns


def identifiers(source: TableSource | DatabaseSource, dialect: str) -> list[str]:
    """The parts of `table`, as the database has them: catalog, schema, name, or the last of these."""
    text = source.table or ""
    try:
        table: exp.Expression = exp.maybe_parse(text, into=exp.Table, dialect=dialect)
    except SqlglotError:
        table = exp.null()
    parts = [part for part in (table.args.get(key) for key in ("catalog", "db", "this")) if part]
    is_plain = all(isinstance(part, exp.Identifier) for part in parts) and not table.args.keys() - {"catalog", "db", "this"}
    if not parts or not is_plain or not isinstance(table, exp.Table):
        raise DataError(f'{source.place}: `table` in node.toml is no name such as flights, public.flights or "My schema"."T"')
    return [normalize_identifiers(part, dialect=dialect).name for part in parts]


def no_such_table(source: TableSource | DatabaseSource, there: Sequence[str]) -> DataError:
    more = ", ..." if len(there) > _SHOWN else ""
    return DataError(f"{source.place}: there is no such table (there are: {', '.join(there[:_SHOWN])}{more})")


def remove_snapshots(directory: Path) -> None:
    """Those that a node left behind when it was ended in the midst of a query."""
    for path in (directory / SNAPSHOTS).glob("*.parquet"):
        path.unlink(missing_ok=True)


def names_there(source: DatabaseSource, table: Table, there: Sequence[str]) -> dict[str, str]:
    """The columns of `table`, and its unit's, each with the database's own name, in which case does not matter."""
    own = {name.lower(): name for name in there} | {name: name for name in there}
    found = {name: own.get(name) for name in table.columns}
    missing = [f"column {name} is missing (there are: {', '.join(there)})" for name in table.columns if not found[name]]
    if table.unit is not None and table.unit.key is not None:
        key = table.unit.key
        found.setdefault(key, own.get(key) or own.get(key.lower()))
        missing += [] if found[key] else [no_unit(table, key)]
    if missing:
        raise DataError(f"{source.place}: {'; '.join(missing)}")
    return {name: database for name, database in found.items() if database}


def no_unit(table: Table, key: str) -> str:
    return (
        f"column {key} is missing, which says whose a row is (`unit` of tables.{table.name} in the spec): add it to the "
        "data, or to this company's own view, `sql` in node.toml"
    )


def _check_kind(source: TableSource) -> None:
    """DataError where a table with a unit cannot be taken from such a file: one row could make it another table."""
    if source.reader == "read_json" or (source.reader == "read_csv" and source.view is not None):
        raise DataError(
            f"{source.place}: the types of a JSON file, or of a view of a CSV file, are guessed from its rows, so one row "
            "could change what all others mean, and a table with a `unit` must not let it: convert the file to Parquet"
        )


def _check_file(source: TableSource) -> None:
    path = source.path
    if not source.reader and source.kind not in (*ARROW, *DUCKDB):
        raise DataError(f"{path}: unknown kind of file; its name must end in {', '.join((*READERS, *ARROW, *DUCKDB))}")
    if any(character in str(path.absolute()) for character in _GLOB):
        raise DataError(f"{path}: the engine takes * ? [ in a path for patterns: rename the file or its folder")
    if not path.exists():
        raise DataError(f"{path}: no such file; `source` in node.toml says where the table is")
    if not path.is_file():
        raise DataError(f"{path}: is no file")
    if not os.access(path, os.R_OK):
        raise DataError(f"{path}: may not be read by this user: change its permissions")


def _register(connection: duckdb.DuckDBPyConnection, source: TableSource) -> None:
    """Makes an Arrow file, or stream, the view `arrow`. Nothing is mapped into memory: a file that is cut short while
    it is read would end the process."""
    try:
        from parties.data import arrow
    except ImportError:
        raise DataError(f'{source.place}: an Arrow file needs pyarrow: install "comity[arrow]"') from None
    table = arrow.open_file(source.path)
    if table is None:
        raise DataError(f"{source.place}: {_damaged(source)}")
    _guarded(source, lambda: connection.register("arrow", table))


def _attached(connection: duckdb.DuckDBPyConnection, source: TableSource) -> exp.Expression:
    """The table of a DuckDB file, under the name that the file's own views have for it."""
    with source.path.open("rb") as file:
        if file.read(16) == b"SQLite format 3\0":
            raise DataError(f'{source.place}: is a SQLite file: say source = "sqlite://{source.path.absolute()}" in node.toml')
    *schema, name = identifiers(source, DIALECT)
    path = exp.Literal.string(str(source.path.absolute())).sql(DIALECT)
    _guarded(source, lambda: connection.execute(f"ATTACH {path} (READ_ONLY)"))
    found = connection.execute(
        "SELECT database_name, schema_name, name FROM duckdb_databases() JOIN (FROM (SELECT database_name, schema_name, "
        "table_name AS name FROM duckdb_tables() UNION ALL SELECT database_name, schema_name, view_name FROM duckdb_views() "
        "WHERE NOT internal)) USING (database_name) WHERE path IS NOT NULL ORDER BY ALL"
    ).fetchall()
    wanted = [(schema or ["main"])[-1].lower(), name.lower()]
    for place in found:
        if [part.lower() for part in place[1:]] == wanted and len(schema) < 2:
            catalog, db, this = (exp.to_identifier(part, quoted=True) for part in place)
            return exp.Table(this=this, db=db, catalog=catalog)
    raise no_such_table(source, [name if schema == "main" else f"{schema}.{name}" for _, schema, name in found])


def _scan(source: TableSource) -> exp.Expression:
    """The table function that reads the file."""
    options: dict[str, exp.Expression] = {}
    if source.reader == "read_parquet":
        options["hive_partitioning"] = exp.false()  # else a folder named `month=1` would become a column
    elif source.reader == "read_csv" and source.view is None:
        options["all_varchar"] = exp.true()  # the declared types say how to read the text, exactly
    else:
        options["sample_size"] = exp.Literal.number(-1)  # types are sniffed from all rows: none fails later
    if source.reader == "read_csv":
        # nothing is guessed from rows: one of them could change what all others say
        options["header"] = exp.true()
        options["delim"] = exp.Literal.string(_delimiter(source))
        options |= {name: exp.Literal.string(mark) for name, mark in (("quote", '"'), ("escape", '"'), ("comment", ""))}
        options["skip"] = exp.Literal.number(0)
    arguments: list[exp.Expression] = [exp.Literal.string(str(source.path.absolute()))]
    arguments += [exp.EQ(this=exp.to_identifier(name), expression=value) for name, value in options.items()]
    return exp.Table(this=exp.Anonymous(this=source.reader, expressions=arguments))


def _delimiter(source: TableSource) -> str:
    """What stands between the names in a CSV file's header: a comma, semicolon, tab or bar, whichever is most often there."""
    with source.path.open("rb") as file:
        header = file.readline(_LONGEST_HEADER).decode("utf-8", "replace")
    return max(",;\t|", key=header.count)


def _part(source: TableSource, part: Part, columns: Columns) -> exp.Select:
    """The rows of `all_parts` that are in `part`."""
    if part.key is not None and part.key.lower() not in map(str.lower, columns):
        raise DataError(f"{source.place}: column {part.key} is missing, which says whose a row is (there are: {', '.join(columns)})")
    number = exp.Window(this=exp.RowNumber())
    what = number if part.key is None else exp.column(part.key, quoted=True)
    hashed = exp.Anonymous(this="hash", expressions=[exp.Literal.string("part"), what])
    place = exp.Mod(this=hashed, expression=exp.cast(exp.Literal.number(part.of), "UBIGINT", dialect=DIALECT))
    rows = exp.select("*").from_("all_parts")
    rows.set("qualify" if part.key is None else "where", (exp.Qualify if part.key is None else exp.Where)(
        this=exp.EQ(this=place, expression=exp.Literal.number(part.number))
    ))  # fmt: skip
    return rows


def _is_empty_json(connection: duckdb.DuckDBPyConnection, source: TableSource, columns: Columns) -> bool:
    return list(columns) == ["json"] and not run(connection, source, exp.select("*").from_(_scan(source)).limit(1)).fetchall()


def _described(
    connection: duckdb.DuckDBPyConnection, source: TableSource, table: exp.Expression
) -> Columns:
    text = exp.select("*").from_(table).limit(0).sql(DIALECT)
    relation = _guarded(source, lambda: connection.sql(text))
    return dict(zip(relation.columns, relation.types, strict=True))


def _checked_view(source: TableSource) -> str:
    """The text of the company's view: one SELECT."""
    assert source.view is not None
    text = source.view
    statements = _guarded(source, lambda: duckdb.extract_statements(text), is_own_sql=True)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise DataError(f"{source.place}: its `sql` in node.toml must be one SELECT ... FROM source")
    query: str = statements[0].query
    return query


def _create(
    connection: duckdb.DuckDBPyConnection, source: TableSource, name: str, select: str, is_own_sql: bool = False
) -> None:
    """`select` is rendered here, or the company's own."""
    _guarded(source, lambda: connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {select}"), is_own_sql)


def _guarded(source: TableSource, action: Callable[[], _Result], is_own_sql: bool = False) -> _Result:
    try:
        return action()
    except duckdb.Error as error:
        # raised below, outside: the engine's error must not hang on ours, where a logged traceback would show it
        failure = DataError(f"{source.place}: {_in_words(source, error, is_own_sql)}")
    raise failure


def _in_words(source: TableSource, error: duckdb.Error, is_own_sql: bool) -> str:
    where = "the table" if source.table or source.snapshot_of else "the file"
    if source.view is not None:
        where = "the view (`sql` in node.toml)"
    if isinstance(error, duckdb.PermissionException):
        return f"{where} reads another file or an extension: it may read `source` and nothing else"
    if is_own_sql and isinstance(error, duckdb.ParserException | duckdb.BinderException | duckdb.CatalogException):
        # the file was opened before, and no row of it is read here: the message can quote the company's SQL alone
        said = " ".join(str(error).split("\nLINE ")[0].split())
        return f"the view (`sql` in node.toml) is not valid: {said}"
    if isinstance(error, duckdb.OutOfMemoryException):
        return f"{where} needs more memory than there is, or than `memory_limit` in node.toml gives"
    if isinstance(error, duckdb.IOException) and "lock on file" in str(error):
        return "another program has the file open for writing: run the query again once it has closed it"
    if isinstance(error, duckdb.NotImplementedException) and source.kind in ARROW:
        return "has a column of a type that the engine does not have: leave it out of the file"
    line = re.search(r"CSV Error on Line: (\d+)", str(error))
    if line:
        return f"line {line[1]} does not fit the other lines: its number of fields, its quotes or its encoding (UTF-8)"
    if isinstance(error, duckdb.ConversionException | duckdb.OutOfRangeException):
        return f"{where} gives a value that cannot be converted to the type asked for: correct it, or use TRY_CAST"
    if isinstance(error, duckdb.IOException | duckdb.InvalidInputException | duckdb.SerializationException):
        return _damaged(source)
    return f"{where} fails in the engine ({type(error).__name__})"


def _damaged(source: TableSource) -> str:
    return f"cannot be read as {source.kind[1:]}: the file is damaged or of another kind" + (
        ", or the view fails on one of its rows" if source.view is not None else ""
    )
