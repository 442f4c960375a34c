"""The statistics of (y, x): from measures summed over rows at three companies to the answer, against exact fractions by textbook formulas that
the code does not use, against NumPy, SciPy and DuckDB where floating point can be trusted, and through the whole protocol."""

import math
from dataclasses import replace
from fractions import Fraction
from itertools import combinations

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mpc.simulate import simulate
from parties.data.home import TableSource, compute
from parties.data.pooled import differences, pooled_answer
from parties.governance.differencing import objection
from parties.node.report import report
from parties.spec.sql import parse_query
from protocols.expression import Arithmetic, Case, IsNull, Node, Not, Number, Reference
from protocols.planning.disclosures import disclosures
from protocols.planning.execute import answer, execute, inputs
from protocols.planning.explain import said_by_statistics
from protocols.planning.plan import Security
from protocols.planning.planner import plan_query
from protocols.statistics import BY_NAME
from protocols.tables import Column, Table, Unit

PAIRS = ["COVAR_SAMP", "COVAR_POP", "CORR", "REGR_R2", "REGR_SLOPE", "REGR_INTERCEPT"]
Pair = tuple[int | None, int | None]


def number(name: str, lower: int, upper: int, scale: int = 0, step: int = 0) -> Reference:
    kind = "float" if step else "decimal" if scale else "integer"
    return Reference("t", Column(name, kind, lower, upper, scale, step or 1, nullable=True))


def evaluate(node: Node, row: dict[str, int | None]):
    """The integer, or the truth, that `node` stands for in a row."""
    match node:
        case Reference():
            return row[node.column.name]
        case Number():
            return node.value
        case Not():
            return not evaluate(node.operand, row)
        case IsNull():
            return evaluate(node.operand, row) is None
        case Case(branches=((condition, value),), otherwise=None):
            return evaluate(value, row) if evaluate(condition, row) else None
    assert isinstance(node, Arithmetic)
    left, right = (evaluate(side, row) for side in node.children)
    if left is None or right is None:
        return None
    if node.operator == "*":
        return left * right
    left, right = left * 10 ** (node.scale - node.left.scale), right * 10 ** (node.scale - node.right.scale)
    return left + right if node.operator == "+" else left - right


def made(name: str, y: Reference, x: Reference, rows: list[Pair], companies: int = 3):
    """What the statistic makes of the totals of some companies' rows; every value within its proven range."""
    opened = []
    for measure in BY_NAME[name].measures(name, (y, x)):
        total = 0
        for company in range(companies):
            values = [evaluate(measure.expression, {"y": b, "x": a}) for b, a in rows[company::companies]]
            present = [v for v in values if v is not None]
            assert all(measure.expression.lower <= v <= measure.expression.upper for v in present)
            total += len(present) if measure.kind == "count" else sum(present)
        opened.append(total)
    return BY_NAME[name].finish(name, (y, x), opened)


def pairwise(name: str, rows: list[tuple[Fraction, Fraction]]) -> tuple[Fraction | None, int]:
    """Exact, of rows without NULL, from the differences between all pairs of rows: no sum, no mean, no centre. Of a correlation its
    square, and its sign."""
    n = len(rows)
    pairs = list(combinations(rows, 2))
    yx = sum(((b - d) * (a - c) for (b, a), (d, c) in pairs), Fraction(0))
    xx = sum(((a - c) ** 2 for (_, a), (_, c) in pairs), Fraction(0))
    yy = sum(((b - d) ** 2 for (b, _), (d, _) in pairs), Fraction(0))
    sign = (yx > 0) - (yx < 0)
    if name.startswith("COVAR"):
        divisor = n - name.endswith("SAMP")
        return (yx / (n * divisor) if divisor > 0 else None), sign
    if not xx or (name == "CORR" and not yy):
        return None, sign
    if name in ("CORR", "REGR_R2"):
        return (yx**2 / (xx * yy) if yy else Fraction(1)), sign
    if name == "REGR_SLOPE":
        return yx / xx, sign
    return sum((b - yx / xx * a for b, a in rows), Fraction(0)) / n, sign


