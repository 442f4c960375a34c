"""Runs a plan on a context, and makes the answer of what it opened."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np

from mpc.algebra import Array
from mpc.context import Context
from mpc.randomness import Stream
from mpc.share import Share, concatenate
from protocols.gadgets import gaussian, reveal, share
from protocols.planning.descent import Descent, descend
from protocols.planning.plan import Plan, group_cells
from protocols.planning.privacy import Noise
from protocols.planning.query import KeyOutput, StatisticOutput, never_null
from protocols.planning.randomised_response import DIGITS
from protocols.planning.rules import Gate, NoisyGate, released
from protocols.planning.search import Ranks, find
from protocols.planning.task import plain
from protocols.planning.undeclared import Undeclared, text_of
from protocols.planning.undeclared import find as find_groups
from protocols.statistics import frequent, histogram
from protocols.statistics.across import Across, figures_of, opened_to, secure
from protocols.statistics.base import Estimate, Noisy, PrivateStatistic, Value, decimal, half_ulp
from protocols.statistics.quantile import Quantile, Tree, fit, levels, rank_variances, read
from protocols.statistics.ratio import Ratio
from protocols.statistics.ratio import secure as divided
from protocols.tables import KeyValue


@dataclass(frozen=True)
class Answer:
    """A table; `error_bound` gives for each column the greatest absolute difference from the exact answer, noise aside.
    With noise, `standard_error` has that of each value, None for keys and where there is no value."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    error_bound: tuple[float, ...]
    standard_error: tuple[tuple[float | None, ...], ...] = ()


def prepare(ctx: Context, plan: Plan) -> None:
    """Asks for the triples and other correlations that `execute` will use, so that they are dealt while the companies compute at
    home. The dealer learns their numbers, which are in the plan."""
    for kind in plan.needed:
        if ctx.triples is not None:
            ctx.triples.request(ctx, kind)


def draw_noise(plan: Plan, me: str, stream: Stream) -> Array | None:
    """The noise that party `me` adds, as integers: for each opened total one a value, in the order of `plan.layout`; of
    randomised response the key of its choices. None where it adds none. To be drawn before anything is computed at home, so
    that its time tells nothing of it."""
    if me not in plan.adding:
        return None
    return np.concatenate([noise.draw(size, stream) for noise, size in zip(plan.noise, plan.noise_sizes, strict=True)])


def inputs(plan: Plan, home: Sequence[Array | None], noise: Array | None = None) -> Array | None:
    """The integers that this party shares in `execute`; None where it shares nothing. `home[k]` is this company's vector for
    task k, None where it holds no such table. Of a single table the noise is in the totals themselves; in a join, where groups are found, and what is added in descents, it comes
    after them. By randomised response none is shared without it. The counts of a tree's leaves are added up to those of its upper
    levels here."""
    vectors = [vector for vector in home if vector is not None]
    if plan.across:
        return own_figures(plan, vectors[0]) if vectors else None
    if plan.tree is not None:
        vectors = [levels(plan.tree, vector, plan.tasks[0].table.max_rows) for vector in vectors]
    if plan.response is not None and vectors:
        if noise is None:
            raise ValueError("exact counts, which randomised response is to replace, are not shared: draw_noise comes first")
        vectors = [plan.response.randomise(vectors[0], noise)]
    elif noise is not None and (plan.products or plan.undeclared is not None):
        vectors.append(noise)
    elif (noise is not None or plan.joint) and vectors and not plan.products and plan.undeclared is None:
        total, factors = vectors[0].astype(object), _by_value(plan)
        total[: factors.size] *= factors
        if noise is not None:
            total[: factors.size] += noise[: factors.size]
            vectors.append(noise[factors.size :])
        vectors[0] = total
    if ((isinstance(plan.gate, Gate) and not plan.products) or plan.indices) and vectors:
        totals = list(vectors[0][: plan.cells * len(plan.tasks[0].measures)].reshape(-1, plan.cells))
        vectors += [totals[plan.place(ratio)[0]].astype(object) ** 2 for ratio in plan.indices]
        vectors += plan.gate.of(totals) if isinstance(plan.gate, Gate) else []
    return np.concatenate(vectors) if vectors else None


