"""Opens a company's file in a DuckDB that can read this file and nothing else.

The engine's own messages may quote values (a failed cast does), so they are passed on only where no row was read.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import duckdb
from sqlglot import exp

from mpc.errors import ComityError

DIALECT = "duckdb"
READERS = {".parquet": "read_parquet", ".csv": "read_csv", ".json": "read_json", ".jsonl": "read_json", ".ndjson": "read_json"}

Columns = dict[str, duckdb.sqltypes.DuckDBPyType]
"""Names and types, in the engine's words."""

_Result = TypeVar("_Result")
_THREADS = 4
_GLOB = "*?["


class DataError(ComityError):
    """A company's own data do not meet the spec. The text is for its own log only: it names columns and numbers of
    rows, never values."""


@dataclass(frozen=True)
class TableSource:
    """Where a company has a table: a Parquet, CSV or JSON file, and its own SELECT over `source` (trusted), if any."""

    path: Path
    view: str | None = None

    @property
    def reader(self) -> str:
        return READERS.get(self.path.suffix.lower(), "")

    @property
    def is_text(self) -> bool:
        """Whether all values come as text: a CSV file has no types of its own."""
        return self.reader == "read_csv"


def connect(paths: Sequence[Path]) -> duckdb.DuckDBPyConnection:
    """A DuckDB in memory that can open `paths` and nothing else, whatever SQL it gets; its settings are locked.

    No `temp_directory` is set: it would become a place that SQL may write to."""
    connection = duckdb.connect(":memory:", config={
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allow_community_extensions": False,
        "python_enable_replacements": False,  # else SQL could name this process's variables
        "threads": min(_THREADS, os.cpu_count() or 1),
    })  # fmt: skip
    allowed = exp.Array(expressions=[exp.Literal.string(str(path.absolute())) for path in paths])
    connection.execute("SET enable_progress_bar = false")
    connection.execute("SET enable_external_file_cache = false")  # a file that was exchanged is read anew
    connection.execute(f"SET allowed_paths = {allowed.sql(DIALECT)}")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


@lru_cache(maxsize=64)
def _engine(path: Path) -> duckdb.DuckDBPyConnection:
    return connect([path])


def connect_to(source: TableSource) -> duckdb.DuckDBPyConnection:
    """A connection, with views of its own, to the engine of `source`, which is kept: starting one takes longer than a
    small query does."""
    return _engine(source.path).cursor()


def open_source(connection: duckdb.DuckDBPyConnection, source: TableSource) -> Columns:
    """Creates the views `source` (the file) and `agreed` (the company's view of it); the columns of the latter, none
    for a JSON file without a record, which has none to speak of."""
    _check_file(source)
    scan = _scan(source)
    columns = _described(connection, source, scan)
    if source.reader == "read_json" and _is_empty_json(connection, source, columns):
        return {}
    _create(connection, source, "source", exp.select("*").from_(scan).sql(DIALECT))
    if source.view is None:
        _create(connection, source, "agreed", "SELECT * FROM source")
    else:
        _create(connection, source, "agreed", _checked_view(source), is_own_sql=True)
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


def _check_file(source: TableSource) -> None:
    path = source.path
    if not source.reader:
        raise DataError(f"{path}: unknown kind of file; its name must end in {', '.join(READERS)}")
    if any(character in str(path.absolute()) for character in _GLOB):
        raise DataError(f"{path}: the engine takes * ? [ in a path for patterns: rename the file or its folder")
    if not path.exists():
        raise DataError(f"{path}: no such file; `source` in node.toml says where the table is")
    if not path.is_file():
        raise DataError(f"{path}: is no file")
    if not os.access(path, os.R_OK):
        raise DataError(f"{path}: may not be read by this user: change its permissions")


def _scan(source: TableSource) -> exp.Expression:
    """The table function that reads the file."""
    options: dict[str, exp.Expression] = {}
    if source.reader == "read_parquet":
        options["hive_partitioning"] = exp.false()  # else a folder named `month=1` would become a column
    elif source.is_text and source.view is None:
        options["all_varchar"] = exp.true()  # the declared types say how to read the text, exactly
    else:
        options["sample_size"] = exp.Literal.number(-1)  # types are sniffed from all rows: none fails later
    if source.is_text:
        options["header"] = exp.true()
    arguments: list[exp.Expression] = [exp.Literal.string(str(source.path.absolute()))]
    arguments += [exp.EQ(this=exp.to_identifier(name), expression=value) for name, value in options.items()]
    return exp.Table(this=exp.Anonymous(this=source.reader, expressions=arguments))


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
        raise DataError(f"{source.path}: its `sql` in node.toml must be one SELECT ... FROM source")
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
        failure = DataError(f"{source.path}: {_in_words(source, error, is_own_sql)}")
    raise failure


def _in_words(source: TableSource, error: duckdb.Error, is_own_sql: bool) -> str:
    where = "the view (`sql` in node.toml)" if source.view is not None else "the file"
    if isinstance(error, duckdb.PermissionException):
        return f"{where} reads another file or an extension: it may read `source` and nothing else"
    if is_own_sql and isinstance(error, duckdb.ParserException | duckdb.BinderException | duckdb.CatalogException):
        # the file was opened before, and no row of it is read here: the message can quote the company's SQL alone
        said = " ".join(str(error).split("\nLINE ")[0].split())
        return f"the view (`sql` in node.toml) is not valid: {said}"
    if isinstance(error, duckdb.OutOfMemoryException):
        return f"{where} needs more memory than there is"
    line = re.search(r"CSV Error on Line: (\d+)", str(error))
    if line:
        return f"line {line[1]} does not fit the other lines: its number of fields, its quotes or its encoding (UTF-8)"
    if isinstance(error, duckdb.ConversionException | duckdb.OutOfRangeException):
        return f"{where} gives a value that cannot be converted to the type asked for: correct it, or use TRY_CAST"
    if isinstance(error, duckdb.IOException | duckdb.InvalidInputException | duckdb.SerializationException):
        kind = source.path.suffix[1:].lower()
        return f"cannot be read as {kind}: the file is damaged or of another kind" + (
            ", or the view fails on one of its rows" if source.view is not None else ""
        )
    return f"{where} fails in the engine ({type(error).__name__})"
