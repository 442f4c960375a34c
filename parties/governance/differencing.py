"""Differencing: two exact answers whose filters differ by a few rows give those rows away.

Decided from what queries say alone, never from data, since a refusal is a release, too. An exact query over rows that are about
somebody is refused where an earlier one that was released of the same table has another filter, unless no row can be in both. Groups
of one filter are parts of the same rows, and need no guard; CASE and joins, by which whoever writes a query or owns a table chooses
rows, are refused. What is not seen: the same query again after rows have changed or under another name of its table, and groups
of single rows.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence

from parties.governance.ledger import ExactRelease
from protocols.expression import Case, Comparison, Logic, Membership, Moment, Node, Not, Number, Reference, Text, Truth
from protocols.planning.plan import Plan

Values = dict[str, list[int | str]]
"""Of each column that a filter bounds: ["in", values ...], or ["between", lower, upper] as integers at its scale."""


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
        "values": _values(query.where),
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
    tables = {table.name for table in plan.exact_over}
    for release in earlier:
        theirs = json.loads(release.predicate)
        if tables.isdisjoint(release.tables) or mine["rows"] == theirs["rows"] or _are_apart(mine["values"], theirs["values"]):
            continue
        return (
            f"the filter of {plan.query.name} differs from that of {release.query}, released before: the two answers together could "
            "give single rows away"
        )
    return ""


def _cases(plan: Plan) -> list[Node]:
    """Conditions within what is added up, or put in order."""
    measured = [measure.expression for task in plan.tasks for measure in task.measures if measure.expression is not None]
    ordered = [expression for task in plan.tasks for expression in task.ordered]
    return [node for expression in (*measured, *ordered) for node in expression.walk() if isinstance(node, Case)]


def _qualified(node: Node) -> str:
    """The text of a condition, and whose columns it is about: two tables may have columns of one name."""
    return f"{node} of {', '.join(sorted(node.tables))}"


def _are_apart(mine: Values, theirs: Values) -> bool:
    """Whether no row meets both filters."""
    return any(_is_apart(mine[name], theirs[name]) for name in mine.keys() & theirs.keys())


def _is_apart(mine: Sequence[int | str], theirs: Sequence[int | str]) -> bool:
    if mine[0] == theirs[0] == "in":
        return set(mine[1:]).isdisjoint(theirs[1:])
    if mine[0] == theirs[0] == "between":
        return max(int(mine[1]), int(theirs[1])) > min(int(mine[2]), int(theirs[2]))
    listed, (_, lower, upper) = (mine, theirs) if mine[0] == "in" else (theirs, mine)
    return all(isinstance(value, str) or not int(lower) <= value <= int(upper) for value in listed[1:])


def _values(where: Sequence[Node]) -> Values:
    """What conditions say of single columns; one that says nothing here narrows nothing. Of several on one column the first list,
    or else all bounds."""
    found: Values = {}
    for condition in _parts(where):
        match condition:
            case Reference():
                _narrow(found, condition, ["in", 1])
            case Not(operand=Reference() as column):
                _narrow(found, column, ["in", 0])
            case Membership(operand=Reference() as column, options=options) if all(_fits(x, column) for x in options):
                _narrow(found, column, ["in", *(_literal(option, column) for option in options)])
            case Comparison(operator="=", left=Reference() as column, right=value) if _fits(value, column):
                _narrow(found, column, ["in", _literal(value, column)])
            case Comparison(operator=operator, left=Reference() as column, right=value) if (
                operator != "<>" and _fits(value, column)
            ):
                bound = int(_literal(value, column))
                low = bound + (operator == ">") if operator in (">", ">=") else column.lower
                high = bound - (operator == "<") if operator in ("<", "<=") else column.upper
                _narrow(found, column, ["between", low, high])
    return found


def _parts(conditions: Iterable[Node]) -> Iterator[Node]:
    """What must all hold, one by one."""
    for condition in conditions:
        if isinstance(condition, Logic) and condition.operator == "AND":
            yield from _parts(condition.operands)
        else:
            yield condition


def _narrow(found: Values, column: Reference, values: list[int | str]) -> None:
    name = f"{column.table}.{column.column.name}"
    known = found.get(name)
    if known is None or (known[0] == "between" and values[0] == "in"):
        found[name] = values
    elif known[0] == values[0] == "between":
        found[name] = ["between", max(int(known[1]), int(values[1])), min(int(known[2]), int(values[2]))]


def _fits(value: Node, column: Reference) -> bool:
    """Whether it is a literal that the column can be equal to."""
    return isinstance(value, Number | Moment | Text | Truth) and value.scale <= column.scale


def _literal(value: Node, column: Reference) -> int | str:
    """At the column's scale."""
    assert isinstance(value, Number | Moment | Text | Truth)
    return value.value if isinstance(value, Text) else int(value.value) * 10 ** (column.scale - value.scale)