def execute(
    ctx: Context,
    plan: Plan,
    mine: Array | None,
    phase: Callable[[str], None] = lambda name: None,
    ranks: Sequence[Ranks] = (),
    seed: bytes | None = None,
) -> list[list[int]] | None:
    """The opened totals (`plan.opened` by cell, in it by node of a tree, then each of `plan.adjustments`; of a search what `find` gives, and
    the fractions) at a receiver; None elsewhere.

    `mine` are this party's `inputs`; `ranks`, in a search, its values of each argument, where it is a holder; `seed`, with joint noise, of its
    random bits. `phase` hears "share", "compute" and "open". Discloses `disclosures(plan)`; costs
    `plan.cost`.
    """
    phase("share")
    shares = share(ctx, mine, shapes=plan.shapes)
    if plan.across:
        return _compared(ctx, plan, dict(zip(plan.shapes, shares, strict=True)), phase)
    by_party = dict(zip(plan.shapes, shares, strict=True))
    if plan.undeclared is not None:
        return _found(ctx, plan, plan.undeclared, by_party, phase, seed)
    totals, adjusted, noise = _totals(plan, by_party)
    phase("compute")
    joined: Share | None = None
    if plan.join is not None:
        apart = [by_party[i][: plan.tasks[0].size - len(plan.tasks[0].adjustments)] for i in plan.holders] if plan.parts > 1 else [totals[0]]
        joined = plan.join.multiplied(ctx, apart, totals[1])
    opened = totals[0] if joined is None else joined.sum(0).reshape(-1)
    opened = opened[: sum(plan.sizes[: len(plan.totals)])]
    if plan.ratios:
        opened = concatenate([opened, *_divided(ctx, plan, by_party, totals[0])])
    if plan.places:
        by_value = {x: of.reshape(plan.cells, x.column.size) for x, of in zip(plan.counted, totals[1:], strict=False)}
        ranked = frequent.secure(ctx, by_value, plan.counted)
        opened = concatenate([opened, *(ranked[place] for place in plan.places)])
    numbers = totals[0][:0]
    if plan.search is not None:
        numbers = concatenate(_vectors(totals[0], 0, len(plan.tasks[0].measures), plan.cells)).reshape(-1, plan.cells)[list(plan.search.counts)].reshape(-1)
    passed: list[int] | None = None
    if isinstance(plan.gate, Gate):
        gated = _gated(ctx, plan, plan.gate, by_party, joined, concatenate([opened, numbers]))
        opened, numbers, bits = gated[: opened.size], gated[opened.size : -plan.cells], gated[-plan.cells :]
        opened = concatenate([opened, bits])
        if plan.search is not None:
            told = reveal(ctx, bits, to=plan.receivers)
            passed = None if told is None else told.tolist()
    if plan.joint:
        noise = _drawn(ctx, plan, seed)
    if noise is not None:
        of_descents = plan.cells * sum(descent.levels for descent in plan.descents)
        of_totals = noise[: noise.size - of_descents]
        if plan.products:
            opened = opened * _by_value(plan)
        if of_totals.size:
            opened = opened + of_totals
        if plan.descents:
            opened = concatenate([opened, _descended(ctx, plan, totals[1:], noise[of_totals.size :])])
    if isinstance(plan.gate, NoisyGate):
        opened = released(ctx, plan.gate.required(_vectors(opened, 0, len(plan.totals), plan.cells)), opened)
    found, fractions = None, totals[0][:0]
    if plan.search is not None:
        found, fractions = find(ctx, plan.search, numbers, plan.holders, plan.receivers, ranks, passed)
    phase("open")
    values = reveal(ctx, opened, adjusted, fractions, to=plan.receivers) if plan.revealed else [np.zeros(0, dtype=np.int64)] * 3
    if values is None or ctx.me not in plan.receivers:
        return None
    cells, counts, parts = values
    places = _places(plan)
    totals_of = (part.reshape(plan.cells, -1)[places] for part in np.split(cells, np.cumsum(plan.sizes, dtype=np.int64))[:-1])
    found = [*found, parts.tolist()] if found is not None else []
    return [*(total.reshape(-1).tolist() for total in totals_of), *([count] for count in counts.tolist()), *found]


