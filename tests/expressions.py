"""Random row expressions over given columns, and what they are worth in a row: SQL's three-valued logic in Python.

A row gives for each column what it is encoded as: an integer at the column's scale, a text, a truth value, or None.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from hypothesis import strategies as st

from protocols.expression import (
    Arithmetic,
    Bin,
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
from protocols.planning.ranges import HOME_LIMIT, reaches

Encoded = int | str | bool | None
Row = Mapping[str, Encoded]

ARITHMETIC = ("+", "-", "*")
COMPARISONS = ("=", "<>", "<", "<=", ">", ">=")


def evaluate(node: Node, row: Row) -> Encoded:
    """The node's value: an integer at `node.scale`, a text, a truth value, or None."""
    match node:
        case Reference():
            return row[node.column.name]
        case Number() | Text() | Truth() | Moment():
            return node.value
        case Arithmetic():
            left, right = exact(node.left, row), exact(node.right, row)
            if left is None or right is None:
                return None
            result = {"+": left + right, "-": left - right, "*": left * right}[node.operator]
            return whole(result * 10**node.scale)
        case Comparison():
            return compared(node.operator, exact(node.left, row), exact(node.right, row))
        case Membership():
            found = [compared("=", exact(node.operand, row), exact(option, row)) for option in node.options]
            return disjunction(found)
        case IsNull():
            return evaluate(node.operand, row) is None
        case Not():
            return negation(evaluate(node.operand, row))
        case Logic():
            values = [evaluate(operand, row) for operand in node.operands]
            if node.operator == "OR":
                return disjunction(values)
            return negation(disjunction([negation(value) for value in values]))
        case Case():
            for condition, value in node.branches:
                if evaluate(condition, row) is True:
                    return rescaled(exact(value, row), node.scale)
            return rescaled(exact(node.otherwise, row), node.scale) if node.otherwise is not None else None
        case Bin():
            return bin_number(node, exact(node.operand, row))
    raise TypeError(type(node).__name__)


def exact(node, row):
    """Numbers as fractions, all else as it is."""
    value = evaluate(node, row)
    return Fraction(value, 10**node.scale) if node.type == "number" and value is not None else value


def whole(x):
    assert x.denominator == 1
    return x.numerator


def rescaled(x, scale):
    return None if x is None else whole(x * 10**scale)


def compared(operator, left, right):
    if left is None or right is None:
        return None
    if operator in ("=", "<>"):
        return (left == right) == (operator == "=")
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator]


def negation(value):
    return None if value is None else not value


def disjunction(values):
    if any(value is True for value in values):
        return True
    return None if any(value is None for value in values) else False


def bin_number(node, x):
    """By looking through the bins one after the other."""
    if x is None:
        return None
    start, stop = Fraction(node.start, 10**node.digits), Fraction(node.stop, 10**node.digits)
    edges = [start + (stop - start) * i / node.bins for i in range(node.bins + 1)]
    if x < start:
        return 0
    if x == stop:
        return node.bins
    return next((number for number in range(1, node.bins + 1) if edges[number - 1] <= x < edges[number]), node.bins + 1)


def fits(node: Node) -> bool:
    """Whether a plan allows it, and a sum of ten of it."""
    return reaches(node) < HOME_LIMIT // 10


def numbers(references: Sequence[Reference], depth: int = 3):
    """Random numbers over `references`."""
    return _numbers(tuple(references), depth)


def truths(references: Sequence[Reference], depth: int = 3):
    """Random conditions over `references`."""
    return _truths(tuple(references), depth)


def texts(references: Sequence[Reference]):
    return st.sampled_from([reference for reference in references if reference.type == "text"])


def bins(references: Sequence[Reference]):
    return _bins(tuple(references))


@st.composite
def _literals(draw):
    scale = draw(st.integers(0, 4))
    return Number(draw(st.integers(-(10 ** (scale + 1)), 10 ** (scale + 1))), scale)


def _moments(kind):
    day = st.integers(-800, 20_000)
    moment = day if kind == "date" else st.builds(lambda days, rest: days * 86_400_000_000 + rest, day, st.sampled_from([0, 1, 10**6]))
    return moment.map(lambda value: Moment(kind, value))


