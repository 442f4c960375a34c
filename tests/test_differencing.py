"""The guard of exact answers over protected rows: pairs of queries that give rows away together, and pairs that do not."""

from dataclasses import replace

import pytest

from parties.governance.differencing import objection, predicate
from parties.governance.ledger import ExactRelease
from parties.spec.sql import parse_query
from protocols.planning.plan import Plan, Security, plan_query
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
