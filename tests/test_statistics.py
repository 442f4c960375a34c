"""Each statistic: from measures summed exactly over rows to the answer, against its own reference, against the standard
library on exact fractions, and against NumPy, SciPy and DuckDB where floating point can be trusted."""

import math
import statistics as python_statistics
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from protocols.expression import Arithmetic, Bin, Node, Number, Reference
from protocols.statistics import ALL, BY_NAME
from protocols.statistics.base import decimal, half_ulp
from protocols.statistics.histogram import edges
from protocols.tables import Column


def number(lower: int, upper: int, scale: int = 0, *, nullable: bool = True) -> Reference:
    return Reference("t", Column("x", "decimal" if scale else "integer", lower, upper, scale, nullable=nullable))


def evaluate(node: Node, x: int | None) -> int | None:
    """The integer that `node` stands for in a row whose one column is `x`."""
    if isinstance(node, Reference):
        return x
    if isinstance(node, Number):
        return node.value
    assert isinstance(node, Arithmetic)
    left, right = (evaluate(side, x) for side in node.children)
    if left is None or right is None:
        return None
    if node.operator == "*":
        return left * right
    left, right = left * 10 ** (node.scale - node.left.scale), right * 10 ** (node.scale - node.right.scale)
    return left + right if node.operator == "+" else left - right


def arguments_of(argument: Node | None) -> tuple[Node, ...]:
    return () if argument is None else (argument,)


def referred(name: str, argument: Node | None, rows: list[int | None]):
    """What the statistic's own reference makes of the pooled rows."""
    return BY_NAME[name].reference(name, arguments_of(argument), [() if argument is None else (x,) for x in rows])


def answer(name: str, argument: Node | None, rows: list[int | None], companies: int = 3):
    """What the statistic makes of the totals of some companies' rows."""
    statistic = BY_NAME[name]
    opened = []
    for measure in statistic.measures(name, arguments_of(argument)):
        total = 0
        for company in range(companies):
            values = [1 if measure.expression is None else evaluate(measure.expression, x) for x in rows[company::companies]]
            present = [v for v in values if v is not None]
            total += len(present) if measure.kind == "count" else sum(present)
        opened.append(total)
    return statistic.finish(name, arguments_of(argument), opened)


SPREADS = ["VAR_SAMP", "VAR_POP", "STDDEV_SAMP", "STDDEV_POP"]
PAIRS = ["COVAR_SAMP", "COVAR_POP", "CORR", "REGR_R2", "REGR_SLOPE", "REGR_INTERCEPT"]  # tests/test_covariance.py
NAMES = [name for name in BY_NAME if name not in PAIRS]


def exact(name: str, argument: Node, rows: list[int | None]) -> Fraction | None:
    """From the standard library, on exact fractions; for a deviation its square."""
    values = [Fraction(x, 10**argument.scale) for x in rows if x is not None]
    if name == "COUNT":
        return Fraction(len(values))
    if name == "SUM":
        return sum(values, Fraction(0))
    if len(values) < (2 if name.endswith("_SAMP") else 1):
        return None
    if name == "AVG":
        return python_statistics.mean(values)
    if name.endswith("_SAMP"):
        return Fraction(python_statistics.variance(values))
    return Fraction(python_statistics.pvariance(values))


@st.composite
def columns(draw):
    """A column with its bounds, near zero or far from it, and rows that reach them."""
    scale = draw(st.sampled_from([0, 0, 2, 6]))
    middle = draw(st.sampled_from([0, 0, 10**9, -(10**9), 12345])) * 10**scale
    width = draw(st.sampled_from([0, 1, 2, 10, 10**3, 10**9, 10**12]))
    argument = number(middle - width, middle + width + draw(st.integers(0, 1)), scale)
    value = st.sampled_from([argument.lower, argument.upper]) | st.integers(argument.lower, argument.upper)
    return argument, draw(st.lists(st.none() | value, max_size=30))


def test_every_statistic_is_found_by_its_names_and_says_what_it_discloses():
    assert set(BY_NAME) == {"COUNT", "SUM", "AVG", *SPREADS, *PAIRS}
    assert sum(len(statistic.names) for statistic in ALL) == len(BY_NAME)
    for name, statistic in BY_NAME.items():
        assert name in statistic.names
        assert name == name.upper()
        assert statistic.discloses
        assert statistic.takes == ((0, 1) if name == "COUNT" else (2,) if name in PAIRS else (1,))


def test_count_star_counts_every_row():
    assert answer("COUNT", None, [1, None, 3, None]) == 4
    assert answer("COUNT", number(0, 9), [1, None, 3, None]) == 2
    assert referred("COUNT", None, [1, None, 3, None]) == 4
    assert referred("COUNT", number(0, 9), [1, None, 3, None]) == 2


