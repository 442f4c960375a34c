"""GROUP BY a text of which no values are declared: which groups are found, what they are given, that nothing else is opened, and how seldom one is opened that a single unit brought."""

import math
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from cluster import Cluster, comity
from conformance import Watched
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from test_private_nodes import charges, refusal

from mpc.correlations import Triples
from mpc.randomness import Stream, fresh_seed
from mpc.simulate import simulate
from parties.data.home import DataError, TableSource, compute
from parties.data.synthetic import write_synthetic
from parties.spec.sql import SqlProblem, parse_query
from protocols.planning.disclosures import disclosures
from protocols.planning.execute import answer, draw_noise, execute, inputs, prepare
from protocols.planning.explain import expected_errors, guarantee, steps
from protocols.planning.plan import Security
from protocols.planning.planner import plan_query
from protocols.planning.privacy import Privacy
from protocols.planning.query import PlanError
from protocols.planning.rules import Rules
from protocols.planning.undeclared import NONE, UNLIKELY, coded, text_of
from protocols.tables import Column, Table, Unit

NAMES = ("ada", "ben", "cyd")
ONE = Privacy("gaussian", 20_000, Fraction(1), Fraction(1, 10**6))
MUCH = replace(ONE, micro_rho=10**9)
EACH = Unit()
JOINT = replace(ONE, mechanism="joint")
SQL = "SELECT city, COUNT(*) AS n, SUM(x) AS s FROM t GROUP BY city"


def planned(
    sql=SQL, privacy=MUCH, scheme="additive", keys=8, length=20, unit=EACH, names=NAMES, rules=None, triples="dealer"
):
    columns = {
        "city": Column("city", "text", 0, keys - 1, length=length, nullable=True),
        "x": Column("x", "integer", -5, 5),
        "g": Column("g", "integer", 0, 3),
    }
    query = parse_query("q", sql, {"t": Table("t", columns, 1000, names, unit=unit)}, names[:1])
    return plan_query(
        replace(query, privacy=privacy, rules=rules or query.rules),
        Security(names, scheme, 1, None if scheme == "replicated" else triples),
    )


def run(plan, companies, *, quiet=False, wrap=lambda me, channel: channel) -> Any:
    """`companies` are totals by text."""

    def party(ctx, totals):
        prepare(ctx, plan)
        drawn = draw_noise(plan, plan.security.parties[ctx.me], Stream(fresh_seed()))
        if quiet and drawn is not None:
            drawn = drawn * 0
        home = coded(plan.undeclared.column, totals, len(plan.totals))
        opened = execute(ctx, plan, inputs(plan, [home], drawn), seed=fresh_seed())
        assert ctx.measured == plan.cost(ctx.me)
        return opened

    return simulate(party, companies, plan.scheme, triples=plan.triples, wrap=wrap)[0]


# --- which groups, and their totals ------------------------------------------------------------------------------------------------

