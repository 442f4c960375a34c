"""MIN, MAX, MEDIAN, QUANTILE_CONT and QUANTILE_DISC without noise: beside DuckDB and exact fractions, what is opened, what it costs."""

import math
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import duckdb
import numpy as np
import pytest
from cluster import Cluster
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.cost import Cost
from mpc.schemes.named import schemes
from mpc.simulate import simulate
from parties.data.home import TableSource, compute
from parties.data.place import DataError
from parties.data.pooled import pooled_answer
from parties.governance.differencing import objection
from parties.spec.sql import SqlProblem, parse_query
from protocols.planning import search as searching
from protocols.planning.disclosures import disclosures
from protocols.planning.execute import answer, execute, inputs, prepare
from protocols.planning.explain import assumptions, at_home, said_by_statistics, steps
from protocols.planning.plan import Plan, Security
from protocols.planning.planner import plan_query
from protocols.planning.query import PlanError
from protocols.planning.rules import Rules
from protocols.planning.search import FANOUT, Ranks
from protocols.tables import Column, Table, Unit

NAMES = ("ada", "ben", "cyd", "dan", "eve")
ALL = "MIN(x) AS l, MAX(x) AS u, MEDIAN(x) AS m, QUANTILE_CONT(x, 0.25) AS c, QUANTILE_DISC(x, 0.25) AS d, QUANTILE_CONT(x, 0.999) AS e"

Rows = Sequence[Sequence[int | None]]
"""Of each company the values of x."""


def table(companies: int = 3, lower: int = -50, upper: int = 50, *, max_rows: int = 1000, **more: object) -> Table:
    x = Column("x", "integer", lower, upper, nullable=True)
    return Table("t", {"x": replace(x, **more), "y": Column("y", "integer", 0, 9)}, max_rows, NAMES[:companies])


def planned(select: str, of: Table, security: Security | None = None, receivers: Sequence[str] | None = None) -> Plan:
    query = parse_query("q", f"SELECT {select}", {of.name: of}, tuple(receivers or of.holders))
    return plan_query(query, security or Security(of.holders, "additive", len(of.holders) - 1))


def of_values(values: Sequence[int | None]) -> Ranks:
    there = np.array([value for value in values if value is not None], dtype=np.int64)
    return Ranks(*np.unique(there, return_counts=True))


def vector(plan: Plan, values: Sequence[int | None]) -> np.ndarray:
    (task,) = plan.tasks
    present = [value for value in values if value is not None]
    return np.array([len(values) if m.expression is None else len(present) if m.kind == "count" else sum(present) for m in task.measures])


def run(plan: Plan, rows: Rows, triples: str = "insecure", wrap=lambda _, channel: channel) -> list[tuple[object, Cost]]:
    """`prepare` and `execute` at every party, each with what it measured."""
    given_ = dict(zip(plan.tasks[0].table.holders, rows, strict=True))

    def party(ctx, name):
        prepare(ctx, plan)
        own = given_.get(name)
        mine = inputs(plan, [None if own is None else vector(plan, own)])
        ranks = [] if own is None else [of_values(own) for _ in plan.search.arguments]
        return execute(ctx, plan, mine, ranks=ranks), ctx.measured

    return simulate(party, plan.security.parties, plan.scheme, triples=triples, wrap=wrap)


def answered(plan: Plan, rows: Rows, triples: str = "insecure") -> tuple[object, ...]:
    results = [opened for opened, _ in run(plan, rows, triples)]
    receiving = [results[party] for party in plan.receivers]
    assert all(other == receiving[0] for other in receiving)
    assert all(results[party] is None for party in range(len(results)) if party not in plan.receivers)
    (row,) = answer(plan, receiving[0]).rows
    return row


def exactly(rows: Rows, p: Fraction) -> Fraction | None:
    """The value at rank p (N - 1) in order, in proportion."""
    values = sorted(value for own in rows for value in own if value is not None)
    if not values:
        return None
    place = p * (len(values) - 1)
    low, high = values[math.floor(place)], values[math.ceil(place)]
    return low + (place - math.floor(place)) * Fraction(high - low)


def by_duckdb(rows: Rows, expression: str) -> object:
    values = [value for own in rows for value in own]
    return duckdb.execute(f"SELECT {expression} FROM (SELECT unnest($1::BIGINT[]) AS x)", [values]).fetchone()[0]


# --- right --------------------------------------------------------------------------------------------------------------------------


