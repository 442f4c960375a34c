"""MODE and TOP_K: those of the pooled rows, ties and empty groups too; what is opened, said and refused."""

from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import pytest
from cluster import Cluster
from conformance import Watched
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.simulate import simulate
from parties.spec.sql import SqlProblem, parse_query
from protocols.gadgets import trees
from protocols.planning.disclosures import disclosures
from protocols.planning.execute import answer, execute, inputs, prepare
from protocols.planning.explain import at_home, said_by_statistics, steps
from protocols.planning.gates import below
from protocols.planning.plan import Security
from protocols.planning.planner import plan_query
from protocols.planning.privacy import Privacy
from protocols.planning.query import PlanError, StatisticOutput
from protocols.planning.rules import NO_RULES, Rules
from protocols.tables import Column, Table, days

NAMES = ("c0", "c1", "c2", "c3", "c4")
KINDS = ("apple", "pear", "plum", "quince")
COLUMNS = {
    "g": Column("g", "category", 0, 1, values=("p", "q")),
    "x": Column("x", "category", 0, 3, values=KINDS, nullable=True),
    "y": Column("y", "integer", -2, 5, nullable=True),
    "b": Column("b", "boolean", 0, 1, nullable=True),
    "d": Column("d", "date", days(date(2026, 1, 1)), days(date(2026, 1, 9))),
    "one": Column("one", "integer", 7, 7),
    "wide": Column("wide", "integer", 0, 10**6),
    "money": Column("money", "decimal", 0, 900, scale=2),
}
ALL = "MODE(x) AS m, TOP_K(x, 3) AS three, MODE(y) AS y, TOP_K(b, 5) AS b"