def _drawn(ctx: Context, plan: Plan, seed: bytes | None) -> Share:
    """Joint noise."""
    if seed is None:
        raise ValueError("joint noise takes a seed of each party's own: without it nothing is opened")
    return gaussian(ctx, plan.joint, Stream(seed))


def _found(
    ctx: Context, plan: Plan, undeclared: Undeclared, shares: dict[int, Share], phase: Callable[[str], None], seed: bytes | None
) -> list[list[int]] | None:
    """The totals of groups that the companies find, and the words of their texts, place by place."""
    phase("compute")
    size = plan.tasks[0].size
    noise = _drawn(ctx, plan, seed) if plan.joint else reduce(add, (shares[party][size:] for party in plan.holders))
    found = find_groups(ctx, undeclared, [shares[party][:size] for party in plan.holders], noise)
    phase("open")
    values = reveal(ctx, found, to=plan.receivers)
    return None if values is None or ctx.me not in plan.receivers else values.reshape(-1, plan.cells).tolist()


def _gated(ctx: Context, plan: Plan, gate: Gate, shares: dict[int, Share], joined: Share | None, totals: Share) -> Share:
    """`totals` where the cell is released, and else 0; and whether it is. `joined` are the companies' parts of a join."""
    task, cells = plan.tasks[0], plan.cells
    start = sum(each.size for each in plan.tasks) + len(plan.indices) * cells
    if joined is not None:
        own = {i: [joined[number, k] for k in range(len(plan.products))] for number, i in enumerate(plan.holders)}
        extra = gate.formed(ctx, own)
    else:
        own = {i: _vectors(shares[i], 0, len(task.measures), cells) for i in plan.holders}
        extra = {i: _vectors(shares[i], start, gate.extra, cells) for i in plan.holders}
    first = sum(each.size for each in plan.tasks[:-1])
    parts = {i: _vectors(shares[i], first, gate.parts, cells) for i in plan.holders} if gate.parts else {}
    return released(ctx, gate.required(ctx, own, extra, parts), totals)


def _divided(ctx: Context, plan: Plan, shares: dict[int, Share], totals: Share) -> list[Share]:
    """The ratios, in the cells of the task."""
    task, cells = plan.tasks[0], plan.cells
    by_measure = _vectors(totals, 0, len(task.measures), cells)
    by_company = [_vectors(shares[i], sum(each.size for each in plan.tasks), len(plan.indices), cells) for i in plan.holders]
    squares = {ratio: reduce(add, (of[k] for of in by_company)) for k, ratio in enumerate(plan.indices)}
    return divided(ctx, plan.ratios, {ratio: [by_measure[k] for k in plan.place(ratio)] for ratio in plan.ratios}, squares)


def _descended(ctx: Context, plan: Plan, counts: Sequence[Share], noise: Share) -> Share:
    """The leaves that are found, in the cells of the task; `counts` are those of all leaves, by argument."""
    leaves = list(dict.fromkeys(descent.tree.leaf for descent in plan.descents))
    of = [counts[leaves.index(descent.tree.leaf)].reshape(plan.cells, descent.tree.leaves) for descent in plan.descents]
    return descend(ctx, plan.descents, of, noise)


def _vectors(share: Share, start: int, count: int, cells: int) -> list[Share]:
    """`count` of a number a cell, one after another."""
    return [share[start + k * cells : start + (k + 1) * cells] for k in range(count)]


def own_figures(plan: Plan, vector: Array) -> Array:
    """This company's figures, from its totals; then its adjustments. NoFigure where it has no rows to average."""
    (task,), known = plan.tasks, never_null(plan.query.tables, plan.query.where)
    totals = dict(zip(task.measures, vector[: len(task.measures) * plan.cells].reshape(-1, plan.cells), strict=True))
    figures = [figure.of([totals[plain(measure, known)] for measure in figure.measures]) for figure in figures_of(plan.across)]
    return np.concatenate([*figures, vector[len(task.measures) * plan.cells :]])


