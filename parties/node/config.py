"""node.toml: what is one company's own. Paths are relative to the file."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from mpc.errors import ComityError
from parties.data.home import TableSource
from parties.spec.load import explain_validation

FILE = "node.toml"


def _path(text: str) -> str:
    if "\0" in text:
        raise ValueError("is no path: it has a NUL character")
    return text


def _port(listen: str) -> str:
    if int(listen.rpartition(":")[2]) > 65535:
        raise ValueError("a port is at most 65535")
    return listen


class TableStanza(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    source: Annotated[
        str, Field(description="the data: a Parquet, CSV or JSON file", min_length=1), AfterValidator(_path)
    ]
    sql: Annotated[
        str | None,
        Field(description="this company's own view that gives the agreed columns: `SELECT ... FROM source`"),
    ] = None


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
    tables: Annotated[dict[str, TableStanza], Field(description="where this company's part of each table is")] = {}


@dataclass(frozen=True)
class Config:
    directory: Path
    name: str
    listen: str
    deadline: float
    tables: dict[str, TableSource]


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
    tables = {name: TableSource(directory / table.source, table.sql) for name, table in parsed.tables.items()}
    return Config(directory, parsed.name, parsed.listen, parsed.deadline, tables)


def starting_config(name: str, listen: str) -> str:
    """The node.toml that `comity init` writes."""
    return (
        f'name = "{name}"\nlisten = "{listen}"\n\n'
        "# Where this company's part of each table of the spec is, for instance:\n"
        "# [tables.flights]\n"
        '# source = "flights.parquet"           # Parquet, CSV or JSON, relative to this file\n'
        '# sql = "SELECT ... FROM source"       # optional: a view of your own that gives the agreed columns\n'
    )
