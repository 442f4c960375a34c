"""One company's part in one query, after the nodes have agreed: triples, local, share, compute, open."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from mpc.algebra import Array
from mpc.context import Context
from mpc.triples.stocked import StockedTriples
from parties.data.home import DatabaseSource, DataError, TableSource, Working, compute
from parties.node.report import report
from protocols.planning.execute import execute, own_figures, prepare
from protocols.planning.plan import Plan
from protocols.planning.search import Ranks
from protocols.statistics.across import NoFigure

PHASES = ("triples", "local", "share", "compute", "open")


class Phases:
    """Tells which phase begins, and how long each took."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self._tell = tell
        self._now: str | None = None
        self._since = 0.0

    def __call__(self, phase: str | None) -> None:
        now = time.perf_counter()
        if self._now is not None:
            self.seconds[self._now] += now - self._since
        self._now, self._since = phase, now
        if phase is not None:
            self._tell(phase)


def home_vectors(
    plan: Plan,
    me: str,
    sources: Mapping[str, TableSource | DatabaseSource],
    working: Working = nullcontext,
    ranks: list[Ranks] | None = None,
) -> list[Array | None]:
    """This company's totals for each task of the plan; None where it holds no such table. `ranks` gets what a search counts.
    DataError where its data do not meet the spec: nothing has been shared by then."""
    vectors = [
        compute(task, sources[task.table.name], working, ranks) if me in task.table.holders else None for task in plan.tasks
    ]
    if plan.across and vectors[0] is not None:
        try:
            own_figures(plan, vectors[0])
        except NoFigure as error:
            raise DataError(f"{sources[plan.tasks[0].table.name].place}: {error}") from None
    return vectors


def run_query(
    ctx: Context,
    plan: Plan,
    digest: str,
    mine: Callable[[], tuple[Array | None, bytes | None]],
    tell: Callable[[str], None],
    ranks: Sequence[Ranks] = (),
) -> dict[str, Any] | None:
    """The report at a receiver, None elsewhere. `mine` computes what this company shares, and gives the seed of its part of joint noise; `ranks` has then what a search counts. Discloses what the plan says,
    nothing else."""
    phases = Phases(tell)
    phases("triples")
    prepare(ctx, plan)
    phases("local")
    shared, seed = mine()
    opened = execute(ctx, plan, shared, phases, ranks, seed)
    phases(None)
    if opened is None:
        return None
    stocked = ctx.triples.from_stock["triples"] if isinstance(ctx.triples, StockedTriples) and plan.products else None
    return report(plan, digest, opened, plan.cost(ctx.me), ctx.measured, phases.seconds, stocked)