TEXTS = st.one_of(
    st.sampled_from(["", "a", "b", "Zürich", "x" * 20, "\x01", "a\x01", "a\x00"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), scheme=st.sampled_from(["additive", "shamir", "replicated"]))
def test_without_noise_groups_are_those_with_rows_enough(data, scheme):
    plan = planned(scheme=scheme)
    least = plan.undeclared.rows
    rows = st.integers(1, least + 1) | st.sampled_from([least - 1, least, least // 2, -(-least // 3)])
    each = st.dictionaries(TEXTS, st.tuples(rows, st.integers(-50, 50)), max_size=8)
    companies = [data.draw(each) for _ in NAMES]
    counts, sums = Counter(), Counter()
    for totals in companies:
        for text, (n, s) in totals.items():
            counts[text] += n
            sums[text] += s
    table = answer(plan, run(plan, companies, quiet=True))
    expected = [
        (text, counts[text], sums[text])
        for text in counts
        if counts[text] * plan.noise[0].factor >= plan.undeclared.threshold
    ]
    assert Counter((text, int(n), s) for text, n, s in table.rows) == Counter(
        (shown(text), n, s) for text, n, s in expected
    )
    assert [row[0] for row in table.rows] == sorted(row[0] for row in table.rows)


def shown(text):
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


@pytest.mark.parametrize("scheme", ["additive", "shamir"])
@pytest.mark.parametrize("companies", [2, 3, 5])
def test_full_lists_of_any_number_of_companies(scheme, companies):
    names = ("a", "b", "c", "d", "e")[:companies]
    if scheme == "shamir" and companies == 2:
        scheme = "additive"
    plan = planned(scheme=scheme, names=names, keys=4)
    totals = [{f"k{(k + number) % 6}": (1000, k) for k in range(4)} for number in range(companies)]
    table = answer(plan, run(plan, totals, quiet=True))
    expected = Counter()
    for each in totals:
        for text, (n, _) in each.items():
            expected[text] += n
    assert {text: n for text, n, _ in table.rows} == dict(expected)
    assert plan.undeclared.places == 4 * (1 << (companies - 1).bit_length())


def test_nobody_has_a_row():
    assert answer(planned(), run(planned(), [{}, {}, {}])).rows == ()


@pytest.mark.parametrize("mechanism", ["gaussian", "joint"])
def test_noise_is_what_is_claimed(mechanism):
    """Of 60 answers with 8 groups each a chi-square of the errors; false alarms: 1e-6."""
    plan = planned(privacy=replace(ONE, mechanism=mechanism), keys=8, scheme="replicated")
    totals, errors = [{f"k{k}": (10_000 + k, k) for k in range(8)} for _ in NAMES], []
    for _ in range(60):
        table = answer(plan, run(plan, totals))
        assert [row[0] for row in table.rows] == [f"k{k}" for k in range(8)]
        for k, (_, n, s) in enumerate(table.rows):
            errors.append(
                [(float(n) - 3 * (10_000 + k)) / plan.noise[0].deviation, (float(s) - 3 * k) / plan.noise[1].deviation]
            )
        assert table.standard_error[0][1] == plan.noise[0].deviation
    for found in np.array(errors).T:
        low, high = stats.chi2.ppf([5e-7 / 2, 1 - 5e-7 / 2], len(found))
        assert low < (found**2).sum() < high


def test_nothing_else_is_opened():
    """To the receiver alone goes one opening, of all places; and those without a group are zeros there: no noise is left to see."""
    plan, watched = planned(privacy=ONE, scheme="shamir"), {}

    def wrap(me, channel):
        watched[me] = Watched(channel)
        return watched[me]

    opened = run(plan, [{"many": (900, 1), "few": (3, 1)}] * 3, wrap=wrap)
    assert [row[0] for row in answer(plan, opened).rows] == ["many"]
    assert all(of[0] and not any(of[1:]) for of in opened if any(of))
    assert len(opened) == len(plan.opened) == 2 + plan.undeclared.column.words
    for me, seen in watched.items():
        # uniform, but for the last (test_compare.py)
        assert {tag.operation for _, tag, _ in seen.sent} <= {
            "share",
            "triples",
            "compare",
            "multiply",
            "bits as numbers",
            "decompose",
            "reveal",
        }
        reveals = [(to, len(payload)) for to, tag, payload in seen.sent if tag.operation == "reveal"]
        assert me != 0 or not reveals
        assert set(reveals) <= {(0, 8 * plan.values_opened)}


# --- how seldom a group is opened that one unit brought --------------------------------------------------------------------------------


@pytest.mark.parametrize("privacy", [ONE, JOINT, MUCH], ids=["gaussian", "joint", "much"])
@pytest.mark.parametrize("unit", [Unit(), Unit("who", 3, 2, 4)], ids=["row", "person"])
def test_a_unit_alone_reaches_the_threshold_with_probability_2_to_the_minus_40(privacy, unit):
    """By the exact tail of the discrete Gaussian that is the worst: one with the variance of all noise."""
    plan = planned(privacy=privacy, unit=unit)
    noise, found = plan.noise[plan.undeclared.count], plan.undeclared
    alone = unit.companies * unit.rows * noise.factor
    beyond, variance = found.threshold - alone, float(noise.variance)
    x = np.arange(beyond, beyond + int(60 * math.sqrt(variance)) + 60)
    tail = np.exp(-(x.astype(float) ** 2) / (2 * variance)).sum() / math.sqrt(2 * math.pi * variance)
    assert 2 * unit.companies * unit.groups * tail <= 2**-UNLIKELY
    weaker = beyond * 0.85
    assert (
        2 * unit.companies * unit.groups * stats.norm.sf(weaker / math.sqrt(variance)) > 2**-UNLIKELY
    )  # so it is not far too high


def test_a_lower_threshold_would_be_seen():
    """A planted bug: the threshold is what a unit adds, without the noise. Of 24 texts of one row each none is opened (false alarms: 2^-35); with the bug all stay hidden with probability 2^-24."""
    plan = planned(privacy=ONE, scheme="replicated")
    alone = [{f"k{number}{k}": (1, 0) for k in range(8)} for number in range(3)]
    assert not answer(plan, run(plan, alone)).rows
    bold = replace(plan, undeclared=replace(plan.undeclared, threshold=plan.noise[0].factor))
    assert answer(bold, run(bold, alone)).rows


def test_minimum_group_raises_it():
    low, high = planned(privacy=ONE), planned(privacy=ONE, rules=Rules(5_000))
    assert high.undeclared.rows == 5_000 > low.undeclared.rows
    assert planned(privacy=ONE, rules=Rules(2)).undeclared == low.undeclared


# --- texts ----------------------------------------------------------------------------------------------------------------------------


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=9))
def test_texts_come_back(text):
    column = Column("city", "text", 0, 3, length=36)
    vector = coded(column, {text: [1]}, 1).reshape(-1, 4)
    assert 0 <= vector[1, 0] < NONE
    assert vector[1, 1:].tolist() == [NONE] * 3
    assert all(0 <= word < 1 << 56 for word in vector[2:].reshape(-1))
    assert text_of([int(word) for word in vector[2:, 0]]) == shown(text)
    assert text_of([0] * column.words) is None


def test_another_companys_text_moves_no_cursor():
    column = Column("city", "text", 0, 0, length=40)
    words = coded(column, {"\x1b[2Jgone\u202e": [1]}, 1)[2:]
    assert text_of([int(word) for word in words]) == "\ufffd[2Jgone\ufffd"


# --- at home ------------------------------------------------------------------------------------------------------------------------


def source(folder: Path, rows: str, name: str = "rows.parquet") -> TableSource:
    duckdb.sql(rows).write_parquet(str(folder / name))
    return TableSource(folder / name)


def by_text(plan, vector):
    column = plan.undeclared.column
    rows = np.array(vector, dtype=object).reshape(-1, column.size)
    counts, sums, hashes, words = rows[0], rows[1], rows[2], rows[3:]
    assert hashes.tolist() == sorted(hashes)
    return {
        text_of([int(word) for word in words[:, k]]): (counts[k], sums[k])
        for k in range(column.size)
        if hashes[k] < NONE
    }


def test_totals_at_home(tmp_path):
    plan = planned()
    rows = "SELECT CASE i % 4 WHEN 0 THEN 'Bern' WHEN 1 THEN 'Genève' WHEN 2 THEN repeat('x', 21) END AS city, i % 5 AS x, 0 AS g FROM range(40) r(i)"
    vector = compute(plan.tasks[0], source(tmp_path, rows))
    assert vector.size == plan.tasks[0].size == plan.shapes[0][0] - 2 * plan.cells
    # NULL is in no group, and what is longer than 20 bytes does not count
    assert by_text(plan, vector) == {
        "Bern": (10, sum(i % 5 for i in range(0, 40, 4))),
        "Genève": (10, sum(i % 5 for i in range(1, 40, 4))),
    }


def test_units_are_bounded_in_texts_as_in_groups(tmp_path):
    plan = planned(unit=Unit("who", 1, 2, 3))
    rows = "SELECT 'c' || (i % 7) AS city, 1 AS x, 0 AS g, 'one' AS who FROM range(70) r(i)"
    found = by_text(plan, compute(plan.tasks[0], source(tmp_path, rows)))
    assert list(found.values()) == [(2, 2)] * 3


def test_conditions_and_enumerations(tmp_path):
    plan = planned("SELECT city, COUNT(*) AS n, SUM(x) AS s FROM t WHERE x > 0 AND g = 1 GROUP BY city")
    rows = "SELECT (CASE WHEN i < 10 THEN 'a' ELSE 'b' END)::ENUM ('a', 'b') AS city, i % 3 AS x, i % 2 AS g FROM range(12) r(i)"
    found = by_text(plan, compute(plan.tasks[0], source(tmp_path, rows)))
    assert found == {text: (len(of), sum(i % 3 for i in of)) for text, of in {"a": [1, 5, 7], "b": [11]}.items()}


def test_too_many_texts(tmp_path):
    rows = "SELECT 'c' || i AS city, 1 AS x, 0 AS g FROM range({}) r(i)"
    assert len(by_text(planned(), compute(planned().tasks[0], source(tmp_path, rows.format(8))))) == 8
    with pytest.raises(
        DataError,
        match=r"column city has more than the 8 different values that the spec takes of a company: join rare ones .* or agree on more `keys` of tables\.t\.columns\.city",
    ):
        compute(planned().tasks[0], source(tmp_path, rows.format(9)))


def test_exact_queries_over_such_a_table(tmp_path):
    """The column is checked, but not used."""
    exact = planned("SELECT SUM(x) FROM t", privacy=None)
    good, bad = "SELECT '{}' AS city, 1 AS x, 0 AS g", "x" * 21
    assert compute(replace(exact.tasks[0], unit=None), source(tmp_path, good.format("Bern"))).tolist() == [1]
    with pytest.raises(DataError, match="column city: in 1 row it is longer than 20 bytes"):
        compute(replace(exact.tasks[0], unit=None), source(tmp_path, good.format(bad)))
    with pytest.raises(DataError, match="column city is INTEGER, and text needs VARCHAR"):
        compute(exact.tasks[0], source(tmp_path, "SELECT 1 AS city, 1 AS x, 0 AS g"))


def test_stand_ins_have_texts_that_fit(tmp_path):
    plan = planned(length=6)
    assert write_synthetic(plan.query.tables[0], 50, "ada", tmp_path / "t.parquet") == 50
    found = by_text(plan, compute(plan.tasks[0], TableSource(tmp_path / "t.parquet")))
    assert set(found) == {f"city {k}" for k in range(8)}
    assert sum(count for count, _ in found.values()) > 30


# --- what is refused, and what is said ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "privacy", "message"),
    [
        (SQL, None, "takes `privacy`"),
        (SQL, Privacy("laplace", 500_000, Fraction(1)), "takes `privacy`"),
        (SQL, replace(ONE, local=True), "takes `privacy`"),
        ("SELECT city, RANK_OF_MINE(SUM(x)) FROM t GROUP BY city", ONE, "RANK_OF_MINE is not"),
        ("SELECT city, SUM(x) FROM t GROUP BY city", ONE, r"takes COUNT\(\*\)"),
        ("SELECT city, g, COUNT(*) FROM t GROUP BY city, g", ONE, "of this column alone"),
        ("SELECT city, COUNT(*), MEDIAN(x) FROM t GROUP BY city", ONE, "MEDIAN is not"),
        ("SELECT city, COUNT(*), MIN(x) FROM t GROUP BY city", ONE, "MIN is not"),
        ("SELECT city, COUNT(*), MODE(g) FROM t GROUP BY city", ONE, "MODE is not"),
    ],
)
def test_what_cannot_be_had(sql, privacy, message):
    with pytest.raises(PlanError, match=message):
        planned(sql, privacy)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT COUNT(*) FROM t WHERE city = 'x'",
        "SELECT COUNT(city) FROM t",
        "SELECT MODE(city) FROM t",
        "SELECT COUNT(*) FROM t WHERE city IS NULL",
    ],
)
def test_texts_are_for_group_by_alone(sql):
    with pytest.raises(SqlProblem, match="city"):
        planned(sql)


