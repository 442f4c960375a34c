"""Release rules: what is withheld and what is not, against plain Python; what is opened; what a floor in node.toml does."""

import json
from dataclasses import replace
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from cluster import Cluster, comity
from conformance import Watched
from hypothesis import given, settings
from hypothesis import strategies as st
from test_privacy import EACH, LAPLACE, ONE
from test_privacy import plan as private_plan
from test_private_nodes import TABLES as PEOPLE

from mpc.randomness import Stream, fresh_seed
from mpc.simulate import simulate
from parties.spec.load import SpecError, load
from parties.spec.sql import parse_query
from protocols.planning import rules as rules_module
from protocols.planning.disclosures import disclosures
from protocols.planning.execute import answer, draw_noise, execute, inputs, prepare
from protocols.planning.explain import steps
from protocols.planning.gates import gives_away
from protocols.planning.plan import Security
from protocols.planning.planner import plan_query
from protocols.planning.privacy import Privacy
from protocols.planning.query import PlanError
from protocols.planning.rules import Gate, Rules
from protocols.tables import Column, Table, Unit

GROUP = Column("g", "category", 0, 2, values=("p", "q", "r"))
X = Column("x", "integer", -50, 50, nullable=True)
SQL = "SELECT g, SUM(x) AS total, COUNT(x) AS counted FROM t GROUP BY g"


def planned(rules, n=3, sql=SQL, scheme="additive", colluding=1, receivers=None, **changes):
    names = tuple(f"c{k}" for k in range(n))
    table = Table("t", {"g": GROUP, "x": X}, changes.get("max_rows", 1000), names)
    query = parse_query("q", sql, {"t": table}, receivers or names)
    object.__setattr__(query, "rules", rules)
    return plan_query(query, Security(names, scheme, colluding))


def home(plan, rows):
    (task,) = plan.tasks
    totals = []
    for measure in task.measures:
        for cell in range(plan.cells):
            values = [x for g, x in rows if plan.cells == 1 or g == cell]
            if measure.expression is not None:
                values = [x for x in values if x is not None]
            totals.append(len(values) if measure.kind == "count" else sum(values))
    return np.array(totals, dtype=object)


def run(plan, companies, triples="insecure", wrap=lambda me, channel: channel):
    def party(ctx, rows):
        prepare(ctx, plan)
        opened = execute(ctx, plan, inputs(plan, [home(plan, rows)]))
        if triples != "insecure":
            assert ctx.measured == plan.cost(ctx.me)
        return None if opened is None else (answer(plan, opened).rows, opened)

    return simulate(party, companies, plan.scheme, triples=triples, wrap=wrap)


def is_released(plan, cells):
    """`cells` are each company's rows of one cell."""
    rules, n = plan.query.rules, len(cells)
    counts = [sum(x is not None for _, x in rows) for rows in cells]
    taken = 1 if rules.against == "company" else min(plan.security.colluding, n - 1)
    sums = [[abs(sum(x for _, x in rows if x is not None)) for rows in cells]]
    return (
        sum(counts) > 0
        and all(sum(counts) - sum(away) >= rules.minimum_group for away in combinations(counts, taken))
        and sum(count > 0 for count in counts) >= rules.minimum_contributors
        and all(size <= rules.maximum_share * sum(sizes) for sizes in (counts, *sums) for size in sizes)
    )


def expected(plan, companies):
    rows = []
    for cell, name in enumerate("pqr"):
        cells = [[row for row in of if row[0] == cell] for of in companies]
        values = [x for rows_of in cells for _, x in rows_of if x is not None]
        rows.append((name, sum(values), len(values)) if is_released(plan, cells) else (name, None, None))
    return tuple(rows)


RULES = [
    Rules(minimum_group=2),
    Rules(minimum_group=1),
    Rules(minimum_group=3, against="coalition"),
    Rules(minimum_contributors=2),
    Rules(maximum_share=Fraction(1, 2)),
    Rules(maximum_share=Fraction(4, 5)),
    Rules(2, 2, Fraction(3, 4)),
]
company = st.lists(st.tuples(st.integers(0, 2), st.none() | st.integers(-5, 5)), max_size=9)


