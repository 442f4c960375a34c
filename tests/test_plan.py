"""The plan of a query, from objects built by hand: proven ranges, refusals, disclosures, cost, digest; and its
execution among simulated parties, against exact answers over the pooled rows."""

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpc.correlations import LARGEST_REQUEST
from mpc.cost import Cost
from mpc.schemes.named import FIELD, FIELD127, RING, RING128
from mpc.simulate import simulate
from protocols.expression import Arithmetic, Bin, Case, Comparison, IsNull, Node, Not, Number, Reference, Text
from protocols.planning.disclosures import Disclosure, disclosures
from protocols.planning.execute import answer, execute, inputs
from protocols.planning.explain import assumptions, steps
from protocols.planning.plan import Plan, Security, group_cells
from protocols.planning.planner import plan_query
from protocols.planning.query import KeyOutput, PlanError, Query, StatisticOutput
from protocols.planning.task import HomeTask
from protocols.statistics import BY_NAME
from protocols.tables import Column, Table

# --- tables and queries by hand ---------------------------------------------------------------------------------------------------

THREE = ("delta", "jetblue", "united")
FOUR = ("delta", "jetblue", "united", "weather")
FIVE = ("american", "delta", "jetblue", "united", "weather")
AIRLINES = ("delta", "jetblue", "united")

ORIGIN = Column("origin", "category", 0, 2, values=("EWR", "JFK", "LGA"))
LATE = Column("late", "boolean", 0, 1, nullable=True)
MONTH = Column("month", "integer", 1, 12)
HOUR = Column("hour", "integer", 0, 9)
DELAY = Column("dep_delay", "integer", -60, 1440, nullable=True, unit="minutes")
DISTANCE = Column("distance", "integer", 0, 5000)
FARE = Column("fare", "decimal", -500, 99999, scale=2)
PRECIP = Column("precip", "decimal", 0, 900, scale=2)


def table(*columns: Column, name: str = "flights", holders: tuple[str, ...] = AIRLINES, max_rows: int = 1000, **owned: Any) -> Table:
    return Table(name, {column.name: column for column in columns}, max_rows, holders, **owned)


FLIGHTS = table(ORIGIN, LATE, MONTH, HOUR, DELAY, DISTANCE, FARE)
WEATHER = table(
    ORIGIN, HOUR, PRECIP, name="weather", holders=("weather",), max_rows=30, owner="weather", key=("origin", "hour")
)


def column(of: Table, name: str) -> Reference:
    return Reference(of.name, of.columns[name])


def select(function: str, argument: Node | None = None, name: str = "") -> StatisticOutput:
    return StatisticOutput(name or f"{function}({argument or '*'})", BY_NAME[function], function, (argument,) if argument else ())


delay, distance, fare = column(FLIGHTS, "dep_delay"), column(FLIGHTS, "distance"), column(FLIGHTS, "fare")
origin, month, late = column(FLIGHTS, "origin"), column(FLIGHTS, "month"), column(FLIGHTS, "late")
precip = column(WEATHER, "precip")
DELAY_KNOWN = Not(IsNull(delay))

ADDITIVE = Security(THREE, "additive", 2)
SHAMIR = Security(THREE, "shamir", 1)
REPLICATED = Security(THREE, "replicated", 1)


def query(*outputs: Any, where: tuple[Node, ...] = (), group_by: tuple[Reference, ...] = (), **others: Any) -> Query:
    defaults: dict[str, Any] = {"name": "q", "tables": (FLIGHTS,), "receivers": ("united",)}
    return Query(where=where, group_by=group_by, select=outputs, **(defaults | others))


GROUPED = query(
    KeyOutput("origin", origin), select("COUNT"), select("AVG", delay, "mean_delay"),
    where=(DELAY_KNOWN,), group_by=(origin,), receivers=("united", "delta"),
)  # fmt: skip
HISTOGRAM = query(histogram=Bin(delay, -60, 180, 0, 24))
JOIN = query(
    select("AVG", delay, "mean_delay_in_rain"), select("SUM", Arithmetic("*", distance, precip), "wet_miles"), select("COUNT"),
    where=(DELAY_KNOWN, Comparison(">", precip, Number(0))),
    tables=(FLIGHTS, WEATHER), receivers=("united",),
)  # fmt: skip
SKY = replace(WEATHER, columns=WEATHER.columns | {"late": LATE})
hour, sky_late = column(FLIGHTS, "hour"), column(SKY, "late")
GROUPED_JOIN = query(
    KeyOutput("late", late), KeyOutput("origin", origin), KeyOutput("sky_late", sky_late), *JOIN.select,
    where=JOIN.where, tables=(FLIGHTS, SKY), group_by=(sky_late, origin, late), receivers=("united",),
)  # fmt: skip
JOIN_ADDITIVE = Security(FOUR, "additive", 3, "dealer")
JOIN_SHAMIR = Security(FOUR, "shamir", 1)


# --- ranges choose the algebra ----------------------------------------------------------------------------------------------------


