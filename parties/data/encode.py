"""Declared columns in a company's engine: exact integers, text and booleans, and what a value can have wrong.

| declared | taken from | encoded as |
|---|---|---|
| integer, decimal | integers and DECIMAL of any width | the integer value * 10^scale |
| float | DOUBLE, FLOAT, and what an integer is taken from | the nearest multiple of the step, half to even, * 10^scale |
| date | DATE | days since 1970 |
| timestamp | TIMESTAMP of any precision, without a zone | microseconds since 1970 |
| category, text | VARCHAR, ENUM | its text |
| boolean | BOOLEAN | BOOLEAN |

A CSV file has text alone, which is read by the declared type: numbers in plain digits (floats with an exponent, too),
dates and times as in ISO 8601, `true` and `false`. Binary floating point is not taken for an integer or a decimal: whether
0.29 is meant by what is stored for it, the company has to say, by a CAST in its own view.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from math import isfinite, nan

from duckdb.sqltypes import DuckDBPyType
from sqlglot import exp

from parties.data.render import all_of, cast, column, integer, integer_type, text
from protocols.expression import Moment, Number, Reference
from protocols.planning.task import Key
from protocols.tables import Column, days, microseconds

_NARROW_INTEGERS = ("tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger")
_WIDE_INTEGERS = ("ubigint", "hugeint", "uhugeint")
_HUGEST = (1 << 127) - 1
_DIGITS = 38  # the most that a DECIMAL has
_PLAIN_INTEGER = r"^[+-]?[0-9]+(\.[0-9]*)?$"
_PLAIN_NUMBER = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)$"
_FLOAT = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,4})?$"
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_TIMESTAMP = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?)?$"
_TIMESTAMPS = ("timestamp", "timestamp_s", "timestamp_ms")
_FORMS = {
    "float": "number",
    "date": "date of the form 2013-01-31",
    "timestamp": "timestamp of the form 2013-01-31 23:59:00",
}

Extreme = Decimal | float | date | None
"""A smallest or largest value, as the engine gives it."""


class WrongType(Exception):
    """The column's type in the engine cannot be taken for the declared one."""


@dataclass(frozen=True)
class Problem:
    """What may be wrong with values of a column, in words for "in N rows it ...", and the condition for it."""

    what: str
    condition: exp.Expression
    is_of_type: bool = False


@dataclass(frozen=True, eq=False)
class Encoded:
    """A declared column over the company's view: `value` is right where none of `problems` holds. Both may use `raw`,
    an expression that is costly, by its name `raw_name`: it is to be worked out once."""

    declared: Column
    type: DuckDBPyType
    value: exp.Expression
    find_problems: Callable[[], tuple[Problem, ...]]
    raw: exp.Expression | None = None
    outside: exp.Expression | None = None
    """Where the column says what becomes of values outside its bounds: whether this is one. `value` is clamped then, or NULL."""

    @cached_property
    def problems(self) -> tuple[Problem, ...]:
        """Made where they are needed: for a category of many values they are long."""
        found = self.find_problems()
        if self.declared.nullable:
            return found
        null = Problem("is NULL, and the column is not nullable", _is_null(column(self.declared.name)))
        return (null, *found)

    @property
    def raw_name(self) -> str:
        """No name of a declared column."""
        return f"{self.declared.name}#"


def with_raw(encoded: Iterable[Encoded], table: str, others: Iterable[exp.Expr] = ()) -> exp.Expression:
    """The declared columns of the company's view, with what `encoded` needs beside them, and `others`. Any other column
    of the view is left out: it could have the name of one of those."""
    encoded = list(encoded)
    declared = [column(item.declared.name) for item in encoded]
    raw = [exp.alias_(item.raw.copy(), item.raw_name, quoted=True) for item in encoded if item.raw is not None]
    return exp.select(exp.Literal.number(1), *declared, *raw, *others).from_(exp.to_table(table)).subquery("rows", copy=False)


