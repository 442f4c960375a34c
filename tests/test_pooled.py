"""The oracle on the flights data: known facts, and the plan's answers beside it."""

import statistics
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import duckdb
import pytest

from mpc.simulate import simulate
from parties.data.home import TableSource, compute
from parties.data.pooled import differences, pooled_answer
from protocols.expression import Arithmetic, Bin, Case, Comparison, IsNull, Moment, Not, Number, Reference, Text
from protocols.planning.execute import answer, execute, inputs
from protocols.planning.plan import Security
from protocols.planning.planner import plan_query
from protocols.planning.query import KeyOutput, Query, StatisticOutput
from protocols.statistics import BY_NAME
from protocols.tables import Column, Table

DATA = Path(__file__).parent.parent / "examples" / "flights" / "data"
AIRLINES = ("delta", "jetblue", "united")

ORIGIN = Column("origin", "category", 0, 2, values=("EWR", "JFK", "LGA"))
HOUR = Column("hour", "integer", 5, 8764)
FLIGHTS = Table(
    "flights",
    {
        "month": Column("month", "integer", 1, 12),
        "origin": ORIGIN,
        "hour": HOUR,
        "dep_delay": Column("dep_delay", "integer", -60, 1440, nullable=True),
        "distance": Column("distance", "integer", 0, 5000),
    },
    100_000,
    AIRLINES,
)
WEATHER = Table(
    "weather",
    {"origin": ORIGIN, "hour": HOUR, "precip": Column("precip", "decimal", 0, 1000, scale=2)},
    30_000,
    ("weather",),
    "weather",
    ("origin", "hour"),
)
SOURCES = {name: {"flights": TableSource(DATA / f"{name}.parquet")} for name in AIRLINES}
SOURCES["weather"] = {"weather": TableSource(DATA / "weather.parquet")}
SECURITY = Security((*AIRLINES, "weather"), "additive", 2, "dealer")

DELAY, DISTANCE, MONTH, AIRPORT = (
    Reference("flights", FLIGHTS.columns[name]) for name in ("dep_delay", "distance", "month", "origin")
)
RAIN = Reference("weather", WEATHER.columns["precip"])
FLOWN = Not(IsNull(DELAY))


def select(name, function, *arguments):
    return StatisticOutput(name, BY_NAME[function], function, arguments)


def query(*outputs, tables=(FLIGHTS,), where=(), by=(), histogram=None):
    return Query("q", tables, where, by, outputs, tables[0].holders[:1], histogram)


def planned(of, sources, security=SECURITY):
    """The answer among simulated parties, by way of the plan and of what each company computes at home."""
    plan = plan_query(of, security)
    home = [
        [compute(task, sources[name][task.table.name]) if name in task.table.holders else None for task in plan.tasks]
        for name in plan.security.parties
    ]
    opened = simulate(lambda ctx, vectors: execute(ctx, plan, inputs(plan, vectors)), home, plan.scheme, triples=plan.triples)
    return answer(plan, opened[plan.receivers[0]])


def agree(of, sources=SOURCES, security=SECURITY):
    """The pooled rows, after the planned answer was found within its own bounds of them."""
    pooled = pooled_answer(of, sources)
    got = planned(of, sources, security)
    for difference, bound in zip(differences(got.rows, pooled), got.error_bound, strict=True):
        assert difference <= bound
    return pooled


def test_delays_by_airport():
    pooled = agree(query(
        KeyOutput("origin", AIRPORT), select("flights", "COUNT"), select("mean", "AVG", DELAY), where=(FLOWN,), by=(AIRPORT,)
    ))  # fmt: skip
    assert [(key, count) for key, count, _ in pooled] == [("EWR", 56438), ("JFK", 66852), ("LGA", 36619)]
    assert [float(mean) for *_, mean in pooled] == pytest.approx([12.5558, 11.0678, 10.9579], abs=5e-5)