def _compared(ctx: Context, plan: Plan, shares: dict[int, Share], phase: Callable[[str], None]) -> list[list[int]] | None:
    """How the companies stand among one another."""
    phase("compute")
    holders, cells, figures = [plan.party(name) for name in plan.tasks[0].table.holders], plan.cells, figures_of(plan.across)
    places = _places(plan)
    by_figure = {
        figure: [shares[holder][k * cells : (k + 1) * cells][places] for holder in holders] for k, figure in enumerate(figures)
    }
    found = secure(ctx, plan.across, by_figure)
    phase("open")
    adjusted = reduce(add, (shares[holder][len(figures) * cells :] for holder in holders))
    opened = opened_to(ctx, plan.across, found, adjusted, holders, plan.receivers)
    return None if opened is None else [*opened[:-1], *([count] for count in opened[-1])]


def _by_value(plan: Plan) -> Array:
    """By what each value of the totals is multiplied before noise is added."""
    factors = np.array([noise.factor for noise, _ in zip(plan.noise, plan.totals, strict=False) if isinstance(noise, Noise)], dtype=object)
    return np.repeat(factors, plan.sizes[: len(factors)])


def _totals(plan: Plan, shares: dict[int, Share]) -> tuple[list[Share], Share, Share | None]:
    """For each task the sum over its holders, each of which shared the vectors of its tasks end to end; all adjustments; and
    of noise that was shared apart its sum, which came after them."""
    start = dict.fromkeys(shares, 0)
    totals, adjusted = [], []
    for task in plan.tasks:
        parts, size = [], task.size if plan.tree is None else plan.values_opened
        for holder in map(plan.party, task.table.holders):
            parts.append(shares[holder][start[holder] : start[holder] + size])
            start[holder] += size
        total, cells = reduce(add, parts), size - len(task.adjustments)
        totals.append(total[:cells])
        adjusted.append(total[cells:])
    noise = [shares[party][start[party] :] for party in map(plan.party, plan.adding)] if plan.is_apart else []
    return totals, concatenate(adjusted), reduce(add, noise) if noise else None


def _places(plan: Plan) -> Array:
    """Where each cell of the answer is among those of `plan.layout`."""
    steps, step = {}, 1
    for key in reversed(plan.layout):
        steps[key] = step
        step *= key.size
    places: Array = np.zeros(1, dtype=np.int64)
    for key in plan.keys:
        places = (places[:, np.newaxis] + steps[key] * np.arange(key.size)).reshape(-1)
    return places


def answer(plan: Plan, opened: Sequence[Sequence[int]]) -> Answer:
    """The table that the query selects, one row a cell in declared order."""
    withheld = withheld_cells(plan, opened)
    noisy = [] if plan.tree is not None else [noise.read(cells) for noise, cells in zip(plan.noise, opened, strict=False)]
    if plan.query.histogram is not None:
        edges = histogram.edges(plan.query.histogram)
        bounds = [abs(edge) for pair in edges for edge in pair if isinstance(edge, float)]
        bound = half_ulp(int(max(bounds)) + 1) if bounds else 0
        counts = noisy[0] if noisy else [Noisy(count, 0, 0) for count in opened[0]]
        bins = tuple(
            (*edge, None if cell in withheld else decimal(count.value, count.digits))
            for cell, (edge, count) in enumerate(zip(edges, counts, strict=True))
        )
        return Answer(
            histogram.COLUMNS, bins, (bound, bound, _rounded(plan)), tuple((None, None, None if cell in withheld else count.deviation) for cell, count in enumerate(counts)) if noisy else ()
        )
    select, groups = plan.query.select, _groups(plan, opened)
    keys = [key.expression for key in plan.keys]
    uses = iter(plan.uses)
    fitted = _from_tree(plan, plan.tree, opened) if plan.tree is not None else {}
    made_of = [(keys.index(output.key),) if isinstance(output, KeyOutput) else next(uses) for output in select]
    rows: list[tuple[Value, ...]] = []
    errors: list[tuple[float | None, ...]] = []
    for cell, values_of_keys in groups:
        row: list[Value] = []
        row_errors: list[float | None] = []
        for output, places in zip(select, made_of, strict=True):
            if isinstance(output, KeyOutput):
                row.append(values_of_keys[places[0]])
                row_errors.append(None)
            elif cell in withheld:
                row.append(None)
                row_errors.append(None)
            elif plan.search is not None and isinstance(output.statistic, Quantile):
                row.append(plan.search.answer(output, opened[-3:], cell))
                row_errors.append(None)
            elif plan.tree is not None:
                row.append(fitted[output][cell].value)
                row_errors.append(fitted[output][cell].standard_error)
            elif isinstance(of := plan.opened[places[0]], Descent):
                row.append(of.value(opened[places[0]][cell]))
                row_errors.append(None)
            elif plan.noise:
                assert isinstance(output.statistic, PrivateStatistic)  # else it would not have been planned
                estimate = output.statistic.estimate(output.function, output.arguments, [noisy[k][cell] for k in places])
                row.append(estimate.value)
                row_errors.append(estimate.standard_error)
            else:
                assert not isinstance(output.statistic, Quantile)  # it has a tree, or is searched for
                if isinstance(output.statistic, Across | Ratio):
                    row.append(output.statistic.finish(opened[places[0]][cell]))
                    continue
                values = [opened[place][cell] for place in places]
                if isinstance(output.statistic, frequent.Frequent):
                    row.append(output.statistic.finish(output.function, values))
                    continue
                row.append(output.statistic.finish(output.function, output.arguments, values))
        rows.append(tuple(row))
        errors.append(tuple(row_errors))
    return Answer(
        tuple(output.name for output in select),
        tuple(rows),
        tuple(_error_bound(plan, output, places) for output, places in zip(select, made_of, strict=True)),
        tuple(errors) if plan.noise else (),
    )