@pytest.mark.parametrize("rules", RULES, ids=str)
@pytest.mark.parametrize(("n", "colluding"), [(2, 1), (3, 2), (5, 2)])
@given(data=st.data())
@settings(max_examples=4, deadline=None)
def test_what_is_withheld_is_what_the_rules_say(rules, n, colluding, data):
    companies = data.draw(st.lists(company, min_size=n, max_size=n))
    plan = planned(rules, n, colluding=colluding)
    for rows, _ in run(plan, companies):
        assert rows == expected(plan, companies)


def of_counts(*counts):
    """Companies with so many rows of p, and none else."""
    return [[(0, 1)] * count for count in counts]


@pytest.mark.parametrize(
    ("rules", "counts", "released"),
    [
        (Rules(minimum_group=10), (9, 1, 0), False), (Rules(minimum_group=10), (9, 9, 1), True), (Rules(minimum_group=10), (100, 9, 0), False),
        (Rules(minimum_group=10), (100, 10, 0), True), (Rules(minimum_group=10), (0, 0, 0), False),
        (Rules(minimum_group=3, against="coalition"), (9, 9, 2), False), (Rules(minimum_group=3, against="coalition"), (9, 9, 3), True),
        (Rules(minimum_contributors=3), (9, 9, 0), False), (Rules(minimum_contributors=3), (1, 1, 1), True),
        (Rules(maximum_share=Fraction(8, 10)), (8, 1, 1), True), (Rules(maximum_share=Fraction(8, 10)), (9, 1, 1), False),
        (Rules(maximum_share=Fraction(8, 10)), (0, 0, 0), False),
    ],
)  # fmt: skip
def test_exactly_at_the_bound(rules, counts, released):
    plan = planned(rules, colluding=2)
    rows, opened = run(plan, of_counts(*counts))[0]
    assert rows[0] == (("p", sum(counts), sum(counts)) if released else ("p", None, None))
    assert rows[1:] == (("q", None, None), ("r", None, None))  # empty groups are withheld like small ones
    assert opened[-1] == [int(released), 0, 0]
    assert all(value == 0 for column in opened for value in column[1:])


def test_rows_that_are_null_do_not_count():
    plan = planned(Rules(2, 2))
    assert run(plan, [[(0, None)] * 20, [(0, None)] * 20, [(0, 42)]])[0][0][0] == ("p", None, None)
    with pytest.raises(PlanError, match="CASE chooses among the rows of a cell"):
        planned(Rules(2), sql="SELECT SUM(CASE WHEN x = 3 THEN x ELSE 0 END) AS s FROM t")


def test_a_variance_is_not_withheld_for_what_it_is_made_of():
    plan = planned(Rules(maximum_share=Fraction(1, 2)), sql="SELECT VAR_POP(x) AS v FROM t")
    assert run(plan, [[(0, 1)], [(0, 0)], [(0, 0)]])[0][0] == ((pytest.approx(2 / 9),),)


def test_a_share_of_a_sum_counts_by_its_size():
    plan = planned(Rules(maximum_share=Fraction(1, 2)), 3)
    companies = [[(0, -40), (0, 0)], [(0, 20), (0, 0)], [(0, 19), (0, 0)]]
    assert run(plan, companies)[0][0][0] == ("p", None, None)  # 40 of 79, though the sum is -1
    companies[2] = [(0, 20), (0, 0)]
    assert run(plan, companies)[0][0][0] == ("p", 0, 6)


