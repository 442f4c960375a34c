"""The tables that all companies agree on: columns with their types and bounds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

GROUPABLE_VALUES = 1_000
"""An integer that is a group key has fewer values than this."""

Kind = Literal["integer", "decimal", "category", "boolean"]
KeyValue = int | str | bool | None


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a shared table.

    Numbers are integers times 10^-scale: `lower` and `upper` are such integers (2.50 at scale 2 is 250). A category's
    values are numbered 0, 1, ... as declared; a boolean is 0 or 1.
    """

    name: str
    kind: Kind
    lower: int
    upper: int
    scale: int = 0
    values: tuple[str, ...] = ()
    nullable: bool = False
    unit: str = ""

    @property
    def size(self) -> int:
        """How many values the column can take, NULL aside."""
        return self.upper - self.lower + 1

    @property
    def is_groupable(self) -> bool:
        return self.kind in ("category", "boolean") or (self.kind == "integer" and self.size < GROUPABLE_VALUES)

    def value(self, code: int) -> KeyValue:
        """The value with number `code` (0 to size - 1) in declared order."""
        if self.kind == "category":
            return self.values[code]
        return bool(code) if self.kind == "boolean" else self.lower + code

    def same_domain(self, other: "Column") -> bool:
        return (self.kind, self.lower, self.upper, self.scale, self.values) == (
            other.kind,
            other.lower,
            other.upper,
            other.scale,
            other.values,
        )


@dataclass(frozen=True)
class Table:
    """A table of the shared spec: held in parts by all of `holders`, or whole by one `owner`, with one row a `key`."""

    name: str
    columns: Mapping[str, Column]
    max_rows: int
    holders: tuple[str, ...]
    owner: str | None = None
    key: tuple[str, ...] = ()
