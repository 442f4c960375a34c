"""Utility before spending: a query of the approved spec, tried out at home with stand-ins for all companies.

Real are the home queries, in the engine, over each stand-in's rows; and noise, sharing, what is computed on shares and opening, run
as threads of this process. Not there are peers, the network, approval by others, ledgers and receipts: nothing is sent,
charged or written down.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from fractions import Fraction
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from sqlglot import exp

from mpc.errors import ComityError
from parties.data.home import DatabaseSource, DataError, TableSource, compute
from parties.data.place import Part
from parties.data.source import opened, run
from parties.data.synthetic import write_synthetic
from parties.spec.load import Spec
from parties.spec.problems import nearest
from protocols.planning import rehearsal
from protocols.planning.explain import REPORTED_DELTA
from protocols.planning.plan import Plan
from protocols.planning.query import PlanError
from protocols.statistics.quantile import Quantile
from protocols.tables import Table

Kind = Literal["own", "synthetic"]
Sources = Mapping[str, TableSource | DatabaseSource]

MOST_SYNTHETIC = 100_000
"""Rows at each stand-in, unless asked for."""
_VALUES = 400
"""So many values of an output, over cells and repetitions, or more: then its root mean square is known to a twentieth or so."""
_FEWEST, _MOST = 5, 100
_HEAVY = 100_000
"""Joins of more products are run the fewest times."""


def rehearse(
    spec: Spec,
    name: str,
    sources: Sources,
    epsilons: Sequence[Fraction],
    *,
    kind: Kind | None = None,
    delta: Fraction | None = None,
    count: int | None = None,
    tell: Callable[[str], object] = lambda doing: None,
) -> dict[str, Any]:
    """The errors of query `name`, JSON-ready: at each of `epsilons`, and at that of the query's own budget.

    `sources` are this company's. Of each table its rows are split among stand-ins for the holders, or (where it has none, or
    by `kind`) `count` rows are drawn for each of them. ComityError says what is missing.
    """
    if name not in spec.plans:
        raise ComityError(f"the approved spec has no query {name!r}: {nearest(name, spec.plans)}")
    planned, notes = spec.plans[name], []
    if planned.query.rules:
        planned = rehearsal.without_rules(planned)
        notes.append("release rules are left out: these are errors of all cells, of which the query withholds some")
    plans, own, delta = _plans(planned, epsilons, delta)
    private = next(iter(plans.values()))
    with ExitStack() as stack:
        tables, used = [], []
        for task in planned.tasks:
            tell(f"preparing rows of {task.table.name}")
            found, described = _stand_ins(stack, task.table, sources, kind, count)
            tables.append(found)
            used.append(described)
        tell("computing at home")
        home = _home(private, tables)
        reference = rehearsal.exact(planned)
        try:
            reference_home = _home(reference, tables)
        except DataError as error:  # with noise nothing is refused, so that the query itself would run
            reference = rehearsal.without_caps(private)
            reference_home = _home(reference, tables)
            notes.append(
                "exact are here the rows and values that count with noise (others are left out, or clamped), but all of each unit's, since "
                f"over what this company has an exact query would be refused. In one of the parts: {error}"
            )
    tell("adding up without noise")
    totals = rehearsal.plain(private, rehearsal.opened_among(private, home, is_noisy=False))
    bounded = rehearsal.rows(private, rehearsal.scaled(private, totals))
    holders = planned.tasks[0].table.holders
    truth, parts = _exactly(reference, reference_home, len(holders), [planned.party(holder) for holder in holders])
    repetitions = min(_MOST, max(_FEWEST, ceil(_VALUES / planned.cells))) if planned.multiplied <= _HEAVY else _FEWEST
    alone, bounding = rehearsal.errors(private, truth, parts), rehearsal.errors(private, truth, [bounded])
    measured = []
    for epsilon, plan in sorted(plans.items()):
        tell(f"at epsilon {epsilon:.4g}")
        others = {"central": rehearsal.central(plan)}
        if not plan.products:  # what companies publish by themselves cannot be joined
            others["local"] = rehearsal.local(plan)
        answers = {"ours": [rehearsal.rows(plan, rehearsal.opened_among(plan, home)) for _ in range(repetitions)]}
        for way, other in others.items():
            answers[way] = [rehearsal.rows(other, rehearsal.opened_otherwise(other, totals)) for _ in range(repetitions)]
        by_way = {way: rehearsal.errors(plan, truth, found) for way, found in answers.items()} | {"alone": alone}
        assert plan.query.privacy is not None
        measured.append({
            "epsilon": epsilon,
            "is_own": epsilon == own,
            "rho": plan.query.privacy.micro_rho / 1e6,
            "outputs": {
                output: {way: asdict(by_way[way][output]) if way in by_way else None for way in rehearsal.WAYS}
                for _, output in rehearsal.outputs(plan)
            },
        })
    privacy = private.query.privacy
    assert privacy is not None
    return {
        "query": name,
        "mechanism": privacy.mechanism,
        "delta": float(delta) if privacy.mechanism == "gaussian" else 0.0,
        "own_epsilon": own,
        "parties": list(planned.security.parties),
        "colluding": planned.security.colluding,
        "rows": used,
        "cells": planned.cells,
        "repetitions": repetitions,
        "errors": measured,
        "bounding": {output: asdict(error) for output, error in bounding.items()},
        "note": "; ".join(notes) or None,
        "spent": 0,
    }


def _plans(planned: Plan, epsilons: Sequence[Fraction], delta: Fraction | None) -> tuple[dict[float, Plan], float | None, Fraction]:
    """By epsilon; which of them is the query's own; and at what delta. ComityError."""
    query, table = planned.query, planned.tasks[0].table
    privacy = query.privacy
    if planned.undeclared is not None:
        raise ComityError(f"queries.{query.name}: groups of {planned.undeclared.column.name}, which nobody declared, are not rehearsed: `comity explain` shows the expected errors")
    for output in query.statistics:
        if isinstance(output.statistic, Quantile):
            raise ComityError(f"queries.{query.name}: {output.function} is not rehearsed: `comity explain` shows its expected error")
    if table.unit is None:
        raise ComityError(
            f"queries.{query.name}: noise protects somebody, and nobody says whom: add unit to tables.{table.name} of the spec, for "
            f'instance `unit = {{ key = "person" }}`, or `unit = {{}}` for each row by itself, and approve that'
        )
    if privacy is not None and delta is not None and (privacy.mechanism == "laplace" or privacy.delta is not None):
        has = "laplace noise, which has no delta" if privacy.delta is None else f"delta = {float(privacy.delta):g}"
        raise ComityError(f"queries.{query.name}.privacy has {has}: leave --delta out")
    if privacy is not None and privacy.delta is not None:
        delta = privacy.delta
    delta = delta or Fraction(str(REPORTED_DELTA))
    plans = {}
    for epsilon in epsilons:
        try:
            plans[float(epsilon)] = rehearsal.at_epsilon(planned, epsilon, delta)
        except PlanError as error:
            raise ComityError(f"queries.{query.name} at epsilon {float(epsilon):g}: {error}") from None
    own = None
    if privacy is not None:
        own = rehearsal.own_epsilon(privacy, float(delta))
        plans[own] = planned
    return plans, own, delta