def exact(name: str, y: Reference, x: Reference, rows: list[Pair]) -> tuple[Fraction | None, int]:
    present = [(Fraction(b, 10**y.scale), Fraction(a, 10**x.scale)) for b, a in rows if a is not None and b is not None]
    return pairwise(name, present)


@st.composite
def tables(draw):
    """Two columns with their bounds, near zero or far from it, and rows that reach them, or hardly vary."""
    columns, values = [], []
    for name in "yx":
        scale = draw(st.sampled_from([0, 0, 2, 6]))
        center = draw(st.sampled_from([0, 0, 10**9, -(10**9), 12345])) * 10**scale
        width = draw(st.sampled_from([0, 1, 2, 10, 10**3, 10**9, 10**12]))
        column = number(name, center - width, center + width + draw(st.integers(0, 1)), scale)
        ends = st.sampled_from([column.lower, column.upper, center])
        columns.append(column)
        values.append(st.none() | ends | st.integers(column.lower, column.upper))
    return *columns, draw(st.lists(st.tuples(*values), max_size=12))


@pytest.mark.parametrize("name", PAIRS)
@given(drawn=tables())
def test_the_answer_is_within_its_error_bound_of_the_exact_one(name, drawn):
    y, x, rows = drawn
    got, (expected, sign) = made(name, y, x, rows), exact(name, y, x, rows)
    if expected is None:
        assert got is None
        return
    assert isinstance(got, float)
    bound, value = Fraction(BY_NAME[name].error_bound(name, (y, x), 1000)), Fraction(got)
    if name == "CORR":  # compared by its square, which is exact
        assert (value > 0) - (value < 0) == sign
        assert -1 <= value <= 1
        assert max(abs(value) - bound, 0) ** 2 <= expected <= (abs(value) + bound) ** 2
    else:
        assert abs(value - expected) <= bound
    assert name.startswith(("COVAR", "REGR_S", "REGR_I")) or bound <= Fraction(1, 2**52)


@pytest.mark.parametrize("name", PAIRS)
@given(drawn=tables())
def test_the_reference_is_the_exact_answer(name, drawn):
    y, x, rows = drawn
    reference, (expected, sign) = BY_NAME[name].reference(name, (y, x), rows), exact(name, y, x, rows)
    if expected is None or name != "CORR":
        assert reference == expected
        return
    assert (reference > 0) - (reference < 0) == sign
    assert abs(Fraction(reference) ** 2 - expected) <= Fraction(1, 2**52) * expected


@pytest.mark.parametrize("name", PAIRS)
@given(drawn=tables())
def test_the_answer_does_not_depend_on_the_order_or_the_owner_of_rows(name, drawn):
    y, x, rows = drawn
    assert made(name, y, x, rows, 1) == made(name, y, x, rows[::-1], 3)


@given(drawn=tables())
def test_covariance_and_correlation_are_symmetric_and_the_slopes_multiply_to_r2(drawn):
    y, x, rows = drawn
    turned = [(a, b) for b, a in rows]
    swapped = number("y", x.lower, x.upper, x.scale), number("x", y.lower, y.upper, y.scale)
    for name in ("COVAR_SAMP", "COVAR_POP", "CORR"):
        assert made(name, y, x, rows) == made(name, *swapped, turned)
    r2 = made("REGR_R2", y, x, rows)
    slopes = made("REGR_SLOPE", y, x, rows), made("REGR_SLOPE", *swapped, turned)
    if None not in slopes:
        assert slopes[0] * slopes[1] == pytest.approx(r2, rel=1e-12)
        assert made("CORR", y, x, rows) ** 2 == pytest.approx(r2, rel=1e-12)


