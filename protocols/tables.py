"""The tables that all companies agree on: columns with their types and bounds."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Literal

GROUPABLE_VALUES = 1_000
"""An integer or a date that is a group key has fewer values than this."""

EPOCH = datetime(1970, 1, 1)
MICROSECOND = timedelta(microseconds=1)

Outside = Literal["refuse", "clamp", "drop"]
"""What becomes of a value outside the bounds: the company refuses to answer, takes the nearest bound, or leaves the row
out. How often the last two were done is opened with every answer."""

Kind = Literal["integer", "decimal", "float", "category", "boolean", "date", "timestamp", "text"]
KeyValue = int | str | bool | None

WORD_BYTES = 7
"""Of a text of no declared values so many are in one number."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a shared table.

    Numbers are integers times 10^-scale: `lower` and `upper` are such integers (2.50 at scale 2 is 250). A float is
    rounded at home to a multiple of `step`, which is such an integer, too. A date is days, a timestamp microseconds since
    1970. A category's values are numbered 0, 1, ... as declared; a boolean is 0 or 1. Of a text no values are declared: it has at most `length` bytes, and at
    each company at most `size` different values, a power of two.
    """

    name: str
    kind: Kind
    lower: int
    upper: int
    scale: int = 0
    step: int = 1
    values: tuple[str, ...] = ()
    nullable: bool = False
    unit: str = ""
    outside: Outside = "refuse"
    length: int = 0

    @property
    def size(self) -> int:
        """How many values the column can take, NULL aside."""
        return self.upper - self.lower + 1

    @property
    def words(self) -> int:
        """So many numbers hold a text and its end."""
        return self.length // WORD_BYTES + 1

    @property
    def is_groupable(self) -> bool:
        is_short = self.kind in ("integer", "date") and self.size < GROUPABLE_VALUES
        return is_short or self.kind in ("category", "boolean")

    def value(self, code: int) -> KeyValue:
        """The value with number `code` (0 to size - 1) in declared order."""
        if self.kind == "category":
            return self.values[code]
        if self.kind == "date":
            return as_date(self.lower + code).isoformat()
        return bool(code) if self.kind == "boolean" else self.lower + code

    def same_domain(self, other: "Column") -> bool:
        mine, theirs = (replace(column, name="", nullable=False, unit="", outside="refuse") for column in (self, other))
        return mine == theirs


def as_date(days: int) -> date:
    """The day that is `days` after 1970-01-01."""
    return EPOCH.date() + timedelta(days)


def days(day: date) -> int:
    return (day - EPOCH.date()).days


def microseconds(moment: datetime) -> int:
    return (moment - EPOCH) // MICROSECOND


Neighbours = Literal["add-remove", "replace"]


@dataclass(frozen=True)
class Unit:
    """What differential privacy protects, as a whole: all rows with one value of the column `key`; each row by itself
    where there is none.

    A unit is in at most `companies` companies' tables. Of its rows each company takes at most `groups` groups of an
    answer into account, and at most `rows` in each. `neighbours` are tables of which one has a unit more, or another in
    its place."""

    key: str | None = None
    companies: int = 1
    rows: int = 1
    groups: int = 1
    neighbours: Neighbours = "add-remove"


@dataclass(frozen=True)
class Table:
    """A table of the shared spec: held in parts by all of `holders`, or whole by one `owner`, with one row a `key`.
    With a `unit`, its rows are about somebody who is protected."""

    name: str
    columns: Mapping[str, Column]
    max_rows: int
    holders: tuple[str, ...]
    owner: str | None = None
    key: tuple[str, ...] = ()
    unit: Unit | None = None