def test_only_the_minimum_group_goes_with_it():
    with pytest.raises(PlanError, match="only minimum_group"):
        planned(rules=Rules(5, 2))


def test_too_many_to_compare():
    columns = {"city": Column("city", "text", 0, 4095, length=48)}
    names = tuple(f"p{k:02}" for k in range(33))
    query = parse_query(
        "q",
        "SELECT city, COUNT(*) FROM t GROUP BY city",
        {"t": Table("t", columns, 1000, names, unit=Unit())},
        names[:1],
    )
    with pytest.raises(PlanError, match=r"lower keys or length of tables\.t\.columns\.city"):
        plan_query(replace(query, privacy=ONE), Security(names, "shamir", 1))


@pytest.mark.parametrize("keys", [1, 2, 64, 1024])
def test_what_is_multiplied_is_bounded(keys):
    plan = planned(keys=keys, length=48)
    (products,) = (row.count for row in plan.needed if isinstance(row, Triples))
    assert products <= plan.undeclared.multiplied <= 2 * products


def test_what_is_said():
    plan = planned(privacy=ONE)
    rows = plan.undeclared.rows
    assert any(
        item.what == f"COUNT(*) by city, with noise, where it has at least about {rows:,} rows by a count with noise"
        for item in disclosures(plan)
    )
    assert any(
        item.what.startswith("the texts of city that have at least about") and item.cells == 3 * 32
        for item in disclosures(plan)
    )
    assert sum(item.cells for item in disclosures(plan)) == plan.values_opened == 5 * 32
    assert any("find groups: of up to 8 values of city at each of 3 companies" in step for step in steps(plan))
    assert any(f"at least about {rows:,} rows" in line and "2^-40" in line for line in guarantee(plan))
    assert [line[0] for line in expected_errors(plan)] == ["n", "s"]
    assert plan.is_once


