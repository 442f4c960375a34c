"""The guard of exact answers over protected rows: pairs of queries that give rows away together, and pairs that do not."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from cluster import Cluster
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.simulate import simulate
from parties.data.home import TableSource, compute
from parties.governance.differencing import objection, predicate
from parties.governance.ledger import ExactRelease
from parties.spec.sql import parse_query
from protocols.planning.execute import answer, execute, inputs, prepare
from protocols.planning.filters import MOST, overlapping, parts_of
from protocols.planning.plan import Plan, Security
from protocols.planning.planner import plan_query
from protocols.planning.rules import Rules
from protocols.statistics.base import Measure
from protocols.tables import Column, Table, Unit

NAMES = ("a", "b", "c")
COLUMNS = {
    "id": Column("id", "integer", 0, 99),
    "x": Column("x", "integer", 0, 99),
    "pay": Column("pay", "decimal", 0, 99_999, scale=2),
    "city": Column("city", "category", 0, 2, values=("north", "south", "west"), nullable=True),
    "late": Column("late", "boolean", 0, 1),
}
OWNED = {"id": COLUMNS["id"], "x": COLUMNS["x"], "w": Column("w", "integer", 0, 1)}
TABLES = {
    "t": Table("t", COLUMNS, 100, NAMES, unit=Unit("person")),
    "plain": Table("plain", COLUMNS, 100, NAMES),
    "o": Table("o", OWNED, 100, ("a",), "a", ("id",)),
}


def plan(sql: str, name: str = "q", tables: dict[str, Table] = TABLES) -> Plan:
    return plan_query(parse_query(name, sql, tables, ("a",)), Security(NAMES, "shamir", 1))


def release(of: Plan) -> ExactRelease:
    return ExactRelease(bytes(16), of.query.name, "", tuple(table.name for table in of.exact_over), (), predicate(of), bytes(32))


def objects(first: str, then: str, *allowed: str) -> str:
    return objection(plan(then, "then"), [release(plan(first, "first"))], allowed)


ALL = "SELECT SUM(pay) FROM t"


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (ALL, "SELECT SUM(pay) FROM t WHERE id <> 5"),
        (ALL, "SELECT city, COUNT(*) FROM t WHERE id <> 5 GROUP BY city"),
        ("SELECT city, COUNT(*) FROM t GROUP BY city", "SELECT COUNT(*) FROM t WHERE city = 'north'"),
        ("SELECT COUNT(*) FROM t WHERE x < 5", "SELECT COUNT(*) FROM t WHERE x < 6"),
        ("SELECT COUNT(*) FROM t WHERE x < 5", "SELECT COUNT(*) FROM t WHERE x <= 5"),
        ("SELECT COUNT(*) FROM t WHERE x < 5", "SELECT COUNT(*) FROM t WHERE x >= 4"),
        ("SELECT COUNT(*) FROM t WHERE city IN ('north', 'south')", "SELECT COUNT(*) FROM t WHERE city = 'south'"),
        ("SELECT COUNT(*) FROM t WHERE pay > 5.5", "SELECT COUNT(*) FROM t WHERE pay <= 5.51"),
        ("SELECT COUNT(*) FROM t WHERE x > 5", "SELECT COUNT(*) FROM t WHERE NOT x > 5"),  # more than it needs to
        ("SELECT COUNT(*) FROM t WHERE late", "SELECT COUNT(*) FROM t WHERE late OR x = 1"),
        ("SELECT HISTOGRAM(pay, 0, 100, 2) FROM t", "SELECT HISTOGRAM(pay, 1, 101, 2) FROM t"),
        ("SELECT HISTOGRAM(pay, 0, 100, 2) FROM t", ALL),
    ],
)
def test_another_filter_is_refused(first: str, then: str) -> None:
    assert "the filter of then differs from that of first" in objects(first, then)
    assert objects(then, first) != ""
    assert objects(first, then, "then") == ""
    assert objects(first, then, "first") != ""


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (ALL, "SELECT city, COUNT(*), AVG(x) FROM t GROUP BY city"),
        ("SELECT COUNT(*) FROM t WHERE x > 5 AND late", "SELECT SUM(pay) FROM t WHERE late AND x > 5"),
        ("SELECT COUNT(*) FROM t WHERE city = 'north'", "SELECT COUNT(*) FROM t WHERE city = 'south'"),
        ("SELECT COUNT(*) FROM t WHERE city IN ('north', 'west')", "SELECT COUNT(*) FROM t WHERE city = 'south' AND x > 3"),
        ("SELECT COUNT(*) FROM t WHERE x < 5", "SELECT COUNT(*) FROM t WHERE x >= 5"),
        ("SELECT COUNT(*) FROM t WHERE x BETWEEN 5 AND 9", "SELECT COUNT(*) FROM t WHERE x = 10"),
        ("SELECT COUNT(*) FROM t WHERE pay < 5.50", "SELECT COUNT(*) FROM t WHERE pay > 5.50"),
        ("SELECT COUNT(*) FROM t WHERE late", "SELECT COUNT(*) FROM t WHERE NOT late"),
        ("SELECT COUNT(*) FROM plain WHERE id <> 5", ALL),
    ],
)
def test_the_same_rows_or_others_are_not(first: str, then: str) -> None:
    assert objects(first, then) == ""
    assert objects(then, first) == ""


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("SELECT SUM(CASE WHEN id = 5 THEN pay ELSE 0 END) FROM t", "has CASE"),
        ("SELECT COUNT(CASE WHEN id <> 5 THEN 1 END) FROM t", "has CASE"),
        ("SELECT SUM(pay) FROM t JOIN o USING (id)", "is a join"),
        ("SELECT SUM(pay * w) FROM t JOIN o USING (id)", "is a join"),
    ],
)
def test_what_chooses_rows_by_itself_is_refused_from_the_start(sql: str, why: str) -> None:
    assert why in objection(plan(sql), [], ())
    assert objection(plan(sql), [], ("q",)) == ""


def test_what_is_dropped_is_part_of_a_filter() -> None:
    def dropping(upper: int) -> dict[str, Table]:
        columns = COLUMNS | {"x": Column("x", "integer", 0, upper, outside="drop")}
        return {"t": replace(TABLES["t"], columns=columns)}

    first, then = plan(ALL, tables=dropping(9)), plan(ALL, tables=dropping(8))
    assert "differs" in objection(then, [release(first)], ())
    assert objection(first, [release(first)], ()) == ""


def test_a_column_of_one_table_is_not_that_of_another() -> None:
    one, other = (plan(f"SELECT SUM(pay) FROM t JOIN o USING (id) WHERE {table}.x = 5") for table in "to")
    assert predicate(one) != predicate(other)


# --- compared inside: how many rows there are in each part that the filters cut ---------------------------------------------------


def cut(*sqls: str, minimum: int = 3, triples: str | None = "dealer", scheme: str = "shamir", companies: int = 3) -> list[Plan]:
    """The plans of queries of one spec, each with a minimum group."""
    names = NAMES[:companies]
    tables = {name: replace(table, holders=names) for name, table in TABLES.items() if name != "o"}
    asked = [parse_query(f"q{number}", sql, tables, ("a",)) for number, sql in enumerate(sqls)]
    queries = [replace(query, rules=Rules(minimum)) for query in asked]
    security = Security(names, scheme, 1, triples)
    return [plan_query(replace(query, beside=overlapping(query, queries)), security) for query in queries]


THREE = Rules(3)


def filters(sqls: list[str], rules: Rules = THREE) -> list[int]:
    """To how many filters, with its own, each of the queries is cut."""
    queries = [replace(parse_query("q", sql, TABLES, ("a",)), rules=rules) for sql in sqls]
    return [len(overlapping(query, queries)) for query in queries]


def test_filters_are_together_where_rows_may_be_in_both_and_so_on() -> None:
    total, few, many, other = (f"SELECT SUM(pay) FROM t{where}" for where in ("", " WHERE x < 5", " WHERE x >= 5 AND id <> 7", " WHERE x < 5 AND late"))
    assert filters([total, few]) == [2, 2]
    assert filters([few, many]) == [0, 0]  # no row is in both
    assert filters([total, few, many]) == [3, 3, 3]  # but with the total they give person 7 away
    assert filters([few, many, other]) == [2, 0, 2]
    assert filters([total, total, total]) == [0, 0, 0]
    assert filters([total, "SELECT city, SUM(pay) FROM t WHERE x < 5 GROUP BY city"]) == [0, 0]
    assert filters(["SELECT city, SUM(pay) FROM t GROUP BY city", "SELECT city, COUNT(*) FROM t WHERE x < 5 GROUP BY city"]) == [2, 2]
    assert filters([total, "SELECT SUM(pay) FROM plain WHERE x < 5"]) == [0, 0]
    assert filters([total, "SELECT HISTOGRAM(pay, 0, 100, 2) FROM t WHERE x < 5"]) == [0, 0]
    assert filters([f"{total} WHERE id <> {number}" for number in range(MOST)]) == [MOST] * MOST
    assert filters([f"{total} WHERE id <> {number}" for number in range(MOST + 1)]) == [0] * (MOST + 1)
    assert filters([total, few], rules=Rules(0, 2)) == [0, 0]


ROW = st.tuples(st.integers(0, 3), st.sampled_from([1, 5, 7]), st.one_of(st.none(), st.sampled_from(["north", "south"])), st.booleans(), st.one_of(st.none(), st.integers(0, 9)))


def written(folder: Path, name: str, rows: list[tuple[object, ...]]) -> TableSource:
    file = folder / f"{name}.parquet"
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE r (id INTEGER, x INTEGER, pay DECIMAL(6, 2), city VARCHAR, late BOOLEAN, person INTEGER)")
        for number, (identifier, x, city, late, _) in enumerate(rows):
            connection.execute("INSERT INTO r VALUES (?, ?, ?, ?, ?, ?)", [identifier, x, number + 1, city, late, number])
        connection.execute(f"COPY r TO '{file}'")
    return TableSource(file)


def run(of: Plan, sources: list[TableSource]) -> tuple[tuple[object, ...], ...]:
    vectors = [[compute(task, source) for task in of.tasks] for source in sources]

    def party(ctx, own):
        prepare(ctx, of)
        opened = execute(ctx, of, inputs(of, own))
        assert ctx.measured == of.cost(ctx.me)
        return opened

    return answer(of, simulate(party, vectors, of.scheme, triples=of.triples)[0]).rows


SQLS = (
    "SELECT city, COUNT(*) AS n, SUM(pay) AS s FROM t GROUP BY city",
    "SELECT city, COUNT(*) AS n, SUM(pay) AS s FROM t WHERE id <> 2 GROUP BY city",
    "SELECT city, COUNT(*) AS n, SUM(pay) AS s FROM t WHERE late AND x < 7 GROUP BY city",
)


@pytest.mark.parametrize(("scheme", "triples"), [("additive", "dealer"), ("shamir", "dealer"), ("replicated", None)])
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_a_cell_is_opened_where_each_part_has_none_or_many_without_any_company(tmp_path_factory, scheme, triples, data) -> None:
    folder = tmp_path_factory.mktemp("parts")
    made = cut(*SQLS, minimum=2, scheme=scheme, triples=triples)
    of = [data.draw(st.lists(ROW, max_size=14)) for _ in NAMES]
    sources = [written(folder, name, rows) for name, rows in zip(NAMES, of, strict=True)]
    meets = (lambda row: True, lambda row: row[0] != 2, lambda row: row[3] and row[1] < 7)
    for number, each in enumerate(made):
        assert len(each.tasks[-1].measures) == 7
        for city, *found in run(each, sources):
            parts = [Counter(tuple(bool(meet(row)) for meet in meets) for row in rows if row[2] == city) for rows in of]
            own = [sum(count for bits, count in company.items() if bits[number]) for company in parts]
            is_released = sum(own) - max(own) >= 2
            for bits in {bits for company in parts for bits in company if any(bits)}:
                counts = [company[bits] for company in parts]
                is_released &= sum(counts) - max(counts) >= 2
            assert (found[0] is not None) == is_released
            if is_released:
                assert found[0] == sum(own)


def test_a_value_that_is_null_is_of_no_part() -> None:
    """Ten rows are in the difference, of which one has the value that is added up."""
    assert len(parts_of(((), ()), [Measure("count", None)])) == 3
    both = cut("SELECT SUM(x) FROM t", "SELECT SUM(x) FROM t WHERE id <> 2")
    assert [len(each.tasks[-1].measures) for each in both] == [3, 3]
    tables = {"t": replace(TABLES["t"], columns=COLUMNS | {"x": replace(COLUMNS["x"], nullable=True)})}
    queries = [replace(parse_query("q", sql, tables, ("a",)), rules=Rules(3)) for sql in ("SELECT SUM(x), COUNT(*) FROM t", "SELECT SUM(x) FROM t WHERE id <> 2")]
    made = plan_query(replace(queries[0], beside=overlapping(queries[0], queries)), Security(NAMES, "shamir", 1, "dealer"))
    assert [str(of.expression).count("x IS NOT NULL") for of in made.tasks[-1].measures] == [1, 1, 1, 0, 0, 0]


def test_a_planted_bug_is_found(monkeypatch, tmp_path) -> None:
    """One person's row is the difference."""
    rows = [[(0, 5, "north", True, 1)] * 4] * 3
    rows[0] = [*rows[0], (2, 5, "north", True, 1)]
    sources = [written(tmp_path, name, of) for name, of in zip(NAMES, rows, strict=True)]
    assert [run(each, sources)[0][1] for each in cut(*SQLS[:2])] == [None, None]
    monkeypatch.setattr("protocols.planning.filters.product", lambda bits, repeat: [(1,) * repeat])
    assert [run(each, sources)[0][1] for each in cut(*SQLS[:2])] == [13, 12]


