"""GROUP BY with a join, from its SQL to the answer, against rows that met and were grouped in Python dictionaries."""

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_plan import Row, at_home, random_rows

from mpc.context import Context
from mpc.simulate import simulate
from parties.spec.sql import parse_query
from protocols.planning.execute import answer, execute, inputs, prepare
from protocols.planning.explain import steps
from protocols.planning.plan import Plan, Security
from protocols.planning.planner import plan_query
from protocols.planning.query import PlanError
from protocols.planning.rules import NO_RULES, Rules
from protocols.tables import Column, Table

COLUMNS = {
    "a": Column("a", "category", 0, 2, values=("p", "q", "r")),
    "b": Column("b", "integer", 5, 6),
    "s": Column("s", "boolean", 0, 1, nullable=True),
    "t": Column("t", "integer", -1, 1, nullable=True),
}
"""Of both tables: the same where they are joined on them, else two columns of one name."""
X, V = Column("x", "integer", -3, 3, nullable=True), Column("v", "integer", -2, 5, nullable=True)

NAMES = ("alpha", "beta", "gamma", "delta", "epsilon")
SECURITIES = {
    f"{scheme}-{n}{'-triples' if triples else ''}": Security(tuple(sorted(NAMES[:n])), scheme, colluding, triples)
    for scheme, n, colluding, triples in [
        ("additive", 2, 1, "dealer"), ("additive", 3, 2, "dealer"), ("additive", 5, 4, "dealer"),
        ("shamir", 3, 1, None), ("shamir", 5, 2, None), ("shamir", 3, 1, "dealer"), ("shamir", 5, 2, "dealer"),
        ("replicated", 3, 1, None),
    ]
}  # fmt: skip


@dataclass(frozen=True)
class Join:
    """Everybody's sales join beta's items. `groups` are columns as SQL writes them: "t", "sales.t", "items.t"."""

    key: tuple[str, ...]
    groups: list[str]
    shown: list[str]
    nullable_key: bool = False
    where: bool = False

    def tables(self, parties: tuple[str, ...]) -> dict[str, Table]:
        shared, owned = dict(COLUMNS), dict(COLUMNS)
        for name in self.key:
            shared[name] = replace(COLUMNS[name], nullable=self.nullable_key)
            owned[name] = replace(COLUMNS[name], nullable=False)
        return {
            "sales": Table("sales", shared | {"x": X}, 40, parties),
            "items": Table("items", owned | {"v": V}, 40, ("beta",), "beta", self.key),
        }

    @property
    def sql(self) -> str:
        outputs = [f"{name} AS k{i}" for i, name in enumerate(self.shown)]
        outputs += ["COUNT(*) AS n", "SUM(x) AS x", "SUM(x * v) AS xv", "AVG(v) AS v", "AVG(x * v) AS mean"]
        where = " WHERE v > 0 AND sales.s IS NOT NULL" if self.where else ""
        by = f" GROUP BY {', '.join(self.groups)}" if self.groups else ""
        return f"SELECT {', '.join(outputs)} FROM sales JOIN items USING ({', '.join(self.key)}){where}{by}"

    def exact(self, sales: list[Row], items: list[Row]) -> list[tuple[Any, ...]]:
        stock = {tuple(item[name] for name in self.key): item for item in items}
        met: dict[tuple[Any, ...], list[tuple[Any, Any]]] = {}
        for sale in sales:
            item = stock.get(tuple(sale[name] for name in self.key))
            if item is None or (self.where and ((item["v"] or 0) <= 0 or sale["s"] is None)):
                continue
            group = tuple((item if name.startswith("items.") else sale)[name[-1]] for name in self.groups)
            met.setdefault(group, []).append((sale["x"], item["v"]))
        domains = []
        for name in self.groups:
            column = COLUMNS[name[-1]]
            has_null = column.nullable and name[-1] not in self.key and not (self.where and name == "sales.s")
            domains.append([*range(column.lower, column.upper + 1), *[None] * has_null])
        rows = []
        for group in product(*domains):
            pairs = met.pop(group, [])
            xs, vs = [x for x, _ in pairs if x is not None], [v for _, v in pairs if v is not None]
            xvs = [x * v for x, v in pairs if x is not None and v is not None]
            means = [float(Fraction(sum(values), len(values))) if values else None for values in (vs, xvs)]
            keys = {name: "pqr"[code] if name[-1] == "a" else code for name, code in zip(self.groups, group, strict=True)}
            rows.append((*(keys[name] for name in self.shown), len(pairs), sum(xs), sum(xvs), *means))
        assert not met
        return rows


