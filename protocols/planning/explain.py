"""What a plan will do, in words: for the person who decides whether it may."""

import math
from collections.abc import Iterator, Sequence

from mpc.noise import gaussian_steps_count
from mpc.schemes.replicated import Replicated
from protocols.accounting import epsilon
from protocols.expression import Number
from protocols.planning.descent import Descent
from protocols.planning.plan import Plan
from protocols.planning.privacy import Noise
from protocols.planning.query import StatisticOutput
from protocols.planning.randomised_response import WORDS
from protocols.planning.rules import Gate
from protocols.planning.undeclared import UNLIKELY
from protocols.statistics import histogram
from protocols.statistics.across import Across, figures_of, pairs
from protocols.statistics.base import Noisy, PrivateStatistic
from protocols.statistics.frequent import compared as comparisons
from protocols.statistics.quantile import FANOUT, Quantile, Tree, rank_variances
from protocols.tables import Table, Unit

REPORTED_DELTA = 1e-6
"""Where the spec gives rho alone."""
TYPICAL_ROWS = (100, 1_000, 10_000)
"""For which errors are given that depend on how many there are."""
INTERVAL = {"gaussian": 1.96, "joint": 1.96, "laplace": 2.12, "randomised-response": 1.96}
"""Standard errors on either side of a value that hold the exact one in 95 of 100 answers: of sums of Gaussian noise, and of
Polya noise, whose tails are at most those of a Laplace distribution (ln 20 / sqrt 2); of randomised response about so many,
since many independent reports add up to nearly a Gaussian."""


_HOW = {
    "ot": "Beaver triples that the companies make by oblivious transfer",
    "dealer": "Beaver triples from the dealer",
    None: "resharing",
    "replicated": "a message of one element from each company and no triples",
}
_OF_TRIPLES = {
    "ot": "Diffie-Hellman on edwards25519 is hard, and AES under a fixed key a correlation-robust hash (oblivious transfer: the companies "
    "make their random triples among themselves, and trust nobody with them)",
    "dealer": "the dealer colludes with no company; it sees no data and nothing that is opened",
}
"""What must hold where secrets are multiplied, by the source of the triples."""


def _how(plan: Plan) -> str:
    """How secrets are multiplied."""
    return _HOW[plan.scheme.name if isinstance(plan.scheme, Replicated) else plan.triples]


def assumptions(plan: Plan) -> list[str]:
    """What must hold for the companies' data to stay secret."""
    security, n = plan.security, len(plan.security.parties)
    alone = security.colluding == 1
    together = "no company alone" if alone else f"no {security.colluding} companies together"
    listed = [
        f"{together} (of {n}) learn{'s' * alone} more than the answers they receive imply, unless they break AES, "
        "HKDF-SHA256 or TLS (computational security)",
        "every company follows the protocol (passive security): one that deviates can falsify the answer",
        "that a company's own data are true is not checked, but for their declared bounds",
    ]
    if plan.triples is not None:
        listed.insert(1, _OF_TRIPLES[plan.triples])
    return listed


def protected(table: Table) -> str:
    """Who is protected, in words."""
    unit = table.unit
    assert unit is not None
    if unit.key is None:
        return f"each row of {table.name}"
    counted = f"{unit.rows} row{'s' * (unit.rows > 1)} in each of {unit.groups} group{'s' * (unit.groups > 1)}"
    companies = "one company" if unit.companies == 1 else f"each of {unit.companies} companies"
    return f"each {unit.key}, with all rows of it in {table.name}, of which at most {counted} at {companies} count"