@given(st.lists(st.none() | st.integers(-50, 50), max_size=12))
def test_a_column_with_itself(values):
    both = [(v, v) for v in values]
    y, x = number("y", -50, 50), number("x", -50, 50)
    for kind in ("SAMP", "POP"):
        variance = BY_NAME[f"VAR_{kind}"].reference(f"VAR_{kind}", (x,), [(v,) for v in values])
        assert made(f"COVAR_{kind}", y, x, both) == (None if variance is None else float(variance))
    varies = len({v for v in values if v is not None}) > 1
    assert made("CORR", y, x, both) == (1 if varies else None)
    assert made("REGR_SLOPE", y, x, both) == (1 if varies else None)
    assert made("REGR_INTERCEPT", y, x, both) == (0 if varies else None)


@given(st.integers(-5, 5).filter(bool), st.integers(-100, 100), st.sets(st.integers(-100, 100), min_size=2))
def test_a_line_is_found_exactly(slope, intercept, places):
    rows = [(slope * a + intercept, a) for a in places]
    y, x = number("y", -700, 700), number("x", -100, 100)
    assert made("REGR_SLOPE", y, x, rows) == slope
    assert made("REGR_INTERCEPT", y, x, rows) == intercept
    assert made("CORR", y, x, rows) == (1 if slope > 0 else -1)
    assert made("REGR_R2", y, x, rows) == 1


# --- few rows, and constant ones ------------------------------------------------------------------------------------------------

FEW: dict[str, list[Pair]] = {
    "no row": [],
    "no row with both": [(None, 1), (2, None), (None, None)],
    "one row": [(1, 2), (None, 3), (4, None)],
    "constant x": [(1, 5), (2, 5), (4, 5), (9, None)],
    "constant y": [(5, 1), (5, 2), (5, 4), (None, 9)],
    "both constant": [(5, 3), (5, 3)],
    "x constant without its NULLs": [(1, 2), (3, 2), (None, 7)],
    "x varies where y is NULL alone": [(1, 2), (None, 7), (None, 9)],
    "two rows": [(1, 1), (2, 5)],
    "some rows": [(1, 2), (2, 3), (4, 9), (None, 7), (3, None)],
}


@pytest.mark.parametrize("case", FEW)
@pytest.mark.parametrize("name", PAIRS)
def test_what_is_undefined_is_null_where_duckdb_says_null_or_nan(name, case):
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t (y INTEGER, x INTEGER)")
        for row in FEW[case]:
            connection.execute("INSERT INTO t VALUES (?, ?)", row)
        (theirs,) = connection.execute(f"SELECT {name}(y, x) FROM t").fetchone()
    ours = made(name, number("y", -20, 30), number("x", 0, 20), FEW[case])
    assert BY_NAME[name].reference(name, (number("y", -20, 30), number("x", 0, 20)), FEW[case]) == pytest.approx(ours, abs=1e-12)
    if theirs is None or math.isnan(theirs):
        assert ours is None
        assert theirs is None or name in ("CORR", "REGR_SLOPE")  # as docs/spec.md says
    else:
        assert ours == pytest.approx(theirs, rel=1e-12, abs=1e-15)


def test_few_rows_by_hand():
    y, x = number("y", 0, 9), number("x", 0, 9)
    values = {case: [made(name, y, x, rows) for name in PAIRS] for case, rows in FEW.items()}
    assert values["no row"] == values["no row with both"] == [None] * 6
    assert values["one row"] == values["x varies where y is NULL alone"] == [None, 0, None, None, None, None]
    assert values["constant x"] == values["both constant"] == [0, 0, None, None, None, None]
    assert values["constant y"] == [0, 0, None, 1, 0, 5]
    assert values["two rows"] == [2, 1, 1, 1, 0.25, 0.75]


