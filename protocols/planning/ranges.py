"""How large what a query computes may become: every value at home within the engine's integers, every value on shares within the algebra, or a PlanError that names the bound to lower."""

from collections.abc import Iterator, Sequence

from mpc.schemes import Scheme
from mpc.schemes.named import schemes
from protocols.expression import (
    Arithmetic,
    Bin,
    Case,
    Comparison,
    Membership,
    Node,
    Number,
    Reference,
    aligned,
    magnitude,
)
from protocols.planning.plan import Security
from protocols.planning.privacy import Noise
from protocols.planning.query import PlanError
from protocols.planning.randomised_response import RandomisedResponse
from protocols.planning.task import HomeTask
from protocols.statistics.base import Measure

HOME_LIMIT = 1 << 126
"""Integers at home are exact below this (an engine's 128-bit integers)."""


def check_home(task: HomeTask) -> None:
    """Every intermediate value at home must be exact in the engine's integers."""
    for expression in task.expressions:
        for node in expression.walk():
            if reaches(node) >= HOME_LIMIT:
                raise PlanError(f"{node} may reach {_size(reaches(node))} at home, beyond 2^126: {_advice(task, node)}")
    for measure in task.measures:
        if task.largest(measure) >= HOME_LIMIT:
            raise PlanError(
                f"{measure} may reach {_size(task.largest(measure))} at one company ({task.table.max_rows:,} rows), "
                f"beyond 2^126: {_advice(task, measure.expression)}"
            )


def reaches(node: Node) -> int:
    """The largest magnitude that evaluating the node itself comes by."""
    if isinstance(node, Comparison | Membership):
        return _aligned_reach(node.children)
    if isinstance(node, Case):
        return max(magnitude(node), _aligned_reach(node.values))
    if isinstance(node, Arithmetic) and node.operator != "*":
        return max(magnitude(node), _aligned_reach(node.children))
    if isinstance(node, Bin):
        span = Number(max(abs(node.start), abs(node.stop)), node.digits)
        return (aligned(magnitude(node.operand), node.operand, span) + span.value) * node.bins
    return magnitude(node)


def _aligned_reach(nodes: Sequence[Node]) -> int:
    """The same of putting numbers at their finest scale: of the factors, too, even for zero."""
    finest = max(nodes, key=lambda node: node.scale)
    return max(max(aligned(magnitude(node), node, finest), aligned(1, node, finest)) for node in nodes)


def ranges_of(
    tasks: Sequence[HomeTask], products: Sequence[tuple[int, int]], measures: Sequence[Measure]
) -> list[tuple[str, int]]:
    """The largest magnitude of every value that is shared, computed or opened."""
    ranges = []
    for task in tasks:
        companies = len(task.table.holders)
        for measure in task.measures:
            ranges.append((
                f"{measure} over {task.table.name} ({companies} x {task.table.max_rows:,} rows)",
                companies * task.largest(measure),
            ))
        ranges += [(f"the number of {adjustment}", companies * task.table.max_rows) for adjustment in task.adjustments]
    for measure, (left, right) in zip(measures, products, strict=bool(products)):
        shared, owned = tasks
        # at most one row of the owned table meets each row of the shared one
        per_row = owned.largest(owned.measures[right]) // owned.table.max_rows
        largest = len(shared.table.holders) * shared.largest(shared.measures[left]) * per_row
        ranges.append((f"{measure} over the join", largest))
    return ranges


def noisy_ranges(
    opened: Sequence[Measure], noise: Sequence[Noise | RandomisedResponse], exact: Sequence[tuple[str, int]]
) -> Iterator[tuple[str, int]]:
    """Those of the opened totals with their noise, so that nothing wraps; `exact` are those without."""
    for measure, added, (_, largest) in zip(opened, noise, exact, strict=bool(noise)):
        yield f"{measure} with noise", added.reach(largest)


def smallest(security: Security, ranges: Sequence[tuple[str, int]]) -> Scheme:
    what, largest = max(ranges, key=lambda item: item[1])
    candidates = schemes(security.scheme, len(security.parties), security.colluding)
    for scheme in candidates:
        if largest <= scheme.algebra.bound:
            return scheme
    raise PlanError(
        f"{what} may reach {_size(largest)}, beyond {_size(candidates[-1].algebra.bound)} of the widest domain, "
        f"{candidates[-1].algebra.name}: lower max_rows or the bounds of its columns"
    )


def _advice(task: HomeTask, node: Node | None) -> str:
    columns = sorted({n.column.name for n in node.walk() if isinstance(n, Reference)}) if node is not None else []
    places = [f"tables.{task.table.name}.columns.{name}" for name in columns]
    return f"lower tables.{task.table.name}.max_rows" + (f" or the bounds of {', '.join(places)}" if places else "")


def _size(x: int) -> str:
    return f"{x:,}" if x < 10**15 else f"2^{x.bit_length() - 1}"