def _stand_ins(
    stack: ExitStack, table: Table, sources: Sources, kind: Kind | None, count: int | None
) -> tuple[dict[str, TableSource], dict[str, Any]]:
    """Of each holder the source of what stands in for its rows, until `stack` is closed; and in words."""
    if kind is None:
        kind = "own" if table.name in sources else "synthetic"
    found: dict[str, TableSource] = {}
    if kind == "own":
        if table.name not in sources:
            raise ComityError(
                f"this node has no rows of {table.name}: say where in node.toml, [tables.{table.name}], or rehearse over rows "
                "drawn from the declared ranges, --rows synthetic"
            )
        source = sources[table.name]
        if isinstance(source, DatabaseSource):
            _, source, _ = stack.enter_context(opened(source, table))  # one copy for all
        key = table.unit.key if table.unit is not None else None
        for number, holder in enumerate(table.holders):
            found[holder] = source
            if len(table.holders) > 1:
                # rows have numbers that stay where one thread reads them
                engine = replace(source.engine, threads=1) if key is None else source.engine
                found[holder] = replace(source, part=Part(number, len(table.holders), key), engine=engine)
        counts = [_count(table, part) for part in found.values()]
    else:
        rows = min(table.max_rows, MOST_SYNTHETIC) if count is None else count
        if rows > table.max_rows:
            raise ComityError(f"--count {rows}: tables.{table.name}.max_rows is {table.max_rows}")
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="comity-")))
        counts = []
        for holder in table.holders:
            found[holder] = TableSource(folder / f"{holder}.parquet")
            counts.append(write_synthetic(table, rows, holder, found[holder].path))
    return found, {"table": table.name, "kind": kind, "rows": dict(zip(table.holders, counts, strict=True))}


def _count(table: Table, source: TableSource) -> int:
    with opened(source, table) as (connection, file, columns):
        if not columns:
            return 0
        rows = run(connection, file, exp.select(exp.Count(this=exp.Star())).from_("agreed")).fetchall()
    return int(rows[0][0])


def _home(plan: Plan, tables: Sequence[Mapping[str, TableSource]]) -> rehearsal.Home:
    return [
        [compute(task, found[party]) if party in found else None for task, found in zip(plan.tasks, tables, strict=True)]
        for party in plan.security.parties
    ]


def _exactly(plan: Plan, home: rehearsal.Home, companies: int, parties: Sequence[int]) -> tuple[rehearsal.Rows, list[rehearsal.Rows]]:
    """The answer without noise; and what each of `parties` would say that has its own rows alone, for all `companies`."""

    def answered(rows: rehearsal.Home, times: int) -> rehearsal.Rows:
        totals = rehearsal.opened_among(plan, rows, is_noisy=False)
        return rehearsal.rows(plan, [[times * value for value in total] for total in totals])

    return answered(home, 1), [answered(rehearsal.alone(home, 0, party), companies) for party in parties]
