"""How companies stand among one another: exact ranks and quartiles of their own figures, to whom they belong, at the declared cost;
nothing else is opened."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from cluster import Cluster
from conformance import Watched
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.simulate import simulate
from parties.spec.sql import SqlProblem, parse_query
from protocols.planning.disclosures import disclosures
from protocols.planning.execute import answer, execute, inputs, prepare
from protocols.planning.explain import at_home, said_by_statistics, steps
from protocols.planning.plan import Security
from protocols.planning.planner import plan_query
from protocols.planning.privacy import Privacy
from protocols.planning.query import PlanError, StatisticOutput
from protocols.statistics import across
from protocols.statistics.across import Across, Figure, NoFigure
from protocols.tables import Column, Table

NINE = tuple(f"c{k}" for k in range(9))
GROUP = Column("g", "category", 0, 1, values=("p", "q"))
X = Column("x", "decimal", -500, 500, scale=2, nullable=True)


def planned(sql, n, receivers=None, scheme="additive", colluding=1, **changes):
    names = NINE[:n]
    table = Table("t", {"g": GROUP, "x": X}, 1000, names)
    query = parse_query("q", sql, {"t": table}, receivers or names)
    return plan_query(query, Security(names, scheme, colluding, changes.get("triples")))


def home(plan, rows):
    """One company's totals over its rows, (code of g, x or None)."""
    (task,) = plan.tasks
    totals = []
    for measure in task.measures:
        for cell in range(plan.cells):
            values = [x for g, x in rows if plan.cells == 1 or g == cell]
            if measure.expression is not None:
                values = [x for x in values if x is not None]
            totals.append(len(values) if measure.kind == "count" else sum(values))
    return np.array(totals, dtype=object)


def run(plan, companies, wrap=lambda me, channel: channel, triples="insecure"):
    def party(ctx, rows):
        prepare(ctx, plan)
        opened = execute(ctx, plan, inputs(plan, [home(plan, rows)]))
        declared = plan.cost(ctx.me) if triples == "ot" else ctx.measured
        assert ctx.measured == declared
        return None if opened is None else answer(plan, opened)

    return simulate(party, companies, plan.scheme, triples=triples, wrap=wrap)


def figure(figure, rows):
    """At the figure's scale, by itself."""
    present = [x for _, x in rows if x is not None]
    if figure.function == "COUNT":
        return len(rows) if figure.argument is None else len(present)
    return sum(present) if figure.function == "SUM" else round(Fraction(sum(present) * 10**6, len(present)))


def expected(plan, companies, me):
    """The rows of the answer at party `me`."""
    found = []
    for cell in range(plan.cells):
        rows = [[row for row in of if plan.cells == 1 or row[0] == cell] for of in companies]
        found.append([
            output.statistic.reference([figure(output.statistic.figure, of) for of in rows], me)
            for output in plan.query.select
            if isinstance(output, StatisticOutput)
        ])
    return found


def assert_right(plan, companies, **how):
    for me, result in enumerate(run(plan, companies, **how)):
        values = [[Fraction(value) for value in row if not isinstance(value, str)] for row in result.rows]
        assert values == expected(plan, companies, me)


EVERYTHING = (
    "SELECT g, RANK_OF_MINE(SUM(x)) AS rank, MEDIAN_ACROSS(SUM(x)) AS median, MEDIAN_ACROSS(COUNT(*)) AS rows, "
    "RANK_OF_MINE(COUNT(x)) FROM t GROUP BY g"
)
values = st.lists(st.tuples(st.integers(0, 1), st.none() | st.integers(-500, 500)), max_size=4)


@given(st.lists(values, min_size=5, max_size=7))
@settings(max_examples=15, deadline=None)
def test_ranks_and_medians_in_groups_are_exact(companies):
    assert_right(planned(EVERYTHING, len(companies)), companies)


@given(st.lists(st.sampled_from([-500, 0, 1, 2, 500]), min_size=9, max_size=9))
@settings(max_examples=6, deadline=None)
def test_quartiles_with_ties_are_exact(sums):
    companies = [[(0, x)] for x in sums]
    plan = planned("SELECT QUARTILES_ACROSS(SUM(x)) AS q, RANK_OF_MINE(SUM(x)) FROM t", 9)
    assert [output.name for output in plan.query.select] == ["q_1", "q_2", "q_3", "rank_of_mine(sum(x))"]
    assert_right(plan, companies)
    first = answer_of(plan, companies)
    assert [float(value) for value in first[:3]] == pytest.approx(np.quantile(np.array(sums) / 100, [0.25, 0.5, 0.75]))


