"""MEDIAN and QUANTILE_CONT from a noisy tree of counts: against plain quantiles, against least squares solved directly, and
against the error and the sensitivity that are claimed."""

import statistics as python_statistics
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc.randomness import Stream
from mpc.simulate import simulate
from parties.data.home import TableSource, compute
from parties.spec.sql import SqlProblem, parse_query
from protocols.expression import Arithmetic, Number, Reference
from protocols.planning.disclosures import disclosures
from protocols.planning.execute import Answer, answer, draw_noise, execute, inputs
from protocols.planning.explain import at_home, expected_errors
from protocols.planning.plan import Plan, Security
from protocols.planning.planner import plan_query
from protocols.planning.privacy import Privacy
from protocols.planning.query import PlanError, Query
from protocols.statistics.quantile import (
    ALL_LEAVES,
    FANOUT,
    FEWEST,
    LEAVES,
    Quantile,
    Tree,
    fit,
    levels,
    rank_variances,
    read,
    tree_of,
)
from protocols.tables import Column, Table, Unit

COMPANIES = ("delta", "jetblue", "united")
ORIGIN = Column("origin", "category", 0, 2, values=("EWR", "JFK", "LGA"))
DELAY = Column("delay", "integer", -60, 1440, nullable=True)
DISTANCE = Column("distance", "integer", 0, 5000)
LATE = Column("late", "boolean", 0, 1)
FLIGHTS = Table(
    "flights", {c.name: c for c in (ORIGIN, DELAY, DISTANCE, LATE)}, 10_000, COMPANIES, unit=Unit()
)
SECURITY = Security(COMPANIES, "additive", 2)
GAUSSIAN = Privacy("gaussian", 30_000)
LAPLACE = Privacy("laplace", 500_000, Fraction(1))


def number(lower: int, upper: int, scale: int = 0) -> Reference:
    return Reference("flights", Column("x", "decimal" if scale else "integer", lower, upper, scale))


def parsed(select: str, privacy: Privacy | None = GAUSSIAN, table: Table = FLIGHTS) -> Query:
    query = parse_query("q", f"SELECT {select}", {table.name: table}, ("united",))
    return replace(query, privacy=privacy)


def planned(select: str, privacy: Privacy | None = GAUSSIAN, table: Table = FLIGHTS) -> Plan:
    return plan_query(parsed(select, privacy, table), SECURITY)


def leaf_counts(tree: Tree, values: Any) -> np.ndarray:
    numbers = (np.asarray(values, dtype=np.int64) - tree.argument.lower) // (tree.values * tree.step)
    return np.bincount(numbers, minlength=tree.leaves)


def all_counts(tree: Tree, leaves: np.ndarray) -> list[np.ndarray]:
    """By level, group by group."""
    vector = levels(tree, leaves.reshape(-1), 10**9)
    ends = np.cumsum([tree.groups * nodes for nodes in tree.sizes])[:-1]
    return [part.reshape(tree.groups, -1).astype(float) for part in np.split(vector, ends)]


# --- what it is, without noise --------------------------------------------------------------------------------------------------

ps = st.sampled_from([Fraction(0), Fraction(1), Fraction(1, 2)]) | st.fractions(0, 1, max_denominator=1000)


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=30), ps)
def test_the_reference_is_the_linear_quantile(values, p):
    x = number(-50, 50, 1)
    exact = Quantile(p).reference("QUANTILE_CONT", (x,), [(value,) for value in [*values, None]])
    assert float(exact) == pytest.approx(float(np.quantile(np.array(values) / 10, float(p))), abs=1e-9)
    if p == Fraction(1, 2):
        assert exact == python_statistics.median([Fraction(value, 10) for value in values])
    assert Quantile(p).reference("MEDIAN", (x,), [(None,)]) is None