SMALL = st.lists(st.one_of(st.none(), st.integers(-50, 50), st.sampled_from([-50, 50, 0])), max_size=7)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), companies=st.sampled_from([2, 3, 5]), scheme=st.sampled_from(["additive", "shamir", "replicated"]))
def test_all_are_those_of_the_pooled_rows(data, companies, scheme):
    rows = [data.draw(SMALL) for _ in range(companies)]
    if scheme == "replicated" or (scheme == "shamir" and companies == 2):
        companies, rows = 3, [*rows, []][:3]
    colluding = companies - 1 if scheme == "additive" else (companies - 1) // 2
    plan = planned(f"{ALL} FROM t", table(companies), Security(NAMES[:companies], scheme, colluding))
    low, high, median, quarter, discrete, end = answered(plan, rows)
    assert (low, high) == (by_duckdb(rows, "MIN(x)"), by_duckdb(rows, "MAX(x)"))
    assert discrete == by_duckdb(rows, "QUANTILE_DISC(x, 0.25)")
    for found, p, text in [
        (median, Fraction(1, 2), "MEDIAN(x)"), (quarter, Fraction(1, 4), "QUANTILE_CONT(x, 0.25)"),
        (end, Fraction(999, 1000), "QUANTILE_CONT(x, 0.999)"),
    ]:  # fmt: skip
        exact = exactly(rows, p)
        assert found == (None if exact is None else float(exact))
        assert found == pytest.approx(by_duckdb(rows, text), abs=1e-9) if exact is not None else by_duckdb(rows, text) is None


@pytest.mark.parametrize("p", ["0", "1", "0.25", "0.5", "0.75", "0.999", "0.001", "0.3", "0.333333"])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 10, 11, 1000, 1001])
def test_the_rank_is_that_of_duckdb(p, count):
    """Every value is another, so a rank that is off by one gives another answer."""
    order = np.random.default_rng(count).permutation(count)
    rows = [[int(7 * value) for value in part] for part in np.array_split(order, 3)]
    plan = planned(f"QUANTILE_CONT(x, {p}) AS c, QUANTILE_DISC(x, {p}) AS d FROM t", table(3, 0, 7000, max_rows=1001))
    cont, discrete = answered(plan, rows)
    assert cont == float(exactly(rows, Fraction(p)))
    assert cont == pytest.approx(by_duckdb(rows, f"QUANTILE_CONT(x, {p})"), abs=1e-6)
    assert discrete == by_duckdb(rows, f"QUANTILE_DISC(x, {p})")


@pytest.mark.parametrize(
    "rows",
    [
        [[], [], []],
        [[None], [None, None], []],
        [[], [3], []],
        [[-50], [-50, 50], [50]],
        [[7, 7, 7], [7], [7, 7]],
        [[1, 2], [], [3, 4]],
        [[50] * 9, [-50], [50]],
    ],
)
@pytest.mark.parametrize("triples", ["ot", "dealer"])
def test_edges(rows, triples):
    plan = planned(f"{ALL} FROM t", table())
    low, high, median, _, discrete, _ = answered(plan, rows, triples)
    assert (low, high, discrete) == tuple(by_duckdb(rows, text) for text in ("MIN(x)", "MAX(x)", "QUANTILE_DISC(x, 0.25)"))
    exact = exactly(rows, Fraction(1, 2))
    assert median == (None if exact is None else float(exact))