def test_filters_of_one_spec_need_no_leave_and_those_of_another_do() -> None:
    total, few, rest = cut(ALL, "SELECT SUM(pay) FROM t WHERE x < 5", "SELECT SUM(pay) FROM t WHERE x >= 5 AND id <> 7")
    assert total.gate is not None
    assert "as many, or none, in each of the parts that the filters of other queries cut it into" in str(total.gate)
    for earlier, then in ((total, few), (few, total), (rest, total), (few, rest)):
        assert objection(then, [release(earlier)], ()) == ""
    # in a spec of two queries the third, released before, is not among those that are cut
    two, _ = cut(ALL, "SELECT SUM(pay) FROM t WHERE x < 5")
    assert "differs from that of q2" in objection(two, [release(rest)], ())
    # apart from this filter, but not from the one it is cut with
    few_of_two = cut("SELECT SUM(pay) FROM t WHERE x < 5", ALL)[0]
    assert "differs from that of q2" in objection(few_of_two, [release(rest)], ())
    # other groups, of which the answer may be one
    by_city = plan("SELECT city, SUM(pay) FROM t WHERE x < 5 GROUP BY city")
    assert "differs" in objection(total, [release(by_city)], ())
    assert objection(total, [replace(release(few), predicate=release(few).predicate.replace('"groups"', '"before"'))], ()) != ""