def encode(declared: Column, type_: DuckDBPyType, is_text: bool) -> Encoded:
    """`is_text`: text stands for values of any type. WrongType where the types do not fit."""
    source = column(declared.name)
    is_text = is_text and type_.id == "varchar"
    if declared.kind == "text":
        encoded = _text(declared, source, type_)
    elif declared.kind == "category":
        encoded = _category(declared, source, type_)
    elif declared.kind == "boolean":
        encoded = _boolean(declared, source, type_, is_text)
    else:
        encoded = _number(declared, source, type_, is_text)
    return encoded


def smallest_and_largest(encoded: Encoded) -> tuple[exp.Expression, exp.Expression] | None:
    """Aggregates that together say whether all values of a number, or lengths of a text, are right (see `lies_within`); None where only a
    look at each value does. The engine often knows them without reading a row."""
    declared, type_ = encoded.declared, encoded.type
    if declared.kind == "text":
        length = _function("strlen", encoded.value)
        return exp.Min(this=length), exp.Max(this=length.copy())
    is_number = type_.id in (*_NARROW_INTEGERS, *_WIDE_INTEGERS, "decimal")
    match declared.kind:
        case "integer" | "decimal":
            exact = is_number and (type_.id != "decimal" or _digits(type_)[1] <= declared.scale)
        case "float":
            exact = type_.id in ("double", "float")  # others the engine first turns into a DOUBLE, in its own way
        case "date":
            exact = type_.id == "date"
        case "timestamp":
            exact = type_.id in _TIMESTAMPS
        case _:
            exact = False
    if not exact:
        return None
    source = column(declared.name)
    return exp.Min(this=source), exp.Max(this=source.copy())


def lies_within(declared: Column, smallest: Extreme, largest: Extreme) -> bool:
    if smallest is None or largest is None:
        return True  # no value at all
    if declared.kind == "text":
        return isinstance(largest, int) and largest <= declared.length
    return declared.lower <= _scaled(declared, smallest) and _scaled(declared, largest) <= declared.upper


def _scaled(declared: Column, value: Decimal | float | date) -> Fraction | float:
    """As the engine encodes it (see `_number`), but for what has to be whole."""
    if isinstance(value, datetime):
        return microseconds(value)
    if isinstance(value, date):
        return days(value)
    if declared.kind != "float":
        unit: int = 10**declared.scale
        return Fraction(value) * unit
    steps = float(value) * float(10**declared.scale) / float(declared.step)
    return round(steps) * declared.step if isfinite(steps) else nan


def is_valid(encoded: Encoded) -> exp.Expression:
    """True where the value is there and none of the column's problems holds."""
    valid = [exp.Not(this=_is_null(column(encoded.declared.name)))]
    valid += [exp.Not(this=exp.Paren(this=problem.condition)) for problem in encoded.problems]
    if encoded.outside is not None:
        valid.append(exp.Not(this=exp.Paren(this=encoded.outside.copy())))
    return exp.Paren(this=all_of(valid))


def code(key: Key, value: exp.Expression) -> exp.Expression:
    """The number of the key's cell, as a BIGINT, from the key's encoded (or rendered) value."""
    expression = key.expression
    kind = expression.column.kind if isinstance(expression, Reference) else "integer"
    if kind == "category":
        raise TypeError("a category's values are numbered after they are grouped")
    shifted = exp.Paren(this=exp.Sub(this=value, expression=integer(expression.lower)))
    number = cast(value if kind == "boolean" else shifted, "BIGINT")
    if key.has_null:
        number = exp.Coalesce(this=number, expressions=[integer(key.size - 1)])
    return number


def declared_values(category: Column) -> exp.DataType:
    """As a type of the engine's, in which they are numbered as declared."""
    return exp.DataType(this=exp.DataType.Type.ENUM, expressions=[text(value) for value in category.values])