# --- other people's libraries -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sample() -> list[Pair]:
    rng = np.random.default_rng(3)
    xs = rng.integers(-500, 1500, 400)
    ys = (3 * xs + rng.normal(0, 900, 400)).astype(int)
    return [(None if rng.random() < 0.1 else int(b), None if rng.random() < 0.1 else int(a)) for b, a in zip(ys, xs, strict=True)]


def test_numpy_scipy_and_duckdb_give_the_same_near_zero(sample):
    b, a = np.array([row for row in sample if None not in row], dtype=float).T
    line = stats.linregress(a, b)
    expected = [np.cov(b, a)[0, 1], np.cov(b, a, ddof=0)[0, 1], stats.pearsonr(b, a)[0], line.rvalue**2, line.slope, line.intercept]
    y, x = number("y", -9_000, 9_000), number("x", -500, 1500)
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t (y INTEGER, x INTEGER)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", sample)
        theirs = connection.execute(f"SELECT {', '.join(f'{name}(y, x)' for name in PAIRS)} FROM t").fetchone()
    ours = [made(name, y, x, sample) for name in PAIRS]
    assert ours == pytest.approx(expected, rel=1e-11)
    assert ours == pytest.approx(theirs, rel=1e-11)


@pytest.mark.parametrize("name", PAIRS)
def test_data_far_from_zero_loses_nothing(name):
    # at 1e9 with deviation 1 the textbook formula in floats has no right digit
    rng = np.random.default_rng(11)
    z = rng.normal(size=(300, 2))
    rows = [(round((1e9 + b + a) * 10**6), round((1e9 + a) * 10**6)) for b, a in z]
    y, x = (number(n, 0, 2 * 10**15, 6) for n in "yx")
    got, (expected, _) = Fraction(made(name, y, x, rows)), exact(name, y, x, rows)
    assert abs((got**2 if name == "CORR" else got) / expected - 1) < Fraction(1, 10**14)
    b, a = np.array(rows).T / 1e6
    with np.errstate(divide="ignore"):
        naive = ((a * b).mean() - a.mean() * b.mean()) / ((a * a).mean() - a.mean() ** 2)
    assert name != "REGR_SLOPE" or abs(naive / float(expected) - 1) > 1e-3


# --- floats -----------------------------------------------------------------------------------------------------------------------

Y, X = number("y", -400, 600, 2, 20), number("x", 0, 1000, 2, 5)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(-20, 30), st.integers(0, 200), *[st.fractions(-1, 1, max_denominator=4)] * 2), min_size=2, max_size=5))
def test_the_error_bound_holds_the_rounding_of_floats(drawn):
    """Each value lies anywhere within half a step of the multiple that stands for it: at the ends, too."""
    encoded: list[Pair] = [(20 * b, 5 * a) for b, a, _, _ in drawn]
    floats = [(Fraction(20 * b) / 100 + e / 10, Fraction(5 * a) / 100 + f / 40) for b, a, e, f in drawn]
    for name in ("COVAR_SAMP", "COVAR_POP"):
        unrounded, _ = pairwise(name, floats)
        assert abs(Fraction(made(name, Y, X, encoded)) - unrounded) <= Fraction(BY_NAME[name].error_bound(name, (Y, X), 9))
    integer = number("x", 0, 1000, 2)  # x is exact
    for name in ("REGR_SLOPE", "REGR_INTERCEPT", "COVAR_SAMP", "COVAR_POP"):
        unrounded, _ = pairwise(name, [(b, Fraction(5 * a) / 100) for (b, _), (_, a, _, _) in zip(floats, drawn, strict=True)])
        got = made(name, Y, integer, encoded)
        assert (got is None) == (unrounded is None)
        if got is not None:
            assert abs(Fraction(got) - unrounded) <= Fraction(BY_NAME[name].error_bound(name, (Y, integer), 9))


