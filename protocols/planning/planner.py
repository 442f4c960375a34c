"""From a query to its plan: of which totals its outputs are made, by which tasks they are counted at home, how large all may become, and every limit that there is."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import prod

from mpc.correlations import LARGEST_REQUEST
from mpc.noise import gaussian_steps_count
from protocols.expression import Node, Reference
from protocols.planning.descent import Descent, with_noise
from protocols.planning.filters import parts_of
from protocols.planning.gates import counted, gate_of, noisy_gate
from protocols.planning.joining import join_tasks
from protocols.planning.plan import LARGEST_COMPARED, RELEASED, Opened, Plan, Security
from protocols.planning.privacy import Noise
from protocols.planning.private import check_text, descents_of, tree_for, undeclared_of, with_privacy
from protocols.planning.query import PlanError, Query, StatisticOutput, never_null
from protocols.planning.randomised_response import RandomisedResponse
from protocols.planning.ranges import check_home, noisy_ranges, ranges_of, smallest
from protocols.planning.rules import Gate, NoisyGate
from protocols.planning.search import Search, search_of
from protocols.planning.task import HomeTask, Key, index_of, plain
from protocols.planning.undeclared import Word
from protocols.statistics.across import FEWEST_AGREED as FEWEST_COMPANIES
from protocols.statistics.across import NAMES as ACROSS
from protocols.statistics.across import Across, figures_of
from protocols.statistics.base import Measure
from protocols.statistics.frequent import Frequent, Place, arguments_of, compared
from protocols.statistics.quantile import Quantile, Tree
from protocols.statistics.ratio import FEWEST as FEWEST_PARTS
from protocols.statistics.ratio import Ratio

COUNT = Measure("count", None)


def plan_query(query: Query, security: Security) -> Plan:
    """The plan, or a PlanError that says which bound, table or setting to change."""
    check_text(query)
    if any(isinstance(output.statistic, Across) for output in query.statistics):
        return _plan_across(query, security)
    known = never_null(query.tables, query.where)
    keys = tuple(Key(reference, reference.nullable(known) and reference.column.kind != "text") for reference in query.group_by)
    groups = prod(key.size for key in keys)
    if query.histogram is not None:
        keys = (Key(query.histogram),)
    ratios, frequent = _ratios(query), _frequent(query)
    tree, weights_of = tree_for(query, groups, known), descents_of(query, groups)
    descents = tuple(weights_of)
    opened, uses, weights = _totals(query, tree, known)

    measures = list(opened)  # and what is counted without being opened
    beneath = [Measure("count", descent.tree.argument) for descent in descents] + [measure for ratio in ratios for measure in ratio.measures] + [of.count for of in frequent]
    for measure in beneath:
        index_of(measures, plain(measure, known))
    search = _search(query, groups, lambda x: index_of(measures, plain(Measure("count", x), known)))
    gated = counted(query, known) if query.rules and query.privacy is None else []
    measures += [measure for measure in gated if measure not in measures]
    products: list[tuple[int, int]] = []
    if len(query.tables) == 2:
        tasks, products = join_tasks(query, keys, measures, known)
    elif tree is not None:
        tasks = (HomeTask(query.tables[0], query.where, (*keys, Key(tree.leaf)), (COUNT,)),)
    else:
        tasks = _tasks(query, keys, measures, search, [*map(Key, arguments_of(frequent)), *dict.fromkeys(Key(descent.tree.leaf) for descent in descents)], gated)
    noise: tuple[Noise | RandomisedResponse, ...] = ()
    if query.privacy is not None:
        by_level = [Fraction(weight, descent.levels) for descent, weight in weights_of.items() for _ in range(descent.levels)]
        tasks, noise = with_privacy(query.privacy, security, tasks, products, [*weights, *by_level], descents)
        descents = with_noise(descents, [added for added in noise[len(opened) :] if isinstance(added, Noise)])
    for task in tasks:
        check_home(task)

    table = tasks[0].table
    companies, rows = len(table.holders), len(table.holders) * table.max_rows
    ranges = ranges_of(tasks, products, measures)
    exact = ranges[-len(measures) :] if products else ranges[: len(tasks[0].measures)]
    noisy = list(noisy_ranges(opened, noise[: len(opened)], exact[: len(opened)] if tree is None else exact * len(opened)))
    ranges += noisy
    ranges += [(f"what is compared in {descent}", descent.reach(companies, table.max_rows)) for descent in descents]
    if search is not None:
        what = f"{' and '.join(search.names)}: the number of rows and one more, times {search.factor:,}, the denominator of p"
        ranges.append((what, search.factor * (rows + 1)))
    ranges += [(f"{ratio}, in dividing", ratio.range(tasks[0].largest, companies)) for ratio in ratios]
    places = dict.fromkeys(place for of in frequent for place in of.places)
    revealed: list[Opened] = [*opened, *ratios, *places, *descents]
    undeclared = undeclared_of(query, tasks[0], opened, noise)
    if undeclared is not None:
        ranges += undeclared.ranges(noisy)
        revealed += [Word(undeclared.column, number) for number in range(undeclared.column.words)]
    gate: Gate | NoisyGate | None = None
    if query.rules and undeclared is None:
        if query.privacy is None:
            gate = gate_of(query, security, tasks[0], measures, gated)
            ranges += gate.ranges([largest // companies for _, largest in exact])
        else:
            gate = noisy_gate(query, opened, noise, tree, known)
            ranges += gate.ranges(noisy)
        revealed.append(RELEASED)
    by_output = [tuple(map(revealed.index, _beside_totals(output, descents))) or of for output, of in zip(query.statistics, uses, strict=True)]
    plan = Plan(
        query, security, smallest(security, ranges), keys, tasks, tuple(revealed), tuple(by_output), tuple(products), tuple(ranges), noise, tree,
        search=search, gate=gate, undeclared=undeclared,
    )  # fmt: skip
    _check_size(plan)
    return plan


def _totals(query: Query, tree: Tree | None, known: frozenset[Node]) -> tuple[list[Measure], list[tuple[int, ...]], list[int]]:
    """The totals that are opened; which of them each output is made of; and the part of the budget that each has."""
    if query.histogram is not None:
        return [COUNT], [], [1]
    if tree is not None:
        levels = len(tree.sizes)
        return [COUNT] * levels, [tuple(range(levels))] * len(query.statistics), [1] * levels
    opened: list[Measure] = []
    uses: list[tuple[int, ...]] = []
    weights: dict[int, int] = {}
    for output in query.statistics:
        measures = () if isinstance(output.statistic, Quantile | Ratio | Frequent) else query.measures(output)
        uses.append(tuple(index_of(opened, plain(measure, known)) for measure in measures))
        weight = 1 if query.privacy is None else query.privacy.weight(output.name)
        weights |= {place: max(weights.get(place, 0), weight) for place in uses[-1]}
    return opened, uses, [weights[place] for place in range(len(opened))]


def _tasks(
    query: Query, keys: Sequence[Key], measures: Sequence[Measure], search: Search | None, counted_by: Sequence[Key], gated: Sequence[Measure]
) -> tuple[HomeTask, ...]:
    """Those of a query of one table: the totals, the rows by each of `counted_by`, and the parts into which other queries' filters cut them."""
    (table,) = query.tables
    totals = HomeTask(table, query.where, tuple(keys), tuple(measures), ordered=search.arguments if search is not None else ())
    by_value = [HomeTask(table, query.where, (*keys, key), (COUNT,), adjusts=False) for key in counted_by]
    parts = parts_of(query.beside, gated) if query.beside else ()
    cut = [HomeTask(table, (), tuple(keys), parts, adjusts=False)] if parts else []
    return totals, *by_value, *cut