def _groups(plan: Plan, opened: Sequence[Sequence[int]]) -> Iterator[tuple[int, tuple[KeyValue, ...]]]:
    """The cells of the answer, and the values of their keys: in declared order, or of groups that were found in that of their texts."""
    if plan.undeclared is not None:
        words = opened[len(plan.totals) : len(plan.opened)]
        texts = ((text_of(of), cell) for cell, of in enumerate(zip(*words, strict=True)))
        yield from ((cell, (text,)) for text, cell in sorted((text, cell) for text, cell in texts if text is not None))
        return
    columns = [key.column for key in plan.query.group_by]
    for cell, codes in enumerate(group_cells(plan)):
        yield cell, tuple(column.value(code) if code < column.size else None for column, code in zip(columns, codes, strict=True))


def withheld_cells(plan: Plan, opened: Sequence[Sequence[int]]) -> set[int]:
    """The cells that do not meet the release rules."""
    if plan.gate is None:
        return set()
    return {cell for cell, is_released in enumerate(opened[len(plan.opened) - 1]) if not is_released}


def _error_bound(plan: Plan, output: KeyOutput | StatisticOutput, places: Sequence[int]) -> float:
    if isinstance(output, KeyOutput):
        return 0
    if isinstance(output.statistic, Quantile):
        if plan.search is not None:
            return plan.search.error_bound(output)
        if plan.tree is not None:
            return plan.tree.error_bound
        return of.error_bound if isinstance(of := plan.opened[places[0]], Descent) else 0
    if isinstance(output.statistic, Across):
        return output.statistic.error_bound(plan.tasks[0].table.max_rows)
    if isinstance(output.statistic, Ratio | frequent.Frequent):
        return output.statistic.error_bound
    return output.statistic.error_bound(output.function, output.arguments, plan.rows) + _rounded(plan)


def _rounded(plan: Plan) -> float:
    """By how much estimates from randomised response are off for being decimals."""
    return 0.5 / 10**DIGITS if plan.response is not None else 0


def _from_tree(plan: Plan, tree: Tree, opened: Sequence[Sequence[int]]) -> dict[StatisticOutput, list[Estimate]]:
    """By group, each quantile, and the count of the values that they are of."""
    added = [noise for noise in plan.noise if isinstance(noise, Noise)]
    counts = [
        np.array([value / 10**noise.digits for value in level]).reshape(plan.cells, -1)
        for level, noise in zip(opened, added, strict=True)
    ]
    variances = [noise.deviation**2 for noise in added]
    leaves = fit(counts, variances)
    estimates = {}
    for output in plan.query.statistics:
        if isinstance(output.statistic, Quantile):
            p = output.statistic.p
            deviations = np.sqrt(rank_variances(tree.sizes, variances, float(p)))
            estimates[output] = [read(tree, group, deviations, p) for group in leaves]
        else:
            deviation = float(np.sqrt(rank_variances(tree.sizes, variances, 0)[-1]))
            estimates[output] = [Estimate(float(group.sum()), deviation) for group in leaves]
    return estimates