def _category(declared: Column, source: exp.Expression, type_: DuckDBPyType) -> Encoded:
    if type_.id not in ("varchar", "enum"):
        raise WrongType
    value = source if type_.id == "varchar" else cast(source, "VARCHAR")

    def undeclared() -> exp.Expression:
        # an engine's enumeration finds a text by hashing; a list would be searched for every row
        return _present(source, _is_null(exp.TryCast(this=value.copy(), to=declared_values(declared))))

    if declared.outside == "drop":
        return Encoded(declared, type_, value, tuple, outside=undeclared())
    return Encoded(declared, type_, value, lambda: (Problem("is not a declared value", undeclared()),))


def _text(declared: Column, source: exp.Expression, type_: DuckDBPyType) -> Encoded:
    if type_.id not in ("varchar", "enum"):
        raise WrongType
    value = source if type_.id == "varchar" else cast(source, "VARCHAR")
    is_long = exp.GT(this=_function("strlen", value), expression=integer(declared.length))
    problem = Problem(f"is longer than {declared.length} bytes", _present(source, is_long))
    return Encoded(declared, type_, value, lambda: (problem,))


def _boolean(declared: Column, source: exp.Expression, type_: DuckDBPyType, is_text: bool) -> Encoded:
    if type_.id == "boolean":
        return Encoded(declared, type_, source, tuple)
    if not is_text:
        raise WrongType
    word = _function("lower", _function("trim", source))
    value = exp.Paren(this=exp.EQ(this=word, expression=text("true")))
    known = exp.Paren(this=exp.In(this=word.copy(), expressions=[text("true"), text("false")]))
    problem = Problem("is neither true nor false", _present(source, exp.Not(this=known)), is_of_type=True)
    return Encoded(declared, type_, value, lambda: (problem,))


