"""Noise in the plan of a query: how much, who adds it, what it costs; estimates and their errors; simulated queries.

Statistical tests say with which probability they fail on sound code, and each is shown to fail on a planted bug.
"""

import math
import tomllib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc.randomness import Stream, fresh_seed
from mpc.schemes.named import RING, RING128
from mpc.simulate import simulate
from parties.data.home import TableSource, compute
from parties.spec.sql import parse_query
from protocols.accounting import epsilon, micro_rho
from protocols.planning import execute as executing
from protocols.planning.execute import answer, draw_noise, execute, inputs
from protocols.planning.explain import expected_errors, guarantee
from protocols.planning.plan import Plan, Security
from protocols.planning.planner import plan_query
from protocols.planning.privacy import Privacy, Sensitivity, plan_noise
from protocols.planning.query import PlanError
from protocols.statistics import BY_NAME
from protocols.statistics.base import Measure, Noisy, PrivateStatistic
from protocols.tables import Column, Table, Unit

COLUMNS = {
    "origin": Column("origin", "category", 0, 2, values=("EWR", "JFK", "LGA")),
    "hour": Column("hour", "integer", 0, 99),
    "delay": Column("delay", "integer", -60, 1440, nullable=True),
    "fare": Column("fare", "decimal", -500, 99_999, scale=2),
}
OWNED = Table(
    "weather", {"hour": COLUMNS["hour"], "rain": Column("rain", "integer", 0, 9)}, 100, ("p0",), owner="p0", key=("hour",)
)
EACH = Unit()
ONE = Privacy("gaussian", 20_000, Fraction(1), Fraction(1, 10**6))
WIDE = replace(ONE, micro_rho=200)
LAPLACE = Privacy("laplace", 500_000, Fraction(1))


def plan(
    sql: str, privacy: Privacy | None = ONE, unit: Unit | None = EACH, parties: int = 3, colluding: int | None = None,
    scheme: str = "additive", max_rows: int = 1_000, holders: int | None = None, triples: str | None = None, owned: Table = OWNED,
) -> Plan:  # fmt: skip
    names = tuple(f"p{number}" for number in range(parties))
    flights = Table("flights", COLUMNS, max_rows, names[:holders], unit=unit)
    query = parse_query("q", sql, {"flights": flights, "weather": owned}, names[:1])
    if colluding is None:
        colluding = parties - 1 if scheme == "additive" else (parties - 1) // 2
    return plan_query(replace(query, privacy=privacy), Security(names, scheme, colluding, triples))


# --- how much noise ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "unit", "squared"),
    [
        ("SELECT COUNT(*) FROM flights", Unit(), [1]),
        ("SELECT origin, COUNT(*) FROM flights GROUP BY origin", Unit("person", 1, 2, 2), [2 * 2**2]),
        ("SELECT origin, COUNT(*) FROM flights GROUP BY origin", Unit("person", 1, 2, 50), [3 * 2**2]),
        ("SELECT COUNT(*) FROM flights", Unit("person", 1, 5, 50), [5**2]),
        ("SELECT SUM(delay) FROM flights", Unit(), [1440**2]),
        ("SELECT SUM(delay) FROM flights", Unit(neighbours="replace"), [(2 * 1440) ** 2]),
        ("SELECT AVG(delay) FROM flights", Unit(), [1, 1500**2]),
        ("SELECT SUM(0 - fare) FROM flights", Unit(), [99_999**2]),
        ("SELECT VAR_SAMP(fare) FROM flights", Unit(), [1, 100_499**2, 100_499**4]),
        ("SELECT HISTOGRAM(delay, 0, 100, 10) FROM flights", Unit("person", 1, 1, 4), [4]),
        ("SELECT SUM(CASE WHEN hour > 5 THEN 1 ELSE 0 - 3 END) FROM flights", Unit(), [9]),
    ],
)
def test_a_unit_moves_totals_by_no_more_than_this(sql: str, unit: Unit, squared: list[int]) -> None:
    made = plan(sql, unit=unit)
    total = len(squared)
    central = [noise.central for noise in made.noise]
    prices = [Fraction(square * 10**6, 2) / variance for square, variance in zip(squared, central, strict=True)]
    assert sum(prices) == ONE.micro_rho  # a split budget fits exactly
    assert max(prices) - min(prices) <= 1 if total > 1 else prices == [ONE.micro_rho]
    assert made.tasks[0].unit == unit