@pytest.mark.parametrize(("scheme", "colluding", "n"), [("additive", 2, 3), ("additive", 1, 2), ("shamir", 1, 3), ("shamir", 2, 5), ("replicated", 1, 3)])
def test_with_transfers_under_every_scheme_at_the_declared_cost(scheme, colluding, n):
    plan = planned(Rules(2, 2, Fraction(3, 4)), n, scheme=scheme, colluding=colluding)
    assert plan.triples == ("ot" if scheme != "replicated" else None)
    companies = [[(k % 3, k), (0, 2), (0, None), (1, 5)] for k in range(n)]
    for rows, _ in run(plan, companies, triples="ot"):
        assert rows == expected(plan, companies)


def test_ungrouped_and_histograms_are_withheld_too():
    plan = planned(Rules(minimum_group=3), sql="SELECT AVG(x) AS mean, STDDEV_SAMP(x) AS s FROM t")
    assert run(plan, of_counts(3, 2, 0))[0][0] == ((None, None),)
    assert run(plan, of_counts(3, 3, 0))[0][0] == ((1.0, 0.0),)
    plan = planned(Rules(minimum_group=2), sql="SELECT HISTOGRAM(x, 0, 4, 2) FROM t")

    def counted(ctx, counts):
        prepare(ctx, plan)
        opened = execute(ctx, plan, inputs(plan, [np.array(counts)]))
        return [row[-1] for row in answer(plan, opened).rows]

    companies = [[0, 1, 2, 5], [0, 1, 1, 0], [0, 1, 0, 0]]
    assert simulate(counted, companies, plan.scheme, triples="insecure")[0] == [None, 3, None, None]


def test_only_the_bit_and_bit_times_value_are_opened_and_to_receivers_alone():
    plan = planned(Rules(2, 2, Fraction(3, 4)), receivers=("c1",))
    watched = {}

    def wrap(me, channel):
        watched[me] = Watched(channel)
        return watched[me]

    results = run(plan, of_counts(1, 4, 0), wrap=wrap)
    assert [result is None for result in results] == [True, False, True]
    assert results[1][1] == [[0, 0, 0], [0, 0, 0], [0, 0, 0]]
    for me, seen in watched.items():
        assert {tag.operation for _, tag, _ in seen.sent} <= {"compare", "multiply", "bits as numbers", "reveal"}  # uniform: test_compare.py
        opened = [(to, len(payload)) for to, tag, payload in seen.sent if tag.operation == "reveal"]
        assert opened == ([] if me == 1 else [(1, 8 * 9)])  # two measures and the bit, of three cells
    assert plan.values_opened == 9


def test_what_is_said(tmp_path):
    plan = planned(Rules(10, 3, Fraction(4, 5), "coalition"), colluding=2)
    said = "at least 10 rows without the rows of any companies that may collude, rows of at least 3 companies, no company with more than 0.8 of the rows, or of a sum"
    assert str(plan.query.rules) == said
    assert disclosures(plan)[0].what == f"SUM(x) by g, where the cell has {said}"
    assert disclosures(plan)[2].what == "whether the cell is released by g"
    assert disclosures(plan)[3].implied
    assert disclosures(plan)[3].what.startswith("of a withheld cell, that it does not have")
    assert [item.cells for item in disclosures(plan) if "taking away" in item.what] == [6, 6, 6]
    assert "0.9999999 of the rows" in str(Rules(maximum_share=Fraction("0.9999999")))
    assert any(step.startswith("withhold: ") for step in steps(plan))
    assert dict(plan.ranges)["what remains of the count, less the minimum"] == 3 * 1000 + 10
    assert planned(Rules(10)).digest != planned(Rules(11)).digest


@pytest.mark.parametrize(
    ("rules", "n", "message"),
    [
        (Rules(minimum_contributors=4), 3, "minimum_contributors = 4 releases nothing: t has 3 companies"),
        (Rules(maximum_share=Fraction(1, 4)), 3, "maximum_share = 0.25 releases nothing: one of 3 companies has more"),
    ],
)
def test_rules_that_release_nothing_are_refused(rules, n, message):
    with pytest.raises(PlanError, match=message):
        planned(rules, n)