def run(plan: Plan, home: list[list[Any]]) -> list[tuple[Any, Any]]:
    """What each party opened, and its cost."""

    def party(ctx: Context, vectors: list[Any]) -> tuple[Any, Any]:
        prepare(ctx, plan)
        return execute(ctx, plan, inputs(plan, vectors)), ctx.measured

    return simulate(party, home, plan.scheme, triples=plan.triples)


def check(join: Join, security: Security, seed: int) -> None:
    tables = join.tables(security.parties)
    plan = plan_query(parse_query("q", join.sql, tables, ("alpha",)), security)
    sales = {name: random_rows(tables["sales"].columns, 25, seed + i) for i, name in enumerate(security.parties)}
    by_key = {tuple(row[name] for name in join.key): row for row in random_rows(tables["items"].columns, 30, seed + 10)}
    held = {"sales": sales, "items": {"beta": list(by_key.values())}}
    home = [
        [at_home(task, held[task.table.name][name]) if name in task.table.holders else None for task in plan.tasks]
        for name in security.parties
    ]
    opened = {}
    for me, (values, measured) in enumerate(run(plan, home)):
        assert measured == plan.cost(me)
        if values is not None:
            opened[security.parties[me]] = values
    assert list(opened) == ["alpha"]
    exact = join.exact([row for rows in sales.values() for row in rows], held["items"]["beta"])
    assert list(answer(plan, opened["alpha"]).rows) == exact  # 0 and 1 are equal to False and True


@pytest.mark.parametrize("name", list(SECURITIES))
def test_a_join_by_groups_of_both_tables_and_of_the_key_is_exact_at_the_declared_cost(name):
    groups = ["sales.t", "b", "items.t", "sales.s"]
    check(Join(("a", "b"), groups, groups[::-1]), SECURITIES[name], seed=3)
    check(Join(("b", "a"), groups, groups, where=True), SECURITIES[name], seed=4)
    check(Join(("t", "a"), ["items.t", "a"], ["a"], nullable_key=True), SECURITIES[name], seed=5)


@given(st.data())
def test_any_groups_of_a_join_are_exact(data):
    key = tuple(data.draw(st.lists(st.sampled_from("abt"), min_size=1, max_size=2, unique=True)))
    # a joined column is one group under any of its names; of others each table has one
    names = [data.draw(st.sampled_from([name, f"sales.{name}", f"items.{name}"])) for name in key]
    names += [f"{table}.{name}" for table in ("sales", "items") for name in COLUMNS if name not in key]
    groups = data.draw(st.permutations(names))[: data.draw(st.integers(0, 4))]
    join = Join(
        key, groups, shown=data.draw(st.permutations(groups)), nullable_key=data.draw(st.booleans()), where=data.draw(st.booleans())
    )
    security = data.draw(st.sampled_from(["additive-2-triples", "shamir-3", "shamir-3-triples"]))
    check(join, SECURITIES[security], seed=data.draw(st.integers(0, 1 << 30)))


# --- conditions over both tables, against DuckDB ---------------------------------------------------------------------------------

CONDITIONS = [
    "sales.t < items.t",
    "sales.t + items.b > 5",
    "sales.a <> items.a",
    "(sales.s OR items.t = 1)",
    "(items.s IS NULL OR NOT sales.s)",
    "(sales.t IN (0, 1) AND items.s OR sales.b = items.b)",
    "CASE WHEN sales.s THEN items.t ELSE sales.t * items.t END >= 0",
    "NOT (sales.s = items.s)",
]


def sql_rows(tables: dict[str, Table], held: dict[str, list[Row]], sql: str) -> list[tuple[Any, ...]]:
    """The groups that occur, by DuckDB on the pooled rows."""
    engine = duckdb.connect()
    for name, table in tables.items():
        types = {"category": "VARCHAR", "boolean": "BOOLEAN"}
        columns = ", ".join(f"{c.name} {types.get(c.kind, 'BIGINT')}" for c in table.columns.values())
        engine.execute(f"CREATE TABLE {name} ({columns})")
        for row in held[name]:
            values = [None if row[c.name] is None else c.values[row[c.name]] if c.kind == "category" else row[c.name] for c in table.columns.values()]
            engine.execute(f"INSERT INTO {name} VALUES ({', '.join('?' * len(values))})", values)
    return engine.sql(sql).fetchall()