# --- nodes ----------------------------------------------------------------------------------------------------------------------------------

TABLES = """
[tables.t]
max_rows = 100_000
unit = { key = "person", groups = 2 }
[tables.t.columns]
place = { type = "text", keys = 20, length = 24 }
x = { type = "integer", lower = 0, upper = 10 }
"""
QUERIES = """
[queries.places]
sql = "SELECT place, COUNT(*) AS n, AVG(x) AS x FROM t GROUP BY place"
receivers = ["alpha"]
privacy = { epsilon = 1, delta = 1e-6, mechanism = "MECHANISM" }
"""


@pytest.mark.parametrize(
    ("scheme", "mechanism"), [("additive", "gaussian"), ("shamir", "gaussian"), ("replicated", "joint")]
)
def test_nodes_find_what_many_have_and_keep_what_few_have(tmp_path: Path, scheme: str, mechanism: str) -> None:
    """Values are within 6 standard errors (false alarms: 1e-7)."""
    names = ("alpha", "beta", "gamma")
    with Cluster(
        tmp_path, names, scheme=scheme, tables=TABLES, queries=QUERIES.replace("MECHANISM", mechanism)
    ) as cluster:
        for number, name in enumerate(names):
            cluster.hold(
                name, "t",
                f"SELECT CASE WHEN i < 3000 THEN 'Oslo' WHEN i < 5000 THEN 'Only {name}' WHEN i < 5004 THEN 'rare' ELSE NULL END AS place, "
                f"(i + {number}) % 11 AS x, '{name}' || i AS person FROM range(5010) r(i)",
            )  # fmt: skip
        cluster.approve()
        cluster.start()
        rehearsed = comity("rehearse", "places", "--node", cluster["alpha"])
        assert "groups of place, which nobody declared, are not rehearsed" in rehearsed.stderr
        result = cluster.result("places", "alpha")
        assert [row[0] for row in result["rows"]] == ["Only alpha", "Only beta", "Only gamma", "Oslo"]
        for row, errors, rows in zip(
            result["rows"], result["privacy"]["standard_error"], (2000, 2000, 2000, 9000), strict=True
        ):
            assert abs(float(row[1]) - rows) < 6 * errors[1]
            assert abs(float(row[2]) - 5) < 6 * errors[2] + 0.1
        assert result["cost"]["measured"] == result["cost"]["declared"]
        assert {tuple(charges(cluster, name)[0][1:]) for name in names} == {("places", "settled")}
        cluster.hold("beta", "t", "SELECT 'p' || i AS place, 1 AS x, 'q' || i AS person FROM range(40) r(i)")
        assert "different values" not in refusal(cluster, "places", "alpha")  # what beta has is not alpha's to know
