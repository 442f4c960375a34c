"""Utility before spending: how far the answers of a query are from the exact ones, at a budget that is not spent, beside other
ways to give the same guarantee.

- *ours*: each company adds a part of the noise before it shares, as planned.
- *central*: one trusted party sees all rows, and adds noise once.
- *local*: each company protects its rows by itself, and all publish; so it adds as much as if all others colluded. There are no such
  joins.
- *alone*: no noise, and no others: one company's exact totals (in a join, with the owned table), times the number of companies.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from mpc.algebra import Array
from mpc.noise import LEAST_VARIANCE
from mpc.randomness import Stream, fresh_seed
from mpc.simulate import simulate
from protocols.accounting import epsilon as epsilon_of
from protocols.accounting import micro_rho, pure_micro_rho
from protocols.planning.execute import answer, draw_noise, execute, inputs
from protocols.planning.plan import Plan
from protocols.planning.planner import plan_query
from protocols.planning.privacy import Noise, Privacy
from protocols.planning.query import KeyOutput, PlanError
from protocols.planning.rules import NO_RULES
from protocols.statistics import histogram
from protocols.statistics.base import Value

Rows = Sequence[Sequence[Value]]
Home = Sequence[Sequence[Array | None]]
"""Of each party, in order, the vectors of all tasks; None where it holds no such table."""

WAYS = ("ours", "central", "local", "alone")
_DEADLINE = 600.0


@dataclass(frozen=True)
class Error:
    """Of one output, over all cells and repetitions: the root mean square of its differences from the exact answer, the same
    over the root mean square of the exact values, and in what part of the cells only one of both had a value. None where
    there is nothing to compare, or to divide by."""

    absolute: float | None
    relative: float | None
    missing: float


def outputs(plan: Plan) -> tuple[tuple[int, str], ...]:
    """Columns of the answer that are no keys: place and name."""
    if plan.query.histogram is not None:
        return ((len(histogram.COLUMNS) - 1, histogram.COLUMNS[-1]),)
    return tuple((place, item.name) for place, item in enumerate(plan.query.select) if not isinstance(item, KeyOutput))


def noises(plan: Plan) -> list[Noise]:
    """That of each opened total."""
    return [noise for noise in plan.noise if isinstance(noise, Noise)]


def own_epsilon(privacy: Privacy, delta: float) -> float:
    """What the query asks for by itself, at `delta` where it gives rho alone."""
    return float(privacy.epsilon) if privacy.epsilon is not None else epsilon_of(privacy.micro_rho, delta)


def at_epsilon(plan: Plan, epsilon: Fraction, delta: Fraction) -> Plan:
    """The plan with another budget, by the query's own mechanism and split if it has any. PlanError."""
    old = plan.query.privacy or Privacy("gaussian", 0)
    if old.mechanism == "randomised-response":
        raise PlanError("randomised response is not rehearsed: `comity explain` shows its error")
    if old.mechanism == "joint":
        raise PlanError("joint noise is not rehearsed: `comity explain` shows its error, which is that of a trusted party (`central` of gaussian noise)")
    if old.is_pure:
        privacy = replace(old, micro_rho=pure_micro_rho(epsilon), epsilon=epsilon)
    else:
        privacy = replace(old, micro_rho=micro_rho(float(epsilon), float(delta)), epsilon=epsilon, delta=delta)
    if privacy.micro_rho < 1:
        raise PlanError("is too small a budget: less than a millionth of rho")
    return plan_query(replace(plan.query, privacy=privacy), plan.security)


def without_rules(plan: Plan) -> Plan:
    """The plan of the same query with all its cells."""
    return plan_query(replace(plan.query, rules=NO_RULES), plan.security)


def exact(plan: Plan) -> Plan:
    """The plan without noise."""
    return plan_query(replace(plan.query, privacy=None), plan.security)


def without_caps(plan: Plan) -> Plan:
    """The plan with noise, of which all rows of each unit count: to compare with. Its noise is meaningless then."""
    shared, *others = plan.tasks
    assert shared.unit is not None
    every = replace(shared.unit, rows=shared.table.max_rows, groups=shared.cells)
    return replace(plan, tasks=(replace(shared, unit=every), *others))


