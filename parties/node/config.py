"""node.toml: what is one company's own. Paths are relative to the file."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from mpc.errors import ComityError
from parties.data.place import DUCKDB, DatabaseSource, EngineSettings, TableSource, is_url, shown
from parties.governance.ledger import Cap, Renew
from parties.spec.models import RulesStanza
from parties.spec.problems import explain_validation
from protocols.accounting import micro_rho
from protocols.planning.rules import NO_RULES, Rules
from protocols.statistics.across import FEWEST, QUARTILES

FILE = "node.toml"
SMALLEST_MB = 32
"""With less, the engine does not even start."""


_SIZE = r"([0-9]{1,6}) ?(MB|MiB|GB|GiB|TB|TiB)"
STOCK = "2 GB"


def _path(text: str) -> str:
    if "\0" in text:
        raise ValueError("is no path: it has a NUL character")
    return text


def _port(listen: str) -> str:
    if int(listen.rpartition(":")[2]) > 65535:
        raise ValueError("a port is at most 65535")
    return listen


def _size(text: str) -> str:
    found = re.fullmatch(_SIZE, text)
    if not found or (found[2].startswith("M") and int(found[1]) < SMALLEST_MB) or int(found[1]) == 0:
        raise ValueError(f'must be a size such as "2 GB" or "500 MB", and {SMALLEST_MB} MB or more')
    return text


def _stock(text: str) -> str:
    if not re.fullmatch(_SIZE, text):
        raise ValueError('must be a size such as "2 GB" or "500 MB"; "0 MB" keeps nothing')
    return text


def _bytes(text: str) -> int:
    found = re.fullmatch(_SIZE, text)
    assert found is not None
    return int(found[1]) * {"MB": 10**6, "MiB": 1 << 20, "GB": 10**9, "GiB": 1 << 30, "TB": 10**12, "TiB": 1 << 40}[found[2]]


class EngineStanza(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    memory_limit: Annotated[
        Annotated[str, AfterValidator(_size)] | None,
        Field(description='the most memory for the rows of one table, such as `"2 GB"`: a query that needs more is refused; by '
        "default, 80 % of the machine's"),
    ] = None
    threads: Annotated[
        int | None, Field(description="for one query; by default 4, or as many as there are cores", ge=1, le=1024)
    ] = None


class TableStanza(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    source: Annotated[
        str,
        Field(
            description="the data: a Parquet, CSV, JSON, Arrow or DuckDB file, or a database's URL, in which `${NAME}` is an "
            "environment variable",
            min_length=1,
        ),
        AfterValidator(_path),
    ]
    table: Annotated[
        str | None, Field(description="in a database or a DuckDB file, the table or view: `public.flights`", min_length=1)
    ] = None
    sql: Annotated[
        str | None,
        Field(
            description="this company's own view that gives the agreed columns: `SELECT ... FROM source`; a database runs it "
            "itself, in its own SQL"
        ),
    ] = None

    @model_validator(mode="after")
    def _has_one_table(self) -> Self:
        is_database = is_url(self.source) or Path(self.source).suffix.lower() in DUCKDB
        place = shown(self.source) if is_url(self.source) else self.source
        if is_database and self.table is None:
            raise ValueError(f'{place} has many tables: say which, for instance table = "public.flights"')
        if self.table is not None and not is_database:
            raise ValueError(f"table is for databases: the file {place} is one table, so leave it out")
        return self


class BudgetStanza(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    epsilon: Annotated[
        float,
        Field(
            description="the most that all noisy queries together may reveal of one unit (a person, say) in one table, as epsilon "
            "at `delta`; converted once, downwards, into the whole micro-rho that are counted",
            gt=0, le=1000, allow_inf_nan=False,
        ),
    ]  # fmt: skip
    delta: Annotated[float, Field(description="between 0 and 1; far less than 1 / the number of units", gt=0, lt=1)]
    renew: Annotated[
        Renew, Field(description="whether what was spent before this calendar year, or month, UTC, counts no more")
    ] = "never"

    def cap(self) -> Cap:
        return Cap(micro_rho(self.epsilon, self.delta), self.renew, self.delta)


class NodeFile(BaseModel):
    """node.toml"""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, Field(description="this company's name in the spec", pattern=r"^[a-z][a-z0-9-]*$")]
    listen: Annotated[
        str,
        Field(description="where the node listens: `host:port`", pattern=r"^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$"),
        AfterValidator(_port),
    ]
    deadline: Annotated[
        float, Field(description="seconds of a peer's silence after which a session fails", ge=1, le=3600, strict=False)
    ] = 20
    engine: Annotated[EngineStanza, Field(description="what the node's engine, DuckDB, may use")] = EngineStanza()
    stock: Annotated[
        str,
        Field(
            description="the most on disk of what is made ahead of queries (`comity prepare`), such as `\"2 GB\"`: a triple takes 24 bytes, a random "
            "bit 8, under larger algebras twice as much; other companies can have this node take part in making as much"
        ),
        AfterValidator(_stock),
    ] = STOCK
    budget: Annotated[
        BudgetStanza | None,
        Field(description="this company's cap for each table with a protected unit; without it there is none, and reports say so"),
    ] = None
    exact: Annotated[
        bool,
        Field(
            description="whether tables with a protected unit may be asked without noise; then nothing that is said of their "
            "differential privacy holds"
        ),
    ] = False
    differing: Annotated[
        list[str],
        Field(
            description="exact queries over such tables that are allowed though their filter differs from that of an earlier one: "
            "whoever sees both answers may learn single rows"
        ),
    ] = []
    quartiles_of_few: Annotated[
        bool,
        Field(description=f"whether {QUARTILES} may be asked of fewer than {FEWEST[QUARTILES]} companies, this one among them: they nearly give single companies' figures away"),
    ] = False
    release: Annotated[
        RulesStanza,
        Field(description="a floor under the release rules of queries: this node takes no part in one without noise whose own are weaker"),
    ] = RulesStanza()
    tables: Annotated[dict[str, TableStanza], Field(description="where this company's part of each table is")] = {}


@dataclass(frozen=True)
class Config:
    directory: Path
    name: str
    listen: str
    deadline: float
    tables: dict[str, TableSource | DatabaseSource]
    cap: Cap | None = None
    """Of each account; None where there is no budget."""
    exact: bool = False
    """Whether exact queries over tables with a protected unit are allowed."""
    differing: tuple[str, ...] = ()
    """Of these, queries that may differ by their filter from earlier ones."""
    stock: int = 0
    """The most bytes of what is made ahead of queries."""
    floor: Rules = NO_RULES
    """No query with weaker release rules is taken part in."""
    quartiles_of_few: bool = False
    """Whether quartiles of so few companies that they give figures away are allowed."""


def read_config(directory: Path) -> Config:
    file = directory / FILE
    try:
        raw: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ComityError(
            f"{file} is missing: `comity init {directory} --name ... --address ...` makes a node's folder"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ComityError(f"{file}: {error}") from None
    except (ValueError, RecursionError):
        raise ComityError(f"{file}: a number has too many digits, or lists are nested too deeply") from None
    try:
        parsed = NodeFile.model_validate(raw)
    except ValidationError as error:
        problems = explain_validation(error, NodeFile)
        raise ComityError("\n".join(f"{file}: {problem}" for problem in problems)) from None
    engine = EngineSettings(parsed.engine.memory_limit, parsed.engine.threads)
    tables = {name: _source(directory, table, engine) for name, table in parsed.tables.items()}
    cap = parsed.budget.cap() if parsed.budget else None
    return Config(
        directory, parsed.name, parsed.listen, parsed.deadline, tables, cap, parsed.exact, tuple(parsed.differing), _bytes(parsed.stock),
        parsed.release.rules(), parsed.quartiles_of_few,
    )


def _source(directory: Path, stanza: TableStanza, engine: EngineSettings) -> TableSource | DatabaseSource:
    if is_url(stanza.source):
        assert stanza.table is not None
        return DatabaseSource(stanza.source, stanza.table, directory, stanza.sql, engine)
    return TableSource(directory / stanza.source, stanza.sql, stanza.table, engine)


def starting_config(name: str, listen: str) -> str:
    """The node.toml that `comity init` writes."""
    return (
        f'name = "{name}"\nlisten = "{listen}"\n\n'
        "# Where this company's part of each table of the spec is, for instance:\n"
        "# [tables.flights]\n"
        '# source = "flights.parquet"           # a Parquet, CSV, JSON, Arrow or DuckDB file, or the URL of a database\n'
        '# table = "public.flights"             # in a DuckDB file or a database\n'
        '# sql = "SELECT ... FROM source"       # optional: a view of your own that gives the agreed columns\n'
    )