def test_ranges_of_what_is_compared_are_proven():
    wide = planned(Rules(maximum_share=Fraction("0.999999999999")), max_rows=1 << 40)
    assert wide.scheme.algebra.name == "Z_2^128"
    companies = of_counts(3, 3, 3)
    assert run(wide, companies)[0][0] == expected(wide, companies)


# --- planted bugs ---------------------------------------------------------------------------------------------------------


def finds(monkeypatch, name, changed, rules, companies, **how):
    monkeypatch.setattr(Gate, name, changed)
    plan = planned(rules, len(companies), **how)
    return run(plan, companies)[0][0] != expected(plan, companies)


def test_a_company_that_is_not_taken_away_is_found(monkeypatch):
    away = rules_module.itertools.combinations
    monkeypatch.setattr(rules_module.itertools, "combinations", lambda holders, taken: list(away(holders, taken))[1:])
    plan, companies = planned(Rules(minimum_group=2)), of_counts(5, 1, 0)
    assert run(plan, companies)[0][0] != tuple(("pqr"[k], None, None) for k in range(3))


def test_an_extra_of_the_wrong_company_or_rule_is_found(monkeypatch):
    own = Gate.of
    assert finds(monkeypatch, "of", lambda self, totals: [x * 0 + 1 for x in own(self, totals)], Rules(minimum_contributors=2), of_counts(5, 0, 0))


# --- the spec, and nodes ----------------------------------------------------------------------------------------------------

TABLES = """
[tables.t]
max_rows = 100
[tables.t.columns]
g = { type = "category", values = ["p", "q"] }
n = { type = "integer", lower = 0, upper = 9_999_999 }
"""


def queries(**rules):
    everyone = 'receivers = ["alpha", "beta", "gamma"]\n'
    return f'[queries.q]\nsql = "SELECT g, AVG(n) AS mean FROM t GROUP BY g"\n{everyone}' + "".join(f"{k} = {v}\n" for k, v in rules.items())


def problems(tmp_path, text):
    cluster = Cluster(tmp_path, ("alpha", "beta", "gamma"), tables=TABLES, queries=text)
    with pytest.raises(SpecError) as caught:
        load(cluster.spec)
    return str(caught.value)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"minimum_group": 0}, "queries.q.minimum_group"),
        ({"minimum_contributors": 1}, "queries.q.minimum_contributors"),
        ({"minimum_contributors": 4}, "releases nothing"),
        ({"maximum_share": 1.0}, "queries.q.maximum_share"),
        ({"against": '"coalition"'}, "against says whose rows minimum_group takes away"),
        ({"minimum_group": 3, "against": '"all"'}, "queries.q.against"),
    ],
)
def test_a_spec_with_rules_that_mean_nothing_says_where(tmp_path, rules, message):
    assert message in problems(tmp_path, queries(**rules))


# --- beside privacy ---------------------------------------------------------------------------------------------------------------


def noisy(sql, minimum, privacy, scheme="additive", **changes):
    """The plan with the rule, and that without."""
    without = private_plan(sql, privacy, scheme=scheme, triples=None if scheme == "replicated" else "dealer", **changes)
    return plan_query(replace(without.query, rules=Rules(minimum)), without.security), without


def opened_with(plan, home, seeds):
    """All that is opened, with the noise that `seeds` give."""

    def party(ctx, seed):
        prepare(ctx, plan)
        drawn = draw_noise(plan, f"p{ctx.me}", Stream(seed))
        opened = execute(ctx, plan, inputs(plan, home[ctx.me], drawn), seed=seed)
        assert ctx.measured == plan.cost(ctx.me)
        return opened

    return simulate(party, seeds, plan.scheme, triples="dealer" if plan.triples else None)[0]