def test_the_bounds_for_floats_are_reached():
    """But for a hundredth or two, they could not be smaller."""
    # two rows at opposite ends of both columns, each moved by half a step towards the other's end
    rows: list[Pair] = [(-400, 0), (600, 1000)]
    unrounded, _ = pairwise("COVAR_SAMP", [(Fraction(-41, 10), Fraction(-1, 40)), (Fraction(61, 10), Fraction(401, 40))])
    moved = abs(Fraction(made("COVAR_SAMP", Y, X, rows)) - unrounded)
    assert moved <= Fraction(BY_NAME["COVAR_SAMP"].error_bound("COVAR_SAMP", (Y, X), 9)) <= moved * Fraction(102, 100)
    x = number("x", 0, 1)
    rows = [(0, 0), (200, 1)]
    unrounded, _ = pairwise("REGR_SLOPE", [(Fraction(-1, 10), Fraction(0)), (Fraction(21, 10), Fraction(1))])
    moved = abs(Fraction(made("REGR_SLOPE", Y, x, rows)) - unrounded)
    assert moved <= Fraction(BY_NAME["REGR_SLOPE"].error_bound("REGR_SLOPE", (Y, x), 9)) <= moved * Fraction(101, 100)


def test_where_rounding_can_do_anything_the_bound_says_so():
    exact_x, exact_y = number("x", 0, 9), number("y", 0, 9)
    bounds = {(name, *pair): BY_NAME[name].error_bound(name, pair, 9) for name in PAIRS for pair in ((Y, exact_x), (exact_y, X), (Y, X))}
    for pair in ((Y, exact_x), (exact_y, X), (Y, X)):
        assert bounds["CORR", *pair] == 2
        assert bounds["REGR_R2", *pair] == 1
        for name in ("REGR_SLOPE", "REGR_INTERCEPT"):
            assert (bounds[name, *pair] == math.inf) == (pair[1] is X)
    # floats of one step's rows, of which the slope is as steep as one likes, and the correlation turned round
    one = [(Fraction(0), Fraction(1, 40) - Fraction(1, 10**9)), (Fraction(6), Fraction(1, 40) + Fraction(1, 10**9))]
    assert pairwise("REGR_SLOPE", one)[0] > 10**9
    assert made("REGR_SLOPE", Y, X, [(0, 0), (600, 5)]) == 120


# --- the plan ---------------------------------------------------------------------------------------------------------------------

COLUMNS = {
    "place": Column("place", "category", 0, 2, values=("a", "b", "c")),
    "y": Column("y", "decimal", -500, 500, 2, nullable=True),
    "x": Column("x", "integer", 0, 100, nullable=True),
    "z": Column("z", "integer", -9, 9),
    "w": Column("w", "integer", 0, 9),
    "f": Column("f", "float", -1000, 1000, 2, 25),
}
NAMES = ("alpha", "beta", "gamma")
TABLE = Table("t", COLUMNS, 1000, NAMES)
ADDITIVE, SHAMIR, REPLICATED = Security(NAMES, "additive", 2), Security(NAMES, "shamir", 1), Security(NAMES, "replicated", 1)


def planned(sql: str, security: Security = ADDITIVE, table: Table = TABLE):
    return plan_query(parse_query("q", sql, {"t": table}, ("alpha",)), security)


def opened_by(sql: str) -> list[str]:
    return [str(measure) for measure in planned(sql).opened]


def test_only_what_is_needed_is_opened():
    centred = "SUM((z - 0) * (w - 4))"
    assert opened_by("SELECT COVAR_SAMP(z, w) FROM t") == ["COUNT(*)", "SUM(z)", "SUM(w)", centred]
    assert opened_by("SELECT REGR_SLOPE(z, w) FROM t") == ["COUNT(*)", "SUM(z)", "SUM(w)", centred, "SUM((w - 4) * (w - 4))"]
    everything = ", ".join(f"{name}(z, w)" for name in PAIRS)
    assert opened_by(f"SELECT AVG(w), VAR_POP(z), COUNT(*), {everything} FROM t") == [
        "COUNT(*)", "SUM(w)", "SUM(z)", "SUM((z - 0) * (z - 0))", centred, "SUM((w - 4) * (w - 4))",
    ]  # fmt: skip


