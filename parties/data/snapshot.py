"""A table of a database as a Parquet file that lasts for one query.

Checks and totals take several passes, and the database goes on changing: all of them see the rows of the one query that
made the file. It is the node's alone (mode 600), has the agreed columns and no others, and is written a batch at a time.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

import pyarrow as pa
import pyarrow.parquet

from parties.data import sqlite
from parties.data.place import DatabaseSource, DataError, expanded
from protocols.tables import Table

PREVIEW = 10_000
"""Rows that tell whether text is of the declared types."""


@contextmanager
def snapshot(source: DatabaseSource, table: Table, is_preview: bool) -> Iterator[Path]:
    """The file; for a preview it has the columns, and no more rows than are needed to tell their types. DataError,
    without a word of the rows, where it cannot be made."""
    try:
        source.snapshots.mkdir(mode=0o700, exist_ok=True)
        file = NamedTemporaryFile(dir=source.snapshots, suffix=".parquet")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise DataError(f"{source.place}: cannot be copied to {source.snapshots}: {error.strerror}") from None
    with file:
        _fill(file, source, _batches(source, table, is_preview))
        yield Path(file.name)


def _batches(
    source: DatabaseSource, table: Table, is_preview: bool
) -> AbstractContextManager[tuple[pa.Schema, Iterable[pa.RecordBatch]]]:
    url = expanded(source)
    if source.is_sqlite:
        return sqlite.batches(source, url, table, PREVIEW if is_preview else None)
    try:
        from parties.data import database
    except ImportError:
        raise DataError(f'{source.place}: a database needs Ibis: install "comity[databases]"') from None
    return database.batches(source, url, table, 0 if is_preview else None)


def _fill(
    file: IO[bytes],
    source: DatabaseSource,
    batches: AbstractContextManager[tuple[pa.Schema, Iterable[pa.RecordBatch]]],
) -> None:
    try:
        with batches as (schema, found), pyarrow.parquet.ParquetWriter(file, schema) as writer:
            for batch in found:
                writer.write_batch(batch)
        file.flush()
        return
    except DataError:
        raise
    except Exception as error:
        # raised below, outside: the driver's error quotes values, and must not hang on ours
        failure = DataError(f"{source.place}: {_in_words(source, error)}")
    raise failure


def _in_words(source: DatabaseSource, error: Exception) -> str:
    """Drivers have no common errors: the kind of one, and its code, say what it is."""
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot be copied to {source.snapshots}: {error.strerror}"
    if isinstance(error, pa.ArrowException | OverflowError):
        return "a column has values that its type in the database does not say: CAST it in `sql` in node.toml"
    code = getattr(error, "sqlstate", None) or getattr(error, "sqlite_errorname", None)
    return f"the database fails ({type(error).__name__}{f', {code}' if code else ''}): its own log may say more"