def guarantee(plan: Plan) -> list[str]:
    """What the noise promises, for a data-protection officer; empty where there is none."""
    privacy, table, security = plan.query.privacy, plan.tasks[0].table, plan.security
    if privacy is None:
        return [
            f"the answer is exact: no differential privacy holds for {protected(table)}" for table in plan.exact_over
        ]
    assert table.unit is not None
    delta = REPORTED_DELTA if privacy.delta is None else float(privacy.delta)
    is_pure = privacy.is_pure and privacy.epsilon is not None
    size = float(privacy.epsilon) if is_pure and privacy.epsilon else epsilon(privacy.micro_rho, delta)
    n, t = len(security.parties), security.colluding
    them = f"{t} of the {n} companies" if t > 1 else "one company"
    change = "is there or not" if table.unit.neighbours == "add-remove" else "is there or another in its stead"
    who = [f"protected: {protected(table)}"]
    if plan.response is not None:
        change = "is in one group or in another"
        who = [
            f"protected: in which of the {plan.cells:,} groups somebody is; that is {protected(table)}",
            f"not protected: whether somebody is in {table.name}: how many rows count in all is opened exactly",
        ]
    against = f"whoever sees the answer, even together with {them} that pool their data, their noise and all they saw"
    how = [
        f"{privacy.mechanism} noise is added by each of {', '.join(plan.adding)} to what it shares, before anything is opened; "
        "nobody knows the sum of it",
        "computationally: as long as nobody breaks AES, HKDF-SHA256 or TLS",
    ]
    if plan.joint:
        how[0] = f"gaussian noise is drawn inside the computation, of random bits of {', '.join(security.parties)}, before anything is opened; nobody knows it, nor a part of it"
    if privacy.local:
        against = (
            "everybody but the companies that hold the rows: even all other companies together, with all they saw, and whoever breaks "
            "the sharing and TLS, and so sees what each company shares"
        )
        added = f"{privacy.mechanism} noise is added by each of {', '.join(plan.adding)} to what it shares"
        if plan.response is not None:
            kept, moved = plan.response.kept / WORDS, plan.response.moved / WORDS
            added = (
                f"each of {', '.join(plan.adding)} counts a row in its group with probability {kept:.4g}, and in each of the others with "
                f"{moved:.4g}, before it shares the counts"
            )
        how = [
            f"{added}; that is enough by itself, whatever the others do",
            "its randomness is AES-256-CTR under a key of this answer alone, which the company keeps: as long as nobody breaks AES",
        ]
    return [
        *who,
        f"against: {against}",
        f"epsilon = {size:.4g}"
        + ("" if is_pure else f" at delta = {delta:g}")
        + f" ({privacy.micro_rho / 1e6:g}-zCDP is charged): whether one {table.unit.key or 'row'} {change}, every answer is at most "
        f"e^epsilon = {math.exp(min(size, 700)):.4g} times as likely" + ("" if is_pure else ", but for a chance of delta"),
        *how,
        *_of_values(plan, table.unit),
    ]


def _of_values(plan: Plan, unit: Unit) -> Iterator[str]:
    """What is promised of values that are not declared."""
    if plan.undeclared is not None:
        yield (
            f"a value of {plan.undeclared.column.name} is only opened with {plan.undeclared}: one that a single {unit.key or 'row'} brings, with probability 2^-{UNLIKELY} at most, which is added to delta"
        )
        yield f"not protected: that a company has more than {plan.undeclared.column.size:,} values of it, for then it refuses"


def expected_errors(plan: Plan) -> list[tuple[str, str, str, str, str]]:
    """Of each output with noise: its name, in which cells, the standard error in its own units; and what the same budget would
    give a trusted party that sees all data, and what with local noise ("" in a join, where there is none). Known before anything
    is spent."""
    if plan.response is not None:
        response, beside = plan.response, plan.response.beside
        (name,) = [output.name for output in plan.query.statistics] or histogram.COLUMNS[-1:]
        others = f"{beside.central_deviation:.4g}", f"{beside.local_deviation:.4g}"
        return [
            (name, f"in every cell, of {rows:,} rows spread over all", f"{response.deviation(rows, rows / plan.cells):.4g}", *others)
            for rows in TYPICAL_ROWS
            if rows <= plan.rows
        ]
    added = [noise for noise in plan.noise if isinstance(noise, Noise)]
    kinds = [[noise.deviation for noise in added], [noise.central_deviation for noise in added]]
    kinds += [] if plan.products else [[noise.local_deviation for noise in added]]
    if plan.query.histogram is not None:
        figures = [f"{deviation:.4g}" for (deviation,) in kinds]
        return [(histogram.COLUMNS[-1], "in every bin", figures[0], figures[1], figures[2])]  # of one table: there is a local one
    if plan.tree is not None:
        return list(_tree_errors(plan, plan.tree, kinds))
    listed: list[tuple[str, str, str, str, str]] = []
    for output, places in zip(plan.query.statistics, plan.uses, strict=True):
        if isinstance(descent := plan.opened[places[0]], Descent):
            deviations = [noise.deviation for noise in descent.noise], [noise.central_deviation for noise in descent.noise]
            ours, central = (f"{descent.rank_error(of):.4g}" for of in deviations)
            listed.append((output.name, "ranks, in every cell", ours, central, ""))
            continue
        depends = len(places) > 1
        for rows in TYPICAL_ROWS if depends else (0,):
            if rows <= plan.rows:
                ours, central, *alone = (f"{_error(output, [kind[place] for place in places], rows):.4g}" for kind in kinds)
                where = f"in a cell of {rows:,} rows" if depends else "in every cell"
                listed.append((output.name, where, ours, central, "".join(alone)))
    return listed


