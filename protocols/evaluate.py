"""What row expressions are worth for given values, in SQL's three-valued logic: on arrays of Python integers, exact as the engines at home."""

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from mpc.algebra import Array
from protocols.expression import (
    Arithmetic,
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
from protocols.tables import Column


class Values(NamedTuple):
    """Numbers at their node's scale, texts or truth values; where `null` is true they mean nothing."""

    values: Array
    null: Array


_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {"+": operator.add, "-": operator.sub, "*": operator.mul}
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq, "<>": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def domain(column: Column, has_null: bool) -> Values:
    """All values of a column in declared order, and NULL last, if it is there."""
    if column.kind == "category":
        listed: list[object] = [*column.values, *[""] * has_null]
    elif column.kind == "boolean":
        listed = [False, True, *[False] * has_null]
    else:
        listed = [*range(column.lower, column.upper + 1), *[0] * has_null]
    return Values(np.array(listed, dtype=object), np.arange(len(listed)) >= column.size)


def evaluate(node: Node, columns: Mapping[Reference, Values]) -> Values:
    """The node for all values of its columns, whose arrays are broadcast against one another."""
    match node:
        case Reference():
            return columns[node]
        case Number() | Text() | Truth() | Moment():
            return Values(np.array(node.value, dtype=object), np.array(False))
        case Arithmetic():
            sides = [evaluate(side, columns) for side in node.children]
            left, right = (x if node.operator == "*" else _scaled(x, side, node.scale) for x, side in zip(sides, node.children, strict=True))
            return Values(_ARITHMETIC[node.operator](left.values, right.values), left.null | right.null)
        case Comparison():
            return _compared(node.operator, node.left, node.right, columns)
        case Membership():
            return _any([_compared("=", node.operand, option, columns) for option in node.options])
        case IsNull():
            null = evaluate(node.operand, columns).null
            return Values(null, np.zeros_like(null))
        case Not():
            return _not(evaluate(node.operand, columns))
        case Logic():
            operands = [evaluate(operand, columns) for operand in node.operands]
            return _any(operands) if node.operator == "OR" else _not(_any([_not(operand) for operand in operands]))
        case Case():
            chosen = Values(np.array(0, dtype=object), np.array(True)) if node.otherwise is None else _scaled(evaluate(node.otherwise, columns), node.otherwise, node.scale)
            for condition, value in reversed(node.branches):
                holds, then = true(condition, columns), _scaled(evaluate(value, columns), value, node.scale)
                chosen = Values(np.where(holds, then.values, chosen.values), np.where(holds, then.null, chosen.null))
            return chosen
    raise TypeError(type(node).__name__)


def true(node: Node, columns: Mapping[Reference, Values]) -> Array:
    """Where a condition holds: is neither false nor NULL."""
    values, null = evaluate(node, columns)
    return values.astype(bool) & ~null


def _compared(name: str, left: Node, right: Node, columns: Mapping[Reference, Values]) -> Values:
    finest = max(left.scale, right.scale)
    x, y = (_scaled(evaluate(side, columns), side, finest) for side in (left, right))
    return Values(np.asarray(_COMPARISONS[name](x.values, y.values)), x.null | y.null)


def _scaled(x: Values, node: Node, scale: int) -> Values:
    return x._replace(values=x.values * 10 ** (scale - node.scale)) if scale > node.scale else x


def _not(x: Values) -> Values:
    return x._replace(values=~x.values.astype(bool))


def _any(operands: Sequence[Values]) -> Values:
    """OR: true where one is, whatever the others are; else NULL where one is."""
    is_true = reduce(operator.or_, (x.values.astype(bool) & ~x.null for x in operands))
    return Values(is_true, ~is_true & reduce(operator.or_, (x.null for x in operands)))