def test_the_noise_of_a_company_is_what_the_worst_coalition_asks_for() -> None:
    """By going through all coalitions and all ways in which a unit can be in the tables of m companies."""
    for adding in (2, 3, 4, 5, 7):
        for colluding in range(1, adding):
            for companies in range(1, adding + 2):
                unit = Unit("person", companies)
                (noise,) = plan_noise(ONE, unit, [Sensitivity(1, 1)], [1], adding, colluding)
                variance = noise.parameter / 100**noise.digits
                worst = max(
                    Fraction(min(companies, honest) ** 2, 1) / (2 * honest * variance)
                    for honest in range(max(1, adding - colluding), adding + 1)
                )
                assert worst == Fraction(ONE.micro_rho, 10**6)
                (laplace,) = plan_noise(LAPLACE, unit, [Sensitivity(1, 1)], [1], adding, colluding)
                assert laplace.parameter == min(companies, adding)
                assert laplace.honest == max(1, adding - colluding)


def test_no_companys_noise_is_narrower_than_three() -> None:
    (noise,) = plan_noise(replace(ONE, micro_rho=10**9), Unit(), [Sensitivity(1, 1)], [1], 5, 1)
    assert noise.digits == 3
    assert 9 <= noise.parameter < 900
    assert noise.parameter / 10**6 == Fraction(1, 2 * 1000 * 4)


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=9), st.integers(1000, 10**7))
def test_a_split_budget_fits_exactly(weights: list[int], budget: int) -> None:
    price = replace(ONE, micro_rho=max(budget, 9 * 1000))
    noises = plan_noise(price, Unit(), [Sensitivity(1, 1)] * len(weights), weights, 3, 2)
    assert sum(Fraction(10**6, 2) / noise.central for noise in noises) == price.micro_rho
    for weight, noise in zip(weights, noises, strict=True):
        assert abs(Fraction(10**6, 2) / noise.central - Fraction(price.micro_rho * weight, sum(weights))) <= 1