def check_by_sql(key: tuple[str, ...], groups: list[str], conditions: list[str], security: Security, seed: int, rules: Rules = NO_RULES) -> None:
    tables = Join(key, [], []).tables(security.parties)
    by = f" GROUP BY {', '.join(groups)}" if groups else ""
    select = ", ".join([*(f"{name} AS k{i}" for i, name in enumerate(groups)), "COUNT(*) AS n", "SUM(x) AS x", "SUM(x * v) AS xv", "AVG(v) AS v"])
    sql = f"SELECT {select} FROM sales JOIN items USING ({', '.join(key)}) WHERE {' AND '.join(conditions)}{by}"
    query = replace(parse_query("q", sql, tables, ("alpha",)), rules=rules)
    plan = plan_query(query, security)
    sales = {name: random_rows(tables["sales"].columns, 25, seed + i) for i, name in enumerate(security.parties)}
    by_key = {tuple(row[name] for name in key): row for row in random_rows(tables["items"].columns, 30, seed + 10)}
    held = {"sales": sales, "items": {"beta": list(by_key.values())}}
    home = [
        [at_home(task, held[task.table.name][name]) if name in task.table.holders else None for task in plan.tasks] for name in security.parties
    ]
    found = run(plan, home)
    for me, (_, measured) in enumerate(found):
        assert measured == plan.cost(me)
    rows = answer(plan, found[security.parties.index("alpha")][0]).rows
    pooled = [row for of in sales.values() for row in of]
    expected = {row[: len(groups)]: row[len(groups) :] for row in sql_rows(tables, {"sales": pooled, "items": list(by_key.values())}, sql)}
    apart = [
        {row[: len(groups)]: row[len(groups)] for row in sql_rows(tables, {"sales": of, "items": list(by_key.values())}, sql)} for of in sales.values()
    ]
    seen = set()
    for row in rows:
        group, values = row[: len(groups)], row[len(groups) :]
        seen.add(group)
        n, x, xv, v = expected.get(group, (0, None, None, None))
        own = [of.get(group, 0) for of in apart]
        if rules and (n - max(own) < rules.minimum_group or n == 0 or sum(count > 0 for count in own) < rules.minimum_contributors):
            assert values == (None,) * 4
        elif not rules or max(own) <= rules.maximum_share * n:
            assert values[:3] == (n, x or 0, xv or 0)
            assert values[3] == (None if v is None else pytest.approx(v))
        else:
            assert values == (None,) * 4
    assert set(expected) <= seen


@pytest.mark.parametrize("name", ["additive-3-triples", "shamir-3", "replicated-3", "shamir-5-triples"])
@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_over_both_tables_is_that_of_sql(condition, name):
    key = ("a",) if "sales.b" in condition or "items.b" in condition else ("b",)
    if "sales.a" in condition:
        key = ("b",)
    check_by_sql(key, [], [condition], SECURITIES[name], seed=len(condition))
    check_by_sql(key, ["items.t", key[0], "sales.s"], [condition, "v > 0"], SECURITIES[name], seed=2 * len(condition))


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_any_conditions_and_groups_are_those_of_sql(data):
    key = (data.draw(st.sampled_from("ab")),)
    fitting = [condition for condition in CONDITIONS if f"sales.{key[0]}" not in condition and f"items.{key[0]}" not in condition]
    conditions = data.draw(st.lists(st.sampled_from(fitting), min_size=1, max_size=2, unique=True))
    groups = data.draw(st.permutations([key[0], *(f"{table}.{name}" for table in ("sales", "items") for name in COLUMNS if name not in key)]))
    security = data.draw(st.sampled_from(["additive-2-triples", "replicated-3", "shamir-3-triples"]))
    check_by_sql(key, groups[: data.draw(st.integers(0, 3))], conditions, SECURITIES[security], seed=data.draw(st.integers(0, 1 << 30)))


