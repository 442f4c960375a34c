"""MIN, MAX and QUANTILE_DISC with noise: which value is found, how far its rank is off, that nothing else is opened, and that the noise is what is claimed."""

from dataclasses import replace
from fractions import Fraction
from math import sqrt
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from cluster import Cluster
from conformance import Watched
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from test_private_nodes import charges

from mpc.randomness import Stream, fresh_seed
from mpc.simulate import simulate
from parties.data.home import TableSource, compute
from parties.spec.sql import parse_query
from protocols.planning.descent import DEVIATIONS, SPREAD, Descent, descent_of
from protocols.planning.disclosures import disclosures
from protocols.planning.execute import answer, draw_noise, execute, inputs, prepare
from protocols.planning.explain import at_home, expected_errors, said_by_statistics, steps
from protocols.planning.plan import Security
from protocols.planning.planner import plan_query
from protocols.planning.privacy import Privacy
from protocols.planning.query import PlanError
from protocols.planning.rules import Rules
from protocols.statistics.quantile import ALL_LEAVES, LEAVES
from protocols.tables import Column, Table, Unit

NAMES = ("ada", "ben", "cyd")
ONE = Privacy("gaussian", 20_000, Fraction(1), Fraction(1, 10**6))
LAPLACE = Privacy("laplace", 500_000, Fraction(1))
JOINT = replace(ONE, mechanism="joint")
EACH = Unit()


def planned(select, privacy=ONE, scheme="additive", lower=-20, upper=20, groups=3, unit=EACH, colluding=1, rules=None, max_rows=1000, **column):
    columns = {
        "x": replace(Column("x", "integer", lower, upper, nullable=True), **column),
        "g": Column("g", "integer", 0, groups - 1),
        "h": Column("h", "integer", 0, 9),
    }
    table = Table("t", columns, max_rows, NAMES, unit=unit)
    query = parse_query("q", f"SELECT {select}", {"t": table}, NAMES[:1])
    return plan_query(replace(query, privacy=privacy, rules=rules or query.rules), Security(NAMES, scheme, colluding, None if scheme == "replicated" else "dealer"))