def _tree_errors(plan: Plan, tree: Tree, kinds: Sequence[Sequence[float]]) -> Iterator[tuple[str, str, str, str, str]]:
    """Of a count its own; of a quantile that of the rank of the value that is given, on average over the bounds, and what that
    is in values where rows are spread evenly. `kinds` are the deviations of all levels: ours, central, local."""
    variances = [[deviation**2 for deviation in levels] for levels in kinds]
    width = (tree.argument.upper - tree.argument.lower) / 10**tree.argument.scale

    def said(errors: Sequence[float]) -> tuple[str, str, str]:
        ours, central, local = (f"{error:.4g}" for error in errors)
        return ours, central, local

    for output in plan.query.statistics:
        if not isinstance(output.statistic, Quantile):
            yield output.name, "in every cell", *said([math.sqrt(rank_variances(tree.sizes, of, 0)[-1]) for of in variances])
            continue
        p = float(output.statistic.p)
        errors = [math.sqrt(rank_variances(tree.sizes, of, p).mean()) for of in variances]
        yield output.name, "ranks, in every cell", *said(errors)
        for rows in (1_000, 10_000, 100_000):
            if rows <= plan.rows:
                where = f"in a cell of {rows:,} rows spread evenly over the bounds"
                yield output.name, where, *said([min(error / rows, 1.0) * width for error in errors])


def _error(output: StatisticOutput, deviations: Sequence[float], rows: int) -> float:
    """The standard error of an estimate from `rows` rows in the middle of the bounds, of totals with such noise."""
    assert isinstance(output.statistic, PrivateStatistic)
    totals = [Noisy(rows if place == 0 else 0, 0, deviation) for place, deviation in enumerate(deviations)]
    error = output.statistic.estimate(output.function, output.arguments, totals).standard_error
    return math.nan if error is None else error


def at_home(plan: Plan) -> list[tuple[str, str, str]]:
    """(companies, what each of them computes over its own rows, how many values) for each task."""
    described = []
    for task in plan.tasks:
        what = ", ".join(map(str, task.measures))
        keys = ", ".join(str(key.expression) for key in task.keys)
        where = " AND ".join(f"({condition})" if " OR " in str(condition) else str(condition) for condition in task.where)
        text = what + (f" for each {keys}" if keys else "") + f" over {task.table.name}" + (f" where {where}" if where else "")
        text += "".join(
            f"; {column.name} is rounded to multiples of {Number(column.step, column.scale)}"
            for column in task.columns
            if column.kind == "float"
        )
        text += "".join(f"; the number of {adjustment}" for adjustment in task.adjustments)
        size = task.size
        if isinstance(plan.gate, Gate) and plan.gate.extra and task is plan.tasks[0]:
            size += plan.gate.extra * plan.cells
            text += "; whether it has rows" * (plan.query.rules.minimum_contributors > 0)
            text += "; the sizes of its sums" * (plan.query.rules.maximum_share < 1 and bool(plan.gate.sums))
        if plan.indices and task is plan.tasks[0]:
            size += len(plan.indices) * plan.cells
            text += "".join(f"; the square of {measure}" for ratio in plan.indices for measure in ratio.measures)
        if plan.across:
            figures = figures_of(plan.across)
            size = len(figures) * plan.cells + len(plan.adjustments)
            text += f"; of which {', '.join(map(str, figures))}{' is' if len(figures) == 1 else ' are'} shared"
        if plan.tree is not None and len(plan.tree.sizes) > 1:
            size = plan.values_opened
            text += f"; and what every {FANOUT} neighbouring bins have together, and so on up"
        if plan.search is not None:
            sizes, of = plan.search.sizes, " and of ".join(map(str, plan.search.arguments))
            text += f"; then, in each of {len(sizes)} steps, in how many rows each value of {of} is at most some numbers, {max(sizes):,} in a step"
            size += sum(sizes) + len(plan.search.fractions)
        described.append((", ".join(task.table.holders), text, f"{size:,} numbers"))
    return described