def answer_of(plan, companies, me=0):
    return run(plan, companies)[me].rows[0]


@pytest.mark.parametrize("n", [5, 6, 7, 8])
def test_the_median_is_that_of_numpy_for_any_number_of_companies(n):
    sums = np.random.default_rng(n).integers(-500, 500, n).tolist()
    (value,) = answer_of(planned("SELECT MEDIAN_ACROSS(SUM(x)) FROM t", n), [[(0, x)] for x in sums])
    assert float(value) == pytest.approx(np.median(sums) / 100)


def test_averages_are_rounded_to_six_more_digits_and_nobody_without_rows_has_one():
    plan = planned("SELECT MEDIAN_ACROSS(AVG(x)) AS m, RANK_OF_MINE(AVG(x)) FROM t", 5)
    companies = [[(0, 1), (0, 2), (0, 2)], [(0, 2)], [(0, 1)], [(0, 5), (0, None)], [(0, 3)]]
    assert_right(plan, companies)
    value, rank = answer_of(plan, [[(0, 1), (0, 1), (0, 2)], [(0, 1)], [(0, 1)], [(0, 2)], [(0, 2)]])
    assert (str(value), rank) == ("0.0133333300", 3)
    assert answer(plan, [[53333332], [3]]).error_bound[0] == pytest.approx(0.5e-8)
    with pytest.raises(NoFigure):
        inputs(plan, [home(plan, [(0, None)])])


@pytest.mark.parametrize(("scheme", "colluding"), [("additive", 4), ("additive", 1), ("shamir", 2), ("shamir", 1)])
def test_with_transfers_under_every_scheme_at_the_declared_cost(scheme, colluding):
    plan = planned(EVERYTHING, 5, scheme=scheme, colluding=colluding)
    assert plan.triples == "ot"
    companies = [[(0, 10 * k), (1, -k), (1, 3)] for k in (3, 1, 1, 5, 2)]
    assert_right(plan, companies, triples="ot")


def test_ranks_of_three_with_replicated_shares_at_the_declared_cost():
    plan = planned("SELECT RANK_OF_MINE(SUM(x)) AS r FROM t", 3, scheme="replicated", colluding=1)
    assert plan.triples is None
    assert_right(plan, [[(0, 7), (1, 3)], [(0, 7)], [(0, 8)]], triples=None)


def test_what_is_opened_is_to_each_its_own_rank_and_four_times_the_median():
    plan = planned("SELECT RANK_OF_MINE(SUM(x)) AS r, MEDIAN_ACROSS(SUM(x)) AS m FROM t", 5, receivers=("c0", "c3"))
    watched = {}

    def wrap(me, channel):
        watched[me] = Watched(channel)
        return watched[me]

    results = run(plan, [[(0, x)] for x in (5, 9, 1, 9, 7)], wrap=wrap)
    assert [result and [str(value) for value in result.rows[0]] for result in results] == [["4", "0.0700"], None, None, ["1", "0.0700"], None]
    for me, seen in watched.items():
        opened = [(tag, to) for to, tag, _ in seen.sent if tag.operation == "reveal"]
        assert {to for _, to in opened} == {0, 3} - {me}
        assert len({tag.step for tag, _ in opened}) == 1
        assert all(len(payload) == 16 for _, tag, payload in seen.sent if tag.operation == "reveal")
        others = {tag.operation for _, tag, _ in seen.sent} - {"reveal"}
        assert others == {"compare", "multiply", "bits as numbers"}  # each of them uniform: test_compare.py
    # what a receiver has of the others' ranks is nothing: only its own shares were sent to it


def test_a_wrong_place_or_comparison_is_found(monkeypatch):
    companies = [[(0, x)] for x in (5, 9, 1, 9, 7)]
    plan = planned("SELECT MEDIAN_ACROSS(SUM(x)) FROM t", 5)
    assert_right(plan, companies)
    weights = Across.weights
    monkeypatch.setattr(Across, "weights", lambda self, n: {place + 1: weight for place, weight in weights(self, n).items()})
    assert answer_of(plan, companies) != (Fraction(7, 100),)
    monkeypatch.undo()
    monkeypatch.setattr(across, "pairs", lambda n, figure, outputs: [(i, j) for i in range(n) for j in range(n) if i != j])
    assert_right(plan, companies)  # more than needed is no harm
    monkeypatch.setattr(across, "less", lambda ctx, x, y: across.equal(ctx, x, y))
    with pytest.raises(AssertionError):
        assert_right(planned("SELECT RANK_OF_MINE(SUM(x)) FROM t", 5), companies)