def _check_size(plan: Plan) -> None:
    """PlanError where the query multiplies or compares more than one may."""
    if plan.join is not None and plan.conditions and max(plan.join.added, plan.tasks[1].cells) > LARGEST_REQUEST:
        used = dict.fromkeys(node for of in plan.conditions for node in of.walk() if isinstance(node, Reference))
        columns = ", ".join(f"tables.{node.table}.columns.{node}" for node in used)
        raise PlanError(f"the conditions over both tables add {plan.join.added:,} numbers up, and a query at most {LARGEST_REQUEST:,}: narrow the bounds of {columns}")
    if plan.multiplied > LARGEST_REQUEST:
        raise PlanError(
            f"the join multiplies {plan.multiplied:,} pairs, and a query at most {LARGEST_REQUEST:,}: select fewer sums, "
            f"{'group by less, ' if plan.keys else ''}or narrow the bounds of the key"
        )
    if plan.ratios and len(plan.ratios) * plan.cells * 15 * max(ratio.digits for ratio in plan.ratios) > LARGEST_COMPARED:
        raise PlanError(f"its ratios are divided in more than {LARGEST_COMPARED:,} comparisons: group by less, or name a larger step")
    drawn = sum(gaussian_steps_count(variance) * size for variance, size in plan.joint)
    if drawn > LARGEST_COMPARED:
        raise PlanError(
            f"its joint noise is drawn by {drawn:,} comparisons, and a query has at most {LARGEST_COMPARED:,}: group by less, spend more, or take "
            'mechanism = "gaussian", which costs nothing and errs more'
        )
    among = sum(compared(x.column.size, wanted, plan.cells) for x, wanted in plan.counted.items())
    if among > LARGEST_COMPARED:
        names = " and ".join(map(str, plan.counted))
        raise PlanError(f"it takes {among:,} comparisons to find the most frequent values of {names}, and a query at most {LARGEST_COMPARED:,}: group by less")


