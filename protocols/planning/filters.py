"""Filters beside one another: which rows may be in both, and the parts that several cut a table into.

Two exact answers over filters that overlap give the answer over the rows that are in one of them alone. More generally, of the filters of several queries any sum of their answers, each times a number, is one over some of the parts that the
filters cut the rows into: the rows for which the same of them hold. Where every part of a cell is empty or has many rows, so has every such difference.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import product

from protocols.expression import (
    Case,
    Comparison,
    IsNull,
    Logic,
    Membership,
    Moment,
    Node,
    Not,
    Number,
    Reference,
    Text,
    Truth,
)
from protocols.planning.query import Query
from protocols.statistics.base import Measure

Where = tuple[Node, ...]
Values = dict[str, list[int | str]]
"""Of each column that a filter bounds: ["in", values ...], or ["between", lower, upper] as integers at its scale."""

MOST = 4
"""Filters that are cut into parts: there are 15 of 4."""


def overlapping(query: Query, others: Iterable[Query]) -> tuple[Where, ...]:
    """Of `others` that ask for the same groups of the same table, exactly and with a minimum group, the filters, in order and with this query's own, that rows may be in both of; of this, of one of these, and so on. None
    where there are too many to tell apart, or this query is none of them."""
    if not _is_cut(query):
        return ()
    filters = {frozenset(other.where): other.where for other in (query, *others) if _is_cut(other) and other.tables == query.tables and set(other.group_by) == set(query.group_by)}
    found, left = [query.where], [where for same, where in filters.items() if same != frozenset(query.where)]
    while near := [where for where in left if any(not are_apart(values_of(where), values_of(of)) for of in found)]:
        found += near
        left = [where for where in left if where not in near]
    return tuple(sorted(found, key=str)) if 1 < len(found) <= MOST else ()


def _is_cut(query: Query) -> bool:
    return len(query.tables) == 1 and query.privacy is None and query.histogram is None and query.rules.minimum_group > 0


def parts_of(filters: Sequence[Where], counted: Sequence[Measure]) -> tuple[Measure, ...]:
    """How many rows of each of `counted` each part has; all but that for which no filter holds."""
    holds = [Case(((_all(where), Number(1)),), Number(0)) if where else Number(1) for where in filters]
    measures = []
    for measure in counted:
        there = () if measure.expression is None else (Not(IsNull(measure.expression)),)
        for bits in product((1, 0), repeat=len(filters)):
            if any(bits):
                part = (*(Comparison("=", of, Number(bit)) for of, bit in zip(holds, bits, strict=True)), *there)
                measures.append(Measure("sum", Case(((_all(part), Number(1)),), Number(0))))
    return tuple(measures)


def _all(conditions: Sequence[Node]) -> Node:
    return conditions[0] if len(conditions) == 1 else Logic("AND", tuple(conditions))


def are_apart(mine: Values, theirs: Values) -> bool:
    """Whether no row meets both filters."""
    return any(_is_apart(mine[name], theirs[name]) for name in mine.keys() & theirs.keys())


def _is_apart(mine: Sequence[int | str], theirs: Sequence[int | str]) -> bool:
    if mine[0] == theirs[0] == "in":
        return set(mine[1:]).isdisjoint(theirs[1:])
    if mine[0] == theirs[0] == "between":
        return max(int(mine[1]), int(theirs[1])) > min(int(mine[2]), int(theirs[2]))
    listed, (_, lower, upper) = (mine, theirs) if mine[0] == "in" else (theirs, mine)
    return all(isinstance(value, str) or not int(lower) <= value <= int(upper) for value in listed[1:])


def values_of(where: Sequence[Node]) -> Values:
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