def test_nulls_of_the_other_argument_are_left_out():
    assert opened_by("SELECT COVAR_POP(y, x) FROM t") == [
        "COUNT(CASE WHEN x IS NOT NULL THEN y END)", "SUM(CASE WHEN x IS NOT NULL THEN y END)",
        "SUM(CASE WHEN y IS NOT NULL THEN x END)", "SUM((y - 0.00) * (x - 50))",
    ]  # fmt: skip
    known = "SELECT COVAR_POP(y, x) FROM t WHERE x IS NOT NULL AND y IS NOT NULL"
    assert opened_by(known) == ["COUNT(*)", "SUM(y)", "SUM(x)", "SUM((y - 0.00) * (x - 50))"]
    assert opened_by("SELECT COVAR_POP(y, x) FROM t WHERE x > 3")[:3] == ["COUNT(y)", "SUM(y)", "SUM(CASE WHEN y IS NOT NULL THEN x END)"]
    assert opened_by("SELECT SUM(CASE WHEN x IS NOT NULL THEN z ELSE 1 END) FROM t WHERE x > 3") == [
        "SUM(CASE WHEN x IS NOT NULL THEN z ELSE 1 END)"
    ]
    assert opened_by("SELECT SUM(CASE WHEN x IS NULL THEN z END) FROM t WHERE x > 3") == ["SUM(CASE WHEN x IS NULL THEN z END)"]


def test_both_arguments_are_in_the_digest_and_in_what_is_explained():
    texts = ["REGR_SLOPE(z, w)", "REGR_SLOPE(w, z)", "REGR_SLOPE(z, x)", "REGR_INTERCEPT(z, w)", "CORR(z, w)", "CORR(w, z)"]
    assert len({planned(f"SELECT {text} AS s FROM t").digest for text in texts}) == len(texts)
    plan = planned("SELECT REGR_SLOPE(z, w + 1) AS slope FROM t")
    assert said_by_statistics(plan) == [
        "slope: REGR_SLOPE(z, w + 1) gives the receivers the count, and the sums of y, x, y x and x^2"
    ]
    assert [item.what for item in disclosures(plan)[:5]] == [
        "COUNT(*)", "SUM(z)", "SUM(w + 1)", "SUM((z - 0) * ((w + 1) - 5))", "SUM(((w + 1) - 5) * ((w + 1) - 5))",
    ]  # fmt: skip


def test_over_protected_rows_nulls_have_to_be_left_out_by_where():
    # else SUM(y) of another query, less that of the rows with x, would be of those without: a few, perhaps
    table = replace(TABLE, unit=Unit())
    why = objection(planned("SELECT CORR(y, x) FROM t", table=table), [], ())
    assert "has CASE WHEN x IS NOT NULL THEN y END" in why
    assert why.endswith("choose rows with WHERE")
    for sql in ("SELECT CORR(y, x) FROM t WHERE x IS NOT NULL AND y IS NOT NULL", "SELECT CORR(z, w) FROM t"):
        assert objection(planned(sql, table=table), [], ()) == ""