@st.composite
def columns(draw):
    """A number, its bounds reached, in leaves of one value or of several; and rows."""
    scale, step = draw(st.sampled_from([0, 2])), draw(st.sampled_from([1, 5]))
    lower = draw(st.sampled_from([0, -60, 10**9])) * step
    upper = lower + step * draw(st.sampled_from([0, 1, 9, 100, LEAVES - 1, LEAVES, 10**5, 10**12]))
    x = Reference("flights", Column("x", "float", lower, upper, scale, step))
    value = st.sampled_from([lower, upper]) | st.integers(lower // step, upper // step).map(lambda v: v * step)
    return x, draw(st.lists(value, min_size=1, max_size=30))


@given(columns(), ps)
def test_without_noise_the_answer_is_within_its_error_bound_of_the_exact_one(drawn, p):
    x, values = drawn
    tree = tree_of(x, 1)
    leaves = leaf_counts(tree, values)
    got = read(tree, leaves.astype(float), np.zeros(tree.leaves + 1), p)
    exact = Quantile(p).reference("QUANTILE_CONT", (x,), [(value,) for value in values])
    assert abs(Fraction(got.value) - exact) <= Fraction(tree.error_bound)
    if tree.values == 1 and abs(x.upper) < 10**6:
        assert got.value == pytest.approx(float(exact), abs=1e-6)


def test_leaves_are_the_values_themselves_where_there_is_room():
    assert (tree_of(number(1, 12), 1).leaves, tree_of(number(1, 12), 1).values) == (12, 1)
    assert tree_of(number(0, 0), 1).sizes == (1,)
    assert tree_of(number(0, LEAVES - 1), 1).values == 1
    wide = tree_of(number(0, 10**6), 1)
    assert LEAVES / 2 < wide.leaves <= LEAVES
    assert (wide.leaves - 1) * wide.values <= 10**6 < wide.leaves * wide.values
    # a float has as many values as steps
    stepped = Reference("flights", Column("x", "float", 0, 5000, 2, step=50))
    assert tree_of(stepped, 1).leaves == 101
    assert tree_of(number(0, 4999), 30).leaves * 30 <= ALL_LEAVES


# --- the fit ---------------------------------------------------------------------------------------------------------------------

SIZES = [([37, 5, 1], 8), ([64, 16, 4], 4), ([5], 8), ([100, 34, 12, 4], 3), ([9, 2], 8)]


def design(sizes: list[int], fanout: int) -> np.ndarray:
    """Each row says of which leaves a node's count is made."""
    rows = [np.eye(sizes[0])]
    for nodes in sizes[1:]:
        rows.append(np.array([rows[-1][i * fanout : (i + 1) * fanout].sum(axis=0) for i in range(nodes)]))
    return np.concatenate(rows)


@pytest.mark.parametrize(("sizes", "fanout"), SIZES)
def test_the_fit_is_the_weighted_least_squares_solution_and_its_error_is_known(sizes, fanout):
    rng = np.random.default_rng(7)
    variances = list(rng.uniform(1, 5, len(sizes)))
    made_of = design(sizes, fanout)
    weights = np.repeat(1 / np.sqrt(variances), sizes)
    noisy = rng.normal(size=(3, len(made_of))) * 10
    expected = np.linalg.lstsq(made_of * weights[:, np.newaxis], (noisy * weights).T, rcond=None)[0].T
    got = fit(np.split(noisy, np.cumsum(sizes)[:-1], axis=1), variances, fanout)
    np.testing.assert_allclose(got, expected, atol=1e-9)

    weighted = made_of * weights[:, np.newaxis]
    covariance = np.linalg.inv(weighted.T @ weighted)
    for p in (0, 0.3, 1):
        before = np.tril(np.ones((sizes[0] + 1, sizes[0])), -1) - p
        np.testing.assert_allclose(
            rank_variances(sizes, variances, p, fanout), np.einsum("ij,jk,ik->i", before, covariance, before), atol=1e-9
        )


def test_the_fan_out_is_a_good_one():
    """On average over ranks the error of 1,500 leaves is at most 1.25 times that of the best fan-out, for Gaussian noise (whose variance
    grows with the number of levels) and for Laplace noise (with its square); of a flat histogram it is several times that."""

    def error(fanout: int, power: int) -> float:
        sizes = [1500]
        while sizes[-1] > fanout:
            sizes.append(-(-sizes[-1] // fanout))
        variances = [float(len(sizes)) ** power] * len(sizes)
        return float(np.mean([rank_variances(sizes, variances, p, fanout).mean() for p in (0.1, 0.25, 0.5)])) ** 0.5

    for power in (1, 2):
        best = min(error(fanout, power) for fanout in range(2, 65))
        assert error(FANOUT, power) <= 1.25 * best
        assert error(1500, power) >= 2 * error(FANOUT, power)


# --- the error -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [Fraction(1, 10), Fraction(1, 2), Fraction(9, 10)])
def test_the_rank_of_the_answer_is_as_far_off_as_theory_says_and_the_interval_holds_it(p):
    """400 answers. The mean square has a relative deviation of at most sqrt(2 / 400) = 0.07, so 1.4 is over 5 of them; of 400
    intervals that hold the exact value with probability 0.95, fewer than 358 do with probability below 1e-6."""
    rng = np.random.default_rng(int(p * 100))
    x = number(-60, 1440)
    values = np.sort(rng.integers(-60, 1441, 20_000))
    tree, deviation = tree_of(x, 400), 30.0
    assert tree.values > 1
    counts = all_counts(tree, np.tile(leaf_counts(tree, values), 400))
    variances = [deviation**2] * len(counts)
    leaves = fit([level + rng.normal(0, deviation, level.shape) for level in counts], variances)
    known = np.sqrt(rank_variances(tree.sizes, variances, float(p)))
    exact = float(np.quantile(values, float(p)))
    off, held = [], 0
    for group in leaves:
        got = read(tree, group, known, p)
        off.append(np.interp(got.value, values, np.arange(len(values))) - float(p) * (len(values) - 1))
        held += abs(got.value - exact) <= 1.96 * got.standard_error
    theory = known[int((exact + 60) // tree.values)]
    assert np.sqrt(np.mean(np.square(off))) <= np.sqrt(1.4) * theory
    assert held >= 358
    # without the fit: the sum of all leaves before
    assert theory < deviation * np.sqrt(tree.leaves) / 4


def test_many_answers_are_as_far_off_as_theory_says_at_every_leaf():
    """20,000 fits: a relative deviation of 1% of each mean square, of 101 of them; 6% is 6 deviations."""
    rng = np.random.default_rng(3)
    sizes, variances, p = (100, 13, 2), [4.0, 9.0, 1.0], 0.25
    leaves = fit([rng.normal(0, v**0.5, (20_000, n)) for n, v in zip(sizes, variances, strict=True)], variances)
    before = np.concatenate([np.zeros((20_000, 1)), np.cumsum(leaves, axis=1)], axis=1)
    off = before - p * before[:, -1:]
    np.testing.assert_allclose(np.square(off).mean(axis=0), rank_variances(sizes, variances, p), rtol=0.06)


# --- edges -----------------------------------------------------------------------------------------------------------------------


def noisy_read(x: Reference, values: list[int], p: Fraction, deviation: float = 3.0) -> tuple[Any, Any]:
    tree = tree_of(x, 1)
    rng = np.random.default_rng(1)
    variances = [deviation**2] * len(tree.sizes)
    counts = [c + rng.normal(0, deviation, c.shape) for c in all_counts(tree, leaf_counts(tree, values))]
    known = np.sqrt(rank_variances(tree.sizes, variances, float(p)))
    got = read(tree, fit(counts, variances)[0], known, p)
    return got.value, got.standard_error


def test_all_values_alike_at_the_bounds_or_between():
    for value in (0, 417, 1000):
        assert noisy_read(number(0, 1000), [value] * 5000, Fraction(1, 2)) == (value, 0)


@pytest.mark.parametrize("p", [Fraction(0), Fraction(1, 3), Fraction(1)])
def test_an_answer_stays_within_the_bounds_and_its_error_within_their_width(p):
    rng = np.random.default_rng(2)
    for values in ([], [5], [0, 1000], [int(v) for v in rng.integers(0, 1001, 300)]):
        value, error = noisy_read(number(0, 1000), values, p)
        if value is None:
            assert error is None
            assert not len(values) > 100
        else:
            assert 0 <= value <= 1000
            assert 0 <= error <= 1000 / 1.96


def test_the_ends_of_few_values_are_told_with_an_error_as_wide_as_what_is_not_known():
    value, error = noisy_read(number(0, 1000), [500] * 50, Fraction(0))
    assert abs(value - 500) <= 1.96 * error
    assert error > 50


def test_where_noise_leaves_no_rows_there_is_no_answer():
    tree = tree_of(number(0, 9), 1)
    got = read(tree, np.full(10, -1.0), np.ones(11), Fraction(1, 2))
    assert (got.value, got.standard_error) == (None, None)
    less_than_one = read(tree, np.full(10, 0.01), np.ones(11), Fraction(1, 2))
    assert 0 <= less_than_one.value <= 9


# --- what one unit can do --------------------------------------------------------------------------------------------------------


@given(st.data())
def test_one_unit_moves_no_level_by_more_than_is_declared(data):
    """R rows in each of C groups, in any leaves, at a company that may have reached its `max_rows`."""
    groups, rows, most = 3, data.draw(st.integers(1, 4)), data.draw(st.sampled_from([3, 1000]))
    taken = data.draw(st.integers(1, groups))
    tree = tree_of(number(0, 199), groups)
    before = np.array(data.draw(st.lists(st.integers(0, 3), min_size=groups * 200, max_size=groups * 200)))
    after = before.reshape(groups, 200).copy()
    leaf = st.integers(0, 199) | st.integers(100, 101)
    for group in data.draw(st.permutations(range(groups)))[:taken]:
        for place in data.draw(st.lists(leaf, max_size=rows)):
            after[group, place] += 1
    moved = levels(tree, after.reshape(-1), most) - levels(tree, before, most)
    unit = Unit("person", rows=rows, groups=taken)
    plan = planned("origin, MEDIAN(distance) FROM flights GROUP BY origin", table=replace(FLIGHTS, unit=unit))
    variance = Fraction(taken * rows**2 * 10**6 * len(plan.noise), 2 * GAUSSIAN.micro_rho)  # of [BS16]'s Gaussian
    for level, noise in zip(np.split(moved, np.cumsum([groups * n for n in tree.sizes])[:-1]), plan.noise, strict=False):
        assert np.abs(level).sum() <= taken * rows
        assert np.square(level).sum() <= taken * rows**2
        assert noise.central == variance


def test_the_budget_is_split_over_the_levels_and_nothing_is_left():
    for micro_rho in (5, 29_999, 30_000, 30_001):
        plan = planned("MEDIAN(distance) FROM flights", replace(GAUSSIAN, micro_rho=micro_rho))
        spent = [Fraction(10**6, 2) / noise.central for noise in plan.noise]  # one row, at one company
        assert sum(spent) == micro_rho
        assert max(spent) - min(spent) <= 1
    with pytest.raises(PlanError, match="too small a budget"):
        planned("MEDIAN(distance) FROM flights", replace(GAUSSIAN, micro_rho=len(plan.noise) - 1))
    pure = planned("MEDIAN(distance) FROM flights", LAPLACE)
    assert {noise.parameter for noise in pure.noise} == {Fraction(len(pure.noise))}


# --- the plan --------------------------------------------------------------------------------------------------------------------

GROUPED = "origin, MEDIAN(delay) AS middle, QUANTILE_CONT(delay, 0.9) AS high, COUNT(delay) AS n FROM flights GROUP BY origin"


def run(plan: Plan, leaves: list[np.ndarray], *, quiet: bool = False) -> Answer:
    def party(ctx, vector):
        noise = draw_noise(plan, COMPANIES[ctx.me], Stream(bytes([ctx.me]) * 32))
        if quiet and noise is not None:
            noise = noise * 0
        opened = execute(ctx, plan, inputs(plan, [vector], noise))
        return opened, ctx.measured

    results = simulate(party, leaves, plan.scheme)
    for me, (_, measured) in enumerate(results):
        assert measured == plan.cost(me)
    (opened,) = [opened for opened, _ in results if opened is not None]
    return answer(plan, opened)


@pytest.mark.parametrize("privacy", [GAUSSIAN, LAPLACE], ids=["gaussian", "laplace"])
@pytest.mark.parametrize("scheme", ["additive", "shamir"])
def test_among_companies_the_quantiles_of_each_group_come_out(scheme, privacy):
    plan = plan_query(parsed(GROUPED, privacy), Security(COMPANIES, scheme, 1))
    rng = np.random.default_rng(4)
    of_company = [[rng.integers(-60, 1440, 6000) // (group + 1) for group in range(3)] for _ in COMPANIES]
    leaves = [np.concatenate([leaf_counts(plan.tree, values) for values in groups]) for groups in of_company]
    assert all(len(vector) == plan.tasks[0].size for vector in leaves)
    pooled = [np.concatenate([groups[group] for groups in of_company]) for group in range(3)]

    silent = run(plan, leaves, quiet=True)
    for (name, middle, high, n), values, origin in zip(silent.rows, pooled, ORIGIN.values, strict=True):
        assert name == origin
        assert n == pytest.approx(18_000)
        assert middle == pytest.approx(float(np.quantile(values, 0.5)), abs=silent.error_bound[1])
        assert high == pytest.approx(float(np.quantile(values, 0.9)), abs=silent.error_bound[2])

    told = run(plan, leaves)
    assert told.rows != silent.rows
    for row, errors, values in zip(told.rows, told.standard_error, pooled, strict=True):
        exact = [float(np.quantile(values, 0.5)), float(np.quantile(values, 0.9)), len(values)]
        for got, error, value in zip(row[1:], errors[1:], exact, strict=True):
            assert abs(got - value) <= 6 * error  # 9 values: below 1e-6
        assert errors[0] is None
        assert errors[1] < 40


def test_the_plan_counts_every_level():
    plan = planned(GROUPED)
    assert plan.tree.sizes == (1501, 188, 24, 3)
    assert plan.sizes == (4503, 564, 72, 9)
    assert plan.values_opened == sum(plan.sizes) == sum(disclosure.cells for disclosure in disclosures(plan))
    assert disclosures(plan)[0].what == "the number of rows in each of 1,501 intervals of delay by origin, with noise"
    assert plan.shapes == dict.fromkeys(range(3), (5148,))
    assert sum(what.endswith("with noise") for what, _ in plan.ranges) == 4
    assert "and what every 8 neighbouring bins have together" in at_home(plan)[0][1]
    assert plan.tasks[0].groups == 3


def test_what_is_asked_is_in_the_digest():
    asked = ["MEDIAN(delay)", "QUANTILE_CONT(delay, 0.5)", "QUANTILE_CONT(delay, 0.25)", "MEDIAN(distance)"]
    assert len({planned(f"{text} AS v FROM flights").digest for text in asked}) == 4
    # what is opened is the same, however many quantiles
    assert planned("MEDIAN(delay) FROM flights").noise == planned("MEDIAN(delay), QUANTILE_CONT(delay, 0.1) FROM flights").noise


def test_expected_errors_are_told_in_ranks_and_in_values():
    errors = expected_errors(planned(GROUPED))
    assert [(name, where) for name, where, *_ in errors[:3]] == [
        ("middle", "ranks, in every cell"),
        ("middle", "in a cell of 1,000 rows spread evenly over the bounds"),
        ("middle", "in a cell of 10,000 rows spread evenly over the bounds"),
    ]
    ranks, of_ten_thousand = float(errors[0][2]), float(errors[2][2])
    assert of_ten_thousand == pytest.approx(ranks / 10_000 * 1500, rel=1e-3)
    assert float(errors[0][2]) / float(errors[0][3]) == pytest.approx(3**0.5, rel=1e-3)  # 3 companies, 2 may collude
    assert errors[-1][:2] == ("n", "in every cell")


@pytest.mark.parametrize(
    ("select", "message"),
    [
        ("MEDIAN(delay), MEDIAN(distance) FROM flights", "has quantiles of delay and of distance: write a query for each"),
        ("MEDIAN(delay), SUM(delay) FROM flights", r"sum\(delay\) has nothing in common with the counts that MEDIAN"),
        ("MEDIAN(delay), COUNT(*) FROM flights", r"beside quantiles of delay there can be .* COUNT\(delay\)"),
    ],
)
def test_what_does_not_come_from_the_same_tree_is_refused(select, message):
    with pytest.raises(PlanError, match=message):
        planned(select)


def test_a_count_of_the_same_rows_costs_nothing_more():
    alone = planned("MEDIAN(distance) FROM flights")
    assert planned("MEDIAN(distance), COUNT(*) FROM flights").noise == alone.noise
    assert planned("MEDIAN(distance), COUNT(distance) FROM flights").noise == alone.noise
    known = planned("MEDIAN(delay), COUNT(*) FROM flights WHERE delay IS NOT NULL")
    assert len(known.tree.sizes) == 4


def test_a_quantile_that_cannot_be_planned_is_refused_and_says_why():
    with pytest.raises(PlanError, match=r"nobody says whose: add tables\.flights\.unit"):
        planned("MEDIAN(delay) FROM flights", table=replace(FLIGHTS, unit=None))
    with pytest.raises(PlanError, match=r"privacy\.split divides nothing"):
        planned("MEDIAN(delay) AS m FROM flights", replace(GAUSSIAN, split=(("m", 2),)))


def test_groups_for_which_the_intervals_would_be_too_coarse_are_refused():
    table = replace(FLIGHTS, columns={**FLIGHTS.columns, "day": Column("day", "integer", 1, 500)})
    plan = planned("day, MEDIAN(delay) FROM flights GROUP BY day", table=table)
    assert FEWEST <= plan.tree.leaves <= ALL_LEAVES // 500
    with pytest.raises(PlanError, match=r"1,500 groups are too many for MEDIAN: .* cut into 66 intervals; group by less"):
        planned("day, origin, MEDIAN(delay) FROM flights GROUP BY day, origin", table=table)
    hour = replace(DELAY, lower=0, upper=23)
    few = replace(table, columns={**table.columns, "delay": hour})
    assert planned("day, origin, MEDIAN(delay) FROM flights GROUP BY day, origin", table=few).tree.leaves == 24


# --- the text --------------------------------------------------------------------------------------------------------------------


def test_the_sql_of_quantiles():
    median, high, last = parsed("MEDIAN(2 * delay), QUANTILE_CONT(2 * delay, 0.90) AS high, quantile_cont(2 * delay, 1) FROM flights").select
    double = Arithmetic("*", Number(2), Reference("flights", DELAY))
    assert (median.name, median.function, median.arguments, median.statistic) == ("median(2 * delay)", "MEDIAN", (double,), Quantile(Fraction(1, 2)))
    assert (high.name, high.function, high.arguments, high.statistic) == ("high", "QUANTILE_CONT", (double,), Quantile(Fraction(9, 10)))
    assert (last.name, last.statistic) == ("quantile_cont(2 * delay, 1)", Quantile(Fraction(1)))


FORM = "write QUANTILE_CONT(x, p), p a number from 0 to 1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("QUANTILE_CONT(delay)", FORM),
        ("QUANTILE_CONT(delay, 1.01)", FORM),
        ("QUANTILE_CONT(delay, -0.5)", FORM),
        ("QUANTILE_CONT(delay, '0.5')", FORM),
        ("QUANTILE_CONT(delay, [0.25, 0.5])", FORM),
        ("QUANTILE_CONT(delay, distance)", FORM),
        ("MEDIAN(*)", "MEDIAN(*) is nothing: name a column"),
        ("MEDIAN(late)", "MEDIAN needs a number, and late is none"),
        ("MEDIAN(DISTINCT delay)", "DISTINCT is not supported"),
        ("MEDIAN(MEDIAN(delay))", "an aggregate stands in SELECT alone"),
        ("2 * MEDIAN(delay)", "nothing is computed around an aggregate"),
        ("MEDIAN(delay) OVER ()", "window functions are not supported"),
        ("PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY delay)", "WITHIN GROUP is not supported: write QUANTILE_CONT(x, p)"),
        ("APPROX_QUANTILE(delay, 0.5)", "such quantiles are not supported"),
    ],
)
def test_other_quantiles_are_refused_with_the_nearest_thing(text, message):
    with pytest.raises(SqlProblem) as refused:
        parsed(f"{text} FROM flights")
    assert message in str(refused.value)


def test_a_join_has_no_quantiles():
    owned = Table("airports", {"origin": ORIGIN}, 3, ("delta",), "delta", ("origin",))
    with pytest.raises(SqlProblem, match="MEDIAN is not supported in a join: COUNT, SUM, AVG are"):
        parse_query(
            "q", "SELECT MEDIAN(delay) FROM flights JOIN airports USING (origin)", {"flights": FLIGHTS, "airports": owned}, ("united",)
        )


# --- at home ---------------------------------------------------------------------------------------------------------------------


def at_one_company(plan: Plan, folder: Path, rows: str) -> np.ndarray:
    """The leaves' counts, by group, of a table made by the SQL `rows`."""
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({rows}) TO '{folder / 'flights.parquet'}'")
    (task,) = plan.tasks
    return np.array(compute(task, TableSource(folder / "flights.parquet")), dtype=np.int64).reshape(plan.cells, -1)


ROWS = "SELECT {person} AS person, {origin} AS origin, {delay} AS delay, 7 AS distance, TRUE AS late FROM range({count}) AS t(i)"


def test_each_row_is_counted_in_its_leaf_and_null_in_none(tmp_path):
    wide = replace(FLIGHTS, columns={**FLIGHTS.columns, "delay": replace(DELAY, upper=100_000)})
    plan = planned("origin, MEDIAN(delay) FROM flights GROUP BY origin", table=wide)
    assert plan.tree.values > 1
    values = "CASE WHEN i % 7 <> 0 THEN i * 50 - 60 END"
    got = at_one_company(plan, tmp_path, ROWS.format(person="i", origin="CASE WHEN i % 2 = 0 THEN 'JFK' ELSE 'LGA' END", delay=values, count=2000))
    of_group = [[i * 50 - 60 for i in range(2000) if i % 7 and i % 2 == odd] for odd in (0, 1)]
    expected = [np.zeros(plan.tree.leaves), *(leaf_counts(plan.tree, listed) for listed in of_group)]
    np.testing.assert_array_equal(got, expected)


def test_a_unit_takes_its_rows_of_a_group_wherever_they_lie(tmp_path):
    """Person 0 has 100 rows in each of 3 groups, all in leaves of their own; 2 groups and 5 rows in each count. Others have one."""
    pytest.importorskip("parties.data.bounding")
    bounded = replace(FLIGHTS, unit=Unit("person", rows=5, groups=2))
    plan = planned("origin, MEDIAN(delay) FROM flights GROUP BY origin", table=bounded)
    origin = "['EWR', 'JFK', 'LGA'][i % 3 + 1]"
    alone = at_one_company(plan, tmp_path, ROWS.format(person="0", origin=origin, delay="i", count=300))
    assert sorted(alone.sum(axis=1)) == [0, 5, 5]
    assert alone.max() == 1
    person = "greatest(i - 299, 0)"
    with_others = at_one_company(plan, tmp_path, ROWS.format(person=person, origin=origin, delay="i", count=900))
    assert with_others[:, 360:].sum() == 600
    np.testing.assert_array_equal(with_others[:, :360], alone[:, :360])
