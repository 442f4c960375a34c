"""Where a company has its tables, as node.toml says it. It needs no engine, so that a command that opens no table starts without one."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from mpc.errors import ComityError

READERS = {".parquet": "read_parquet", ".csv": "read_csv", ".json": "read_json", ".jsonl": "read_json", ".ndjson": "read_json"}
ARROW = (".arrow", ".feather", ".ipc")
DUCKDB = (".duckdb", ".db")
SNAPSHOTS = "snapshots"

_VARIABLE = r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}"
_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://([^/?#@]*@)?(?P<place>([^/?#@:]*|\[[0-9a-fA-F:.]*\])(:[0-9]*)?(/[^?#@]*)?)([?#][^@]*)?"
)
"""Whatever a password may be in has been cut off from `place`: a URL in which that is in doubt does not match."""


class DataError(ComityError):
    """A company's own data do not meet the spec. The text is for its own log only: it names columns and numbers of
    rows, never values."""


@dataclass(frozen=True)
class EngineSettings:
    """What the engine may use for one table."""

    memory_limit: str | None = None
    threads: int | None = None


NO_LIMITS = EngineSettings()


@dataclass(frozen=True)
class Part:
    """One of `of` parts of a table's rows, by a hash: of the column `key`, such that rows with one value of it stay together,
    or of the row's number where it is None. Every row is in one part, and with one version of the engine always in the same."""

    number: int
    of: int
    key: str | None = None


@dataclass(frozen=True)
class DatabaseSource:
    """A table in a database, and the company's own SELECT over it (trusted), which this database runs, if any.

    `url` may name environment variables as `${NAME}`. `directory` is the node's: paths are relative to it, and
    snapshots go there."""

    url: str = field(repr=False)
    table: str
    directory: Path
    view: str | None = None
    engine: EngineSettings = NO_LIMITS

    @property
    def place(self) -> str:
        """For messages: nothing of the URL that may be a secret."""
        return f"{shown(self.url)}, table {self.table}"

    @property
    def is_sqlite(self) -> bool:
        return self.url.startswith("sqlite://")

    @property
    def snapshots(self) -> Path:
        """The folder of the files that tables are copied to."""
        return self.directory / SNAPSHOTS


@dataclass(frozen=True)
class TableSource:
    """Where a company has a table: a file, for a DuckDB file also the table in it, and the company's own SELECT over
    `source` (trusted), if any. `snapshot_of`: the file is a copy, made for one query. `part`: these of its rows alone."""

    path: Path
    view: str | None = None
    table: str | None = None
    engine: EngineSettings = NO_LIMITS
    snapshot_of: DatabaseSource | None = None
    part: Part | None = None

    @property
    def kind(self) -> str:
        return self.path.suffix.lower()

    @property
    def reader(self) -> str:
        return READERS.get(self.kind, "")

    @property
    def is_text(self) -> bool:
        """Whether all values come as text: a CSV file has no types of its own, and SQLite's columns have none."""
        return self.reader == "read_csv" or (self.snapshot_of is not None and self.snapshot_of.is_sqlite)

    @property
    def place(self) -> str:
        """For messages."""
        return str(self.path) if self.snapshot_of is None else self.snapshot_of.place


def is_url(source: str) -> bool:
    """Whether `source` in node.toml is a database's URL, or an environment variable that has one."""
    return "://" in source or re.fullmatch(_VARIABLE, source) is not None


def shown(url: str) -> str:
    """`url` without what may be a secret: user, password, parameters."""
    if re.fullmatch(_VARIABLE, url):
        return url
    found = _URL.fullmatch(url)
    return f"{found['scheme']}://{found['place']}" if found else f"{url.partition('://')[0]}://..."


def expanded(source: DatabaseSource) -> str:
    """The URL, with the values of environment variables: one that is not all of the URL is percent-encoded."""

    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match[1])
        if found is None:
            raise DataError(f"{source.place}: the node's environment has no variable {match[1]}")
        return found if match[0] == source.url else quote(found, safe="")

    url = re.sub(_VARIABLE, value, source.url)
    if not _URL.fullmatch(url):
        raise DataError(
            f"{source.place}: is no URL such as postgres://user:${{PASSWORD}}@host:5432/database; in a password, / ? # @ "
            "must be percent-encoded, as the values of ${...} are"
        )
    return url