@pytest.mark.parametrize("scheme", ["additive", "shamir", "replicated"])
@pytest.mark.parametrize(
    ("sql", "privacy", "counts"),
    [
        ("SELECT origin, COUNT(*) AS n, AVG(delay) AS d FROM flights GROUP BY origin", ONE, (0, 1)),
        ("SELECT origin, COUNT(*) AS n, SUM(fare) AS s FROM flights GROUP BY origin", replace(ONE, micro_rho=10**9), (0,)),
        ("SELECT COUNT(*) AS n, origin FROM flights GROUP BY origin", LAPLACE, (0,)),
        ("SELECT hour, COUNT(*) AS n FROM flights GROUP BY hour", LAPLACE, (0,)),
        ("SELECT HISTOGRAM(hour, 0, 40, 4) FROM flights", ONE, (0,)),
        ("SELECT origin, COUNT(*) AS n FROM flights GROUP BY origin", replace(ONE, mechanism="joint"), (0,)),
        ("SELECT rain, COUNT(*) AS n FROM flights JOIN weather USING (hour) GROUP BY rain", ONE, (0,)),
    ],
)
def test_with_noise_a_cell_is_opened_where_its_noisy_count_reaches_the_minimum(scheme, sql, privacy, counts):
    """What is opened is just what would be without the rule, or 0: so it follows from that, and has its guarantee."""
    made, without = noisy(sql, 12, privacy, scheme)
    generator = np.random.default_rng(3)
    home = [[generator.integers(0, 9, task.size) if f"p{k}" in task.table.holders else None for task in made.tasks] for k in range(3)]
    seeds = [fresh_seed() for _ in range(3)]
    *values, bits = opened_with(made, home, seeds)
    everything = opened_with(without, home, seeds)
    passed = [all(everything[k][cell] >= 12 * made.noise[k].factor for k in counts) for cell in range(made.cells)]
    assert bits == passed
    assert values == [[value * bit for value, bit in zip(of, passed, strict=True)] for of in everything]
    rows, errors = answer(made, [*values, bits]).rows, answer(made, [*values, bits]).standard_error
    keys = {"origin", "hour", "rain", "bin_lower", "bin_upper"}
    for row, error, row_without, bit in zip(rows, errors, answer(without, everything).rows, passed, strict=True):
        for name, value, deviation, other in zip(answer(made, [*values, bits]).columns, row, error, row_without, strict=True):
            assert value == (other if bit or name in keys else None)
            assert deviation is None or bit


