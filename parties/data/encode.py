"""Declared columns in a company's engine: exact integers, text and booleans, and what a value can have wrong.

| declared | taken from | encoded as |
|---|---|---|
| integer, decimal | integers and DECIMAL of any width | the integer value * 10^scale |
| category | VARCHAR, ENUM | its text |
| boolean | BOOLEAN | BOOLEAN |

A CSV file has text alone, which is read by the declared type: numbers in plain digits, `true` and `false`. Binary
floating point is not taken for numbers: whether 0.29 is meant by what is stored for it, the company has to say, by a
CAST in its own view.
"""

from dataclasses import dataclass

import duckdb
from sqlglot import exp

from parties.data.render import cast, column, integer, integer_type, text
from protocols.expression import Number
from protocols.planning.task import Key
from protocols.tables import Column

_NARROW_INTEGERS = ("tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger")
_WIDE_INTEGERS = ("ubigint", "hugeint", "uhugeint")
_HUGEST = (1 << 127) - 1
_DIGITS = 38  # of a DECIMAL, and the most that every HUGEINT has room for

_PLAIN_NUMBER = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)$"


class WrongType(Exception):
    """The column's type in the engine cannot be taken for the declared one."""


@dataclass(frozen=True)
class Problem:
    """What may be wrong with values of a column, in words for "N rows ...", and the condition for it."""

    what: str
    condition: exp.Expression
    is_of_type: bool = False


@dataclass(frozen=True)
class Encoded:
    """A declared column over the company's view: `value` is right where none of `problems` holds."""

    declared: Column
    value: exp.Expression
    problems: tuple[Problem, ...]


def encode(declared: Column, type_: duckdb.sqltypes.DuckDBPyType, is_text: bool) -> Encoded:
    """`is_text`: text stands for values of any type. WrongType where the types do not fit."""
    source = column(declared.name)
    is_text = is_text and type_.id == "varchar"
    if declared.kind == "category":
        encoded = _category(declared, source, type_)
    elif declared.kind == "boolean":
        encoded = _boolean(declared, source, type_, is_text)
    else:
        encoded = _number(declared, source, type_, is_text)
    if declared.nullable:
        return encoded
    null = Problem("are NULL, and the column is not nullable", _is_null(source))
    return Encoded(declared, encoded.value, (null, *encoded.problems))


def is_valid(encoded: Encoded) -> exp.Expression:
    """True where the value is there and none of the column's problems holds."""
    valid: exp.Expression = exp.Not(this=_is_null(column(encoded.declared.name)))
    for problem in encoded.problems:
        valid = exp.And(this=valid, expression=exp.Not(this=exp.Paren(this=problem.condition)))
    return exp.Paren(this=valid)


def code(key: Key, value: exp.Expression) -> exp.Expression:
    """The number of the key's cell, as a BIGINT, from the key's encoded (or rendered) value."""
    expression = key.expression
    kind = getattr(getattr(expression, "column", None), "kind", "integer")
    if kind == "category":
        number: exp.Expression = exp.Anonymous(this="enum_code", expressions=[_enumerated(expression.column, value)])  # type: ignore[union-attr]
    elif kind == "boolean":
        number = value
    else:
        number = exp.Paren(this=exp.Sub(this=value, expression=integer(expression.lower)))
    number = cast(number, "BIGINT")
    if key.has_null:
        number = exp.Coalesce(this=number, expressions=[integer(key.size - 1)])
    return number


def _category(declared: Column, source: exp.Expression, type_: duckdb.sqltypes.DuckDBPyType) -> Encoded:
    if type_.id not in ("varchar", "enum"):
        raise WrongType
    value = source if type_.id == "varchar" else cast(source, "VARCHAR")
    undeclared = _present(source, _is_null(_enumerated(declared, value)))
    return Encoded(declared, value, (Problem("have a value that is not declared", undeclared),))


def _enumerated(declared: Column, value: exp.Expression) -> exp.Expression:
    """An engine's enumeration finds a text's number by hashing; a list would be searched for every row."""
    values = exp.DataType(this=exp.DataType.Type.ENUM, expressions=[text(item) for item in declared.values])
    return exp.TryCast(this=value.copy(), to=values)


def _boolean(
    declared: Column, source: exp.Expression, type_: duckdb.sqltypes.DuckDBPyType, is_text: bool
) -> Encoded:
    if type_.id == "boolean":
        return Encoded(declared, source, ())
    if not is_text:
        raise WrongType
    word = exp.Lower(this=exp.Trim(this=source.copy()))
    value = exp.Paren(this=exp.EQ(this=word, expression=text("true")))
    known = exp.In(this=word.copy(), expressions=[text("true"), text("false")])
    problem = Problem("are neither true nor false", _present(source, exp.Not(this=known)), is_of_type=True)
    return Encoded(declared, value, (problem,))