@pytest.mark.parametrize("name", NAMES)
@given(drawn=columns())
def test_the_answer_is_within_its_error_bound_of_the_exact_one(name, drawn):
    argument, rows = drawn
    got, expected = answer(name, argument, rows), exact(name, argument, rows)
    if expected is None:
        assert got is None
        return
    bound = Fraction(BY_NAME[name].error_bound(name, (argument,), 1000))
    value = Fraction(got)
    if name.startswith("STDDEV"):  # compared by squares, which are exact
        assert max(value - bound, 0) ** 2 <= expected <= (value + bound) ** 2
    else:
        assert abs(value - expected) <= bound
    if name in ("COUNT", "SUM"):
        assert bound == 0


@pytest.mark.parametrize("name", NAMES)
@given(drawn=columns())
def test_the_reference_is_the_exact_answer(name, drawn):
    argument, rows = drawn
    reference, expected = referred(name, argument, rows), exact(name, argument, rows)
    if expected is None or not name.startswith("STDDEV"):
        assert reference == expected
    else:  # one rounding: the square of neither neighbouring float is nearer
        below, above = (Fraction(math.nextafter(reference, towards)) for towards in (-1.0, math.inf))
        assert (max(below, Fraction(0)) + Fraction(reference)) ** 2 / 4 <= expected <= (above + Fraction(reference)) ** 2 / 4 or (
            reference == 0 == expected
        )


@pytest.mark.parametrize("name", NAMES)
@given(drawn=columns())
def test_the_answer_does_not_depend_on_the_order_or_the_owner_of_rows(name, drawn):
    argument, rows = drawn
    assert answer(name, argument, rows, 1) == answer(name, argument, rows[::-1], 3)


@pytest.mark.parametrize("name", ["AVG", *SPREADS])
def test_answers_over_too_few_values_are_null(name):
    argument = number(0, 100)
    least = 2 if name.endswith("_SAMP") else 1
    for rows in ([], [None], [None, None]):
        assert answer(name, argument, rows) is None
        assert referred(name, argument, rows) is None
    assert (answer(name, argument, [7]) is None) == (least == 2)
    assert answer(name, argument, [7, None, 7]) == (7 if name == "AVG" else 0)


def test_sum_over_no_values_is_zero_and_keeps_all_digits():
    assert answer("SUM", number(0, 9), []) == 0
    assert str(answer("SUM", number(-900, 900, 2), [None])) == "0.00"
    assert str(answer("SUM", number(-900, 900, 2), [250, -5, 600])) == "8.45"
    big = number(-(10**30), 10**30, 6)
    assert str(answer("SUM", big, [10**30 - 1, 10**30, 1])) == "2000000000000000000000000.000000"
    assert answer("SUM", number(0, 10**25), [10**25, 1]) == 10**25 + 1


@given(st.integers(-(10**50), 10**50), st.integers(0, 20))
def test_decimals_have_all_their_digits(value, scale):
    got = decimal(value, scale)
    assert Fraction(got) == Fraction(value, 10**scale)
    if scale:
        assert isinstance(got, Decimal)
        assert got.as_tuple().exponent == -scale
    else:
        assert isinstance(got, int)


# --- data far from zero ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0, 3, 6])
@pytest.mark.parametrize("name", ["AVG", *SPREADS])
def test_data_far_from_zero_loses_nothing(name, scale):
    # mean 1e9, deviation 1: float64 formulas and DuckDB's VAR_SAMP are off by 1e-7 and more
    rng = np.random.default_rng(11)
    rows = [round((1e9 + z) * 10**scale) for z in rng.normal(size=5000)]
    argument = number(0, 2 * 10**9 * 10**scale, scale)
    got, expected = Fraction(answer(name, argument, rows)), exact(name, argument, rows)
    assert expected is not None
    error = got**2 / expected - 1 if name.startswith("STDDEV") else got / expected - 1
    assert abs(error) < Fraction(1, 10**12)


def test_the_naive_formula_would_fail_the_test_above():
    rows = [1e9 + z for z in np.random.default_rng(11).normal(size=5000)]
    mean_of_squares = sum(x * x for x in rows) / len(rows)
    naive = (mean_of_squares - (sum(rows) / len(rows)) ** 2) * len(rows) / (len(rows) - 1)
    assert abs(naive / float(python_statistics.variance(map(Fraction, rows))) - 1) > 1e-3