def central(plan: Plan) -> Plan:
    """The plan with the noise that a trusted party would add, once, for the same guarantee. For `opened_otherwise` alone."""
    return replace(plan, noise=tuple(_added(noise, noise.central, 1) for noise in noises(plan)))


def local(plan: Plan) -> Plan:
    """The same with that which each company would add to be protected by its own noise alone. For `opened_otherwise` alone."""
    return replace(plan, noise=tuple(_added(noise, noise.local, noise.adding) for noise in noises(plan)))


def _added(noise: Noise, parameter: Fraction, adding: int) -> Noise:
    digits = 0
    if noise.mechanism == "gaussian":
        digits = next(d for d in range(40) if parameter * 100**d >= LEAST_VARIANCE)
        parameter *= 100**digits
    return replace(noise, parameter=parameter, digits=digits, adding=adding, honest=1)


def opened_among(plan: Plan, home: Home, is_noisy: bool = True) -> list[list[int]]:
    """What a receiver gets, from all parties run as threads: their noise, sharing, what is computed on shares, and opening are
    those of the nodes. Without noise its place is kept: what is opened is multiplied by powers of ten all the same."""
    silent = np.zeros(len(plan.noise) * plan.cells, dtype=np.int64)
    mine = []
    for name, vectors in zip(plan.security.parties, home, strict=True):
        noise = draw_noise(plan, name, Stream(fresh_seed())) if is_noisy else None
        mine.append(inputs(plan, vectors, silent if name in plan.adding and not is_noisy else noise))
    run = simulate(lambda ctx, own: execute(ctx, plan, own), mine, plan.scheme, triples=plan.triples, deadline=_DEADLINE)
    opened: list[list[int]] = run[plan.receivers[0]]
    return opened


def opened_otherwise(plan: Plan, totals: Sequence[Sequence[int]]) -> list[list[int]]:
    """`totals` without noise, and that of a plan by `central` or `local`."""
    opened, stream = [], Stream(fresh_seed())
    for noise, total in zip(noises(plan), totals, strict=False):
        drawn = sum(noise.sampler.draw(plan.cells, stream).astype(object) for _ in range(noise.adding))
        opened.append((np.array(total, dtype=object) * noise.factor + drawn).tolist())
    return opened


def plain(plan: Plan, opened: Sequence[Sequence[int]]) -> list[list[int]]:
    """Totals as they are, of those that `opened_among` gives without noise."""
    return [[value // noise.factor for value in total] for noise, total in zip(noises(plan), opened, strict=False)]


def scaled(plan: Plan, totals: Sequence[Sequence[int]]) -> list[list[int]]:
    """The opposite of `plain`."""
    return [[value * noise.factor for value in total] for noise, total in zip(noises(plan), totals, strict=True)]


def alone(home: Home, task: int, party: int) -> list[list[Array | None]]:
    """`home`, with the table of `task` at `party` alone: at the others it is empty."""
    return [
        [
            vector if vector is None or place != task or number == party else np.zeros_like(vector)
            for place, vector in enumerate(vectors)
        ]
        for number, vectors in enumerate(home)
    ]


def rows(plan: Plan, opened: Sequence[Sequence[int]]) -> Rows:
    return answer(plan, opened).rows


def errors(plan: Plan, truth: Rows, answers: Sequence[Rows]) -> dict[str, Error]:
    """Of each output of `plan`, over `answers` to it."""
    return {name: _error(place, truth, answers) for place, name in outputs(plan)}


def _error(place: int, truth: Rows, answers: Sequence[Rows]) -> Error:
    squares: list[float] = []
    exacts: list[float] = []
    missing = 0
    for table in answers:
        for true_row, row in zip(truth, table, strict=True):
            true, found = true_row[place], row[place]
            if true is None or found is None:
                missing += true is not found
                continue
            squares.append(float(Fraction(found) - Fraction(true)) ** 2)
            exacts.append(float(Fraction(true)) ** 2)
    share = missing / max(1, len(answers) * len(truth))
    if not squares:
        return Error(None, None, share)
    absolute, size = (math.sqrt(math.fsum(items) / len(items)) for items in (squares, exacts))
    return Error(absolute, absolute / size if size else None, share)