def _number(
    declared: Column, source: exp.Expression, type_: duckdb.sqltypes.DuckDBPyType, is_text: bool
) -> Encoded:
    scale = declared.scale
    problems = []
    if is_text:
        trimmed = exp.Trim(this=source.copy())
        plain = _matches(trimmed, _PLAIN_NUMBER)
        problems.append(Problem("are not numbers in plain digits", _present(source, exp.Not(this=plain)), is_of_type=True))
        fraction = _rtrimmed_zeros(_part(trimmed, r"\.([0-9]*)$"))
        too_fine = exp.GT(this=exp.Length(this=fraction), expression=integer(scale))
        raw, raw_type = _from_text(trimmed, fraction, scale), "HUGEINT"
    else:
        raw, raw_type, digits = _integer_at(source, type_)
        if digits > scale:
            unit = integer(10 ** (digits - scale), raw_type)
            too_fine = exp.NEQ(this=exp.Mod(this=raw.copy(), expression=unit.copy()), expression=integer(0))
            lower, upper = (bound * 10 ** (digits - scale) for bound in (declared.lower, declared.upper))
            value: exp.Expression = exp.IntDiv(this=exp.Paren(this=raw.copy()), expression=unit)
        else:
            factor = 10 ** (scale - digits)
            lower, upper = -(-declared.lower // factor), declared.upper // factor
    own = integer_type(max(abs(declared.lower), abs(declared.upper)))
    if is_text:
        lower, upper, value = declared.lower, declared.upper, raw
    elif digits <= scale:
        value = raw.copy() if factor == 1 else exp.Mul(this=cast(raw.copy(), own), expression=integer(factor, own))
    if is_text or digits > scale:
        where = f"after the point than {scale}" if scale else "after the point"
        problems.append(Problem(f"have {'more ' if scale else ''}digits {where}", _present(source, too_fine)))
        inside = exp.Or(this=exp.Paren(this=too_fine.copy()), expression=_between(raw, lower, upper))
    else:
        inside = _between(raw, lower, upper)
    outside = exp.Not(this=exp.Coalesce(this=exp.Paren(this=inside), expressions=[exp.false()]))
    if is_text:
        outside = exp.And(this=plain.copy(), expression=outside)
    bounds = f"{_shown(declared.lower, scale)} to {_shown(declared.upper, scale)}"
    problems.append(Problem(f"are outside {bounds}", _present(source, outside)))
    return Encoded(declared, cast(value, own), tuple(problems))


def _integer_at(
    source: exp.Expression, type_: duckdb.sqltypes.DuckDBPyType
) -> tuple[exp.Expression, str, int]:
    """The column as an integer times 10^-digits, of a type; NULL where a HUGEINT cannot hold it."""
    if type_.id in _NARROW_INTEGERS:
        return cast(source, "BIGINT"), "BIGINT", 0
    if type_.id in _WIDE_INTEGERS:
        return exp.TryCast(this=source.copy(), to=exp.DataType.build("HUGEINT", dialect="duckdb")), "HUGEINT", 0
    if type_.id != "decimal":
        raise WrongType
    size = dict(type_.children)
    width, digits = int(str(size["precision"])), int(str(size["scale"]))
    if width + digits + 1 <= _DIGITS:
        unit = cast(exp.Literal.number(10**digits), f"DECIMAL({digits + 1}, 0)")
        raw_type = "BIGINT" if width <= 18 else "HUGEINT"
        return cast(exp.Mul(this=source.copy(), expression=unit), raw_type), raw_type, digits
    # a product would have too many digits for the engine; its text has them all
    digits_alone = exp.Anonymous(this="replace", expressions=[cast(source, "VARCHAR"), text("."), text("")])
    return cast(digits_alone, "HUGEINT"), "HUGEINT", digits


def _from_text(trimmed: exp.Expression, fraction: exp.Expression, scale: int) -> exp.Expression:
    """The integer at `scale` that plain digits stand for; NULL where a HUGEINT cannot hold it."""
    padded = exp.Anonymous(this="rpad", expressions=[fraction.copy(), integer(scale, "INTEGER"), text("0")])
    parts = [_part(trimmed, "^(-)"), _part(trimmed, r"^[+-]?([0-9]*)"), padded]
    if not scale:
        parts.pop()
    joined: exp.Expression = exp.Anonymous(this="concat", expressions=[*parts[:1], text("0"), *parts[1:]])
    return exp.TryCast(this=joined, to=exp.DataType.build("HUGEINT", dialect="duckdb"))


def _part(value: exp.Expression, pattern: str) -> exp.Expression:
    return exp.Anonymous(this="regexp_extract", expressions=[value.copy(), text(pattern), exp.Literal.number(1)])


def _matches(value: exp.Expression, pattern: str) -> exp.Expression:
    return exp.Anonymous(this="regexp_matches", expressions=[value.copy(), text(pattern)])


def _rtrimmed_zeros(value: exp.Expression) -> exp.Expression:
    return exp.Anonymous(this="rtrim", expressions=[value, text("0")])


def _between(value: exp.Expression, lower: int, upper: int) -> exp.Expression:
    low, high = (integer(max(-_HUGEST, min(_HUGEST, bound))) for bound in (lower, upper))
    return exp.Paren(this=exp.Between(this=value.copy(), low=low, high=high))


def _is_null(value: exp.Expression) -> exp.Expression:
    return exp.Paren(this=exp.Is(this=value.copy(), expression=exp.null()))


def _present(source: exp.Expression, condition: exp.Expression) -> exp.Expression:
    """`condition`, of values that are there."""
    return exp.And(this=exp.Not(this=_is_null(source)), expression=exp.Paren(this=condition))


def _shown(value: int, scale: int) -> str:
    return str(Number(value, scale))