def test_weights_say_which_output_gets_more() -> None:
    sql = "SELECT COUNT(*) AS n, SUM(delay) AS s, AVG(delay) AS m FROM flights"
    made = plan(sql, replace(ONE, split=(("s", 3),)))
    squared = [1, 1440**2, 1, 1500**2]
    prices = [Fraction(square * 10**6, 2) / noise.central for square, noise in zip(squared, made.noise, strict=True)]
    assert prices == [ONE.micro_rho // 6, ONE.micro_rho // 2 + 1, *[ONE.micro_rho // 6] * 2] or sum(prices) == ONE.micro_rho
    assert prices[1] > 2.9 * prices[0]


def test_more_budget_means_less_noise_and_more_colluding_more() -> None:
    def deviation(micro_rho: int, colluding: int) -> float:
        (noise,) = plan("SELECT COUNT(*) FROM flights", replace(ONE, micro_rho=micro_rho), parties=5, colluding=colluding).noise
        return noise.deviation

    by_budget = [deviation(price, 4) for price in (10, 100, 1_000, 10_000)]
    assert by_budget == sorted(by_budget, reverse=True)
    by_threshold = [deviation(1_000, colluding) for colluding in (1, 2, 3, 4)]
    assert by_threshold == sorted(by_threshold)
    assert by_threshold[0] > plan("SELECT COUNT(*) FROM flights", replace(ONE, micro_rho=1_000)).noise[0].central_deviation


def test_ranges_hold_the_noise() -> None:
    sql = "SELECT SUM(fare) FROM flights"
    largest = RING.bound // 3 // 99_999
    assert plan(sql, None, None, max_rows=largest).scheme.algebra is RING
    made = plan(sql, replace(ONE, micro_rho=1), max_rows=largest)
    assert made.scheme.algebra is RING128
    (what, range_) = made.ranges[-1]
    assert what.endswith("with noise")
    assert range_ == 3 * largest * 99_999 + 3 * made.noise[0].bound


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "options", "message"),
    [
        ("SELECT COUNT(*) FROM flights", {"unit": None}, "nobody says whose: add tables.flights.unit"),
        (
            "SELECT COUNT(*) FROM flights JOIN weather USING (hour)",
            {"owned": replace(OWNED, unit=Unit()), "triples": "dealer"},
            "how far it moves the answer is not bounded",
        ),
    ],
)
def test_what_has_no_bound_is_refused(sql: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        plan(sql, **options)


def test_a_statistic_that_has_no_bound_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Largest:
        names, takes, discloses = ("AVG",), (1,), "everything"

    monkeypatch.setitem(BY_NAME, "AVG", Largest())
    with pytest.raises(PlanError, match=r"AVG cannot be had with privacy.*COUNT, SUM, VAR_SAMP"):
        plan("SELECT AVG(delay) FROM flights")


def test_what_is_exact_over_protected_rows_is_known() -> None:
    exact = plan("SELECT COUNT(*) FROM flights", None)
    assert [table.name for table in exact.exact_over] == ["flights"]
    assert exact.noise == ()
    assert plan("SELECT COUNT(*) FROM flights").exact_over == ()
    assert plan("SELECT COUNT(*) FROM flights", None, None).exact_over == ()
    assert len({exact.digest, plan("SELECT COUNT(*) FROM flights").digest, plan("SELECT COUNT(*) FROM flights", LAPLACE).digest}) == 3


# --- estimates --------------------------------------------------------------------------------------------------------

VALUES = st.lists(st.integers(-500, 99_999), min_size=2, max_size=30)


def totals(measures: tuple[Measure, ...], values: list[int]) -> list[int]:
    """Of values of the one column of each measure's expression."""
    return [len(values) if m.kind == "count" else sum(worth(m.expression, value) for value in values) for m in measures]


def worth(node: Any, value: int) -> int:
    kind = type(node).__name__
    if kind == "Reference":
        return value
    if kind == "Number":
        return node.value
    left, right = worth(node.left, value), worth(node.right, value)
    return {"+": left + right, "-": left - right, "*": left * right}[node.operator]


@pytest.mark.parametrize("function", ["COUNT", "SUM", "AVG", "VAR_SAMP", "VAR_POP", "STDDEV_SAMP", "STDDEV_POP"])
@given(VALUES)
def test_without_noise_an_estimate_is_the_answer(function: str, values: list[int]) -> None:
    output = plan(f"SELECT {function}(fare) FROM flights").query.select[0]
    statistic, arguments = output.statistic, output.arguments
    measures = statistic.private_measures(function, arguments)
    for measure in measures:
        assert all(abs(worth(measure.expression, v)) <= max(abs(measure.expression.lower), measure.expression.upper) for v in values
                   if measure.kind == "sum")  # fmt: skip
    exact = statistic.finish(function, arguments, totals(statistic.measures(function, arguments), values))
    estimate = statistic.estimate(function, arguments, [Noisy(total, 0, 0.0) for total in totals(measures, values)])
    assert estimate.value == exact
    assert estimate.standard_error == 0


def test_noise_can_leave_nothing_to_say() -> None:
    for function in ("AVG", "VAR_SAMP", "STDDEV_POP"):
        output = plan(f"SELECT {function}(fare) FROM flights").query.select[0]
        opened = [Noisy(value, 1, 5.0) for value in (-3, 900, 900)]
        measures = output.statistic.private_measures(function, output.arguments)
        estimate = output.statistic.estimate(function, output.arguments, opened[: len(measures)])
        assert (estimate.value, estimate.standard_error) == (None, None)


@pytest.mark.parametrize("function", ["AVG", "VAR_SAMP", "STDDEV_SAMP"])
def test_standard_errors_are_those_of_the_noise(function: str) -> None:
    """Of 4,000 draws the deviation is known to 1.1 %; a tenth is nine times that (false alarms: 1e-18). An error that forgets
    the count's noise is 15 % off."""
    output = plan(f"SELECT {function}(fare) FROM flights", max_rows=100_000).query.select[0]
    generator = np.random.default_rng(7)
    values = generator.integers(60_000, 99_999, 3_000).tolist()
    measures = output.statistic.private_measures(function, output.arguments)
    exact = totals(measures, values)
    deviations = [40.0, 40 * 100_499, 40 * 100_499**2][: len(measures)]
    drawn, said = [], []
    for _ in range(4_000):
        noisy = [
            Noisy(total + round(generator.normal() * deviation), 0, deviation)
            for total, deviation in zip(exact, deviations, strict=True)
        ]
        estimate = output.statistic.estimate(function, output.arguments, noisy)
        drawn.append(estimate.value)
        said.append(estimate.standard_error)
    assert np.std(drawn) == pytest.approx(np.mean(said), rel=0.1)


# --- queries among simulated companies --------------------------------------------------------------------------------


def cells_of(made: Plan, home: list[Any], monkeypatch: pytest.MonkeyPatch | None = None) -> Any:
    """The opened totals at the first party, from the vectors of each task at each party (None where it has none)."""
    mine = [
        inputs(made, vectors, draw_noise(made, name, Stream(fresh_seed())))
        for name, vectors in zip(made.security.parties, home, strict=True)
    ]
    return simulate(lambda ctx, own: execute(ctx, made, own), mine, made.scheme, triples=made.triples)[0]


def many_cells(parties: int, colluding: int, companies: int, privacy: Privacy, scheme: str = "additive") -> Plan:
    """100 x 100 cells, all alike."""
    columns = {"a": Column("a", "integer", 0, 99), "b": Column("b", "integer", 0, 99)}
    names = tuple(f"p{number}" for number in range(parties))
    table = Table("t", columns, 1_000, names, unit=Unit("person", companies))
    query = parse_query("q", "SELECT a, b, COUNT(*) FROM t GROUP BY a, b", {"t": table}, names[:1])
    return plan_query(replace(query, privacy=privacy), Security(names, scheme, colluding))


def errors(made: Plan) -> Any:
    home = [[np.full(10_000, 7 + number)] for number in range(len(made.security.parties))]
    (opened,) = cells_of(made, home)
    exact = sum(7 + number for number in range(len(made.security.parties)))
    return np.array(opened, dtype=float) / 10 ** made.noise[0].digits - exact


SETTINGS = [
    (parties, colluding, companies)
    for parties in (2, 3, 5)
    for colluding in range(1, parties)
    for companies in {1, 2, parties}
]


@pytest.mark.parametrize(("parties", "colluding", "companies"), SETTINGS)
def test_the_error_is_that_of_the_theory(parties: int, colluding: int, companies: int) -> None:
    """The root mean square of the errors of 10,000 counts is at most 1.02 x sqrt(n / max(m, n - t)) that of central noise,
    but for what chance allows: its own relative error is 0.7 %, so 1.06 is more than 5 deviations above 1.02, and 0.96
    below 1 (false alarms: 3e-8 each)."""
    made = many_cells(parties, colluding, companies, ONE)
    central = companies / math.sqrt(2 * ONE.micro_rho / 1e6)
    theory = central * math.sqrt(parties / max(companies, parties - colluding))
    found = errors(made)
    assert 0.96 * theory < np.sqrt(np.mean(found**2)) < 1.06 * theory
    assert abs(np.mean(found)) < 5.5 * theory / 100
    assert made.noise[0].deviation == pytest.approx(theory, rel=0.001)


@pytest.mark.parametrize(("parties", "colluding", "companies"), [(2, 1, 1), (3, 1, 2), (5, 2, 1), (5, 4, 5)])
def test_the_error_of_laplace_noise_is_that_of_the_theory(parties: int, colluding: int, companies: int) -> None:
    """Of Polya noise, whose fourth moment is larger: the root mean square is known to 2.2 % at worst (false alarms: 1e-6)."""
    made = many_cells(parties, colluding, companies, replace(LAPLACE, epsilon=Fraction(1, 5)))
    theory = math.sqrt(2) * companies * 5 * math.sqrt(parties / (parties - colluding))
    assert 0.89 * theory < np.sqrt(np.mean(errors(made) ** 2)) < 1.12 * theory


@pytest.mark.parametrize("bug", ["a lost share", "a shared seed", "noise twice", "no noise in some cells"])
def test_a_planted_bug_is_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above, or that of zeros, fails where one company's noise is missing, all draw the same, or some cells get none."""
    made, seed = many_cells(3, 2, 1, WIDE), fresh_seed()
    draw = executing.draw_noise

    def wrong(made: Plan, me: str, stream: Stream) -> Any:
        drawn = draw(made, me, Stream(seed) if bug == "a shared seed" else stream)
        if bug == "a lost share" and me == "p1":
            drawn[:] = 0
        if bug == "noise twice":
            drawn = 2 * drawn
        if bug == "no noise in some cells":
            drawn[::100] = 0
        return drawn

    monkeypatch.setattr("test_privacy.draw_noise", wrong)
    found = errors(made)
    theory = math.sqrt(3) / math.sqrt(2 * WIDE.micro_rho / 1e6)
    ratio = np.sqrt(np.mean(found**2)) / theory
    if bug == "no noise in some cells":
        assert not are_zeros_as_expected(found, theory)
    else:
        assert not 0.96 < ratio < 1.06


def are_zeros_as_expected(found: Any, deviation: float) -> bool:
    """Within 6 binomial deviations of what the density at zero says: about 46 of 10,000 (false alarms: 1e-7)."""
    expected = len(found) / (deviation * math.sqrt(2 * math.pi))
    return bool(abs(np.sum(found == 0) - expected) < 6 * math.sqrt(expected))


def test_no_cell_goes_without_noise() -> None:
    assert are_zeros_as_expected(errors(many_cells(3, 2, 1, WIDE)), math.sqrt(3) / math.sqrt(2 * WIDE.micro_rho / 1e6))


@pytest.mark.parametrize(("scheme", "triples"), [("additive", "dealer"), ("shamir", None)])
def test_a_join_with_noise(scheme: str, triples: str | None) -> None:
    """All parties add noise to the products, the owner too, and holders of nothing. Errors of 300 cells are within 6 deviations
    (false alarms: 1e-6)."""
    sql = "SELECT origin, COUNT(*) AS n, SUM(delay * rain) AS s FROM flights JOIN weather USING (hour) GROUP BY origin"
    made = plan(sql, parties=4, holders=3, scheme=scheme, triples=triples, unit=Unit("person", 1, 2, 3))
    assert made.adding == ("p0", "p1", "p2", "p3")
    shared, owned = made.tasks
    generator = np.random.default_rng(5)
    rain = [generator.integers(0, 10, 100), np.ones(100, dtype=np.int64)]
    weather = np.concatenate([rain[0] if "rain" in str(measure) else rain[1] for measure in owned.measures])
    flights = [generator.integers(0, 50, len(shared.measures) * shared.cells) for _ in range(3)]
    home = [[flights[0], weather], [flights[1], None], [flights[2], None], [None, None]]
    opened = cells_of(made, home)
    for place, (left, right) in enumerate(made.products):
        x = sum(flights).reshape(len(shared.measures), 100, 3)[left]
        y = weather.reshape(len(owned.measures), 100)[right]
        exact = (x * y[:, np.newaxis]).sum(axis=0)
        noise = made.noise[place]
        found = np.array(opened[place], dtype=float) / 10**noise.digits - exact
        assert np.all(np.abs(found) < 6 * noise.deviation)
        assert np.any(found != 0)
    squared = [(3 * 2) ** 2, (3 * 2 * 1440 * 9) ** 2]
    prices = [Fraction(square * 10**6, 2) / noise.central for square, noise in zip(squared, made.noise, strict=True)]
    assert sum(prices) == ONE.micro_rho


def test_noise_costs_a_linear_query_nothing() -> None:
    sql = "SELECT origin, COUNT(*), SUM(delay) FROM flights GROUP BY origin"
    noisy, exact = plan(sql), plan(sql, None)
    for me in range(3):
        assert noisy.cost(me) == exact.cost(me)
    assert noisy.shapes == exact.shapes


def test_an_answer_has_its_standard_errors() -> None:
    made = plan("SELECT origin, COUNT(*) AS n, AVG(hour) AS m FROM flights GROUP BY origin", max_rows=10**6)
    vectors = [np.array([1000, 2000, 3000, 5, 6, 7]) * (number + 1) for number in range(3)]
    table = answer(made, cells_of(made, [[vector] for vector in vectors]))
    for row, errors_ in zip(table.rows, table.standard_error, strict=True):
        assert errors_[0] is None
        assert errors_[1] == made.noise[0].deviation
        assert 0 < errors_[2] < 1
        assert abs(row[1] - {"EWR": 6000, "JFK": 12000, "LGA": 18000}[row[0]]) < 6 * errors_[1]
    histogram = plan("SELECT HISTOGRAM(delay, 0, 100, 2) FROM flights")
    table = answer(histogram, cells_of(histogram, [[np.arange(4)]] * 3))
    assert [row[:2] for row in table.rows] == [(None, 0), (0, 50), (50, 100), (100, None)]
    assert {row[2] for row in table.standard_error} == {histogram.noise[0].deviation}


# --- in words ---------------------------------------------------------------------------------------------------------


def test_the_guarantee_in_words() -> None:
    said = "\n".join(guarantee(plan("SELECT COUNT(*) FROM flights", unit=Unit("person", 2, 3, 4))))
    assert "each person, with all rows of it in flights, of which at most 3 rows in each of 4 groups at each of 2 companies" in said
    assert "together with 2 of the 3 companies" in said
    assert f"epsilon = {epsilon(20_000, 1e-6):.4g} at delta = 1e-06" in said
    assert "computationally" in said
    pure = "\n".join(guarantee(plan("SELECT COUNT(*) FROM flights", LAPLACE, unit=Unit(neighbours="replace"))))
    assert "each row of flights" in pure
    assert "epsilon = 1 (" in pure
    assert "but for a chance" not in pure
    assert "another in its stead" in pure
    (exact,) = guarantee(plan("SELECT COUNT(*) FROM flights", None))
    assert "no differential privacy holds" in exact
    assert guarantee(plan("SELECT COUNT(*) FROM flights", None, None)) == []


def test_expected_errors_are_known_before() -> None:
    made = plan("SELECT COUNT(*) AS n, AVG(delay) AS m FROM flights", max_rows=10_000)
    listed = expected_errors(made)
    assert [(name, where) for name, where, *_ in listed] == [
        ("n", "in every cell"), ("m", "in a cell of 100 rows"), ("m", "in a cell of 1,000 rows"), ("m", "in a cell of 10,000 rows"),
    ]  # fmt: skip
    assert float(listed[0][2]) == pytest.approx(made.noise[0].deviation, rel=1e-3)
    for _, _, ours, central, _ in listed:
        assert float(ours) / float(central) == pytest.approx(math.sqrt(3), rel=1e-2)
    assert float(listed[1][2]) == pytest.approx(10 * float(listed[2][2]), rel=1e-2)
    assert [row[:2] for row in expected_errors(plan("SELECT HISTOGRAM(delay, 0, 100, 2) FROM flights"))] == [("count", "in every bin")]


def test_every_statistic_of_one_argument_can_be_had_with_privacy() -> None:
    for name, statistic in BY_NAME.items():
        assert isinstance(statistic, PrivateStatistic) == (2 not in statistic.takes)
        if 2 in statistic.takes:
            message = rf"{name} cannot be had with privacy: there is no estimate of it from totals with noise. With privacy there are COUNT, SUM.*POP$"
            with pytest.raises(PlanError, match=message):
                plan(f"SELECT COUNT(*), {name}(fare, delay) FROM flights")


# --- real data --------------------------------------------------------------------------------------------------------


def test_flights_by_airport_and_month_at_epsilon_one() -> None:
    """36 counts of the flights of three airlines of which two may collude, through each one's own engine: the mean relative
    error is below 0.4 % (by theory 0.13 %; false alarms: none within any chance that matters)."""
    data = Path(__file__).parents[1] / "examples/flights/data"
    spec = tomllib.loads((data.parent / "queries.toml").read_text())["tables"]["flights"]
    month, origin = Column("month", "integer", 1, 12), Column("origin", "category", 0, 2, values=("EWR", "JFK", "LGA"))
    airlines = ("delta", "jetblue", "united")
    table = Table("flights", {"month": month, "origin": origin}, spec["max_rows"], airlines, unit=Unit())
    sql = "SELECT origin, month, COUNT(*) AS flights FROM flights GROUP BY origin, month"
    query = parse_query("q", sql, {"flights": table}, airlines)
    one = Privacy("gaussian", micro_rho(1, 1e-6), Fraction(1), Fraction(1, 10**6))
    made = plan_query(replace(query, privacy=one), Security(airlines, "additive", 2))
    home = [[compute(made.tasks[0], TableSource(data / f"{name}.parquet"))] for name in airlines]
    (opened,) = cells_of(made, home)
    pooled = duckdb.sql(f"SELECT origin, month, count(*) FROM '{data}/[dju]*.parquet' GROUP BY 1, 2 ORDER BY 1, 2").fetchall()
    exact = np.array([count for *_, count in pooled])
    assert len(exact) == 36
    relative = np.abs(np.array(opened, dtype=float) / 10 ** made.noise[0].digits - exact) / exact
    assert 0.0002 < np.mean(relative) < 0.004
