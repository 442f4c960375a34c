"""The release rules of a query as its plan has them: of which numbers of rows, and how they stand to other rules."""

from collections.abc import Sequence
from math import comb, prod

from protocols.expression import Case, Node
from protocols.planning.filters import parts_of
from protocols.planning.plan import LARGEST_COMPARED, Plan, Security
from protocols.planning.privacy import Noise
from protocols.planning.query import PlanError, Query, StatisticOutput
from protocols.planning.randomised_response import RandomisedResponse
from protocols.planning.rules import COALITIONS, ONLY_MINIMUM, Gate, NoisyGate, Rules
from protocols.planning.task import HomeTask, index_of, plain
from protocols.statistics.base import Measure
from protocols.statistics.frequent import Frequent
from protocols.statistics.quantile import NAMES, Quantile, Tree
from protocols.statistics.ratio import AVG_ONLY, Ratio


def below(plan: Plan, floor: Rules) -> str:
    """By what the release rules of a query are weaker than `floor`, as a spec has it; empty where they are not, and where it opens no
    exact totals over groups of rows."""
    return "" if plan.noise or plan.is_of_companies else plan.query.rules.weaker(floor)


def gives_away(withholding: Plan, other: Plan) -> bool:
    """Whether what `withholding` withholds may follow from `other`: an exact query over the same table whose rules are weaker, or
    one of the same rows that has other cells or rules, whatever it measures."""
    if other is withholding or withholding.noise or other.noise or other.is_of_companies or withholding.tasks[0].table not in other.query.tables:
        return False
    if other.query.rules.weaker(withholding.query.rules):
        return True
    theirs, mine = (frozenset(key.expression for key in plan.keys) for plan in (other, withholding))
    return set(other.query.where) == set(withholding.query.where) and (theirs != mine or other.query.rules != withholding.query.rules)


def counted(query: Query, known: frozenset[Node]) -> list[Measure]:
    """The numbers of rows that go into each output."""
    found: list[Measure] = []
    for output in query.statistics:
        if any(isinstance(node, Case) for argument in output.arguments for node in argument.walk()):
            raise PlanError(f"{output.name}: CASE chooses among the rows of a cell, which release rules do not see: write WHERE instead, or remove them")
        index_of(found, plain(_count(query, output), known))
    return found or [Measure("count", None)]


def _count(query: Query, output: StatisticOutput) -> Measure:
    """The number of rows that go into an output."""
    totals: Sequence[Measure] = ()
    if isinstance(output.statistic, Ratio):
        totals = output.statistic.measures
    elif not isinstance(output.statistic, Frequent | Quantile):
        totals = query.measures(output)
    counts = [measure for measure in totals if measure.kind == "count"]
    return counts[0] if counts else Measure("count", *output.arguments)


def gate_of(query: Query, security: Security, task: HomeTask, measures: Sequence[Measure], counts: Sequence[Measure]) -> Gate:
    """The release rules of a query, or a PlanError."""
    rules, companies = query.rules, len(task.table.holders)
    if companies == 1:
        raise PlanError(f"release rules take away a company's own rows, and all of {task.table.name} are of {task.table.holders[0]}")
    if rules.minimum_contributors > companies:
        raise PlanError(f"minimum_contributors = {rules.minimum_contributors} releases nothing: {task.table.name} has {companies} companies")
    if rules.maximum_share * companies < 1:
        raise PlanError(f"maximum_share = {float(rules.maximum_share):g} releases nothing: one of {companies} companies has more")
    taken = min(security.colluding, companies - 1)
    if rules.against == "coalition" and comb(companies, taken) > COALITIONS:
        raise PlanError(f"there are {comb(companies, taken):,} coalitions of {taken} of {companies} companies, and rules are for at most {COALITIONS:,}")
    summed = {Measure("sum", *output.arguments) for output in query.statistics if output.function in ("SUM", "AVG", AVG_ONLY)}
    sums = tuple(k for k, measure in enumerate(measures) if measure in summed)
    parts = len(parts_of(query.beside, counts)) if query.beside else 0
    gate = Gate(rules, companies, taken, tuple(map(measures.index, counts)), sums, len(query.tables) > 1, parts)
    cells = prod(key.size for key in task.keys if key.expression in query.group_by) if gate.is_joined else task.cells
    compared = gate.compared(cells)
    if compared > LARGEST_COMPARED:
        raise PlanError(f"its rules take {compared:,} comparisons, and a query at most {LARGEST_COMPARED:,}: group by less, or select fewer sums")
    return gate


def noisy_gate(
    query: Query, opened: Sequence[Measure], noise: Sequence[Noise | RandomisedResponse], tree: Tree | None, known: frozenset[Node]
) -> NoisyGate:
    """The release rules of a query with noise, or a PlanError."""
    rules, kinds = query.rules, [added for added in noise if isinstance(added, Noise)]
    if rules != Rules(rules.minimum_group):
        raise PlanError(ONLY_MINIMUM)
    if tree is not None or len(kinds) < len(noise):
        names = " and ".join(NAMES) if tree is not None else "randomised response"
        raise PlanError(f"minimum_group is compared with the count of a group, and {names} {'have' if tree is not None else 'has'} none of its own: remove it")
    needed: list[Measure] = []
    for output in query.statistics:
        count = plain(_count(query, output), known)
        if count not in opened:
            raise PlanError(f"minimum_group is compared with counts that have noise, and of {output.name} none is opened: select {count} as well")
        index_of(needed, count)
    counts = tuple(opened.index(count) for count in needed or opened[:1])
    return NoisyGate(rules, counts, tuple(rules.minimum_group * kinds[k].factor for k in counts))
