"""A query of the shared spec, checked and bound to its tables. Pure; `parties/spec/sql.py` makes it from SQL text."""

from dataclasses import dataclass

from protocols.expression import Bin, Node, Reference
from protocols.statistics.base import Statistic
from protocols.tables import Table


@dataclass(frozen=True)
class KeyOutput:
    """A selected group key."""

    name: str
    key: Reference


@dataclass(frozen=True)
class StatisticOutput:
    """A selected statistic: `function` is its SQL name, `argument` None for `*`."""

    name: str
    statistic: Statistic
    function: str
    argument: Node | None


@dataclass(frozen=True)
class Query:
    """`tables` are one shared table, or a shared and an owned one joined on the key of the second.

    `where` are conditions that must all hold. Either `select` has outputs, or `histogram` is the one output.
    """

    name: str
    tables: tuple[Table, ...]
    where: tuple[Node, ...]
    group_by: tuple[Reference, ...]
    select: tuple[KeyOutput | StatisticOutput, ...]
    receivers: tuple[str, ...]
    histogram: Bin | None = None