@given(st.integers(-(10**12), 10**12), st.integers(1, 4), st.lists(st.integers(-3, 3), min_size=2, max_size=20))
def test_a_spread_does_not_change_with_a_shift(shift, times, deviations):
    near, far = number(-20, 20), number(shift - 20, shift + 20)
    rows = [d * times for d in deviations]
    for name in SPREADS:
        assert answer(name, near, rows) == answer(name, far, [x + shift for x in rows])


# --- other people's libraries, near zero --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sample() -> list[int | None]:
    rng = np.random.default_rng(3)
    return [None if rng.random() < 0.1 else int(x) for x in rng.integers(-500, 1500, 400)]


@pytest.mark.parametrize("name", NAMES)
def test_duckdb_gives_the_same_near_zero(name, sample):
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t (x INTEGER)")
        connection.executemany("INSERT INTO t VALUES (?)", [[x] for x in sample])
        (expected,) = connection.execute(f"SELECT {name}(x) FROM t").fetchone()
    assert float(answer(name, number(-500, 1500), sample)) == pytest.approx(float(expected), rel=1e-12)


def test_numpy_and_scipy_give_the_same_near_zero(sample):
    x = np.array([value for value in sample if value is not None], dtype=float)
    argument = number(-500, 1500)
    expected = {
        "COUNT": len(x), "SUM": x.sum(), "AVG": x.mean(), "VAR_SAMP": stats.tvar(x), "VAR_POP": x.var(),
        "STDDEV_SAMP": stats.tstd(x), "STDDEV_POP": x.std(),
    }  # fmt: skip
    for name, value in expected.items():
        assert answer(name, argument, sample) == pytest.approx(value, rel=1e-12)


# --- measures and bounds ------------------------------------------------------------------------------------------------------------


@given(drawn=columns())
def test_measures_stay_inside_the_ranges_proven_for_them(drawn):
    argument, rows = drawn
    for name in NAMES:
        for measure in BY_NAME[name].measures(name, (argument,)):
            if measure.expression is not None:
                values = [evaluate(measure.expression, x) for x in rows]
                assert all(measure.expression.lower <= v <= measure.expression.upper for v in values if v is not None)


def test_squares_are_taken_about_the_middle_of_the_bounds():
    # the range that the plan must prove is that of the spread, not of the distance from zero
    *_, squares = BY_NAME["VAR_SAMP"].measures("VAR_SAMP", (number(10**9 - 5, 10**9 + 5),))
    assert squares.expression.upper == 25


@given(st.fractions(min_value=-(10**12), max_value=10**12))
def test_half_an_ulp_bounds_the_error_of_one_rounding(x):
    assert abs(Fraction(float(x)) - x) <= Fraction(half_ulp(abs(x))) or x == 0


# --- histogram ----------------------------------------------------------------------------------------------------------------------


def test_edges_are_integers_where_all_are():
    found = edges(Bin(number(-100, 2000), -60, 180, 0, 24))
    assert len(found) == 26
    assert found[0] == (None, -60)
    assert found[1] == (-60, -50)
    assert found[24] == (170, 180)
    assert found[25] == (180, None)
    assert all(isinstance(edge, int) for pair in found for edge in pair if edge is not None)
    assert edges(Bin(number(0, 900, 2), 0, 400, 2, 4))[1:-1] == [(0, 1), (1, 2), (2, 3), (3, 4)]


def test_edges_are_decimals_where_the_bounds_digits_suffice():
    found = edges(Bin(number(0, 100, 2), 0, 100, 2, 4))
    assert [str(lower) for lower, _ in found[1:]] == ["0.00", "0.25", "0.50", "0.75", "1.00"]


def test_edges_are_the_nearest_floats_otherwise():
    found = edges(Bin(number(0, 10), 0, 1, 0, 3))
    assert found[1:3] == [(0.0, 1 / 3), (1 / 3, 2 / 3)]
    assert found[-1] == (1.0, None)


@given(st.integers(-(10**6), 10**6), st.integers(1, 10**6), st.integers(0, 4), st.integers(1, 50))
def test_bins_are_equal_adjacent_and_cover_from_the_lower_to_the_upper_bound(start, width, digits, bins):
    found = edges(Bin(number(-(10**9), 10**9, digits), start, start + width, digits, bins))
    assert len(found) == bins + 2
    assert found[0][0] is None
    assert found[-1][1] is None
    assert all(upper == lower for (_, upper), (lower, _) in pairwise(found))
    for i, (lower, _) in enumerate(found[1:]):
        place = Fraction(start, 10**digits) + Fraction(width, 10**digits) * i / bins
        assert abs(Fraction(lower) - place) <= Fraction(half_ulp(abs(place)))
        if not isinstance(lower, float):
            assert Fraction(lower) == place