def home(plan, rows):
    """The vectors of all tasks, from a company's rows (g, x)."""
    vectors = []
    for task in plan.tasks:
        vector = np.zeros(task.size, dtype=np.int64)
        for g, x in rows:
            cell = g if plan.keys else 0
            if task is plan.tasks[0]:
                for k, measure in enumerate(task.measures):
                    there = measure.expression is None or x is not None
                    vector[k * plan.cells + cell] += (x or 0) if measure.kind == "sum" else there
            elif x is not None:
                leaf = task.keys[-1].expression
                width = (leaf.stop - leaf.start) // leaf.bins
                vector[cell * leaf.bins + (x - leaf.start) // width] += 1
        vectors.append(vector)
    return vectors


def run(plan, companies, *, quiet=False, wrap=lambda me, channel: channel, noise=draw_noise) -> Any:
    def party(ctx, vectors):
        prepare(ctx, plan)
        drawn = noise(plan, NAMES[ctx.me], Stream(fresh_seed()))
        if quiet and drawn is not None:
            drawn = drawn * 0
        opened = execute(ctx, plan, inputs(plan, vectors, drawn), seed=fresh_seed())
        assert ctx.measured == plan.cost(ctx.me)
        return opened

    return simulate(party, companies, plan.scheme, triples=plan.triples, wrap=wrap)[0]


# --- which value ------------------------------------------------------------------------------------------------------------------

ALL = "g, MIN(x) AS l, MAX(x) AS u, QUANTILE_DISC(x, 0.5) AS m, QUANTILE_DISC(x, 0.3) AS q, COUNT(x) AS n FROM t GROUP BY g"


def expected(values, plan, place):
    """Of the values of a group, without noise."""
    values, descent = sorted(x for x in values if x is not None), plan.descents[place]
    if descent.is_quantile:
        # nothing is less than nothing: where there is no value, it is the first leaf's
        return values[max(-(-descent.p.numerator * len(values) // descent.p.denominator), 1) - 1] if values else plan.descents[place].tree.argument.lower
    if len(values) < descent.rows:
        return None
    return values[-descent.rows] if descent.p else values[descent.rows - 1]


@settings(max_examples=25, deadline=None)
@given(data=st.data(), scheme=st.sampled_from(["additive", "shamir", "replicated"]), upper=st.sampled_from([-20, -19, -17, 0, 20, 107]))
def test_without_noise_it_is_the_value_of_that_rank(data, scheme, upper):
    plan = planned(ALL, replace(ONE, micro_rho=10**9), scheme, upper=upper)
    x = st.one_of(st.none(), st.integers(-20, upper), st.sampled_from([-20, upper]))
    companies = [data.draw(st.lists(st.tuples(st.integers(0, 2), x), max_size=40)) for _ in NAMES]
    table = answer(plan, run(plan, [home(plan, rows) for rows in companies], quiet=True))
    for group, row in enumerate(table.rows):
        values = [x for rows in companies for g, x in rows if g == group]
        assert row == (group, *(expected(values, plan, place) for place in range(4)), sum(x is not None for x in values))


@pytest.mark.parametrize("privacy", [ONE, LAPLACE], ids=["gaussian", "laplace"])
def test_min_and_max_ask_for_three_deviations_of_rows(privacy):
    plan = planned("MIN(x) AS l, MAX(x) AS u FROM t", privacy)
    for descent, found in zip(plan.descents, ("l", "u"), strict=True):
        assert len(descent.noise) == descent.levels == 6  # 41 values, and none
        deviation = max(noise.deviation for noise in descent.noise)
        assert DEVIATIONS * deviation <= descent.rows <= DEVIATIONS * deviation + 2
        assert any(f"{found}: {descent.function}(x) gives the receivers the value alone, one that about {descent.rows:,} rows are" in said for said in said_by_statistics(plan))


@pytest.mark.parametrize("count", [1, 2, 40, 41, 42, 4_094, 4_095, 4_096, 10**6])
def test_leaves_are_single_values_where_there_is_room(count):
    plan = planned("MIN(x) AS l FROM t", lower=5, upper=4 + count)
    (descent,) = plan.descents
    tree = descent.tree
    assert tree.leaves <= LEAVES - 1
    assert descent.levels <= 12
    assert 1 << descent.levels > tree.leaves
    assert (tree.values == 1) == (count < LEAVES)
    for leaf in (0, tree.leaves // 2, tree.leaves - 1):
        ends = 5 + leaf * tree.values, min(4 + (leaf + 1) * tree.values, 4 + count)
        assert all(abs(end - descent.value(leaf)) <= descent.error_bound for end in ends)
        assert replace(descent, function="MAX", p=Fraction(1)).value(tree.leaves - 1 - leaf) == descent.value(leaf)
    assert descent.value(tree.leaves) is None
    assert replace(descent, function="QUANTILE_DISC", p=Fraction(1, 3)).value(tree.leaves) == descent.value(tree.leaves - 1)


def test_decimals_floats_and_arithmetic():
    plan = planned("MIN(x) AS l, MAX(x + g) AS u FROM t", lower=-150, upper=250, kind="decimal", scale=2)
    assert str(plan.descents[0].value(0)) == "-1.50"
    assert str(plan.descents[1].value(0)) == "4.50"
    rounded = planned("MIN(x) AS l FROM t", lower=-150, upper=250, kind="float", scale=2, step=10)
    (descent,) = rounded.descents
    assert (descent.tree.leaves, str(descent.value(1)), descent.error_bound) == (41, "-1.40", pytest.approx(0.05))


def test_outputs_and_groups_share_the_room():
    plan = planned(ALL, lower=0, upper=10**6, groups=100)
    assert [descent.tree.leaves * 400 <= ALL_LEAVES for descent in plan.descents] == [True] * 4
    assert [descent.tree.groups for descent in plan.descents] == [100] * 4
    assert len(plan.tasks) == 2  # the leaves of x are counted once
    same = planned("MIN(x) AS a, MIN(x) AS b FROM t")
    assert (len(same.descents), same.uses) == (1, ((0,), (0,)))


# --- the noise --------------------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(data=st.data(), p=st.sampled_from(["MIN(x)", "MAX(x)", *(f"QUANTILE_DISC(x, {p})" for p in ("0.5", "0.1", "0.9", "0.25"))]), rows=st.integers(1, 3))
def test_one_unit_moves_what_is_compared_by_no_more_than_is_declared(data, p, rows):
    """Whatever was found before: at every leaf that there is."""
    plan = planned(f"g, {p} AS v FROM t GROUP BY g", unit=Unit("person", rows=rows, groups=2))
    (descent,) = plan.descents
    before = np.array(data.draw(st.lists(st.integers(0, 9), min_size=3 * 41, max_size=3 * 41))).reshape(3, 41)
    after = before.copy()
    for group in data.draw(st.lists(st.integers(0, 2), max_size=2, unique=True)):
        for leaf in data.draw(st.lists(st.integers(0, 40), max_size=rows)):
            after[group, leaf] += 1

    def compared(counts):
        up_to = np.cumsum(counts[:, ::-1] if descent.p == 1 else counts, axis=1)
        if not descent.is_quantile:
            return up_to
        return descent.p.denominator * up_to - descent.p.numerator * up_to[:, -1:]

    moved = np.abs(compared(after) - compared(before))
    assert moved.max() <= rows * descent.most
    squared = 2 * (rows * descent.most) ** 2
    assert (moved.max(axis=1) ** 2).sum() <= squared
    spent = sum(Fraction(squared, 2) / noise.central for noise in descent.noise)
    assert spent * 10**6 == plan.query.privacy.micro_rho


def test_the_budget_is_split_over_outputs_and_levels_and_nothing_is_left():
    weighted = replace(ONE, split=(("n", 3),))
    plan = planned("MIN(x) AS l, QUANTILE_DISC(x, 0.75) AS q, COUNT(*) AS n FROM t", weighted)
    squared = [1] + [1] * 6 + [9] * 6
    spent = [Fraction(of, 2) / noise.central for of, noise in zip(squared, plan.noise, strict=True)]
    assert sum(spent) * 10**6 == ONE.micro_rho
    assert [float(part) for part in spent] == pytest.approx([0.012] + [0.004 / 6] * 12, abs=2e-6)
    pure = planned("MIN(x) AS l, QUANTILE_DISC(x, 0.75) AS q, COUNT(*) AS n FROM t", LAPLACE)
    assert [noise.parameter for noise in pure.noise] == [3] + [18] * 6 + [54] * 6
    with pytest.raises(PlanError, match="a millionth of rho for each of 13 parts"):
        planned("MIN(x) AS l, QUANTILE_DISC(x, 0.75) AS q, COUNT(*) AS n FROM t", replace(ONE, micro_rho=17))


CELLS = 4_000


def share_found(plan, extra, noise=draw_noise):
    """In how many of many groups the one leaf passes, all of which have `extra` deviations of rows more than are asked for; and in how many it should."""
    (descent,) = plan.descents
    (added,) = descent.noise
    count = round(descent.least[0] / added.factor + extra * added.deviation)
    parts = [np.full(CELLS, count // 3)] * 2 + [np.full(CELLS, count - 2 * (count // 3))]
    (found,) = run(plan, [[part, part] for part in parts], noise=noise)
    assert set(found) <= {0, 1}
    distance = count - (descent.least[0] - 1) / added.factor
    return CELLS - sum(found), stats.norm.cdf(distance / added.deviation)


def is_as_expected(found, share):
    """False alarms: 1e-9. What is not quite Gaussian about discrete noise of a deviation above 10 is a hundredth of that."""
    return stats.binomtest(found, CELLS, share).pvalue > 1e-9


@pytest.mark.parametrize("extra", [-1, 0, 1.5])
@pytest.mark.parametrize(("scheme", "privacy"), [("additive", ONE), ("shamir", ONE), ("replicated", ONE)])
def test_a_level_has_the_noise_that_is_claimed(scheme, privacy, extra):
    plan = planned("g, h, MIN(x) AS l FROM t GROUP BY g, h", replace(privacy, micro_rho=500), scheme, lower=0, upper=0, groups=CELLS // 10)
    assert is_as_expected(*share_found(plan, extra))


def test_joint_noise_is_drawn_for_each_level():
    plan = planned("g, h, MIN(x) AS l FROM t GROUP BY g, h", replace(JOINT, micro_rho=5_000), lower=0, upper=0, groups=CELLS // 10)
    assert plan.joint == ((Fraction(100), CELLS),)
    assert is_as_expected(*share_found(plan, 1))


@pytest.mark.parametrize("bug", ["a company without noise", "half the noise", "one noise for all groups"])
def test_a_planted_bug_is_found(bug):
    plan = planned("g, h, MIN(x) AS l FROM t GROUP BY g, h", replace(ONE, micro_rho=500), lower=0, upper=0, groups=CELLS // 10)

    def wrong(plan, me, stream):
        drawn = draw_noise(plan, me, stream)
        if bug == "a company without noise":
            return drawn * (me != "ada")
        return drawn // 2 if bug == "half the noise" else drawn[:1].repeat(drawn.size)

    assert not all(is_as_expected(*share_found(plan, extra, wrong)) for extra in (-1, 1.5))


@pytest.mark.parametrize("select", ["QUANTILE_DISC(x, 0.5)", "QUANTILE_DISC(x, 0.8)", "MIN(x)", "MAX(x)"])
def test_the_rank_is_as_far_off_as_is_said(select):
    """200 groups of 3 x 1,200 rows spread evenly: a root mean square of 200 is known to a twentieth, 6 of those are 0.3 (false alarms below 1e-8)."""
    plan = planned(f"g, {select} AS v FROM t GROUP BY g", replace(ONE, micro_rho=2_000), lower=0, upper=399, groups=200)
    (descent,) = plan.descents
    (found,) = run(plan, [[np.full(200, 1200), np.full(200 * 400, 3)]] * 3)
    wanted = float(3600 * descent.p) if descent.is_quantile else descent.rows
    leaf = np.array(found, dtype=float)
    off = np.maximum(np.maximum(9 * leaf - wanted, wanted - 9 * (leaf + 1)), 0)
    deviations = [noise.deviation for noise in descent.noise]
    assert 0.6 < sqrt((off**2).mean()) / descent.rank_error(deviations) < 1.3
    assert off.max() < 6.5 * max(deviations) / (descent.p.denominator if descent.is_quantile else 1)  # of 1,800 levels


def test_the_spread_is_that_of_noisy_halving():
    """200,000 times, of 2^12 leaves, at several densities: known to a hundredth."""
    generator = np.random.default_rng(5)
    found = []
    for rows in (0.01, 0.05, 0.2, 1.0):
        wanted = generator.uniform(0.2, 0.8, 200_000) * 4096 * rows
        leaf = np.zeros(wanted.size)
        for level in range(11, -1, -1):
            leaf += ((leaf + (1 << level)) * rows - wanted + generator.normal(size=wanted.size) < 0) * (1 << level)
        off = np.maximum(np.maximum(leaf * rows - wanted, wanted - (leaf + 1) * rows), 0)
        found.append(sqrt((off**2).mean()))
    assert SPREAD - 0.03 < max(found) < SPREAD


def test_it_is_nearer_than_a_tree():
    """The median of 4,095 values, by rank."""
    found = planned("QUANTILE_DISC(x, 0.5) AS m FROM t", lower=0, upper=4094)
    tree = planned("MEDIAN(x) AS m FROM t", lower=0, upper=4094)
    ((_, where, ours, central, local),) = expected_errors(found)
    assert (where, local) == ("ranks, in every cell", "")
    assert float(ours) < float(expected_errors(tree)[0][2]) / 3.5
    assert float(central) < float(ours)


# --- what is opened ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scheme", "privacy"), [("additive", ONE), ("shamir", LAPLACE), ("replicated", ONE), ("additive", JOINT)])
def test_nothing_is_opened_but_the_values_and_to_receivers_alone(scheme, privacy):
    plan = planned("g, MIN(x) AS l, COUNT(x) AS n FROM t GROUP BY g", privacy, scheme, colluding=1)
    watched = {}

    def wrap(me, channel):
        watched[me] = Watched(channel)
        return watched[me]

    rows = [(g, x) for g in range(3) for x in range(-20, 21)]
    opened = run(plan, [home(plan, rows)] * 3, wrap=wrap)
    assert [len(of) for of in opened] == [3, 3]
    for me, seen in watched.items():
        # uniform, but for the last (test_compare.py)
        assert {tag.operation for _, tag, _ in seen.sent} <= {"share", "triples", "addends", "compare", "multiply", "bits as numbers", "reveal"}
        reveals = [(to, len(payload)) for to, tag, payload in seen.sent if tag.operation == "reveal"]
        assert all(size == 8 * 6 and to == 0 for to, size in reveals)
        assert me != 0 or not reveals
    assert [(item.what, item.cells, item.to) for item in disclosures(plan)] == [
        ("COUNT(x) by g, with noise", 3, NAMES[:1]), ("MIN(x) by g, with noise", 3, NAMES[:1])
    ]  # fmt: skip


def test_with_a_minimum_group_values_are_withheld_with_their_rows():
    plan = planned("g, MIN(x) AS l, COUNT(x) AS n FROM t GROUP BY g", rules=Rules(150), lower=0, upper=3)
    companies = [home(plan, [(0, 1)] * 300 + [(1, 2)] * 1)] * 3  # 900 rows, 3 and none
    table = answer(plan, run(plan, companies))
    assert table.rows[0][1] == 1
    assert [row[1:] for row in table.rows[1:]] == [(None, None)] * 2
    with pytest.raises(PlanError, match=r"of l none is opened: select COUNT\(x\) as well"):
        planned("g, MIN(x) AS l, COUNT(*) AS n FROM t GROUP BY g", rules=Rules(150))


def test_it_is_said():
    plan = planned("MIN(x) AS l, QUANTILE_DISC(x, 0.9) AS h FROM t")
    assert any("find: MIN(x) and QUANTILE_DISC(x, 9/10), by halving the bounds 6 times" in step and "12 comparisons" in step for step in steps(plan))
    assert "h: QUANTILE_DISC(x) gives the receivers the value alone: no count, and no comparison, is opened" in said_by_statistics(plan)
    assert any("41 numbers" in size for _, _, size in at_home(plan))
    assert {what for what, _ in plan.ranges} >= {"what is compared in MIN(x)", "what is compared in QUANTILE_DISC(x, 9/10)"}


@pytest.mark.parametrize(
    ("select", "options", "message"),
    [
        ("MIN(x), MEDIAN(x) FROM t", {}, "with privacy MIN is found on shares, and MEDIAN and QUANTILE_CONT are read from counts"),
        ("QUANTILE_DISC(x, 0) AS q FROM t", {}, "q: the first and the last value are MIN and MAX"),
        ("MIN(x) FROM t", {"privacy": replace(ONE, local=True)}, "local privacy cannot be had for MIN"),
        ("g, MIN(x) FROM t GROUP BY g", {"privacy": Privacy("randomised-response", 500_000, Fraction(1), local=True)}, "MIN cannot be had by randomised response"),
        ("MIN(x) FROM t", {"unit": None}, "asks for privacy, but nobody says whose"),
        ("g, h, MIN(x) FROM t GROUP BY g, h", {"groups": 200, "upper": 10**6}, "2,000 groups are too many for MIN"),
    ],
)
def test_what_cannot_be_had_is_refused(select, options, message):
    with pytest.raises(PlanError, match=message):
        planned(select, **options)


def test_asking_again_is_another_release():
    assert planned("MIN(x) AS l FROM t").is_once
    assert not planned("MEDIAN(x) AS m FROM t").is_once


def test_wide_counts_take_a_wide_algebra():
    plan = planned("QUANTILE_DISC(x, 0.123456789) AS q FROM t", lower=0, upper=10**9, max_rows=10**9)
    assert plan.scheme.algebra.element_bytes == 16
    (descent,) = plan.descents
    assert isinstance(descent, Descent)
    assert descent_of("MIN", Fraction(0), descent.tree.argument, 2, 3).tree.groups == 2


# --- at home, and among nodes -----------------------------------------------------------------------------------------------------


def test_values_of_the_real_engine_are_counted_by_leaf(tmp_path: Path) -> None:
    plan = planned("g, MIN(x) AS l, COUNT(*) AS n FROM t GROUP BY g", unit=Unit("person", rows=2, groups=1))
    duckdb.sql("SELECT i % 50 AS person, i % 3 AS g, 7 AS h, CASE WHEN i % 5 > 0 THEN i % 90 - 40 END AS x FROM range(600) t(i)").write_parquet(str(tmp_path / "t.parquet"))
    totals, leaves = (np.array(compute(task, TableSource(tmp_path / "t.parquet")), dtype=np.int64) for task in plan.tasks)
    assert totals[:3].sum() == 100  # two rows of each person
    assert leaves.size == 3 * 41
    assert 0 < leaves.sum() <= 100  # without those that are NULL; values outside are clamped


TABLES = """
[tables.t]
max_rows = 10_000
unit = {}
[tables.t.columns]
x = { type = "integer", lower = 0, upper = 1000 }
"""
QUERIES = """
[queries.ends]
sql = "SELECT MIN(x) AS l, QUANTILE_DISC(x, 0.5) AS m, MAX(x) AS u, COUNT(*) AS n FROM t"
receivers = ["alpha"]
privacy = { epsilon = 1, delta = 1e-6 }
"""


@pytest.mark.parametrize("scheme", ["additive", "replicated"])
def test_among_nodes(tmp_path: Path, scheme: str) -> None:
    """Ranks are within 7 deviations of a level's noise: false alarms below 1e-9."""
    with Cluster(tmp_path, ("alpha", "beta", "gamma"), scheme=scheme, tables=TABLES, queries=QUERIES) as cluster:
        for number, name in enumerate(("alpha", "beta", "gamma")):
            cluster.hold(name, "t", f"SELECT 100 + (7 * i + {number}) % 801 AS x FROM range(8010) r(i)")
        cluster.approve()
        cluster.start()
        result = cluster.result("ends", "alpha")
        low, middle, high, count = result["rows"][0]
        per_rank = 801 / (3 * 8010)
        assert result["cost"]["measured"] == result["cost"]["declared"]
        assert result["privacy"]["standard_error"][0][:3] == [None, None, None]
        assert abs(count - 3 * 8010) < 200
        assert 100 <= low < 100 + 400 * per_rank * 2
        assert 900 - 400 * per_rank * 2 < high <= 900
        assert abs(middle - 500) < 400 * per_rank * 2
        assert [(query, state) for _, query, state in charges(cluster, "beta")] == [("ends", "settled")]