def test_conditions_take_no_more_products_than_the_shared_side_has_cells():
    tables = Join(("a",), [], []).tables(NAMES[:3])
    plan = plan_query(parse_query("q", "SELECT COUNT(*) AS n FROM sales JOIN items USING (a) WHERE sales.t < items.t", tables, ("alpha",)), SECURITIES["additive-3-triples"])
    assert plan.multiplied == 3 * 3  # of a, and of t in sales
    assert plan_query(plan.query, SECURITIES["replicated-3"]).cost(0).bytes < plan.cost(0).bytes
    assert "where t < t" in " ".join(steps(plan))
    other = plan_query(replace(plan.query, where=()), plan.security)
    assert other.digest != plan.digest


def test_columns_of_many_values_are_not_compared_across_tables():
    tables = Join(("a",), [], []).tables(NAMES[:3])
    wide = Column("wide", "integer", 0, 5_000)
    tables["sales"] = replace(tables["sales"], columns=tables["sales"].columns | {"wide": wide})
    with pytest.raises(PlanError, match="the condition wide < t uses columns of both tables, which are to be integers and dates with fewer than 1,000 values"):
        plan_query(parse_query("q", "SELECT COUNT(*) FROM sales JOIN items USING (a) WHERE wide < items.t", tables, ("alpha",)), SECURITIES["shamir-3"])
    narrow = Column("wide", "integer", 0, 998)
    tables = {name: replace(table, columns=table.columns | {"wide": narrow, "more": replace(narrow, name="more")}) for name, table in tables.items()}
    sql = "SELECT COUNT(*) FROM sales JOIN items USING (a) WHERE sales.wide < items.wide AND items.more = sales.wide"
    with pytest.raises(PlanError, match=r"the conditions over both tables add 2,991,008,997 numbers up, and a query at most 16,777,216: narrow the bounds of tables\.sales\.columns\.wide, "):
        plan_query(parse_query("q", sql, tables, ("alpha",)), SECURITIES["shamir-3"])


# --- release rules --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["additive-3-triples", "shamir-5", "replicated-3"])
@pytest.mark.parametrize(
    "rules",
    [Rules(minimum_group=4), Rules(minimum_contributors=3), Rules(maximum_share=Fraction(1, 2)), Rules(2, 2, Fraction(3, 4))],
    ids=str,
)
def test_small_groups_of_a_join_are_withheld(rules, name):
    if rules.maximum_share < 1:  # the sizes of sums count, too: see below
        return check_counts(rules, SECURITIES[name])
    check_by_sql(("a",), ["items.t", "sales.s"], ["v > 0", "x IS NOT NULL"], SECURITIES[name], 5, rules)
    check_by_sql(("a",), ["items.t", "a"], ["sales.t < items.t", "v > 0", "x IS NOT NULL"], SECURITIES[name], 6, rules)


def check_counts(rules: Rules, security: Security) -> None:
    """Of counts, and of sums of whatever sign, against the companies' own."""
    tables = Join(("a",), [], []).tables(security.parties)
    sql = "SELECT items.t AS t, COUNT(*) AS n, SUM(x * v) AS xv FROM sales JOIN items USING (a) WHERE x IS NOT NULL AND v IS NOT NULL GROUP BY items.t"
    plan = plan_query(replace(parse_query("q", sql, tables, ("alpha",)), rules=rules), security)
    sales = {name: random_rows(tables["sales"].columns, 9, i) for i, name in enumerate(security.parties)}
    items = list({row["a"]: row for row in random_rows(tables["items"].columns, 9, 20)}.values())
    held = {"sales": sales, "items": {"beta": items}}
    home = [[at_home(t, held[t.table.name][name]) if name in t.table.holders else None for t in plan.tasks] for name in security.parties]
    found = run(plan, home)
    assert [measured for _, measured in found] == [plan.cost(me) for me in range(len(security.parties))]
    apart = [{row[0]: row[1:] for row in sql_rows(tables, {"sales": of, "items": items}, sql)} for of in sales.values()]
    withheld = 0
    for t, *values in answer(plan, found[security.parties.index("alpha")][0]).rows:
        counts, sums = ([of.get(t, (0, 0))[k] for of in apart] for k in (0, 1))
        sizes = list(map(abs, sums))
        passes = (
            sum(counts) > 0
            and sum(counts) - max(counts) >= rules.minimum_group
            and sum(count > 0 for count in counts) >= rules.minimum_contributors
            and max(counts) <= rules.maximum_share * sum(counts)
            and max(sizes) <= rules.maximum_share * sum(sizes)
        )
        assert values == ([sum(counts), sum(sums)] if passes else [None, None])
        withheld += not passes
    assert withheld