def test_a_histogram_counts_every_flight_that_left():
    pooled = agree(query(histogram=Bin(DELAY, -60, 180, 0, 24)))
    assert len(pooled) == 26
    assert sum(count for *_, count in pooled) == 56438 + 66852 + 36619
    assert pooled[0][:2] == (None, -60)
    assert pooled[7][:2] == (0, 10)
    assert pooled[-1][:2] == (180, None)
    delays = [x for name in AIRLINES for (x,) in duckdb.sql(f"SELECT dep_delay FROM '{DATA}/{name}.parquet'").fetchall()]
    assert pooled[7][2] == sum(x is not None and 0 <= x < 10 for x in delays)
    assert pooled[-2][2] == sum(x is not None and 170 <= x <= 180 for x in delays)


def test_distances():
    [(variance, deviation, miles)] = agree(query(
        select("variance", "VAR_SAMP", DISTANCE), select("deviation", "STDDEV_SAMP", DISTANCE), select("m", "SUM", DISTANCE)
    ))  # fmt: skip
    rows = [x for name in AIRLINES for (x,) in duckdb.sql(f"SELECT distance FROM '{DATA}/{name}.parquet'").fetchall()]
    assert variance == statistics.variance(map(Fraction, rows))
    assert float(variance) == pytest.approx(567626.1944427863, rel=1e-13)
    assert deviation == pytest.approx(753.4097122, abs=1e-7)
    assert miles == 207596978 == sum(rows)


def test_late_flights_by_month():
    late = Case(((Comparison(">", DELAY, Number(15)), Number(1)),), Number(0))
    pooled = agree(query(KeyOutput("month", MONTH), select("share", "AVG", late), where=(FLOWN,), by=(MONTH,)))
    assert [month for month, _ in pooled] == list(range(1, 13))
    assert all(0 < share < 1 for _, share in pooled)


def test_delays_in_rain_by_month_and_airport():
    pooled = agree(query(
        KeyOutput("origin", AIRPORT), select("n", "COUNT"), select("s", "SUM", DELAY),
        select("w", "AVG", Arithmetic("*", DELAY, RAIN)), KeyOutput("month", MONTH),
        tables=(FLIGHTS, WEATHER), where=(FLOWN, Comparison(">", RAIN, Number(0))), by=(MONTH, AIRPORT),
    ))  # fmt: skip
    assert [(month, airport) for airport, *_, month in pooled] == [(m, a) for m in range(1, 13) for a in ORIGIN.values]
    assert (sum(count for _, count, *_ in pooled), sum(total for _, _, total, *_ in pooled)) == (10620, 297827)
    assert all(count for _, count, *_ in pooled)
    assert all((weighted * count * 100).denominator == 1 for _, count, _, weighted, _ in pooled)


# small tables with everything in them

SMALL = Table(
    "t",
    {
        "b": Column("b", "boolean", 0, 1, nullable=True),
        "c": Column("c", "category", 0, 2, values=("y", "x", "never"), nullable=True),
        "k": Column("k", "integer", 10**20, 10**20 + 2),
        "d": Column("d", "decimal", -2 * 10**18, 2 * 10**18, scale=18, nullable=True),
    },
    4,
    ("one", "two"),
)
B, C, K, D = (Reference("t", column) for column in SMALL.columns.values())
ROWS = {
    "one": "(true, 'x', 0, 1.5), (NULL, 'x', 1, -1.000000000000000001), (false, NULL, 2, NULL)",
    "two": "(true, 'x', 0, 0.25), (NULL, NULL, 1, 1.999999999999999999)",
}


@pytest.fixture
def small(tmp_path):
    duckdb.sql(f"COPY (SELECT 1 AS one) TO '{tmp_path}/t.parquet'")
    view = "SELECT b, c, 100000000000000000000::HUGEINT + k AS k, d::DECIMAL(38,18) AS d FROM (VALUES {}) v(b, c, k, d)"
    return {name: {"t": TableSource(tmp_path / "t.parquet", view.format(rows))} for name, rows in ROWS.items()}


def test_null_groups_and_huge_values(small):
    security = Security(("one", "two"), "additive", 1)
    of = query(
        KeyOutput("c", C), select("s", "SUM", D), KeyOutput("b", B), select("n", "COUNT", D), select("v", "VAR_POP", D),
        tables=(SMALL,), by=(B, C),
    )  # fmt: skip
    pooled = agree(of, small, security)
    assert [(b, c) for c, _, b, _, _ in pooled] == [
        (b, c) for b in (False, True, None) for c in ("y", "x", "never", None)
    ]
    assert pooled[5] == ("x", Fraction(7, 4), True, 2, Fraction(25, 64))
    assert pooled[3] == (None, 0, False, 0, None)
    assert pooled[11][1] == Fraction(2 * 10**18 - 1, 10**18)