def test_with_noise_all_kinds_of_cells_occur():
    made, _ = noisy("SELECT hour, COUNT(*) AS n FROM flights GROUP BY hour", 12, LAPLACE)
    home = [[np.arange(100) // 5] * 1 for _ in range(3)]
    *_, bits = opened_with(made, home, [fresh_seed() for _ in range(3)])
    assert 0 < sum(bits) < 100


@pytest.mark.parametrize(
    ("sql", "rules", "privacy", "unit", "message"),
    [
        ("SELECT origin, SUM(fare) AS s FROM flights GROUP BY origin", Rules(5), ONE, EACH, r"of s none is opened: select COUNT\(\*\) as well"),
        ("SELECT origin, COUNT(*) AS n, SUM(delay) AS s FROM flights GROUP BY origin", Rules(5), ONE, EACH, r"of s none is opened: select COUNT\(delay\) as well"),
        ("SELECT origin, COUNT(*) AS n FROM flights GROUP BY origin", Rules(5, 2), ONE, EACH, "of the release rules only minimum_group goes with privacy"),
        ("SELECT origin, COUNT(*) AS n FROM flights GROUP BY origin", Rules(5, against="coalition"), ONE, EACH, "only minimum_group goes with privacy"),
        ("SELECT origin, COUNT(*) AS n FROM flights GROUP BY origin", Rules(0, 0, Fraction(1, 2)), ONE, EACH, "only minimum_group goes with privacy"),
        ("SELECT origin, MEDIAN(delay) AS m FROM flights GROUP BY origin", Rules(5), ONE, EACH, "MEDIAN and QUANTILE_CONT have none of its own"),
        ("SELECT origin, COUNT(*) AS n FROM flights GROUP BY origin", Rules(5), Privacy("randomised-response", 500_000, Fraction(1), local=True),
         Unit("person", neighbours="replace"), "randomised response has none of its own"),
    ],
)  # fmt: skip
def test_with_noise_other_rules_are_refused(sql, rules, privacy, unit, message):
    without = private_plan(sql, privacy, unit)
    with pytest.raises(PlanError, match=message):
        plan_query(replace(without.query, rules=rules), without.security)


def test_with_noise_it_is_said():
    made, _ = noisy("SELECT origin, COUNT(*) AS n FROM flights GROUP BY origin", 12, ONE)
    what = [disclosure.what for disclosure in disclosures(made)]
    assert what == ["COUNT(*) by origin, with noise, where the cell has a noisy count of at least 12", "whether the cell is released by origin"]
    assert any("withhold: cells that do not have a noisy count of at least 12; decided on shares, by 3 comparisons" in step for step in steps(made))
    assert not gives_away(made, planned(Rules(3)))


PRIVATE = """
[queries.heads]
sql = "SELECT region, COUNT(*) AS heads, AVG(pay) AS pay FROM people GROUP BY region"
receivers = ["alpha"]
minimum_group = 1000
privacy = { epsilon = 1, delta = 1e-6 }
"""


def test_nodes_withhold_by_counts_with_noise(tmp_path: Path) -> None:
    """The north has 300 people and the south 2,700, each with noise of about 15: false alarms below 1e-9."""
    with Cluster(tmp_path, ("alpha", "beta", "gamma"), tables=PEOPLE, queries=PRIVATE) as cluster:
        for name in ("alpha", "beta", "gamma"):
            cluster.hold(name, "people", "SELECT i AS person, CASE WHEN i < 100 THEN 'north' ELSE 'south' END AS region, 500 AS pay FROM range(1000) t(i)")
        cluster.approve()
        cluster.start()
        result = cluster.result("heads", "alpha")
        assert result["rows"][0] == ["north", None, None]
        assert abs(float(result["rows"][1][1]) - 2700) < 300
        assert result["withheld"] == 1
        assert result["privacy"]["standard_error"][0] == [None, None, None]
        assert result["privacy"]["interval"][0] == [None, None, None]
        assert result["cost"]["declared"]["bytes"] == result["cost"]["measured"]["bytes"]
        assert cluster.run("heads", "alpha", "--format", "csv").stdout.splitlines()[1] == "north,,,,"
        rehearsed = comity("rehearse", "heads", "--node", str(cluster["beta"]), "--epsilons", "1", "--format", "json")
        assert "release rules are left out" in json.loads(rehearsed.stdout)["note"]


BY_GROUP = """
[queries.parts]
sql = "SELECT g, COUNT(*) AS c, SUM(n) AS s, AVG(n) AS m FROM t GROUP BY g"
receivers = ["alpha"]
minimum_group = {}
"""


@pytest.mark.parametrize(("minimum", "rows", "totals"), [(3, [["p", None, None, None], ["q", 8, 13, 1.625]], {"c": 8, "s": 13}), (2, [["p", 4, 2, 0.5], ["q", 8, 13, 1.625]], {"c": 12, "s": 15}), (50, [["p", None, None, None], ["q", None, None, None]], {"c": None, "s": None})])
def test_a_total_beside_its_parts_is_that_of_the_released_ones(tmp_path: Path, minimum: int, rows: list, totals: dict) -> None:
    with Cluster(tmp_path, ("alpha", "beta", "gamma"), tables=TABLES, queries=BY_GROUP.format(minimum)) as cluster:
        for name, p, q in (("alpha", 2, 2), ("beta", 2, 3), ("gamma", 0, 3)):
            cluster.hold(name, "t", f"SELECT 'p' AS g, range AS n FROM range({p}) UNION ALL SELECT 'q', range + 1 - ({q} = 2)::INT FROM range({q})")
        cluster.approve()
        cluster.start()
        result = cluster.result("parts", "alpha")
        assert result["rows"] == rows
        assert result["released_totals"] == totals
        if minimum == 3:
            assert "total of what is released: c 8, s 13" in cluster.run("parts", "alpha", "--format", "table").stdout


TOTAL = '[queries.total]\nsql = "{}"\nreceivers = ["alpha", "beta", "gamma"]\n{}'


@pytest.mark.parametrize(
    ("sql", "more", "is_refused"),
    [
        ("SELECT AVG(n) AS mean FROM t", "", True),
        ("SELECT SUM(n) AS s FROM t", "minimum_group = 3\n", True),
        ("SELECT g, COUNT(*) AS c FROM t GROUP BY g", "", True),
        ("SELECT g, COUNT(*) AS c FROM t GROUP BY g", "minimum_group = 3\n", False),
        ("SELECT g, COUNT(*) AS c FROM t GROUP BY g", "minimum_group = 2\n", True),
        ("SELECT HISTOGRAM(n, 0, 10, 2) FROM t", "minimum_group = 3\n", True),
        ("SELECT SUM(2 * n) AS s FROM t", "", True),
        ("SELECT SUM(n) AS s FROM t WHERE g = 'p'", "", True),
        ("SELECT SUM(n) AS s FROM t WHERE g = 'p'", "minimum_group = 3\n", False),
        ("SELECT MAX(n) AS m FROM t", "", True),
        ("SELECT RANK_OF_MINE(SUM(n)) AS r FROM t", "", False),
    ],
)
def test_a_total_that_gives_withheld_cells_away_is_refused(tmp_path, sql, more, is_refused):
    text = queries(minimum_group=3) + TOTAL.format(sql, more)
    if is_refused:
        assert "queries.total: is over the same table as q, with weaker rules or, of the same rows, other groups" in problems(tmp_path, text)
    else:
        load(Cluster(tmp_path, ("alpha", "beta", "gamma"), tables=TABLES, queries=text).spec)


@pytest.mark.parametrize("scheme", ["additive", pytest.param("shamir", marks=pytest.mark.slow), pytest.param("replicated", marks=pytest.mark.slow)])
def test_nodes_withhold_and_refuse_what_is_below_their_floor(tmp_path: Path, scheme: str) -> None:
    with Cluster(tmp_path, ("alpha", "beta", "gamma"), scheme=scheme, colluding=1, tables=TABLES, queries=queries(minimum_group=3)) as cluster:
        for name, p, q in (("alpha", 3, 3), ("beta", 2, 3), ("gamma", 0, 0)):
            cluster.hold(name, "t", f"SELECT CASE WHEN range < {p} THEN 'p' ELSE 'q' END AS g, range AS n FROM range({p + q})")
        cluster.approve()
        cluster.start()
        result = cluster.result("q", "gamma")
        assert result["rows"] == [["p", None], ["q", 3.5]]
        assert result["withheld"] == 1
        assert result["cost"]["declared"] == result["cost"]["measured"]
        table = cluster.run("q", "gamma", "--format", "table").stdout
        assert "withheld: 1 of 2 rows, by the rules of the query" in table
        assert cluster.run("q", "gamma", "--format", "csv").stdout.splitlines() == ["g,mean", "p,", "q,3.5"]
        assert result["released_totals"] == {}  # of a mean there is none

        cluster.stop("beta")
        with (cluster["beta"] / "node.toml").open("a") as config:
            config.write("[release]\nminimum_group = 10\n")
        cluster.start("beta")
        refused = cluster.run("q", "alpha")
        assert refused.returncode == 1
        assert (
            "beta refuses: queries.q has weaker release rules than [release] of its node.toml: it takes minimum_group = 10 or more" in refused.stderr
        )
        explained = comity("explain", cluster.spec, "q").stdout
        assert "opened: whether the cell is released by g" in explained
        assert "Traceback" not in cluster.logs()
