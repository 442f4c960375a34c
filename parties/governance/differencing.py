"""Differencing: two exact answers whose filters differ by a few rows give those rows away.

A refusal is decided from what queries say alone, never from data, since it is a release, too. An exact query over rows that are about
somebody is refused where an earlier one that was released of the same table has another filter, unless no row can be in both, or the query
withholds, inside the computation, each cell in which few rows lie between its filter and that one (`Query.beside`, `planning/filters.py`). Groups
of one filter are parts of the same rows, and need no guard; CASE and joins, by which whoever writes a query or owns a table chooses
rows, are refused. What is not seen: the same query again after rows have changed or under another name of its table, and groups
of single rows.
"""

import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from parties.governance.ledger import ExactRelease
from protocols.expression import Case, Node
from protocols.planning.filters import are_apart, values_of
from protocols.planning.plan import Plan


def predicate(plan: Plan) -> str:
    """Which rows a query is about, as it is kept: its tables, its conditions, those within its measures,
    the edges of a histogram, what is dropped; and what conditions say of single columns. JSON."""
    query = plan.query
    within = {str(_qualified(case)) for case in _cases(plan)}
    dropped = [
        [table.name, column.name, column.lower, column.upper, *column.values]
        for table in query.tables
        for column in sorted(table.columns.values(), key=lambda column: column.name)
        if column.outside == "drop"
    ]
    return json.dumps({
        "rows": [
            sorted(table.name for table in query.tables), sorted(str(_qualified(node)) for node in query.where), sorted(within), dropped,
            repr(query.histogram),
        ],
        "values": values_of(query.where),
        "groups": sorted(str(_qualified(key)) for key in query.group_by),
    }, sort_keys=True)  # fmt: skip


def objection(plan: Plan, earlier: Iterable[ExactRelease], allowed: Collection[str]) -> str:
    """Why the query may not be released after `earlier` ones; empty where it may. `allowed` are queries that this company's
    officer lets differ."""
    if plan.query.name in allowed:
        return ""
    for case in _cases(plan):
        return f"{plan.query.name} has {case}, by which a total can be that of single rows: choose rows with WHERE"
    if plan.products:
        return f"{plan.query.name} is a join, by which the owner of the other table can choose single rows"
    mine = json.loads(predicate(plan))
    tables, filters = {table.name for table in plan.exact_over}, plan.query.beside or (plan.query.where,)
    cut = [_alike(mine, where) for where in plan.query.beside]
    for release in earlier:
        theirs = json.loads(release.predicate)
        is_apart = all(are_apart(values_of(where), theirs["values"]) for where in filters)
        if tables.isdisjoint(release.tables) or mine["rows"] == theirs["rows"] or is_apart:
            continue
        if [theirs["rows"], theirs.get("groups")] in cut:  # that no part of the rows is small is a rule of this query
            continue
        return (
            f"the filter of {plan.query.name} differs from that of {release.query}, released before: the two answers together could "
            "give single rows away"
        )
    return ""


def _alike(mine: dict[str, Any], where: Sequence[Node]) -> list[Any]:
    """The rows and groups of a query that has another filter and is like this one else."""
    tables, _, within, *others = mine["rows"]
    return [[tables, sorted(str(_qualified(node)) for node in where), within, *others], mine["groups"]]


def _cases(plan: Plan) -> list[Node]:
    """Conditions within what is added up, or put in order."""
    tasks = [task for task in plan.tasks if task is not plan.cut]
    measured = [measure.expression for task in tasks for measure in task.measures if measure.expression is not None]
    ordered = [expression for task in plan.tasks for expression in task.ordered]
    return [node for expression in (*measured, *ordered) for node in expression.walk() if isinstance(node, Case)]


def _qualified(node: Node) -> str:
    """The text of a condition, and whose columns it is about: two tables may have columns of one name."""
    return f"{node} of {', '.join(sorted(node.tables))}"