def said_by_statistics(plan: Plan) -> list[str]:
    """What the receivers learn of each selected statistic, beyond the answer."""
    outputs = plan.query.statistics

    def discloses(output: StatisticOutput, places: Sequence[int]) -> str:
        if plan.search is not None and isinstance(output.statistic, Quantile):
            return plan.search.discloses(output)
        return next((of.discloses for of in (plan.opened[place] for place in places) if isinstance(of, Descent)), output.statistic.discloses)

    return [
        f"{output.name}: {output.function}({output.statistic.figure if isinstance(output.statistic, Across) else output.text}) gives the receivers "
        f"{discloses(output, places)}"
        for output, places in zip(outputs, plan.uses, strict=True)
    ]


def steps(plan: Plan) -> list[str]:
    """What happens on shares, in order."""
    scheme = plan.scheme
    values = sum(shape[0] for shape in plan.shapes.values())
    listed = [
        f"share: {values:,} numbers in all as {scheme.name} shares over {scheme.algebra.name}; "
        f"any {scheme.privacy_threshold} companies' shares together are random noise"
    ]
    if plan.products:
        how = _how(plan)
        listed.append(
            f"multiply: {plan.multiplied:,} products of one company's secrets with the others', with {how}; the products are "
            f"added up on shares{', group by group' if plan.keys else ''}{', where ' + ' AND '.join(map(str, plan.conditions)) if plan.conditions else ''}"
        )
    elif plan.across:
        compared = sum(len(pairs(len(plan.tasks[0].table.holders), figure, plan.across)) for figure in figures_of(plan.across))
        listed.append(
            f"compare: {compared * plan.cells:,} pairs of the companies' figures, on shares, with {_how(plan)}; no comparison is opened"
        )
    else:
        listed.append("add: the companies' numbers are added up on shares, without any message")
    to = ", ".join(plan.query.receivers)
    if plan.ratios:
        listed.append(
            f"divide: {len(plan.ratios) * plan.cells:,} ratio{'s' * (len(plan.ratios) * plan.cells > 1)}, digit by digit, on shares, with {_how(plan)}; neither part is opened"
        )
    if plan.joint:
        drawn = sum(gaussian_steps_count(variance) * size for variance, size in plan.joint)
        listed.append(f"draw noise: {sum(size for _, size in plan.joint):,} values, by {drawn:,} comparisons of secret random numbers with public ones, with {_how(plan)}")
    if plan.places:
        among = sum(comparisons(x.column.size, wanted, plan.cells) for x, wanted in plan.counted.items())
        listed.append(f"rank: {' and '.join(map(str, plan.counted))} by how often values occur, by {among:,} comparisons on shares, with {_how(plan)}; none is opened")
    if plan.undeclared is not None:
        listed.append(
            f"find groups: of up to {plan.undeclared.column.size:,} values of {plan.undeclared.column.name} at each of {plan.undeclared.companies} companies, sorted, merged and added up on shares, those that have {plan.undeclared}, "
            f"by {plan.undeclared.compared:,} comparisons, with {_how(plan)}; the others become zeros"
        )
    if plan.descents:
        listed.append(
            f"find: {' and '.join(map(str, plan.descents))}, by halving the bounds {max(descent.levels for descent in plan.descents)} times; which half, is decided on shares by counts with noise, in "
            f"{sum(descent.compared for descent in plan.descents):,} comparisons, with {_how(plan)}; none is opened"
        )
    if plan.gate is not None:
        listed.append(
            f"withhold: cells that do not have {plan.gate}; decided on shares, by {plan.gate.compared(plan.cells):,} comparisons, with {_how(plan)}"
        )
    if plan.search is not None:
        listed.append(
            f"search: in each of {len(plan.search.compared)} steps the companies share counts of rows up to at most {max(plan.search.sizes)} numbers, "
            f"add them up, and compare the sums with the ranks asked for, on shares, with {_how(plan).replace('Beaver triples', 'masks')}; "
            f"{sum(plan.search.compared):,} bits are opened in all, to {to}, and say in which part to search on"
        )
    if plan.revealed:
        listed.append(f"open: {plan.revealed:,} numbers, to {to}")
    return listed