def _plan_across(query: Query, security: Security) -> Plan:
    """The plan of a query that compares the companies' own figures."""
    (table,), known = query.tables, never_null(query.tables, query.where)
    outputs: list[Across] = []
    for output in query.statistics:
        if not isinstance(output.statistic, Across):
            raise PlanError(f"{output.name} is over all rows, and {', '.join(ACROSS)} compare companies: write a query of its own for each")
        if len(table.holders) < FEWEST_COMPANIES[output.function]:
            raise PlanError(
                f"{output.function} takes {FEWEST_COMPANIES[output.function]} companies or more, and {table.name} has "
                f"{len(table.holders)}: with fewer it would give their figures away"
            )
        if output.statistic.quarter == 0 and (outside := set(query.receivers) - set(table.holders)):
            raise PlanError(f"{output.function} tells each company its own rank, and {sorted(outside)[0]} has no part of {table.name}")
        outputs.append(output.statistic)
    if query.rules:
        raise PlanError(f"{outputs[0].function} is about companies, and release rules about groups of rows: remove them")
    if query.privacy is not None:
        raise PlanError(f"{outputs[0].function} cannot be had with privacy: how far one unit moves it is not bounded")
    opened = tuple(dict.fromkeys(outputs))
    measures: list[Measure] = []
    for figure in figures_of(opened):
        for measure in figure.measures:
            index_of(measures, plain(measure, known))
    keys = tuple(Key(reference, reference.nullable(known)) for reference in query.group_by)
    task = HomeTask(table, query.where, keys, tuple(measures))
    check_home(task)
    at_one = f"at one company ({table.max_rows:,} rows)"
    ranges = [(f"{measure} over {table.name} {at_one}", task.largest(measure)) for measure in measures]
    ranges += [(f"{figure} {at_one}", figure.largest(task.largest)) for figure in figures_of(opened)]
    ranges += [(f"{output}, times 4" if output.quarter else str(output), output.largest(task.largest, len(table.holders))) for output in opened]
    ranges += [(f"the number of {adjustment}", len(table.holders) * table.max_rows) for adjustment in task.adjustments]
    uses = tuple((opened.index(output),) for output in outputs)
    plan = Plan(query, security, smallest(security, ranges), keys, (task,), opened, uses, (), tuple(ranges))
    compared = len(table.holders) ** 2 * len(figures_of(opened)) * plan.cells
    if compared > LARGEST_COMPARED:
        raise PlanError(f"it compares {compared:,} pairs of figures, and a query at most {LARGEST_COMPARED:,}: group by less")
    return plan


def _ratios(query: Query) -> list[Ratio]:
    """What is divided on shares, each once, or a PlanError."""
    found: list[Ratio] = []
    for output in query.statistics:
        if isinstance(output.statistic, Ratio):
            holders = query.tables[0].holders
            if query.privacy is not None:
                raise PlanError(f"{output.function} cannot be had with privacy: noise is added to totals. Select AVG, of which they are opened with noise")
            if output.statistic.is_of_companies and len(holders) < FEWEST_PARTS:
                raise PlanError(
                    f"{output.function} takes {FEWEST_PARTS} companies or more, and {query.tables[0].name} has {len(holders)}: with fewer it would give their parts away"
                )
            if output.statistic.is_of_companies and query.rules:
                raise PlanError(f"{output.function} is about companies, and release rules about groups of rows: write a query of its own for each")
            if output.statistic not in found:
                found.append(output.statistic)
    return found


def _frequent(query: Query) -> list[Frequent]:
    """Those outputs that are most frequent values, or a PlanError."""
    found = []
    for output in query.statistics:
        if isinstance(output.statistic, Frequent):
            if query.privacy is not None:
                raise PlanError(f"{output.function} cannot be had with privacy: GROUP BY {output.statistic.argument} gives the counts, with noise")
            if len(query.tables) > 1:
                raise PlanError(f"{output.function} cannot be had in a join: query one table")
            found.append(output.statistic)
    return found


def _search(query: Query, cells: int, count: Callable[[Node], int]) -> Search | None:
    """What the query searches for in each of `cells`; `count` gives the place of the number of an argument's values among the measures."""
    search = None
    if query.privacy is None:
        search = search_of(query.statistics, count, cells)
    if search is None:
        return None
    names = ", ".join(sorted({output.function for output in query.statistics if isinstance(output.statistic, Quantile)}))
    if len(query.tables) > 1:
        raise PlanError(f"{names} cannot be had in a join: query one table")
    compared = max(search.compared)
    if compared > LARGEST_COMPARED:
        raise PlanError(f"{names}: it takes {compared:,} comparisons in a step of the search, and a query at most {LARGEST_COMPARED:,}: group by less")
    table = query.tables[0]
    missing = [holder for holder in table.holders if holder not in query.receivers]
    if missing:
        raise PlanError(
            f"{names} without `privacy` is searched for by all that hold {table.name}, and in searching they learn the answer: add "
            f"{', '.join(missing)} to its receivers"
        )
    return search


def _beside_totals(output: StatisticOutput, descents: Sequence[Descent]) -> tuple[Ratio | Place | Descent, ...]:
    """What is opened of it, but for totals."""
    match output.statistic:
        case Ratio():
            return (output.statistic,)
        case Frequent():
            return output.statistic.places
        case Quantile(p=p):
            return tuple(of for of in descents if (of.function, of.p, (of.tree.argument,)) == (output.function, p, output.arguments))
    return ()
