"""Row expressions as SQL trees for DuckDB, over encoded columns: numbers as integers times 10^-scale.

A number is a BIGINT where its proven range allows, else a HUGEINT, so all arithmetic is exact. Trees are built from
typed nodes alone; no text is ever put together or parsed.
"""

from collections.abc import Callable, Sequence

from sqlglot import exp

from mpc.errors import ComityError
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
    aligned,
    magnitude,
)

Columns = Callable[[Reference], exp.Expression]
"""The encoded column of a reference."""

_ARITHMETIC = {"+": exp.Add, "-": exp.Sub, "*": exp.Mul}
_COMPARISON = {"=": exp.EQ, "<>": exp.NEQ, "<": exp.LT, "<=": exp.LTE, ">": exp.GT, ">=": exp.GTE}
_NARROW = 1 << 63


def is_narrow(largest: int) -> bool:
    """Whether integers of at most this magnitude fit a BIGINT."""
    return largest < _NARROW


def integer_type(largest: int) -> str:
    return "BIGINT" if is_narrow(largest) else "HUGEINT"


def cast(expression: exp.Expression, type_: str) -> exp.Expression:
    return exp.Cast(this=expression, to=exp.DataType.build(type_, dialect="duckdb"))


def integer(value: int, type_: str | None = None) -> exp.Expression:
    """The literal, with its type: the engine's own choice would be the smallest that holds it, and overflow."""
    literal: exp.Expression = exp.Literal.number(abs(value))
    return cast(exp.Neg(this=literal) if value < 0 else literal, type_ or integer_type(abs(value)))


def text(value: str) -> exp.Expression:
    if "\0" in value:
        raise ComityError("text with the character NUL cannot be used in a condition or as a declared value")
    return exp.Literal.string(value)


def column(name: str) -> exp.Expression:
    return exp.Column(this=exp.to_identifier(name, quoted=True))


def by_name(reference: Reference) -> exp.Expression:
    return column(reference.column.name)


def render(node: Node, columns: Columns = by_name) -> exp.Expression:
    """The SQL of `node`, NULL exactly where SQL's three-valued logic says so."""
    match node:
        case Reference():
            return columns(node)
        case Number() | Moment():
            return integer(node.value)
        case Text():
            return text(node.value)
        case Truth():
            return exp.Boolean(this=node.value)
        case Arithmetic():
            return _arithmetic(node, columns)
        case Comparison():
            left, right = _comparable((node.left, node.right), columns)
            return exp.Paren(this=_COMPARISON[node.operator](this=left, expression=right))
        case Membership():
            operand, *options = _comparable((node.operand, *node.options), columns)
            return exp.Paren(this=exp.In(this=operand, expressions=options))
        case IsNull():
            return exp.Paren(this=exp.Is(this=render(node.operand, columns), expression=exp.null()))
        case Logic():
            kind = exp.And if node.operator == "AND" else exp.Or
            return exp.Paren(this=_folded(kind, [render(operand, columns) for operand in node.operands]))
        case Not():
            return exp.Paren(this=exp.Not(this=render(node.operand, columns)))
        case Case():
            return _case(node, columns)
        case Bin():
            return _bin(node, columns)
    raise TypeError(f"no SQL for {type(node).__name__}")


def all_of(conditions: Sequence[exp.Expression]) -> exp.Expression:
    return _folded(exp.And, conditions) if conditions else exp.true()


def any_of(conditions: Sequence[exp.Expression]) -> exp.Expression:
    return _folded(exp.Or, conditions) if conditions else exp.false()


def _folded(kind: type[exp.And] | type[exp.Or], operands: Sequence[exp.Expression]) -> exp.Expression:
    folded = operands[0]
    for operand in operands[1:]:
        folded = kind(this=folded, expression=operand)
    return folded


def _at(node: Node, scale: int, type_: str, columns: Columns) -> exp.Expression:
    """`node` as an integer at the finer `scale`, of the type given."""
    sql = render(node, columns)
    if type_ != integer_type(magnitude(node)):
        sql = cast(sql, type_)
    if scale > node.scale:
        sql = exp.Paren(this=exp.Mul(this=sql, expression=integer(10 ** (scale - node.scale), type_)))
    return sql


def _arithmetic(node: Arithmetic, columns: Columns) -> exp.Expression:
    sides = (node.left, node.right)
    if node.operator == "*":
        scales = (node.left.scale, node.right.scale)
        largest = max(magnitude(node), magnitude(node.left), magnitude(node.right))
    else:
        scales = (node.scale, node.scale)
        largest = max(magnitude(node), *(aligned(magnitude(side), side, node) for side in sides))
    type_ = integer_type(largest)
    left, right = (_at(side, scale, type_, columns) for side, scale in zip(sides, scales, strict=True))
    sql: exp.Expression = exp.Paren(this=_ARITHMETIC[node.operator](this=left, expression=right))
    own = integer_type(magnitude(node))
    return sql if own == type_ else cast(sql, own)


def _comparable(nodes: Sequence[Node], columns: Columns) -> list[exp.Expression]:
    """Operands at one scale and of one type."""
    if nodes[0].type != "number":
        return [render(node, columns) for node in nodes]
    finest = max(nodes, key=lambda node: node.scale)
    type_ = integer_type(max(aligned(magnitude(node), node, finest) for node in nodes))
    return [_at(node, finest.scale, type_, columns) for node in nodes]


def _case(node: Case, columns: Columns) -> exp.Expression:
    type_ = integer_type(magnitude(node))
    branches = [
        exp.If(this=render(condition, columns), true=_at(value, node.scale, type_, columns))
        for condition, value in node.branches
    ]
    otherwise = _at(node.otherwise, node.scale, type_, columns) if node.otherwise is not None else None
    return exp.Case(ifs=branches, default=otherwise)


def _bin(node: Bin, columns: Columns) -> exp.Expression:
    """Bins are numbered by integer division of what is not negative, which is the floor."""
    bounds = Number(max(abs(node.start), abs(node.stop)), node.digits)
    scale = max(node.operand.scale, node.digits)
    factor = 10 ** (scale - node.digits)
    start, stop = node.start * factor, node.stop * factor
    largest = magnitude(node.operand) * 10 ** (scale - node.operand.scale) + bounds.value * factor
    type_ = integer_type(max(largest * node.bins, stop - start))
    operand = _at(node.operand, scale, type_, columns)

    def when(comparison: type[exp.Binary], bound: int, number: exp.Expression) -> exp.If:
        condition = comparison(this=operand.copy(), expression=integer(bound, type_))
        return exp.If(this=condition, true=number)

    offset = exp.Paren(this=exp.Sub(this=operand.copy(), expression=integer(start, type_)))
    scaled = exp.Paren(this=exp.Mul(this=offset, expression=integer(node.bins, type_)))
    inside = exp.Paren(this=exp.IntDiv(this=scaled, expression=integer(stop - start, type_)))
    number = cast(exp.Add(this=inside, expression=integer(1, type_)), "BIGINT")
    return exp.Case(
        ifs=[
            when(exp.LT, start, integer(0)),
            when(exp.GT, stop, integer(node.bins + 1)),
            when(exp.EQ, stop, integer(node.bins)),
            when(exp.LT, stop, number),
        ],
        default=None,  # NULL alone is neither below nor above
    )