# --- through the protocol -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Three companies' files; in group b x is constant, in c there is one row with both."""
    rng, folder, found = np.random.default_rng(5), tmp_path_factory.mktemp("pairs"), {}
    for name in NAMES:
        rows = []
        for _ in range(60):
            place = rng.choice(["a", "a", "b", "c"])
            x = 7 if place == "b" else int(rng.integers(0, 101))
            y = round(float(rng.normal(x / 50, 0.5)), 2)
            only_one = place == "c" or rng.random() < 0.2
            missing = rng.random() < 0.5
            z = int(rng.integers(-9, 10))
            rows.append((
                place, None if only_one and missing else y, None if only_one and not missing else x, z, int(rng.integers(0, 10)),
                float(np.clip(z + rng.normal(), -9.9, 9.9)),
            ))  # fmt: skip
        if name == "beta":
            rows.append(("c", 1.25, 40, 1, 2, 3.2))
        path = folder / f"{name}.parquet"
        with duckdb.connect() as connection:
            connection.execute("CREATE TABLE t (place VARCHAR, y DECIMAL(9, 2), x INTEGER, z INTEGER, w INTEGER, f DOUBLE)")
            connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)", rows)
            connection.execute(f"COPY t TO '{path}'")
        found[name] = {"t": TableSource(path)}
    return found


ALL_OF_THEM = ", ".join(f"{name}(y, x) AS {name.lower()}" for name in PAIRS)
QUERIES = {
    "all": f"SELECT {ALL_OF_THEM} FROM t",
    "grouped": f"SELECT place, COUNT(*) AS n, {ALL_OF_THEM} FROM t GROUP BY place",
    "where": f"SELECT place, {ALL_OF_THEM} FROM t WHERE z > 0 AND x IS NOT NULL GROUP BY place",
    "nobody": f"SELECT {ALL_OF_THEM} FROM t WHERE z > 9",
    "expressions": "SELECT CORR(y * z, 2 * x - w) AS c, REGR_SLOPE(CASE WHEN z > 0 THEN y END, w) AS s, COVAR_POP(w, w) AS v FROM t",
    "floats": "SELECT COVAR_SAMP(f, z) AS c, REGR_SLOPE(f, z) AS s, REGR_SLOPE(z, f) AS t, CORR(f, z) AS r FROM t",
}


@pytest.mark.parametrize("security", [ADDITIVE, SHAMIR, REPLICATED], ids=["additive", "shamir", "replicated"])
@pytest.mark.parametrize("query", QUERIES)
def test_three_companies_get_the_pooled_answer(query, security, sources):
    plan = planned(QUERIES[query], security)
    home = [[compute(task, sources[name]["t"]) for task in plan.tasks] for name in NAMES]
    opened = simulate(lambda ctx, mine: execute(ctx, plan, inputs(plan, mine)), home, plan.scheme, triples=None)[0]
    got, pooled = answer(plan, opened), pooled_answer(plan.query, sources)
    assert len(got.rows) == len(pooled) == plan.cells
    assert all(found <= bound for found, bound in zip(differences(got.rows, pooled), got.error_bound, strict=True))
    near = [bound if math.isfinite(bound) else 1e-9 for bound in got.error_bound]
    assert all(found <= bound for found, bound in zip(differences(got.rows, pooled), near, strict=True))

    files = ", ".join(f"'{sources[name]['t'].path}'" for name in NAMES)
    theirs = duckdb.sql(QUERIES[query].replace("FROM t", f"FROM read_parquet([{files}])") + " ORDER BY ALL").fetchall()
    assert len(theirs) == len(got.rows)
    for ours, row in zip(got.rows, theirs, strict=True):
        for one, other in zip(ours, row, strict=True):
            if one is None:
                assert other is None or math.isnan(other)
            elif isinstance(one, str):
                assert one == other
            elif query == "floats":
                assert one == pytest.approx(other, rel=0.1)  # rounded to steps of a quarter
            else:
                assert one == pytest.approx(other, rel=1e-9, abs=1e-12)
    values = [value for row in got.rows for value in row]
    assert (None in values) == (query in ("grouped", "where", "nobody"))


def test_a_bound_that_is_none_is_null_in_the_report():
    plan = planned(QUERIES["floats"])
    zeros = [[0]] * len(plan.opened)
    result = report(plan, "", zeros, plan.cost(0), plan.cost(0), {})
    assert [bound is None for bound in result["error_bound"]] == [False, False, True, False]
    assert answer(plan, zeros).error_bound[2] == math.inf