def test_days_and_floats(tmp_path):
    held = Table(
        "t",
        {
            "day": Column("day", "date", 15_706, 15_708, nullable=True),
            "start": Column("start", "timestamp", 0, 2 * 10**15),
            "f": Column("f", "float", -100, 100, scale=1, step=2, nullable=True),
        },
        4,
        ("one", "two"),
    )
    rows = {
        "one": "('2013-01-01', '2013-01-01 10:00', 0.3), ('2013-01-03', '2013-01-01 12:00', -9.51)",
        "two": "(NULL, '2013-01-01 10:00:00.000001', 0.5), ('2013-01-01', '2014-01-01', 0.1)",
    }
    cast = "SELECT day::DATE AS day, start::TIMESTAMP AS start, f::DOUBLE AS f FROM (VALUES {}) v(day, start, f)"
    sources = {}
    for name, values in rows.items():
        duckdb.sql(cast.format(values)).write_parquet(f"{tmp_path}/{name}.parquet")
        sources[name] = {"t": TableSource(tmp_path / f"{name}.parquet")}
    day, start, f = (Reference("t", column) for column in held.columns.values())
    moment = Moment("timestamp", 15_706 * 86_400_000_000 + 36_000_000_000)  # 2013-01-01 10:00
    of = query(
        KeyOutput("day", day), select("n", "COUNT"), select("s", "SUM", f), select("a", "AVG", f),
        tables=(held,), where=(Comparison(">", start, moment),), by=(day,),
    )  # fmt: skip
    security = Security(("one", "two"), "additive", 1)
    pooled = agree(of, sources, security)
    f_loose = replace(f.column, upper=20, lower=-20, outside="clamp")
    loose = replace(held, columns={**held.columns, "f": f_loose, "start": replace(start.column, upper=moment.value + 10**10, outside="drop")})
    clamped = query(select("s", "SUM", Reference("t", f_loose)), tables=(loose,))
    assert agree(clamped, sources, security) == [(Fraction(4 - 20 + 4, 10),)]  # all but the one of 2014
    assert pooled == [
        ("2013-01-01", 1, 0, 0),  # 0.1 is half a step: to the even one
        ("2013-01-02", 0, 0, None),
        ("2013-01-03", 1, Fraction(-96, 10), Fraction(-96, 10)),
        (None, 1, Fraction(4, 10), Fraction(4, 10)),  # 0.5 as well
    ]


def test_a_key_far_from_zero(small):
    of = query(KeyOutput("k", K), select("n", "COUNT"), tables=(SMALL,), where=(Not(Comparison("=", C, Text("y"))),), by=(K,))
    assert agree(of, small, Security(("one", "two"), "additive", 1)) == [(10**20, 2), (10**20 + 1, 1), (10**20 + 2, 0)]


def test_a_histogram_of_decimals_on_the_edges(small):
    of = query(tables=(SMALL,), histogram=Bin(D, 25 * 10**17, 15 * 10**18, 19, 5))  # [0.25, 1.5] in five
    pooled = agree(of, small, Security(("one", "two"), "additive", 1))
    assert [count for *_, count in pooled] == [1, 1, 0, 0, 0, 1, 1]
    assert pooled[1][:2] == (Fraction(1, 4), Fraction(1, 2))


def test_differences():
    pooled = [(1, Fraction(1, 3), None, "x", True), (2, Fraction(5), Fraction(1, 2), "y", None)]
    same = [(1, 1 / 3, None, "x", True), (2, Decimal("5.00"), 0.5, "y", None)]
    assert differences(same, pooled) == [0, float(abs(Fraction(1, 3) - Fraction(1 / 3))), 0, 0, 0]
    other = [(1, None, 0, "y", 1), (4, 5, 0.25, "y", None)]
    infinite = float("inf")
    assert differences(other, pooled) == [2, infinite, infinite, infinite, infinite]
    assert differences(same[:1], pooled) == [infinite] * 5