def _number(declared: Column, source: exp.Expression, type_: DuckDBPyType, is_text: bool) -> Encoded:
    """Bounds are compared at the digits that the engine has, so that nothing overflows before it is found outside."""
    scale = declared.scale
    own = integer_type(max(abs(declared.lower), abs(declared.upper)))
    match declared.kind:
        case "float":
            raw = _float(source, type_, declared, is_text)
        case "date":
            raw = _date(source, type_, is_text)
        case "timestamp":
            raw = _timestamp(source, type_, is_text)
        case _:
            raw = _from_text(source, scale) if is_text else _typed(source, type_)
    number = column(f"{declared.name}#")
    problems = []
    if raw.is_number is not None:
        unreadable = _present(source, exp.Not(this=raw.is_number))
        problems.append(Problem(f"is no {_FORMS.get(declared.kind, 'number in plain digits')}", unreadable, is_of_type=True))
    finer = 10 ** max(raw.digits - scale, 0)
    coarser = 10 ** max(scale - raw.digits, 0)
    too_fine = raw.too_fine
    if finer > 1:
        rest = exp.Mod(this=number.copy(), expression=integer(finer, raw.type))
        too_fine = exp.Paren(this=exp.NEQ(this=rest, expression=integer(0)))
    if too_fine is not None:
        whole = "is finer than a microsecond" if declared.kind == "timestamp" else "is no whole number"
        what = f"has more than {scale} digits after the point" if scale else whole
        problems.append(Problem(what, _present(source, too_fine)))

    lower, upper = -(-declared.lower * finer // coarser), declared.upper * finer // coarser
    inside = exp.Coalesce(this=_between(number, lower, upper), expressions=[exp.false()])
    others = [exp.Not(this=exp.Paren(this=problem.condition.copy())) for problem in problems]
    outside = _present(source, all_of([*others, exp.Not(this=inside)]))
    bounds = f"{_shown(declared, declared.lower)} to {_shown(declared, declared.upper)}"
    if declared.outside == "refuse":
        problems.append(Problem(f"is outside {bounds}", outside))
    elif declared.outside == "clamp":
        nowhere = _present(source, all_of([*others, _is_null(number)]))
        problems.append(Problem(f"is not between {bounds}, and too far away to be clamped, or no number", nowhere))

    value = number.copy()
    if finer > 1:
        value = cast(exp.IntDiv(this=value, expression=integer(finer, raw.type)), own)
    elif coarser > 1:
        value = exp.Paren(this=exp.Mul(this=cast(value, own), expression=integer(coarser, own)))
    elif raw.type != own:
        value = cast(value, own)
    if declared.outside == "refuse":
        return Encoded(declared, type_, value, lambda: tuple(problems), raw.integer)
    branches = [exp.If(this=_between(number, lower, upper), true=value)]
    if declared.outside == "clamp":
        for comparison, bound, limit in ((exp.LT, lower, declared.lower), (exp.GT, upper, declared.upper)):
            beyond = comparison(this=number.copy(), expression=_huge(bound))
            branches.append(exp.If(this=beyond, true=integer(limit, own)))
    return Encoded(declared, type_, exp.Case(ifs=branches), lambda: tuple(problems), raw.integer, outside)


@dataclass(frozen=True)
class _Raw:
    """A number as the engine has it: an integer times 10^-digits, NULL where no HUGEINT holds it. Of text, whether it
    is a number, and whether it has more digits than that."""

    integer: exp.Expression
    type: str
    digits: int
    is_number: exp.Expression | None = None
    too_fine: exp.Expression | None = None


def _float(source: exp.Expression, type_: DuckDBPyType, declared: Column, is_text: bool) -> _Raw:
    """Rounded by a cast of the engine's, which takes half a step to the even one; far outside, to one step beyond the
    bounds. NaN becomes NULL, so is outside."""
    if not is_text and type_.id not in ("double", "float", "decimal", *_NARROW_INTEGERS, *_WIDE_INTEGERS):
        raise WrongType
    double = exp.DataType.build("DOUBLE", dialect="duckdb")
    value: exp.Expression = exp.TryCast(this=source.copy(), to=double)
    if declared.scale:
        value = exp.Mul(this=value, expression=integer(10**declared.scale, "DOUBLE"))
    if declared.step > 1:
        value = exp.Div(this=value, expression=integer(declared.step, "DOUBLE"))
    most = max(abs(declared.lower), abs(declared.upper)) // declared.step + 1
    near = _function("greatest", _function("least", value, integer(most, "DOUBLE")), integer(-most, "DOUBLE"))
    is_number_at_all = exp.Not(this=_function("isnan", value))  # NULL of NULL, which `least` would pass over
    steps: exp.Expression = exp.Case(ifs=[exp.If(this=is_number_at_all, true=cast(near, "BIGINT"))])
    if declared.step > 1:
        steps = exp.Mul(this=steps, expression=integer(declared.step))
    is_number = _function("regexp_matches", _function("trim", source), text(_FLOAT)) if is_text else None
    return _Raw(steps, "BIGINT", declared.scale, is_number)


def _date(source: exp.Expression, type_: DuckDBPyType, is_text: bool) -> _Raw:
    day, is_date = source, None
    if is_text:
        day, is_date = _moment_of_text(source, "DATE", _DATE)
    elif type_.id != "date":
        raise WrongType
    return _Raw(exp.Paren(this=exp.Sub(this=day.copy(), expression=cast(text("1970-01-01"), "DATE"))), "BIGINT", 0, is_date)


def _timestamp(source: exp.Expression, type_: DuckDBPyType, is_text: bool) -> _Raw:
    if is_text:
        moment, is_timestamp = _moment_of_text(source, "TIMESTAMP", _TIMESTAMP)
        return _Raw(_function("epoch_us", moment), "BIGINT", 0, is_timestamp)
    if type_.id == "timestamp_ns":
        return _Raw(_function("epoch_ns", source), "BIGINT", 3)
    if type_.id not in _TIMESTAMPS:
        raise WrongType
    # coarser ones reach further, and the engine would fail on them
    return _Raw(_function("try", _function("epoch_us", source)), "BIGINT", 0)


def _moment_of_text(source: exp.Expression, type_: str, form: str) -> tuple[exp.Expression, exp.Expression]:
    """What the text says, NULL where it is no such thing, and whether it is one."""
    trimmed = _function("trim", source)
    moment = exp.TryCast(this=trimmed.copy(), to=exp.DataType.build(type_, dialect="duckdb"))
    is_of_form = _function("regexp_matches", trimmed, text(form))
    return moment, exp.Paren(this=exp.And(this=is_of_form, expression=exp.Not(this=_is_null(moment))))


def _shown(declared: Column, bound: int) -> str:
    """For people."""
    if declared.kind == "date" or declared.kind == "timestamp":
        return str(Moment(declared.kind, bound)).partition(" ")[2].strip("'")
    return str(Number(bound, declared.scale))


def _typed(source: exp.Expression, type_: DuckDBPyType) -> _Raw:
    if type_.id in _NARROW_INTEGERS:
        return _Raw(cast(source, "BIGINT"), "BIGINT", 0)
    if type_.id in _WIDE_INTEGERS:
        return _Raw(_hugeint(source), "HUGEINT", 0)
    if type_.id != "decimal":
        raise WrongType
    width, digits = _digits(type_)
    if width + digits + 1 <= _DIGITS:
        unit = cast(exp.Literal.number(10**digits), f"DECIMAL({digits + 1}, 0)")
        raw_type = "BIGINT" if width <= 18 else "HUGEINT"
        return _Raw(cast(exp.Mul(this=source.copy(), expression=unit), raw_type), raw_type, digits)
    # a product would have too many digits for the engine; its text has them all
    return _Raw(_hugeint(_function("replace", cast(source, "VARCHAR"), text("."), text(""))), "HUGEINT", digits)


def _digits(type_: DuckDBPyType) -> tuple[int, int]:
    """All digits of a DECIMAL, and those after the point."""
    size = dict(type_.children)
    return int(str(size["precision"])), int(str(size["scale"]))


def _from_text(source: exp.Expression, scale: int) -> _Raw:
    trimmed = _function("trim", source)
    is_number = _function("regexp_matches", trimmed, text(_PLAIN_NUMBER if scale else _PLAIN_INTEGER))
    whole = _function("split_part", trimmed, text("."), integer(1))
    fraction = _function("rtrim", _function("split_part", trimmed, text("."), integer(2)), text("0"))
    too_fine = exp.Paren(this=exp.GT(this=_function("length", fraction), expression=integer(scale)))
    digits = whole
    if scale:
        padded = _function("rpad", fraction, integer(scale, "INTEGER"), text("0"))
        digits = exp.Paren(this=exp.DPipe(this=whole, expression=padded))  # NULL of NULL, unlike CONCAT
    return _Raw(_hugeint(digits), "HUGEINT", scale, is_number, too_fine)


def _function(name: str, *arguments: exp.Expression) -> exp.Expression:
    return exp.Anonymous(this=name, expressions=[argument.copy() for argument in arguments])


def _hugeint(value: exp.Expression) -> exp.Expression:
    return exp.TryCast(this=value.copy(), to=exp.DataType.build("HUGEINT", dialect="duckdb"))


def _between(value: exp.Expression, lower: int, upper: int) -> exp.Expression:
    return exp.Paren(this=exp.Between(this=value.copy(), low=_huge(lower), high=_huge(upper)))


def _huge(bound: int) -> exp.Expression:
    """The bound, or the engine's largest integer of its sign."""
    return integer(max(-_HUGEST, min(_HUGEST, bound)))


def _is_null(value: exp.Expression) -> exp.Expression:
    return exp.Paren(this=exp.Is(this=value.copy(), expression=exp.null()))


def _present(source: exp.Expression, condition: exp.Expression) -> exp.Expression:
    """`condition`, of values that are there."""
    return exp.And(this=exp.Not(this=_is_null(source)), expression=exp.Paren(this=condition))