def planned(sql, n=3, scheme="additive", colluding=None, rules=NO_RULES, triples=None, privacy=None):
    names = NAMES[:n]
    query = parse_query("q", sql, {"t": Table("t", COLUMNS, 1000, names)}, names)
    colluding = colluding or (n - 1 if scheme == "additive" else (n - 1) // 2)
    return plan_query(replace(query, rules=rules, privacy=privacy), Security(names, scheme, colluding, triples))


def home(plan, rows):
    """One company's vectors, of rows as dictionaries of codes, counted without an engine."""
    vectors = []
    for task in plan.tasks:
        sizes = [key.size for key in task.keys]
        counts = np.zeros((len(task.measures), *sizes), dtype=np.int64)
        for row in rows:
            codes = [row[key.expression.column.name] for key in task.keys]
            if None in codes:
                continue
            place = tuple(code - key.expression.lower for code, key in zip(codes, task.keys, strict=True))
            for number, measure in enumerate(task.measures):
                assert measure.kind == "count"
                counts[(number, *place)] += measure.expression is None or row[measure.expression.column.name] is not None
        vectors.append(counts.reshape(-1))
    return vectors


def run(plan, companies, triples="insecure", wrap=lambda me, channel: channel):
    def party(ctx, rows):
        prepare(ctx, plan)
        opened = execute(ctx, plan, inputs(plan, home(plan, rows)))
        if triples != "insecure":
            assert ctx.measured == plan.cost(ctx.me)
        return answer(plan, opened)

    return simulate(party, companies, plan.scheme, triples=triples if plan.triples is not None else None, wrap=wrap)[0]


def expected(plan, companies):
    """From Counter, which lists what occurs as often in the order of its first occurrence: that of the declared values here."""
    rows = []
    groups = range(2) if plan.keys else [None]
    for group in groups:
        row = [] if group is None else ["pq"[group]]
        for output in plan.query.select:
            if isinstance(output, StatisticOutput):
                column = output.arguments[0].column
                values = [row[column.name] for of in companies for row in of if group is None or row["g"] == group]
                counts = Counter({code: values.count(code) for code in range(column.lower, column.upper + 1)})
                found = [column.value(code - column.lower) for code, count in counts.most_common(output.statistic.k) if count]
                if output.function == "COUNT":
                    row.append(sum(value is not None for value in values))
                elif output.function == "MODE":
                    row.append(found[0] if found else None)
                else:
                    row.append(", ".join(str(value).lower() if isinstance(value, bool) else str(value) for value in found) or None)
        rows.append(tuple(row))
    return tuple(rows)


def assert_right(plan, companies, **how):
    assert run(plan, companies, **how).rows == expected(plan, companies)


ROW = st.fixed_dictionaries({
    "g": st.integers(0, 1), "x": st.none() | st.integers(0, 3), "y": st.none() | st.integers(-2, 5), "b": st.none() | st.integers(0, 1)
})  # fmt: skip


@pytest.mark.parametrize(("scheme", "n"), [("additive", 3), ("shamir", 3), ("shamir", 5), ("replicated", 3)])
@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_they_are_those_of_the_pooled_rows(scheme, n, data):
    companies = [data.draw(st.lists(ROW, max_size=6)) for _ in range(n)]
    assert_right(planned(f"SELECT g, {ALL} FROM t GROUP BY g", n, scheme), companies)
    assert_right(planned(f"SELECT {ALL} FROM t", n, scheme), companies)


@pytest.mark.parametrize(("scheme", "n", "triples"), [("additive", 2, "ot"), ("additive", 3, "dealer"), ("shamir", 3, "ot"), ("replicated", 3, None)])
def test_at_the_declared_cost(scheme, n, triples):
    plan = planned("SELECT g, TOP_K(x, 2) AS two, MODE(b) AS b FROM t GROUP BY g", n, scheme, triples=triples)
    assert plan.triples == triples
    assert_right(plan, [[{"g": k % 2, "x": k, "b": None}, {"g": 0, "x": 3, "b": 1}] for k in range(n)], triples=triples)


def test_a_column_of_one_value_and_a_date():
    row = {"one": 7, "d": days(date(2026, 1, 3)), "x": 0}
    plan = planned("SELECT MODE(one) AS m, TOP_K(one, 9) AS k, MODE(d) AS d FROM t")
    assert run(plan, [[row], [], [row]]).rows == ((7, "7", "2026-01-03"),)
    assert run(plan, [[], [], []]).rows == ((None, None, None),)


@pytest.mark.parametrize("scheme", ["additive", "shamir", "replicated"])
def test_a_small_group_is_withheld_as_by_any_release_rule(scheme):
    plan = planned("SELECT g, MODE(x) AS m, COUNT(x) AS n FROM t GROUP BY g", scheme=scheme, colluding=1, rules=Rules(minimum_group=3))
    row = {"x": 1, "y": None, "b": None}
    companies = [[row | {"g": 0}] * 9 + [row | {"g": 1}] * 3, [row | {"g": 0}] * 2 + [row | {"g": 1}] * 2, [row | {"g": 0, "x": None}] * 5 + [row | {"g": 1}]]
    assert run(plan, companies, triples=plan.triples).rows == (("p", None, None), ("q", "pear", 6))  # of the first two remain without the largest


def test_a_tree_that_forgets_a_part_is_found(monkeypatch):
    products = trees.words_multiplied
    monkeypatch.setattr(trees, "words_multiplied", lambda ctx, x, y, skip=-1: [share * 0 for share in products(ctx, x, y, skip)])
    rows = [[{"x": k % 4}] * (20 * k + 1) for k in range(3)]
    with pytest.raises(AssertionError):
        assert_right(planned("SELECT TOP_K(x, 3) AS k FROM t"), rows)


# --- what is opened and said --------------------------------------------------------------------------------------------------


def test_one_number_a_place_is_revealed_and_no_comparison():
    watched = {}

    def wrap(me, channel):
        watched[me] = Watched(channel)
        return watched[me]

    plan = planned("SELECT g, TOP_K(x, 3) AS three FROM t GROUP BY g")
    run(plan, [[{"g": 0, "x": 2}], [{"g": 0, "x": 1}] * 3, [{"g": 1, "x": 0}]], wrap=wrap)
    element = plan.scheme.algebra.element_bytes
    for me in range(3):
        sent = [(tag.operation, len(payload)) for _, tag, payload in watched[me].sent]
        assert {operation for operation, _ in sent} == {"multiply", "compare", "bits as numbers", "reveal"}
        assert [size for operation, size in sent if operation == "reveal"] == [6 * element] * 2


def test_what_is_said():
    plan = planned("SELECT TOP_K(x, 2) AS two, COUNT(y) AS n FROM t")
    opened = [(d.what, d.cells) for d in disclosures(plan) if not d.implied]
    assert opened == [("COUNT(y)", 1), ("the most frequent value of x", 1), ("the value of x at place 2 by how often it occurs", 1)]
    assert any("that the others have as many more rows of a value at least as it has fewer" in d.what for d in disclosures(plan) if d.implied)
    assert "two: TOP_K(x) gives the receivers the values and their order, no count" in "\n".join(said_by_statistics(plan))
    assert any("rank: x by how often values occur, by 18 comparisons on shares" in step for step in steps(plan))
    assert [(what, numbers) for _, what, numbers in at_home(plan)] == [("COUNT(y), COUNT(x) over t", "2 numbers"), ("COUNT(*) for each x over t", "4 numbers")]
    assert below(planned("SELECT MODE(x) FROM t"), Rules(minimum_group=10)) == "minimum_group = 10 or more"


# --- what is refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("SELECT MODE() FROM t", "write MODE\\(x\\), where x is a column"),
        ("SELECT MODE(*) FROM t", "write MODE"),
        ("SELECT MODE(y + 1) FROM t", "where x is a column"),
        ("SELECT TOP_K(x) FROM t", "write TOP_K\\(x, k\\) with k from 1 to 20"),
        ("SELECT TOP_K(x, 0) FROM t", "with k from 1 to 20"),
        ("SELECT TOP_K(x, 21) FROM t", "with k from 1 to 20"),
        ("SELECT TOP_K(x, 1.5) FROM t", "with k from 1 to 20"),
        ("SELECT TOP_K(x, y) FROM t", "with k from 1 to 20"),
        ("SELECT MODE(wide) FROM t", "MODE chooses among declared values, and wide is none of: an integer or a date with fewer than 1,000 values"),
        ("SELECT MODE(money) FROM t", "MODE chooses among declared values, and money is none of"),
        ("SELECT MODE(nothing) FROM t", "nothing"),
    ],
)
def test_what_is_refused_as_sql(sql, problem):
    with pytest.raises(SqlProblem, match=problem):
        planned(sql)