def test_without_rules_or_with_noise_nothing_is_cut() -> None:
    queries = [parse_query("q", sql, TABLES, ("a",)) for sql in (ALL, "SELECT SUM(pay) FROM t WHERE x < 5")]
    assert [overlapping(query, queries) for query in queries] == [(), ()]
    assert plan(ALL).cut is None


SPEC_TABLES = """
[tables.people]
max_rows = 10_000
unit = { key = "person" }
[tables.people.columns]
region = { type = "category", values = ["north", "south"] }
pay = { type = "integer", lower = 0, upper = 1000 }
"""
SPEC_QUERIES = """
[queries.all]
sql = "SELECT region, SUM(pay) AS pay FROM people GROUP BY region"
receivers = ["alpha"]
minimum_group = 5
[queries.paid]
sql = "SELECT region, SUM(pay) AS pay FROM people WHERE pay > 0 GROUP BY region"
receivers = ["alpha"]
minimum_group = 5
"""


def test_among_nodes(tmp_path: Path) -> None:
    """In the south one person is not paid, in the north nobody or many."""
    with Cluster(tmp_path, ("alpha", "beta", "gamma"), tables=SPEC_TABLES, queries=SPEC_QUERIES) as cluster:
        for name in ("alpha", "beta", "gamma"):
            with (cluster[name] / "node.toml").open("a") as config:
                config.write("exact = true\n")
            unpaid = "i = 50" if name == "beta" else "FALSE"
            cluster.hold(name, "people", f"SELECT i AS person, CASE WHEN i < 50 THEN 'north' ELSE 'south' END AS region, CASE WHEN i < 20 OR {unpaid} THEN 0 ELSE 10 END AS pay FROM range(100) t(i)")
        cluster.approve()
        cluster.start()
        for query in ("all", "paid", "all"):
            result = cluster.result(query, "alpha")
            assert result["rows"] == [["north", 900], ["south", None]]
            assert result["cost"]["measured"] == result["cost"]["declared"]
        assert "Traceback" not in cluster.logs()