@st.composite
def _numbers(draw, references, depth):
    columns = [reference for reference in references if reference.type == "number"]
    days = [reference for reference in references if reference.type == "date"]
    more = ["arithmetic"] * 3 + ["case"] + ["days"] * bool(days)
    kind = draw(st.sampled_from(["column", "column", "literal"] + (more if depth else [])))
    if kind == "literal":
        return draw(_literals())
    if kind == "days":
        return Arithmetic("-", *(draw(st.sampled_from(days) | _moments("date")) for _ in range(2)))
    if kind == "arithmetic":
        left, right = draw(_numbers(references, depth - 1)), draw(_numbers(references, depth - 1))
        node = Arithmetic(draw(st.sampled_from(ARITHMETIC)), left, right)
        return node if fits(node) else left
    if kind == "case":
        branches = tuple(
            (draw(_truths(references, depth - 1)), draw(_numbers(references, depth - 1)))
            for _ in range(draw(st.integers(1, 2)))
        )
        node = Case(branches, draw(st.none() | _numbers(references, depth - 1)))
        return node if fits(node) else branches[0][1]
    return draw(st.sampled_from(columns))


@st.composite
def _truths(draw, references, depth):
    moments = [reference for reference in references if reference.type in ("date", "timestamp")]
    simple = ["number", "number", "text", "truth", "member", "null", "literal"] + ["moment"] * 2 * bool(moments)
    kind = draw(st.sampled_from(simple + (["logic"] * 3 + ["not"] * 2 if depth else [])))
    if kind == "logic":
        operands = draw(st.lists(_truths(references, depth - 1), min_size=2, max_size=3))
        return Logic(draw(st.sampled_from(["AND", "OR"])), tuple(operands))
    if kind == "not":
        return Not(draw(_truths(references, depth - 1)))
    if kind == "null":
        return IsNull(draw(st.sampled_from(references) | _numbers(references, max(depth - 1, 0))))
    if kind == "literal":
        return Truth(draw(st.booleans()))
    if kind == "text":
        column = draw(texts(references))
        sides = [column, draw(st.sampled_from([Text(value) for value in column.column.values]))]
        if draw(st.booleans()):
            sides.reverse()
        return Comparison(draw(st.sampled_from(["=", "<>"])), *sides)
    if kind == "truth":
        column = draw(st.sampled_from([reference for reference in references if reference.type == "truth"]))
        return draw(st.sampled_from([
            column, Comparison("=", column, Truth(False)), Comparison("<>", Truth(True), column),
        ]))  # fmt: skip
    if kind == "moment":
        operand = draw(st.sampled_from(moments))
        of_kind = st.sampled_from([reference for reference in moments if reference.type == operand.type])
        return Comparison(draw(st.sampled_from(COMPARISONS)), operand, draw(of_kind | _moments(operand.type)))
    if kind == "member":
        return draw(_members(references))
    left, right = draw(_numbers(references, max(depth - 1, 0))), draw(_numbers(references, max(depth - 1, 0)))
    node = Comparison(draw(st.sampled_from(COMPARISONS)), left, right)
    return node if fits(node) else IsNull(left)


@st.composite
def _members(draw, references):
    operand = draw(st.sampled_from(references) | _numbers(references, 1))
    if operand.type == "number":
        options = draw(st.lists(_literals(), min_size=1, max_size=4))
    elif operand.type == "text":
        options = [Text(v) for v in draw(st.lists(st.sampled_from(operand.column.values), min_size=1, max_size=3))]
    elif operand.type == "truth":
        options = [Truth(draw(st.booleans()))]
    else:
        options = draw(st.lists(_moments(operand.type), min_size=1, max_size=3))
    node = Membership(operand, tuple(options))
    return node if operand.type != "number" or fits(node) else IsNull(operand)


@st.composite
def _bins(draw, references):
    operand = draw(_numbers(references, 1))
    digits = operand.scale + draw(st.integers(0, 1))
    start = draw(st.integers(-(10 ** (digits + 1)), 10 ** (digits + 1)))
    node = Bin(operand, start, start + draw(st.integers(1, 10 ** (digits + 1))), digits, draw(st.integers(1, 7)))
    if fits(node):
        return node
    column = next(reference for reference in references if reference.type == "number")
    return Bin(column, 0, 10**column.scale, column.scale, 3)