def test_what_is_refused_as_a_plan():
    with pytest.raises(PlanError, match="MODE cannot be had with privacy: GROUP BY x gives the counts, with noise"):
        planned("SELECT MODE(x) FROM t", privacy=Privacy(1_000_000, "laplace", None))
    many = {f"k{i}": Column(f"k{i}", "integer", 0, 9) for i in range(3)} | {"x": Column("x", "integer", 0, 99)}
    query = parse_query("q", "SELECT TOP_K(x, 3) FROM t GROUP BY k0, k1, k2", {"t": Table("t", many, 10, NAMES[:3])}, NAMES[:3])
    with pytest.raises(PlanError, match="it takes 5,350,000 comparisons to find the most frequent values of x, and a query at most 2,097,152: group by less"):
        plan_query(query, Security(NAMES[:3], "additive", 1))


# --- among nodes --------------------------------------------------------------------------------------------------------------

TABLES = """
[tables.t]
max_rows = 1000
[tables.t.columns]
g = { type = "category", values = ["p", "q"] }
x = { type = "category", values = ["apple", "pear", "plum"], nullable = true }
"""
QUERIES = """
[queries.liked]
sql = "SELECT g, MODE(x) AS best, TOP_K(x, 2) AS two, COUNT(*) AS n FROM t GROUP BY g"
receivers = ["alpha", "gamma"]
"""


def test_among_nodes_of_their_own(tmp_path: Path) -> None:
    rows = "SELECT CASE WHEN i % 3 = 0 THEN 'p' ELSE 'q' END AS g, ['apple', 'pear', 'plum', NULL][1 + (i * i + {k}) % 4] AS x FROM range({n}) r(i)"
    held = {name: rows.format(k=k, n=20 + 7 * k) for k, name in enumerate(("alpha", "beta", "gamma"))}
    with Cluster(tmp_path, tuple(held), tables=TABLES, queries=QUERIES) as cluster:
        for name, sql in held.items():
            cluster.hold(name, "t", sql)
        cluster.approve()
        cluster.start()
        result = cluster.result("liked", "gamma")
        pooled = " UNION ALL ".join(f"({sql})" for sql in held.values())
        counts = duckdb.sql(f"SELECT g, x, COUNT(*) FROM ({pooled}) WHERE x IS NOT NULL GROUP BY g, x ORDER BY g, COUNT(*) DESC, x").fetchall()
        for group, best, two, n in result["rows"]:
            values = [x for g, x, _ in counts if g == group]
            assert (best, two) == (values[0], ", ".join(values[:2]))
            assert n == duckdb.sql(f"SELECT COUNT(*) FROM ({pooled}) WHERE g = '{group}'").fetchone()[0]
        assert result["cost"]["declared"] == result["cost"]["measured"]