# --- refusals, and what is said -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "n", "message"),
    [
        ("SELECT MEDIAN_ACROSS(SUM(x)) FROM t", 4, "MEDIAN_ACROSS takes 5 companies or more, and t has 4: with fewer it would give their figures away"),
        ("SELECT QUARTILES_ACROSS(SUM(x)) FROM t", 4, "QUARTILES_ACROSS takes 5 companies or more"),
        ("SELECT RANK_OF_MINE(SUM(x)) FROM t", 2, "RANK_OF_MINE takes 3 companies or more"),
        ("SELECT MEDIAN_ACROSS(SUM(x)), COUNT(*) AS n FROM t", 5, "n is over all rows, and RANK_OF_MINE, MEDIAN_ACROSS, QUARTILES_ACROSS compare companies"),
    ],
)
def test_what_would_give_figures_away_is_refused(sql, n, message):
    with pytest.raises(PlanError, match=message):
        planned(sql, n)


@pytest.mark.parametrize(("sql", "n", "few"), [("QUARTILES_ACROSS", 8, True), ("QUARTILES_ACROSS", 5, True), ("QUARTILES_ACROSS", 9, False), ("MEDIAN_ACROSS", 5, False), ("RANK_OF_MINE", 3, False)])
def test_quartiles_of_few_are_said_to_be(sql, n, few):
    plan = planned(f"SELECT {sql}(SUM(x)) FROM t", n)
    assert plan.is_of_few == few
    assert any(f"of {n} companies, so few" in item.what and item.implied for item in disclosures(plan)) == few


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("RANK_OF_MINE(x)", r"RANK_OF_MINE takes a figure of each company's own rows, one of COUNT\(x\), SUM\(x\), AVG\(x\): write RANK_OF_MINE\(SUM\(x\)\)"),
        ("RANK_OF_MINE(VAR_SAMP(x))", "takes a figure"),
        ("MEDIAN_ACROSS(SUM(x), 2)", "takes a figure"),
        ("MEDIAN_ACROSS()", "takes a figure"),
        ("MEDIAN_ACROSS(MEDIAN_ACROSS(SUM(x)))", "takes a figure"),
        ("SUM(RANK_OF_MINE(SUM(x)))", "an aggregate stands in SELECT alone"),
        ("MEDIAN_ACROSS(SUM(g))", "SUM needs a number"),
        ("RANK_OF_MINE(SUM(x)) + 1", "nothing is computed around an aggregate"),
        ("QUARTILES_ACROSS(SUM(x)) AS q, COUNT(*) AS q_2", "two columns are called q_2"),
    ],
)
def test_what_is_no_figure_is_refused_with_its_place(text, message):
    with pytest.raises(SqlProblem, match=message):
        planned(f"SELECT {text} FROM t", 9)


def test_a_receiver_without_a_figure_has_no_rank():
    names = NINE[:4]
    table = Table("t", {"g": GROUP, "x": X}, 1000, names[:3])
    query = parse_query("q", "SELECT RANK_OF_MINE(SUM(x)) FROM t", {"t": table}, names)
    with pytest.raises(PlanError, match="RANK_OF_MINE tells each company its own rank, and c3 has no part of t"):
        plan_query(query, Security(names, "additive", 1))


def test_privacy_is_refused():
    table = Table("t", {"g": GROUP, "x": X}, 1000, NINE[:5])
    query = parse_query("q", "SELECT MEDIAN_ACROSS(SUM(x)) FROM t", {"t": table}, NINE[:5])
    object.__setattr__(query, "privacy", Privacy("gaussian", 1000, None, None, (), False))
    with pytest.raises(PlanError, match="MEDIAN_ACROSS cannot be had with privacy"):
        plan_query(query, Security(NINE[:5], "additive", 1))


