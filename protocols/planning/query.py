"""A query of the shared spec, checked and bound to its tables. Pure; `parties/spec/sql.py` makes it from SQL text."""

from dataclasses import dataclass

from mpc.errors import ComityError
from protocols.expression import Bin, Node, Reference, not_null
from protocols.planning.privacy import Privacy
from protocols.planning.rules import NO_RULES, Rules
from protocols.statistics import BY_NAME
from protocols.statistics.across import Across
from protocols.statistics.base import Arguments, Measure, PrivateStatistic, Statistic
from protocols.statistics.frequent import Frequent
from protocols.statistics.quantile import Quantile
from protocols.statistics.ratio import Ratio
from protocols.tables import Table


class PlanError(ComityError):
    """The query cannot run as declared. The message names what to change in the spec."""


@dataclass(frozen=True)
class KeyOutput:
    """A selected group key."""

    name: str
    key: Reference


@dataclass(frozen=True)
class StatisticOutput:
    """A selected statistic: `function` is its SQL name; of `*` there are no `arguments`."""

    name: str
    statistic: Statistic | Quantile | Across | Ratio | Frequent
    function: str
    arguments: Arguments

    @property
    def text(self) -> str:
        """The arguments as they stand in SQL."""
        return ", ".join(map(str, self.arguments)) or "*"


@dataclass(frozen=True)
class Query:
    """`tables` are one shared table, or a shared and an owned one joined on the key of the second.

    `where` are conditions that must all hold. A column of the joined key is the shared table's in `group_by` and `select`.
    Either `select` has outputs, or `histogram` is the one output. With `privacy` noise is added to all that is opened. Cells that do not meet
    `rules` are withheld. `beside` are filters of the same spec, with this query's own, between which no small difference is to be opened (`filters.py`).
    """

    name: str
    tables: tuple[Table, ...]
    where: tuple[Node, ...]
    group_by: tuple[Reference, ...]
    select: tuple[KeyOutput | StatisticOutput, ...]
    receivers: tuple[str, ...]
    histogram: Bin | None = None
    privacy: Privacy | None = None
    rules: Rules = NO_RULES
    beside: tuple[tuple[Node, ...], ...] = ()

    @property
    def statistics(self) -> tuple[StatisticOutput, ...]:
        """The outputs that are no group keys."""
        return tuple(output for output in self.select if isinstance(output, StatisticOutput))

    def measures(self, output: StatisticOutput) -> tuple[Measure, ...]:
        """The totals that an output is made of, one of those that are; or a PlanError."""
        statistic = output.statistic
        assert not isinstance(statistic, Quantile | Across | Ratio | Frequent)  # they are planned otherwise
        if self.privacy is None:
            return statistic.measures(output.function, output.arguments)
        if not isinstance(statistic, PrivateStatistic):
            raise PlanError(
                f"{output.function} cannot be had with privacy: there is no estimate of it from totals with noise. With privacy "
                f"there are {', '.join(name for name, known in BY_NAME.items() if isinstance(known, PrivateStatistic))}"
            )
        return statistic.private_measures(output.function, output.arguments)


def never_null(tables: tuple[Table, ...], where: tuple[Node, ...]) -> frozenset[Node]:
    """What is not NULL in any row that counts: as the conditions say, and the joined key, which equals another."""
    joined = {Reference(table.name, table.columns[name]) for owned in tables[1:] for name in owned.key for table in tables}
    return not_null(where) | joined
