"""GROUP BY with a join, from its SQL to the answer, against rows that met and were grouped in Python dictionaries."""

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_plan import Row, at_home, random_rows, run

from parties.spec.sql import parse_query
from protocols.planning.execute import answer
from protocols.planning.plan import Security, plan_query
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
    for me, (values, measured, _) in enumerate(run(plan, home)):
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