def test_what_is_said_of_it():
    plan = planned("SELECT RANK_OF_MINE(SUM(x)) AS r, QUARTILES_ACROSS(SUM(x)) AS q FROM t", 9, colluding=2)
    said = [(item.what, item.implied) for item in disclosures(plan)]
    assert said[:4] == [
        ("each company's own rank by SUM(x)", False), ("the first quartile of the companies' SUM(x)", False),
        ("the median of the companies' SUM(x)", False), ("the third quartile of the companies' SUM(x)", False),
    ]  # fmt: skip
    assert all(implied for _, implied in said[4:])
    assert any("2 companies pool what they know" in what for what, _ in said)
    assert "compare: 72 pairs of the companies' figures, on shares" in " ".join(steps(plan))
    assert at_home(plan)[0][1:] == ("SUM(x) over t; of which SUM(x) is shared", "1 numbers")
    assert said_by_statistics(plan)[0] == "r: RANK_OF_MINE(SUM(x)) gives the receivers each its own rank alone: how many companies have a larger figure"
    assert str(Figure("COUNT", None)) == "COUNT(*)"
    assert planned("SELECT RANK_OF_MINE(SUM(x)) FROM t", 9).digest != planned("SELECT RANK_OF_MINE(COUNT(x)) FROM t", 9).digest


# --- separate processes ---------------------------------------------------------------------------------------------------

SPEC = """
[tables.t]
max_rows = 100
[tables.t.columns]
n = { type = "integer", lower = 0, upper = 9_999_999 }
"""
QUERIES = """
[queries.stand]
sql = "SELECT RANK_OF_MINE(SUM(n)) AS rank, MEDIAN_ACROSS(AVG(n)) AS median FROM t"
receivers = ["a", "b", "c", "d", "e"]
"""


@pytest.mark.parametrize("scheme", ["additive", pytest.param("shamir", marks=pytest.mark.slow)])
def test_nodes_answer_each_company_with_its_own_rank(tmp_path: Path, scheme: str) -> None:
    names = "abcde"
    with Cluster(tmp_path, names, scheme=scheme, colluding=2, tables=SPEC, queries=QUERIES) as cluster:
        for k, name in enumerate(names):
            cluster.hold(name, "t", f"SELECT range * {100 * (7 - k)} + {k} AS n FROM range({3 + k})")
        cluster.approve()
        cluster.start()
        sums, averages = [], []
        for k in range(5):
            rows = [r * 100 * (7 - k) + k for r in range(3 + k)]
            sums.append(sum(rows))
            averages.append(Fraction(sum(rows), len(rows)))
        for k, name in enumerate(names[:2]):
            (row,) = cluster.result("stand", name)["rows"]
            assert row[0] == 1 + sum(other > sums[k] for other in sums)
            assert abs(Fraction(row[1]) - sorted(averages)[2]) <= Fraction(1, 2 * 10**6)
        assert "Traceback" not in cluster.logs()


OF_FEW = """
[queries.quartiles]
sql = "SELECT QUARTILES_ACROSS(SUM(n)) AS q FROM t"
receivers = ["a"]
"""


def test_quartiles_of_few_companies_need_the_word_of_every_one(tmp_path: Path) -> None:
    """Of the one that did not give it, too, although it receives nothing."""
    with Cluster(tmp_path, "abcde", colluding=2, tables=SPEC, queries=OF_FEW) as cluster:
        for k, name in enumerate("abcde"):
            if name != "d":
                with (cluster[name] / "node.toml").open("a") as config:
                    config.write("quartiles_of_few = true\n")
            cluster.hold(name, "t", f"SELECT {10 * k * k} AS n FROM range(2)")
        cluster.approve()
        cluster.start()
        refused = cluster.run("quartiles", "a")
        assert refused.returncode == 1
        assert "d refuses: queries.quartiles asks for quartiles of 5 companies" in refused.stderr
        assert "quartiles_of_few = true" in refused.stderr
        assert not list(cluster["a"].glob("results/*"))
        cluster.stop("d")
        text = (cluster["d"] / "node.toml").read_text()
        (cluster["d"] / "node.toml").write_text("quartiles_of_few = true\n" + text)
        cluster.start("d")
        (row,) = cluster.result("quartiles", "a")["rows"]
        assert [float(x) for x in row] == [20, 80, 180]
        assert "Traceback" not in cluster.logs()


def test_a_company_without_rows_to_average_says_so_in_its_own_log_alone(tmp_path: Path) -> None:
    with Cluster(tmp_path, "abcde", tables=SPEC, queries=QUERIES) as cluster:
        for name in "abcde":
            cluster.hold(name, "t", "SELECT 1 AS n FROM range(1)" if name != "e" else "SELECT 1 AS n FROM range(0)")
        cluster.approve()
        cluster.start()
        done = cluster.run("stand", "a")
        assert done.returncode == 1
        assert "e cannot answer: its own log says why" in done.stderr
        assert "AVG(n) of no rows" in cluster.log("e")
        assert "of no rows" not in cluster.log("b")