@pytest.mark.parametrize("scheme", ["additive", "shamir", "replicated"])
@pytest.mark.parametrize(("lower", "upper"), [(-(2**62), 2**62 - 1), (5, 5), (0, 1), (0, 63), (0, 64), (-4096, -1), (-4097, 0)])
def test_any_bounds(lower, upper, scheme):
    inside = [lower, upper, (lower + upper) // 2, min(lower + 1, upper)]
    rows = [[inside[0], inside[3]], [inside[1]], [inside[2]]]
    security = Security(NAMES[:3], scheme, 2 if scheme == "additive" else 1)
    plan = planned("MIN(x) AS l, MEDIAN(x) AS m, MAX(x) AS u FROM t", table(3, lower, upper), security)
    assert answered(plan, rows) == (lower, float(exactly(rows, Fraction(1, 2))), upper)


def test_other_statistics_and_columns_stand_beside():
    rows = [[1, 2, None], [5], [9, 9]]
    plan = planned("COUNT(*) AS n, AVG(x) AS mean, MEDIAN(x) AS m, COUNT(x) AS k, MAX(2 * x) AS twice FROM t", table())
    assert len(plan.search.arguments) == 2

    def party(ctx, own):
        ranks = [of_values(own), of_values([None if value is None else 2 * value for value in own])]
        return execute(ctx, plan, inputs(plan, [vector(plan, own)]), ranks=ranks)

    opened = simulate(party, rows, plan.scheme, triples="dealer")[0]
    assert answer(plan, opened).rows == ((6, 26 / 5, 5.0, 5, 18),)
    assert [str(measure) for measure in plan.opened] == ["COUNT(*)", "COUNT(x)", "SUM(x)"]


@pytest.mark.parametrize("by", [-1, 1])
@pytest.mark.parametrize("function", ["MIN(x)", "MAX(x)", "MEDIAN(x)", "QUANTILE_CONT(x, 0.25)", "QUANTILE_DISC(x, 0.25)"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_rank_that_is_off_by_one_is_found(function, by, whole, monkeypatch):
    """A planted fault, of a whole rank or of the least part of one, gives other answers than the engine for some number of rows."""
    ranks = searching._ranks
    monkeypatch.setattr(
        searching, "_ranks", lambda *given: (replace(rank, c=rank.c + by * (rank.b if whole else 1)) for rank in ranks(*given))
    )
    plan = planned(f"{function} FROM t", table())
    values = [16, 1, 36, 4, 25, 3, 48, 9]
    cases = [[values[:count], [], []] for count in range(4, 9)]
    assert any(answered(plan, rows) != (by_duckdb(rows, function),) for rows in cases)
    monkeypatch.setattr(searching, "_ranks", ranks)
    plan = planned(f"{function} FROM t", table())
    assert all(answered(plan, rows) == (by_duckdb(rows, function),) for rows in cases)


# --- at home ------------------------------------------------------------------------------------------------------------------------


def of_files(plan: Plan, folder: Path, selects: Sequence[str]) -> tuple[tuple[object, ...], object]:
    """The answer from files, through the engine; and that on all rows together."""
    (task,) = plan.tasks
    sources = {}
    for name, select in zip(task.table.holders, selects, strict=True):
        duckdb.sql(select).write_parquet(str(folder / f"{name}.parquet"))
        sources[name] = {task.table.name: TableSource(folder / f"{name}.parquet")}

    def party(ctx, name):
        ranks: list[Ranks] = []
        return execute(ctx, plan, inputs(plan, [compute(task, sources[name]["t"], ranks=ranks)]), ranks=ranks)

    opened = simulate(party, task.table.holders, plan.scheme, triples="dealer")[0]
    (pooled,) = pooled_answer(plan.query, sources)
    found = answer(plan, opened)
    for value, exact, bound in zip(found.rows[0], pooled, found.error_bound, strict=True):
        assert abs(Fraction(value) - Fraction(exact)) <= Fraction(bound)
    return found.rows[0], opened


def test_from_files_with_conditions_clamped_values_and_arithmetic(tmp_path):
    of = table(3, -20, 20, outside="clamp")
    plan = planned("MIN(x) AS l, MAX(x * x - y) AS u, MEDIAN(x) AS m, QUANTILE_DISC(3 * x, 0.9) AS d FROM t WHERE y <> 3 AND x IS NOT NULL", of)
    selects = [f"SELECT CASE WHEN i % 7 <> 0 THEN i * {k} - 30 END AS x, i % 10 AS y FROM range(40) r(i)" for k in (1, 2, 3)]
    (low, high, _, _), opened = of_files(plan, tmp_path, selects)
    assert (low, high) == (-20, 400)
    (clamped,) = opened[len(plan.opened)]
    assert clamped == sum(i % 7 != 0 and abs(i * k - 30) > 20 for k in (1, 2, 3) for i in range(40))


def test_decimals_floats_and_wide_numbers(tmp_path):
    of = Table(
        "t",
        {
            "x": Column("x", "decimal", -10**6, 10**6, scale=2),
            "f": Column("f", "float", -5000, 5000, scale=3, step=5),
            "w": Column("w", "integer", 0, 2**62),
        },
        100,
        NAMES[:2],
    )  # fmt: skip
    plan = planned("MIN(x) AS l, QUANTILE_CONT(x, 0.3) AS c, MAX(f) AS f, MEDIAN(f) AS m, MAX(w * w) AS w FROM t", of)
    selects = [
        f"SELECT (i * {k})::DECIMAL(9, 2) / 8 AS x, i / 7.3::DOUBLE - {k} AS f, (2::BIGINT ** 60)::BIGINT + i AS w FROM range(9) r(i)"
        for k in (-1, 2)
    ]
    selects = [select.replace("(i *", "CAST((i *").replace("/ 8 AS x", "/ 8 AS DECIMAL(9, 2)) AS x") for select in selects]
    (low, _, _, _, wide), _ = of_files(plan, tmp_path, selects)
    assert low == Decimal("-1.00")
    assert wide == (2**60 + 8) ** 2


def test_a_file_of_no_records_has_no_values(tmp_path):
    plan = planned("MIN(x) FROM t", table(2))
    (tmp_path / "t.json").write_text("")
    ranks: list[Ranks] = []
    assert compute(plan.tasks[0], TableSource(tmp_path / "t.json"), ranks=ranks).tolist() == [0]
    assert [found.up_to([3]).tolist() for found in ranks] == [[0]]
    assert repr(ranks[0]) == "<the values of one company>"


def test_values_outside_the_bounds_are_refused_once_for_all(tmp_path):
    plan = planned("MEDIAN(x) FROM t", table(2))
    duckdb.sql("SELECT 51 AS x, 0 AS y").write_parquet(str(tmp_path / "t.parquet"))
    with pytest.raises(DataError, match="x"):
        compute(plan.tasks[0], TableSource(tmp_path / "t.parquet"), ranks=[])


# --- by groups, and with release rules -----------------------------------------------------------------------------------------------

GROUPED = Table(
    "t",
    {
        "g": Column("g", "category", 0, 2, values=("p", "q", "r"), nullable=True),
        "y": Column("y", "integer", 0, 1),
        "x": Column("x", "decimal", -3000, 3000, scale=1, nullable=True),
    },
    1000,
    NAMES[:3],
)
BY_GROUPS = "SELECT g, y, MIN(x) AS l, MEDIAN(x) AS m, COUNT(*) AS n, QUANTILE_CONT(x, 0.3) AS c, QUANTILE_DISC(2 * x, 0.8) AS d FROM t GROUP BY g, y"


def in_groups(folder: Path, plan: Plan, companies: Sequence[Sequence[tuple[str | None, int, str | None]]], wrap=lambda _, channel: channel):
    """The answer from files, through the engine, and those of the companies' rows by DuckDB, by group."""
    task = plan.tasks[0]
    engine = duckdb.connect()
    for name, own in zip(task.table.holders, companies, strict=True):
        engine.execute(f"CREATE TABLE {name} (g VARCHAR, y INTEGER, x DECIMAL(6, 1))")
        for row in own:
            engine.execute(f"INSERT INTO {name} VALUES (?, ?, ?)", list(row))
        engine.execute(f"COPY {name} TO '{folder / name}.parquet'")

    def party(ctx, name):
        prepare(ctx, plan)
        ranks: list[Ranks] = []
        mine = inputs(plan, [compute(task, TableSource(folder / f"{name}.parquet"), ranks=ranks)])
        opened = execute(ctx, plan, mine, ranks=ranks)
        assert plan.triples == "ot" or ctx.measured == plan.cost(ctx.me)
        return opened

    opened = simulate(party, task.table.holders, plan.scheme, triples="dealer" if plan.triples else None, wrap=wrap)[0]
    pooled = " UNION ALL ".join(f"SELECT * FROM {name}" for name in task.table.holders)
    exact = "MIN(x), MEDIAN(x::DOUBLE), COUNT(*), QUANTILE_CONT(x::DOUBLE, 0.3), QUANTILE_DISC(2 * x, 0.8), COUNT(x)"
    by_group = {row[:2]: row[2:] for row in engine.sql(f"SELECT g, y, {exact} FROM ({pooled}) GROUP BY g, y").fetchall()}
    counts = [{(g, y): n for g, y, n in engine.sql(f"SELECT g, y, COUNT(x) FROM {name} GROUP BY g, y").fetchall()} for name in task.table.holders]
    return answer(plan, opened).rows, by_group, counts


def assert_in_groups(rows, by_group, withheld=frozenset()):
    assert len(rows) == 8
    for g, y, *values in rows:
        if (g, y) in withheld:
            assert values == [None] * 5
            continue
        *exact, _ = by_group.get((g, y), (None, None, 0, None, None, 0))
        assert values[2] == exact[2]
        for value, right in zip(values, exact, strict=True):
            assert value is None if right is None else float(value) == pytest.approx(float(right), abs=1e-9)


GROUP_ROWS = st.lists(
    st.tuples(st.sampled_from(["p", "q", "r", None]), st.integers(0, 1), st.none() | st.integers(-3000, 3000).map(lambda x: str(Decimal(x) / 10))), max_size=9
)


@pytest.mark.parametrize("scheme", ["additive", "replicated"])
@settings(max_examples=8, deadline=None)
@given(companies=st.lists(GROUP_ROWS, min_size=3, max_size=3))
def test_by_groups_they_are_those_of_each_groups_rows(tmp_path_factory, scheme, companies):
    query = parse_query("q", BY_GROUPS, {"t": GROUPED}, NAMES[:3])
    plan = plan_query(query, Security(NAMES[:3], scheme, 1, None if scheme == "replicated" else "dealer"))
    rows, by_group, _ = in_groups(tmp_path_factory.mktemp("groups"), plan, companies)
    assert_in_groups(rows, by_group)


@pytest.mark.parametrize(("scheme", "triples"), [("additive", "dealer"), ("shamir", "dealer"), ("replicated", None)])
@settings(max_examples=6, deadline=None)
@given(companies=st.lists(GROUP_ROWS, min_size=3, max_size=3))
def test_groups_that_rules_withhold_are_not_searched_in(tmp_path_factory, scheme, triples, companies):
    companies = [[*own, *[("p", 0, "1.5"), ("p", 0, str(k)), ("q", 1, None)]] for k, own in enumerate(companies)]
    query = replace(parse_query("q", BY_GROUPS.replace("COUNT(*)", "COUNT(x)"), {"t": GROUPED}, NAMES[:3]), rules=Rules(minimum_group=3))
    plan = plan_query(query, Security(NAMES[:3], scheme, 1, triples))
    rows, by_group, counts = in_groups(tmp_path_factory.mktemp("rules"), plan, companies)
    groups = [(g, y) for g in ("p", "q", "r", None) for y in (0, 1)]
    withheld = {group for group in groups if sum(of.get(group, 0) for of in counts) - max(of.get(group, 0) for of in counts) < 3}
    assert ("p", 0) not in withheld
    assert ("q", 1) in withheld or sum(of.get(("q", 1), 0) for of in counts) > 3
    assert_in_groups(rows, {group: (*of[:2], of[5], *of[3:]) for group, of in by_group.items()}, withheld)


def test_of_a_withheld_group_nothing_is_opened_that_depends_on_its_rows(tmp_path):
    """The bits of two searches, of which all rows of a withheld group differ, are the same."""
    query = replace(parse_query("q", BY_GROUPS, {"t": GROUPED}, NAMES[:3]), rules=Rules(minimum_group=3))
    plan = plan_query(query, Security(NAMES[:3], "additive", 2, "dealer"))
    seen = []
    for number, values in enumerate((["3.0", "4.0"], ["-250.5", None])):
        companies = [[("p", 0, "1.5"), ("p", 0, str(k)), ("q", 1, values[0]), ("r", 0, values[1])] for k in range(3)]
        companies[2] += [("q", 0, value) for value in values * 20]
        bits, numbers = searching.reveal_bits, execute.__globals__["reveal"]
        opened: dict[int, list[object]] = {}

        def opening_bits(ctx, *shares, to=None, bits=bits, opened=opened):
            found = bits(ctx, *shares, to=to)
            opened.setdefault(ctx.me, []).append([x.tolist() for x in found or ()])
            return found

        def opening(ctx, *shares, to=None, numbers=numbers, opened=opened):
            found = numbers(ctx, *shares, to=to)
            opened.setdefault(ctx.me, []).append(np.concatenate([np.ravel(x) for x in (found if isinstance(found, list) else [found])]).tolist())
            return found

        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(searching, "reveal_bits", opening_bits)
            patch.setitem(execute.__globals__, "reveal", opening)
            rows, *_ = in_groups(folder, plan, companies)
        assert [row[2] is not None for row in rows] == [True, *[False] * 7]
        seen.append(opened[0])
    assert seen[0] == seen[1]
    assert len(seen[0]) > 3


# --- what is opened -----------------------------------------------------------------------------------------------------------------


def transcript(plan: Plan, rows: Rows) -> list[list[list[object]]]:
    """All that is opened at the first receiver, in order: bits, then numbers."""
    seen: dict[int, list[list[object]]] = {}
    bits, numbers = searching.reveal_bits, execute.__globals__["reveal"]

    def opening_bits(ctx, *shares, to=None):
        opened = bits(ctx, *shares, to=to)
        seen.setdefault(ctx.me, []).append(None if opened is None else [int(bit) for bit in opened[0]])
        return opened

    def opening(ctx, *shares, to=None):
        opened = numbers(ctx, *shares, to=to)
        seen.setdefault(ctx.me, []).append(None if opened is None else [part.tolist() for part in opened])
        return opened

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "reveal_bits", opening_bits)
        patch.setitem(execute.__globals__, "reveal", opening)
        run(plan, rows)
    for party in range(len(plan.security.parties)):
        if party not in plan.receivers:
            assert all(step is None for step in seen[party])
    return seen[plan.receivers[0]]


def predicted(plan: Plan, there: bool, values: Sequence[int]) -> list[list[int]]:
    """The bits that follow from the values found, and whether there are any: what a simulator of the protocol would show."""
    search, steps = plan.search, []
    spans = [(0, len(search.domain(rank))) for rank in search.ranks]
    while not steps or any(size > 1 for _, size in spans):
        bits, after = [], []
        for (start, size), rank, value in zip(spans, search.ranks, values, strict=True):
            width = -(-size // min(FANOUT, size))
            domain = search.domain(rank)
            last = [min(start + width * k, len(domain)) - 1 for k in range(1, -(-size // width))]
            of_rank = [int(domain[t] >= value) if there else int(rank.c >= 0) for t in last]
            bits += of_rank
            after.append((start + width * of_rank.count(0), width))
        steps.append(bits + [int(there)] * len(search.arguments) * (not steps))
        spans = after
    return steps


@pytest.mark.parametrize("rows", [[[1, 4], [9, 16], [25]], [[1, 4], [9, 16], [25, 36]], [[7, 7], [7], [7, 7, 7]], [[], [], []], [[], [0], []]])
def test_exactly_this_is_opened(rows):
    plan = planned("QUANTILE_CONT(x, 0.3) AS c, MEDIAN(x) AS m, MIN(x) AS l FROM t", table())
    values = sorted(value for own in rows for value in own)
    n = len(values)
    found = []
    for p in (Fraction(3, 10), Fraction(1, 2)):
        place = p * max(n - 1, 0)
        found += [values[math.floor(place)], values[math.ceil(place)]] if n else [0, 0]
    found.append(values[0] if n else 0)
    *bits, (opened, adjusted, fractions) = transcript(plan, rows)
    assert bits == predicted(plan, n > 0, found)
    assert (opened, adjusted) == ([], [])
    fraction = Fraction(3, 10) * max(n - 1, 0) % 1 * 10
    assert fractions == [fraction if n and found[0] != found[1] else 7]  # 7 is public: 10 - 3
    assert sum(map(len, bits)) == sum(plan.search.compared)


def test_two_tables_with_one_answer_open_the_same():
    """How many rows there are, and where the others lie, does not show."""
    plan = planned("MEDIAN(x) FROM t", table())
    one = transcript(plan, [[-3], [2, 10], [5, 40]])
    other = transcript(plan, [[5] * 3, [5], [5]])
    third = transcript(plan, [[], [5], []])
    assert one == other == third
    assert all(len(step) == size for step, size in zip(one, plan.search.compared, strict=True))


def test_the_median_opens_no_number_but_bits():
    plan = planned("MEDIAN(x) FROM t", table())
    assert plan.revealed == 0
    assert all(set(step) <= {0, 1} for step in transcript(plan, [[1], [2], []]))


def test_a_party_that_holds_nothing_and_receives_nothing_learns_nothing():
    of = replace(table(2), holders=NAMES[:2])
    plan = planned("QUANTILE_CONT(x, 0.3) AS q, COUNT(*) AS n FROM t", of, Security(NAMES[:3], "additive", 2))
    assert answered(plan, [[1, 2], [5]]) == (float(exactly([[1, 2], [5]], Fraction(3, 10))), 3)
    transcript(plan, [[1, 2], [5]])


def test_a_receiver_may_hold_nothing():
    plan = planned("MEDIAN(x) FROM t", table(2), Security(NAMES[:3], "additive", 2), NAMES[:3])
    assert answered(plan, [[1, 2], [5]]) == (2.0,)


def test_disclosures_say_all_of_it():
    plan = planned("QUANTILE_CONT(x, 0.3) AS q, MIN(x) AS l FROM t", table())
    said = [(item.what, item.cells, item.implied) for item in disclosures(plan)]
    assert said[0] == (
        "QUANTILE_CONT(x, 3/10): the two neighbouring values, each of a row, between which it lies; where they differ, how far between them, "
        "which gives the number of values modulo 10 (all of it, where there are fewer)", 3, False
    )  # fmt: skip
    assert said[1] == ("MIN(x): the value, which is that of a row", 1, False)
    assert said[2][0].startswith("whether there is any value of x, and in each of 2 steps")
    assert said[2][1:] == (sum(plan.search.compared), False)
    assert [what for what, _, implied in said if implied] == [
        f"of these values, those that {name} does not have itself are of rows of {' or '.join(n for n in NAMES[:3] if n != name)}; and from how "
        "many of its own are below each, bounds on how many of theirs are"
        for name in NAMES[:3]
    ]
    assert said_by_statistics(plan)[1] == "l: MIN(x) gives the receivers the value, which is that of a row"
    assert any("by oblivious transfer" in line or "oblivious transfer" in line for line in assumptions(plan))
    assert any(step.startswith("search: in each of 2 steps") for step in steps(plan))
    assert "then, in each of 2 steps, in how many rows each value of x" in at_home(plan)[0][1]


# --- what it costs ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "triples"), [("additive", "ot"), ("additive", "dealer"), ("shamir", "ot"), ("shamir", "dealer"), ("replicated", None)]
)
@pytest.mark.parametrize("select", ["MEDIAN(x)", "MIN(x) AS l, MAX(x) AS u", "QUANTILE_CONT(x, 0.3), COUNT(*)"])
def test_the_declared_cost_is_the_measured_one(select, triples, scheme):
    security = Security(NAMES[:3], scheme, 2 if scheme == "additive" else 1, triples)
    plan = planned(f"{select} FROM t", table(3, 0, 10_000, outside="clamp"), security)
    plan = replace(plan, tasks=plan.tasks)
    rows = [[1, 2, 3], [4], []]

    def party(ctx, own):
        prepare(ctx, plan)
        mine = np.append(vector(plan, own), 0)
        execute(ctx, plan, inputs(plan, [mine]), ranks=[of_values(own)])
        return ctx.measured

    measured = simulate(party, rows, plan.scheme, triples=triples)
    assert measured == [plan.cost(party) for party in range(3)]


def test_a_search_by_resharing_takes_oblivious_transfer():
    plan = planned("MEDIAN(x) FROM t", table(), Security(NAMES[:3], "shamir", 1))
    assert plan.triples == "ot"
    assert answered(plan, [[1], [2], [3, 4]], "ot") == (2.5,)
    assert planned("COUNT(x) FROM t", table(), Security(NAMES[:3], "shamir", 1)).triples is None


@pytest.mark.parametrize("scheme", ["additive", "shamir"])
def test_the_median_of_any_64_bit_range_takes_at_most_100_rounds(scheme):
    security = Security(NAMES[:3], scheme, 2 if scheme == "additive" else 1)
    for lower, upper in [(0, 2**64 - 1), (-(2**63), 2**63 - 1), (0, 10)]:
        plan = planned("MEDIAN(x) FROM t", table(3, lower, upper, max_rows=10**9), security)
        assert len(plan.search.compared) <= 11
        assert max(plan.cost(party).rounds for party in range(3)) <= 100


def test_a_wide_domain_where_p_has_many_digits():
    plan = planned("QUANTILE_CONT(x, 0.123456789012345) FROM t", table(max_rows=10**6))
    assert plan.scheme.algebra.element_bytes == 16
    rows = [[-50, 3], [7], [50, 9]]
    assert answered(plan, rows) == (float(exactly(rows, Fraction("0.123456789012345"))),)
    with pytest.raises(PlanError, match=r"the denominator of p may reach 2\^\d+, beyond"):
        planned(f"QUANTILE_CONT(x, 0.{'1' * 36}) FROM t", table(max_rows=10**6))


# --- refusals -----------------------------------------------------------------------------------------------------------------------


def test_more_comparisons_in_a_step_than_a_query_may_take_are_refused():
    columns = {f"k{i}": Column(f"k{i}", "integer", 0, 9) for i in range(4)} | {"x": Column("x", "integer", 0, 10**6)}
    of = Table("t", columns, 1000, NAMES[:3])
    with pytest.raises(PlanError, match=r"MAX, MEDIAN, MIN: it takes [0-9,]+ comparisons in a step of the search, and a query at most 2,097,152: group by less"):
        planned("MEDIAN(x), MIN(x), MAX(x) FROM t GROUP BY k0, k1, k2, k3", of)


def test_a_holder_that_is_no_receiver_is_named():
    with pytest.raises(PlanError, match=r"MEDIAN without `privacy` is searched for by all that hold t.*: add ben, cyd to its receivers"):
        planned("MEDIAN(x) FROM t", table(), receivers=["ada"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MIN(*)", "MIN(*) is nothing: name a column"),
        ("MAX(x, 3)", "not supported here"),
        ("MIN(DISTINCT x)", "DISTINCT is not supported"),
        ("QUANTILE_DISC(x)", "write QUANTILE_DISC(x, p), p a number from 0 to 1"),
        ("QUANTILE_DISC(x, 1.5)", "write QUANTILE_DISC(x, p), p a number from 0 to 1"),
        ("MAX(MIN(x))", "an aggregate stands in SELECT alone"),
        ("2 * MAX(x)", "nothing is computed around an aggregate"),
        ("MIN(x) OVER ()", "window functions are not supported"),
    ],
)
def test_other_forms_are_refused(text, message):
    with pytest.raises(SqlProblem) as refused:
        planned(f"{text} FROM t", table())
    assert message in str(refused.value)


def test_a_join_has_no_search():
    owned = Table("o", {"y": Column("y", "integer", 0, 9)}, 10, ("ada",), "ada", ("y",))
    with pytest.raises(SqlProblem, match="MIN is not supported in a join"):
        parse_query("q", "SELECT MIN(x) FROM t JOIN o USING (y)", {"t": table(), "o": owned}, NAMES[:3])


def test_a_case_that_is_ordered_is_seen_by_the_guard_against_differencing():
    of = replace(table(), unit=Unit(None, 1, 1, 1, "add-remove"))
    plan = planned("MAX(CASE WHEN y = 3 THEN y ELSE 0 END) AS u FROM t", of)
    assert "CASE" in objection(plan, [], [])


# --- nodes --------------------------------------------------------------------------------------------------------------------------


TABLES = """
[tables.t]
max_rows = 1000
[tables.t.columns]
x = { type = "decimal", scale = 2, lower = "-1000000000000.00", upper = "1000000000000.00", nullable = true, outside = "clamp" }
"""
QUERIES = """
[queries.middle]
sql = "SELECT MEDIAN(x) AS m, MIN(x) AS l, MAX(x) AS u, COUNT(*) AS n FROM t WHERE x > -100"
receivers = ["alpha", "beta", "gamma"]
"""


@pytest.mark.parametrize("scheme", ["additive", pytest.param("shamir", marks=pytest.mark.slow), "replicated"])
def test_among_processes(tmp_path, scheme):
    with Cluster(tmp_path, ["alpha", "beta", "gamma"], scheme=scheme, tables=TABLES, queries=QUERIES) as companies:
        for number, name in enumerate(companies.parties):
            companies.hold(name, "t", f"SELECT CAST(i * {number + 1} - 7.25 AS DECIMAL(12, 2)) AS x FROM range({10 + number}) r(i)")
        companies.approve()
        companies.start()
        for at in ("alpha", "gamma"):
            result = companies.result("middle", at)
            values = sorted(Decimal(i * (k + 1)) - Decimal("7.25") for k in range(3) for i in range(10 + k))
            assert result["rows"] == [[float(values[16]), str(values[0]), str(values[-1]), 33]]
            assert result["cost"]["measured"] == result["cost"]["declared"]
            assert [item["count"] for item in result["adjusted"]] == [0]
            assert result["cost"]["measured"]["rounds"] <= 100


def test_schemes_are_those_of_the_matrix():
    assert schemes("additive", 3, 2)[0].algebra.element_bytes == 8


def test_what_the_fraction_says_of_the_number_of_values_is_disclosed():
    """a (N - 1) modulo b is opened, and a and b have no common factor."""
    (text,) = [line for line in said_by_statistics(planned("QUANTILE_CONT(x, 0.3) AS q FROM t", table())) if line.startswith("q:")]
    assert "which gives the number of values modulo 10 (all of it, where there are fewer)" in text
    (text,) = [line for line in said_by_statistics(planned("MEDIAN(x) AS m FROM t", table())) if line.startswith("m:")]
    assert text.endswith("where they differ, that the number of values is even")
    assert not any("modulo" in line for line in said_by_statistics(planned("MAX(x) AS m FROM t", table())))