def sum_reaching(largest: int, rows: int = 1) -> Query:
    """A SUM over 3 companies whose proven range is exactly `largest`."""
    assert largest % (3 * rows) == 0
    held = table(Column("x", "integer", -1, largest // (3 * rows)), max_rows=rows)
    return query(select("SUM", column(held, "x")), tables=(held,))


@pytest.mark.parametrize(
    ("security", "small", "wide"),
    [(ADDITIVE, RING, RING128), (SHAMIR, FIELD, FIELD127), (REPLICATED, RING, RING128), (Security(THREE, "plaintext", 1), RING, RING128)],
    ids=["additive", "shamir", "replicated", "plaintext"],
)
def test_the_smallest_algebra_whose_bound_holds_the_range_is_chosen(security, small, wide):
    fits = small.bound // 3 * 3
    assert plan_query(sum_reaching(fits), security).scheme.algebra is small
    assert plan_query(sum_reaching(fits + 3), security).scheme.algebra is wide
    assert plan_query(sum_reaching(wide.bound // 3 * 3), security).scheme.algebra is wide
    assert plan_query(sum_reaching(fits), security).scheme.name == security.scheme


def test_companies_rows_bounds_and_scale_all_count_into_the_range():
    def largest(**changes: Any) -> int:
        held = table(Column("x", "decimal", -7, 40, scale=1), **({"max_rows": 10} | changes))
        plan = plan_query(query(select("SUM", column(held, "x")), tables=(held,)), ADDITIVE)
        assert len(plan.ranges) == 1
        return plan.ranges[0][1]

    assert largest() == 3 * 10 * 40
    assert largest(holders=("delta", "united")) == 2 * 10 * 40
    assert largest(max_rows=11) == 3 * 11 * 40
    plan = plan_query(query(select("VAR_SAMP", distance)), ADDITIVE)
    assert max(bound for _, bound in plan.ranges) == 3 * 1000 * 2500**2


def test_the_edge_of_an_algebra_computes_exactly():
    # the largest proven totals themselves, as shares: no wrap, no lost bit
    for security, algebra in ((ADDITIVE, RING), (SHAMIR, FIELD), (ADDITIVE, RING128), (SHAMIR, FIELD127)):
        most = algebra.bound // 3
        plan = plan_query(sum_reaching(most * 3), security)
        assert plan.scheme.algebra is algebra
        results = run(plan, [[np.array([most], dtype=object)] for _ in THREE])
        assert results[2][0] == [[3 * most]]


@pytest.mark.parametrize("security", [ADDITIVE, SHAMIR], ids=["additive", "shamir"])
def test_a_range_beyond_the_widest_algebra_is_refused_naming_what_to_change(security):
    wide = RING128 if security is ADDITIVE else FIELD127
    with pytest.raises(PlanError) as refused:
        plan_query(sum_reaching((wide.bound // 3 + 1) * 3), security)
    message = str(refused.value)
    assert "SUM(x) over flights" in message
    assert "max_rows" in message
    assert "bound" in message
    assert wide.name in message


def test_what_is_inexact_at_home_is_refused_naming_the_table_and_the_column():
    with pytest.raises(PlanError, match=r"tables\.flights\.max_rows or the bounds of tables\.flights\.columns\.x"):
        plan_query(sum_reaching(3 << 126), ADDITIVE)
    held = table(Column("x", "integer", 0, 1 << 43), max_rows=1)
    x = column(held, "x")
    cube = Arithmetic("*", Arithmetic("*", x, x), x)
    with pytest.raises(PlanError, match=r"x \* x.*2\^126.*tables\.flights\.columns\.x"):
        plan_query(query(select("COUNT"), where=(Comparison(">", cube, Number(0)),), tables=(held,)), ADDITIVE)


def test_a_joins_range_is_that_of_the_products_summed_over_the_shared_rows():
    plan = plan_query(JOIN, JOIN_ADDITIVE)
    joined = {what: bound for what, bound in plan.ranges if what.endswith("over the join")}
    assert joined == {
        "COUNT(*) over the join": 3 * 1000,
        "SUM(dep_delay) over the join": 3 * 1000 * 1440,
        "SUM(distance * precip) over the join": 3 * 1000 * 5000 * 900,
    }
    # a factor of the owner's alone can decide
    factor = (RING.bound // (3 * 1000 * 5000)) + 1
    weather = replace(WEATHER, columns=WEATHER.columns | {"precip": replace(PRECIP, upper=factor)})
    product = Arithmetic("*", distance, column(weather, "precip"))
    wide = query(select("SUM", product), tables=(FLIGHTS, weather))
    assert plan_query(wide, JOIN_ADDITIVE).scheme.algebra is RING128


# --- refusals --------------------------------------------------------------------------------------------------------------------


def test_a_join_uses_the_triples_of_the_spec_and_what_multiplies_nothing_none():
    made = plan_query(JOIN, replace(JOIN_ADDITIVE, triples=None))
    assert made.triples == "ot"
    assert any("by oblivious transfer" in line for line in steps(made))
    assert any("trust nobody with them" in line for line in assumptions(made))
    assert not any("dealer" in line for line in (*steps(made), *assumptions(made)))
    dealt = plan_query(JOIN, replace(JOIN_ADDITIVE, triples="dealer"))
    assert any("the dealer colludes with no company" in line for line in assumptions(dealt))
    assert plan_query(GROUPED, ADDITIVE).triples is None
    assert plan_query(JOIN, JOIN_SHAMIR).triples is None
    assert not any("triples" in line for line in assumptions(plan_query(JOIN, JOIN_SHAMIR)))


def test_what_a_join_cannot_split_is_refused_naming_the_expression():
    total = Arithmetic("+", distance, precip)
    with pytest.raises(PlanError, match=r"distance \+ precip uses columns of both tables: only a product"):
        plan_query(query(select("SUM", total), tables=(FLIGHTS, WEATHER)), JOIN_ADDITIVE)
    both = Comparison(">", distance, precip)
    with pytest.raises(PlanError, match=r"distance > precip uses columns of both tables, which are to be integers and dates with fewer than 1,000 values, categories and booleans, and distance is none"):
        plan_query(query(select("COUNT"), where=(both,), tables=(FLIGHTS, WEATHER)), JOIN_ADDITIVE)


def test_a_join_multiplies_factors_wherever_they_stand_in_the_product():
    plan = plan_query(
        query(
            select("SUM", Arithmetic("*", Arithmetic("*", precip, distance), Arithmetic("*", fare, precip))),
            tables=(FLIGHTS, WEATHER),
        ),
        JOIN_ADDITIVE,
    )
    assert [[str(measure) for measure in task.measures] for task in plan.tasks] == [["SUM(distance * fare)"], ["SUM(precip * precip)"]]


# --- disclosures ----------------------------------------------------------------------------------------------------------------


def test_a_grouped_average_opens_sum_and_count_and_says_so():
    plan = plan_query(GROUPED, ADDITIVE)
    to = ("united", "delta")
    assert disclosures(plan)[:2] == (
        Disclosure("COUNT(*) by origin", 3, to),  # the same as COUNT(dep_delay), where that is never NULL
        Disclosure("SUM(dep_delay) by origin", 3, to),
    )
    assert plan.values_opened == 6
    # a receiver that holds data can take its own away
    assert disclosures(plan)[2:] == (
        Disclosure("the same values for delta and jetblue together, by taking away united's own", 6, ("united",), True),
        Disclosure("the same values for jetblue and united together, by taking away delta's own", 6, ("delta",), True),
        Disclosure("the same values for one of them alone, where 2 of delta, jetblue, united pool their own", 6, to, True),
    )


def test_every_opened_value_is_disclosed():
    for q, security in ((GROUPED, ADDITIVE), (HISTOGRAM, ADDITIVE), (JOIN, JOIN_ADDITIVE), (GROUPED_JOIN, JOIN_ADDITIVE)):
        plan = plan_query(q, security)
        opened = [d for d in disclosures(plan) if not d.implied]
        assert sum(d.cells for d in opened) == plan.values_opened
        assert all(d.to == q.receivers for d in opened)


def test_a_join_discloses_only_the_totals_over_all_keys():
    plan = plan_query(JOIN, JOIN_ADDITIVE)
    assert [(d.what, d.cells) for d in disclosures(plan)] == [
        ("COUNT(*) over flights joined with weather", 1),
        ("SUM(dep_delay) over flights joined with weather", 1),
        ("SUM(distance * precip) over flights joined with weather", 1),
    ]


def test_the_owner_of_a_joined_table_knows_which_rows_count():
    plan = plan_query(replace(JOIN, receivers=("united", JOIN.tables[1].owner)), JOIN_ADDITIVE)
    (implied,) = [d for d in disclosures(plan) if d.implied]
    assert implied.to == (JOIN.tables[1].owner,)
    assert "just those keys" in implied.what


def test_what_a_join_says_of_rows_left_out_and_values_clamped():
    """Those of the shared table are a sum that a holder can take its own from; those of the owned one are its owner's."""
    shared = table(ORIGIN, HOUR, replace(DELAY, outside="clamp"), replace(DISTANCE, outside="drop"))
    owned = replace(WEATHER, columns={**WEATHER.columns, "precip": replace(PRECIP, outside="clamp")})
    total = select("SUM", Arithmetic("*", column(shared, "dep_delay"), column(owned, "precip")))
    disclosed = disclosures(plan_query(query(total, tables=(shared, owned), receivers=("united",)), JOIN_ADDITIVE))
    assert [(d.what, d.cells) for d in disclosed if not d.implied][1:] == [
        ("the number of rows of flights left out because distance was outside its bounds", 1),
        ("the number of values of dep_delay in flights clamped to its bounds", 1),
        ("the number of values of precip in weather clamped to its bounds", 1),
    ]
    assert [(d.what, d.cells) for d in disclosed if d.implied and "pool" not in d.what] == [
        ("the same numbers of rows and values of flights for delta and jetblue together, by taking away united's own", 2),
        ("the number of rows of weather left out, or of its values clamped, describes weather alone", 1),
    ]


def test_a_grouped_join_discloses_its_totals_group_by_group():
    plan = plan_query(GROUPED_JOIN, JOIN_ADDITIVE)
    assert [(d.what, d.cells) for d in disclosures(plan)] == [
        # both tables have a column `late`: the owner's is written with its table
        ("COUNT(*) by weather.late, origin, late over flights joined with weather", 27),
        ("SUM(dep_delay) by weather.late, origin, late over flights joined with weather", 27),
        ("SUM(distance * precip) by weather.late, origin, late over flights joined with weather", 27),
    ]
    # of each measure, in each of 30 keys, 3 groups of the one table times 3 of the other
    assert steps(plan)[1].startswith("multiply: 810 products of one company's secrets")
    assert steps(plan)[1].endswith("added up on shares, group by group")
    assert plan.cost(0).triples == 810


def test_groups_of_one_key_disclose_which_keys_the_owner_has_and_what_others_hold_of_each():
    by_key = replace(
        GROUPED_JOIN, select=JOIN.select, group_by=(hour, sky_late, origin), receivers=("united", "weather")
    )
    implied = [(d.what, d.cells, d.to) for d in disclosures(plan_query(by_key, JOIN_ADDITIVE)) if d.implied]
    assert implied == [
        (
            "the same values of delta and jetblue and united for just those keys that weather has in weather, "
            "which it alone knows and chooses",
            270, ("weather",),
        ),
        (
            "which keys weather has in weather, of those in flights, and their weather.late: each group is of one key",
            90, ("united",),
        ),
        ("the same values for delta and jetblue together, by taking away united's own", 270, ("united",)),
        (
            "the same values for one of them alone, where 2 of delta, jetblue, united pool their own",
            270, ("united", "weather"),
        ),
    ]  # fmt: skip
    to_the_owner = plan_query(replace(by_key, group_by=(hour, origin), receivers=("weather",)), JOIN_ADDITIVE)
    assert not any("which keys" in d.what for d in disclosures(to_the_owner))
    alone = replace(FLIGHTS, holders=("delta",))
    of_one = plan_query(replace(by_key, group_by=(hour, origin), tables=(alone, SKY)), JOIN_ADDITIVE)
    assert [d.what for d in disclosures(of_one) if d.implied] == [
        "all of this describes rows of delta alone",
        "which keys weather has in weather, of those in flights: each group is of one key",
    ]


@pytest.mark.parametrize("security", [JOIN_ADDITIVE, JOIN_SHAMIR], ids=["triples", "resharing"])
def test_a_join_of_too_many_products_is_refused(security):
    wide = table(Column("k", "integer", 1, 100_000), DISTANCE, MONTH)
    weights = table(
        Column("k", "integer", 1, 100_000), PRECIP, name="weights", holders=("weather",), owner="weather", key=("k",)
    )

    def join(sums: int, *group_by: Reference) -> Query:
        products = (Arithmetic("*", column(wide, "distance"), Number(factor)) for factor in range(2, 2 + sums))
        return query(*(select("SUM", product) for product in products), tables=(wide, weights), group_by=group_by)

    most = LARGEST_REQUEST // 100_000
    assert plan_query(join(most), security).multiplied == most * 100_000
    with pytest.raises(PlanError, match=r"16,800,000 pairs, and a query at most 16,777,216: select fewer sums, or narrow"):
        plan_query(join(most + 1), security)
    by_month = column(wide, "month")
    assert plan_query(join(most // 12, by_month), security).multiplied == most // 12 * 12 * 100_000
    with pytest.raises(PlanError, match=r"16,800,000 pairs, .*: select fewer sums, group by less, or narrow"):
        plan_query(join(most // 12 + 1, by_month), security)


def test_a_scale_that_the_engine_cannot_reach_is_refused_even_for_zero():
    zero = Reference("flights", Column("z", "decimal", 0, 0, scale=18))
    fine = Arithmetic("*", Arithmetic("*", zero, zero), zero)
    for argument in (Arithmetic("+", Number(1), fine), Case(((late, Number(1)),), fine)):
        with pytest.raises(PlanError, match="beyond 2\\^126"):
            plan_query(query(select("SUM", argument)), ADDITIVE)
    with pytest.raises(PlanError, match="beyond 2\\^126"):
        plan_query(query(select("COUNT"), where=(Comparison("<", fine, Number(1)),)), ADDITIVE)


def test_a_table_of_one_company_or_two_is_disclosed_as_that():
    def implied(*holders: str, receivers: tuple[str, ...]) -> list[tuple[str, tuple[str, ...]]]:
        held = table(DISTANCE, holders=holders)
        q = query(select("SUM", column(held, "distance")), tables=(held,), receivers=receivers)
        return [(d.what, d.to) for d in disclosures(plan_query(q, ADDITIVE)) if d.implied]

    assert implied("delta", receivers=("united",)) == [("all of this describes rows of delta alone", ("united",))]
    assert implied("delta", "united", receivers=("united", "jetblue")) == [
        ("the same values for delta, by taking away united's own", ("united",))
    ]


def test_what_companies_that_pool_learn_is_disclosed():
    def implied(colluding: int, *receivers: str) -> list[str]:
        parties = ("delta", "jetblue", "outsider", "united", "virgin")
        held = table(DISTANCE, holders=("delta", "jetblue", "united", "virgin"))
        q = query(select("SUM", column(held, "distance")), tables=(held,), receivers=receivers)
        plan = plan_query(q, Security(parties, "additive", colluding))
        return [d.what for d in disclosures(plan) if d.implied and "pool" in d.what]

    assert implied(1, "united") == []
    four = "delta, jetblue, united, virgin pool their own"
    assert implied(2, "united") == [f"the same values for 2 of them together, where 2 of {four}"]
    assert implied(3, "united") == implied(4, "united") == [f"the same values for one of them alone, where 3 of {four}"]
    # a receiver without rows is one of those that pool
    assert implied(2, "outsider") == [f"the same values for 3 of them together, where 1 of {four} with a receiver"]
    assert implied(4, "outsider") == [f"the same values for one of them alone, where 3 of {four} with a receiver"]


def test_a_nullable_column_opens_its_own_count_and_a_known_one_does_not():
    def opened(*where: Node) -> list[str]:
        return [str(m) for m in plan_query(query(select("COUNT"), select("AVG", delay), where=where), ADDITIVE).opened]

    assert opened() == ["COUNT(*)", "COUNT(dep_delay)", "SUM(dep_delay)"]
    assert opened(DELAY_KNOWN) == opened(Comparison(">", delay, Number(15))) == ["COUNT(*)", "SUM(dep_delay)"]


def test_statistics_share_the_totals_they_have_in_common():
    q = query(select("AVG", distance), select("SUM", distance), select("VAR_SAMP", distance), select("STDDEV_POP", distance))
    plan = plan_query(q, ADDITIVE)
    assert len(plan.opened) == 3
    assert plan.uses == ((0, 1), (1,), (0, 1, 2), (0, 1, 2))


# --- digest ---------------------------------------------------------------------------------------------------------------------


def flights(**changes: Any) -> Table:
    return replace(FLIGHTS, **changes)


def with_column(changed: Column) -> Table:
    return flights(columns=FLIGHTS.columns | {changed.name: changed})


KEYS = query(KeyOutput("a", origin), KeyOutput("b", month), select("COUNT"), group_by=(origin, month))

VARIANTS: dict[str, tuple[Query, Security]] = {
    "grouped": (GROUPED, ADDITIVE),
    "query name": (replace(GROUPED, name="other"), ADDITIVE),
    "receivers": (replace(GROUPED, receivers=("united",)), ADDITIVE),
    "no where": (replace(GROUPED, where=()), ADDITIVE),
    "where more": (replace(GROUPED, where=(DELAY_KNOWN, Comparison(">", distance, Number(5)))), ADDITIVE),
    "where literal": (replace(GROUPED, where=(DELAY_KNOWN, Comparison(">", distance, Number(6)))), ADDITIVE),
    "where operator": (replace(GROUPED, where=(DELAY_KNOWN, Comparison(">=", distance, Number(6)))), ADDITIVE),
    "where scale": (replace(GROUPED, where=(DELAY_KNOWN, Comparison(">=", distance, Number(6, 1)))), ADDITIVE),
    "where text": (replace(GROUPED, where=(DELAY_KNOWN, Comparison("=", origin, Text("JFK")))), ADDITIVE),
    "where other text": (replace(GROUPED, where=(DELAY_KNOWN, Comparison("=", origin, Text("LGA")))), ADDITIVE),
    "output name": (replace(GROUPED, select=(*GROUPED.select[:2], select("AVG", delay, "mean"))), ADDITIVE),
    "output order": (replace(GROUPED, select=(GROUPED.select[1], GROUPED.select[0], GROUPED.select[2])), ADDITIVE),
    "output function": (replace(GROUPED, select=(*GROUPED.select[:2], select("SUM", delay, "mean_delay"))), ADDITIVE),
    "output argument": (replace(GROUPED, select=(*GROUPED.select[:2], select("AVG", distance, "mean_delay"))), ADDITIVE),
    "output fewer": (replace(GROUPED, select=GROUPED.select[1:]), ADDITIVE),
    "variance": (query(select("VAR_SAMP", distance, "v")), ADDITIVE),
    "variance of all": (query(select("VAR_POP", distance, "v")), ADDITIVE),
    "deviation": (query(select("STDDEV_POP", distance, "v")), ADDITIVE),
    "group by": (replace(GROUPED, group_by=(origin, month)), ADDITIVE),
    "group by order": (replace(GROUPED, group_by=(month, origin)), ADDITIVE),
    "keys": (KEYS, ADDITIVE),
    "keys selected crosswise": (
        replace(KEYS, select=(KeyOutput("a", month), KeyOutput("b", origin), KEYS.select[2])), ADDITIVE
    ),
    "max_rows": (replace(GROUPED, tables=(flights(max_rows=1001),)), ADDITIVE),
    "holders": (replace(GROUPED, tables=(flights(holders=("delta", "united")),)), ADDITIVE),
    "table name": (replace(GROUPED, tables=(flights(name="departures"),)), ADDITIVE),
    "another column's bound": (replace(GROUPED, tables=(with_column(replace(FARE, upper=100000)),)), ADDITIVE),
    "lower": (replace(GROUPED, tables=(with_column(replace(DELAY, lower=-61)),)), ADDITIVE),
    "upper": (replace(GROUPED, tables=(with_column(replace(DELAY, upper=1441)),)), ADDITIVE),
    "nullable": (replace(GROUPED, tables=(with_column(replace(DISTANCE, nullable=True)),)), ADDITIVE),
    "scale": (replace(GROUPED, tables=(with_column(replace(FARE, scale=3)),)), ADDITIVE),
    "kind": (replace(GROUPED, tables=(with_column(replace(FARE, kind="integer")),)), ADDITIVE),
    "category order": (replace(GROUPED, tables=(with_column(replace(ORIGIN, values=("JFK", "EWR", "LGA"))),)), ADDITIVE),
    "party names": (GROUPED, replace(ADDITIVE, parties=("delta", "jetblue", "united", "virgin"))),
    "party order": (GROUPED, replace(ADDITIVE, parties=("delta", "united", "jetblue"))),
    "colluding": (GROUPED, replace(ADDITIVE, colluding=1)),
    "scheme": (GROUPED, SHAMIR),
    "triples": (GROUPED, replace(ADDITIVE, triples="dealer")),
    "histogram": (HISTOGRAM, ADDITIVE),
    "histogram start": (replace(HISTOGRAM, histogram=Bin(delay, -61, 180, 0, 24)), ADDITIVE),
    "histogram stop": (replace(HISTOGRAM, histogram=Bin(delay, -60, 181, 0, 24)), ADDITIVE),
    "histogram digits": (replace(HISTOGRAM, histogram=Bin(delay, -60, 180, 1, 24)), ADDITIVE),
    "histogram bins": (replace(HISTOGRAM, histogram=Bin(delay, -60, 180, 0, 12)), ADDITIVE),
    "histogram of another": (replace(HISTOGRAM, histogram=Bin(distance, -60, 180, 0, 24)), ADDITIVE),
    "case": (query(select("AVG", Case(((Comparison(">", distance, Number(15)), Number(1)),), Number(0)), "s")), ADDITIVE),
    "case without else": (query(select("AVG", Case(((Comparison(">", distance, Number(15)), Number(1)),), None), "s")), ADDITIVE),
    "join": (JOIN, JOIN_ADDITIVE),
    "join by shamir": (JOIN, JOIN_SHAMIR),
    "join by shamir with triples": (JOIN, replace(JOIN_SHAMIR, triples="dealer")),
    "join key order": (replace(JOIN, tables=(FLIGHTS, replace(WEATHER, key=("hour", "origin")))), JOIN_ADDITIVE),
    "join key fewer": (replace(JOIN, tables=(FLIGHTS, replace(WEATHER, key=("origin",)))), JOIN_ADDITIVE),
    "join by a part of its key": (replace(JOIN, group_by=(origin,)), JOIN_ADDITIVE),
    "join by groups": (GROUPED_JOIN, JOIN_ADDITIVE),
    "join by groups in another order": (replace(GROUPED_JOIN, group_by=(late, origin, sky_late)), JOIN_ADDITIVE),
    "join by groups selected crosswise": (
        replace(GROUPED_JOIN, select=(
            KeyOutput("late", sky_late), KeyOutput("origin", origin), KeyOutput("sky_late", late), *JOIN.select
        )),
        JOIN_ADDITIVE,
    ),
    "owner": (
        replace(JOIN, tables=(FLIGHTS, replace(WEATHER, owner="delta", holders=("delta",)))), JOIN_ADDITIVE
    ),
}  # fmt: skip


def test_the_digest_changes_with_anything_that_matters():
    found: dict[str, str] = {}
    for name, (q, security) in VARIANTS.items():
        digest = plan_query(q, security).digest
        assert len(digest) == 64
        assert digest not in found, f"{name} has the digest of {found.get(digest)}"
        found[digest] = name


def test_the_digest_of_equal_queries_is_equal():
    held = Table("flights", dict(FLIGHTS.columns), 1000, AIRLINES)
    again = Reference("flights", replace(DELAY))
    q = query(
        KeyOutput("origin", Reference("flights", replace(ORIGIN))), select("COUNT"), select("AVG", again, "mean_delay"),
        where=(Not(IsNull(again)),), group_by=(Reference("flights", replace(ORIGIN)),), tables=(held,), receivers=("united", "delta"),
    )  # fmt: skip
    assert plan_query(q, Security(THREE, "additive", 2)).digest == plan_query(GROUPED, ADDITIVE).digest


def describe_all() -> str:
    """All that nodes must agree on, of every plan here; printed by processes of their own."""
    plans = [plan_query(q, security) for q, security in VARIANTS.values()]
    lines = [
        repr((p.digest, p.opened, p.uses, p.products, p.ranges, disclosures(p), p.shapes, [p.cost(i) for i in range(3)]))
        for p in plans
    ]
    return "\n".join(lines)


def test_processes_with_different_hash_seeds_make_the_same_plans():
    # an order taken from a set would differ between them
    here = Path(__file__).parent
    running = [
        subprocess.Popen(
            [sys.executable, "-c", "import test_plan; print(test_plan.describe_all())"],
            cwd=here, env=os.environ | {"PYTHONHASHSEED": seed}, stdout=subprocess.PIPE, text=True,
        )
        for seed in ("0", "1", "4294967295")
    ]  # fmt: skip
    printed = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert printed[0].strip() == describe_all()
    assert printed[0] == printed[1] == printed[2]


# --- execution --------------------------------------------------------------------------------------------------------------------

Row = dict[str, int | None]


def evaluate(node: Node, row: Row) -> Any:
    """The value of an expression in a row of integers (codes for categories), None for NULL."""
    if isinstance(node, Reference):
        return row[node.column.name]
    if isinstance(node, Number):
        return node.value
    if isinstance(node, Text):
        return ORIGIN.values.index(node.value)
    if isinstance(node, Not):
        inner = evaluate(node.operand, row)
        return None if inner is None else not inner
    if isinstance(node, IsNull):
        return evaluate(node.operand, row) is None
    if isinstance(node, Bin):
        x = evaluate(node.operand, row)
        if x is None:
            return None
        place = (Fraction(x) - node.start) * node.bins / (node.stop - node.start)  # operand and ends at one scale here
        if x == node.stop:
            return node.bins
        return 0 if place < 0 else min(int(place) + 1, node.bins + 1)
    if isinstance(node, Case):
        for condition, value in node.branches:
            if evaluate(condition, row):
                return evaluate(value, row)
        return None if node.otherwise is None else evaluate(node.otherwise, row)
    assert isinstance(node, Arithmetic | Comparison)
    x, y = evaluate(node.left, row), evaluate(node.right, row)
    if x is None or y is None:
        return None
    if node.operator == "*":
        return x * y
    scale = max(node.left.scale, node.right.scale)
    x, y = x * 10 ** (scale - node.left.scale), y * 10 ** (scale - node.right.scale)
    operators = {"+": x + y, "-": x - y, ">": x > y, ">=": x >= y, "<": x < y, "<=": x <= y, "=": x == y, "<>": x != y}
    return operators[node.operator]


def kept(where: tuple[Node, ...], rows: list[Row]) -> list[Row]:
    return [row for row in rows if all(evaluate(condition, row) for condition in where)]


def at_home(task: HomeTask, rows: list[Row]) -> np.ndarray:
    """What a company computes at home, row by row."""
    totals = np.zeros((len(task.measures), task.cells), dtype=object)
    for row in kept(task.where, rows):
        cell = 0
        for key in task.keys:
            value = evaluate(key.expression, row)
            if value is None and not key.has_null:
                break
            cell = cell * key.size + (key.size - 1 if value is None else value - key.expression.lower)
        else:
            for k, measure in enumerate(task.measures):
                value = 1 if measure.expression is None else evaluate(measure.expression, row)
                if value is not None:
                    totals[k, cell] += 1 if measure.kind == "count" else value
    return totals.reshape(-1)


def random_rows(columns: Any, count: int, seed: int) -> list[Row]:
    """Rows that reach their bounds, with some NULLs."""
    rng = np.random.default_rng(seed)

    def draw(c: Column) -> int | None:
        if c.nullable and rng.random() < 0.2:
            return None
        return int(rng.choice([c.lower, c.upper])) if rng.random() < 0.1 else int(rng.integers(c.lower, c.upper + 1))

    return [{name: draw(c) for name, c in columns.items()} for _ in range(count)]


@dataclass
class Company:
    """Rows by table."""

    tables: dict[str, list[Row]]


def companies(plan: Plan, rows_each: int = 60) -> dict[str, Company]:
    found = {}
    for i, name in enumerate(plan.security.parties):
        held = {}
        for task in plan.tasks:
            if name in task.table.holders:
                rows = random_rows(task.table.columns, rows_each, seed=100 + i)
                if task.table.owner:  # one row a key, not every key
                    rows = list({(r["origin"], r["hour"]): r for r in rows}.values())[: task.table.max_rows]
                held[task.table.name] = rows
        found[name] = Company(held)
    return found


def homes(plan: Plan, by_name: dict[str, Company]) -> list[list[np.ndarray | None]]:
    return [
        [
            at_home(task, by_name[name].tables[task.table.name]) if name in task.table.holders else None
            for task in plan.tasks
        ]
        for name in plan.security.parties
    ]


def run(plan: Plan, home: list[list[Any]]) -> list[tuple[Any, Cost, list[str]]]:
    """`execute` at every party: what it got, what it measured, the phases it heard of."""

    def party(ctx, vectors):
        phases: list[str] = []
        return execute(ctx, plan, inputs(plan, vectors), phases.append), ctx.measured, phases

    return simulate(party, home, plan.scheme, triples=plan.triples)


CASE = Case(((Comparison(">", delay, Number(15)), Number(1)),), Number(0))
EVERYTHING = query(
    KeyOutput("late", late), KeyOutput("origin", origin), select("COUNT"), select("COUNT", delay), select("SUM", fare),
    select("AVG", delay), select("VAR_SAMP", fare), select("STDDEV_POP", delay), select("AVG", CASE, "share_late"),
    group_by=(origin, late), receivers=("delta", "united"),
)  # fmt: skip

EXECUTED = {
    f"{name}-{security.scheme}-{len(security.parties)}{'-triples' if security.triples else ''}": (q, security)
    for name, q, securities in [
        ("grouped", GROUPED, [ADDITIVE, SHAMIR, REPLICATED, Security(FIVE, "additive", 4), Security(FIVE, "shamir", 2), Security(THREE, "plaintext", 1)]),
        ("everything", EVERYTHING, [ADDITIVE, Security(FIVE, "shamir", 2)]),
        ("two-holders", replace(GROUPED, tables=(flights(holders=("delta", "united")),)), [ADDITIVE, SHAMIR, Security(FIVE, "shamir", 1)]),
        ("outside-receiver", replace(GROUPED, tables=(flights(holders=("delta", "united")),), receivers=("jetblue",)), [ADDITIVE, SHAMIR, REPLICATED]),
        ("all-receive", replace(GROUPED, receivers=THREE), [ADDITIVE, SHAMIR]),
        ("wide", query(select("VAR_SAMP", Arithmetic("*", Arithmetic("*", fare, fare), fare))), [ADDITIVE, SHAMIR, REPLICATED]),
    ]
    for security in securities
}  # fmt: skip


@pytest.mark.parametrize("name", list(EXECUTED))
def test_execution_gives_the_exact_pooled_answer_to_receivers_alone_at_the_declared_cost(name):
    q, security = EXECUTED[name]
    plan = plan_query(q, security)
    if name.startswith("wide"):
        assert plan.scheme.algebra in (RING128, FIELD127)
    by_name = companies(plan)
    pooled = kept(q.where, [row for company in by_name.values() for rows in company.tables.values() for row in rows])
    results = run(plan, homes(plan, by_name))

    for me, (opened, measured, phases) in enumerate(results):
        assert measured == plan.cost(me)
        assert phases == ["share", "compute", "open"]
        assert (opened is not None) == (security.parties[me] in q.receivers)
    opened, *others = (opened for opened, _, _ in results if opened is not None)
    assert all(other == opened for other in others)

    found = answer(plan, opened)
    assert found.columns == tuple(output.name for output in q.select)
    assert len(found.rows) == plan.cells
    for codes, row in zip(group_cells(plan), found.rows, strict=True):
        members = [r for r in pooled if all(code_of(key, r) == code for key, code in zip(plan.tasks[0].keys, codes, strict=True))]
        for output, value, bound in zip(q.select, row, found.error_bound, strict=True):
            if isinstance(output, KeyOutput):
                assert not members or value == value_of(output.key.column, members)
                continue
            values = [tuple(evaluate(argument, r) for argument in output.arguments) for r in members]
            expected = output.statistic.reference(output.function, output.arguments, values)
            if expected is None:
                assert value is None
            else:
                assert abs(Fraction(value) - Fraction(expected)) <= Fraction(bound)


def code_of(key: Any, row: Row) -> int:
    value = evaluate(key.expression, row)
    return key.size - 1 if value is None else value - key.expression.lower


def value_of(c: Column, members: list[Row]) -> Any:
    value = members[0][c.name]
    if value is None:
        return None
    return c.values[value] if c.kind == "category" else bool(value) if c.kind == "boolean" else value


def test_groups_come_in_declared_order_with_null_last():
    plan = plan_query(EVERYTHING, ADDITIVE)
    rows = answer(plan, [[0] * plan.cells] * len(plan.opened)).rows
    assert [row[:2] for row in rows] == [(late, origin) for origin in ("EWR", "JFK", "LGA") for late in (False, True, None)]


@pytest.mark.parametrize("security", [ADDITIVE, SHAMIR], ids=["additive", "shamir"])
def test_a_histogram_counts_every_value_once_and_no_null(security):
    plan = plan_query(HISTOGRAM, security)
    by_name = companies(plan, 200)
    results = run(plan, homes(plan, by_name))
    found = answer(plan, results[2][0])
    assert results[0][0] is results[1][0] is None
    assert found.columns == ("bin_lower", "bin_upper", "count")
    assert found.error_bound == (0, 0, 0)
    values = [r["dep_delay"] for c in by_name.values() for r in c.tables["flights"] if r["dep_delay"] is not None]
    for lower, upper, count in found.rows:
        expected = sum(
            (lower is None or lower <= v) and (upper is None or v < upper or v == upper == 180) and not (lower == v == 180)
            for v in values
        )
        assert count == expected
    assert sum(row[2] for row in found.rows) == len(values)
    assert [measured for _, measured, _ in results] == [plan.cost(i) for i in range(3)]


JOINED = {
    "additive": JOIN_ADDITIVE,
    "additive-five": Security(FIVE, "additive", 4, "dealer"),
    "shamir": JOIN_SHAMIR,
    "shamir-triples": replace(JOIN_SHAMIR, triples="dealer"),
    "shamir-five": Security(FIVE, "shamir", 2),
    "shamir-five-triples": Security(FIVE, "shamir", 2, "dealer"),
}


@pytest.mark.parametrize("owner", ["weather", "delta"])
@pytest.mark.parametrize("name", list(JOINED))
def test_a_join_gives_the_exact_pooled_answer_at_the_declared_cost(name, owner):
    # `delta` as the owner shares vectors of two tables, end to end
    weather = replace(WEATHER, owner=owner, holders=(owner,))
    q = replace(JOIN, tables=(FLIGHTS, weather), receivers=("jetblue", "united"))
    security = JOINED[name]
    plan = plan_query(q, security)
    assert plan.triples == security.triples
    by_name = companies(plan)
    results = run(plan, homes(plan, by_name))
    for me, (opened, measured, _) in enumerate(results):
        assert measured == plan.cost(me)
        assert measured.triples == (len(plan.products) * 30 if security.triples else 0)
        assert (opened is not None) == (security.parties[me] in q.receivers)

    sky = {(r["origin"], r["hour"]): r for r in by_name[owner].tables["weather"]}
    flown = [row for company in by_name.values() for row in company.tables.get("flights", [])]
    joined = [row | sky[row["origin"], row["hour"]] for row in flown if (row["origin"], row["hour"]) in sky]
    joined = kept(q.where, joined)
    assert joined  # the data meets
    opened = results[security.parties.index("united")][0]
    found = answer(plan, opened)
    assert len(found.rows) == 1
    for output, value, bound in zip(q.select, found.rows[0], found.error_bound, strict=True):
        values = [tuple(evaluate(argument, row) for argument in output.arguments) for row in joined]
        expected = output.statistic.reference(output.function, output.arguments, values)
        assert abs(Fraction(value) - Fraction(expected)) <= Fraction(bound)


def test_empty_tables_contribute_zeros():
    plan = plan_query(JOIN, JOIN_SHAMIR)
    home = [[np.zeros(len(t.measures) * t.cells, dtype=np.int64) if n in t.table.holders else None for t in plan.tasks] for n in FOUR]
    assert answer(plan, run(plan, home)[2][0]).rows == ((None, 0, 0),)


def test_messages_and_steps_do_not_depend_on_the_data():
    plan = plan_query(GROUPED, SHAMIR)
    sizes = []
    for seed_rows in (0, 1, 100):
        results = run(plan, homes(plan, companies(plan, seed_rows)))
        sizes.append([measured for _, measured, _ in results])
    assert sizes[0] == sizes[1] == sizes[2]
