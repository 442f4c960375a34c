"""Ratios: exact division on shares, averages and indices rounded inside; neither part is opened, nor anything else."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_across import NINE, home

from mpc.cost import Cost
from mpc.schemes.named import schemes
from mpc.simulate import simulate
from parties.spec.sql import SqlProblem, parse_query
from protocols.gadgets import quotient, quotient_cost, reveal, share
from protocols.planning.disclosures import disclosures
from protocols.planning.execute import answer, execute, inputs, prepare
from protocols.planning.explain import at_home, said_by_statistics, steps
from protocols.planning.gates import below
from protocols.planning.plan import Security
from protocols.planning.planner import plan_query
from protocols.planning.privacy import Privacy
from protocols.planning.query import PlanError, StatisticOutput
from protocols.planning.rules import Rules
from protocols.statistics import ratio
from protocols.tables import Column, Table

SCHEMES = [scheme for name in ("additive", "shamir", "replicated") for scheme in schemes(name, 3, 1)]
DIGITS = 3


def divided(scheme, xs, ys, triples="insecure"):
    def party(ctx, _):
        values = np.array([xs, ys], dtype=object) if ctx.me == 0 else None
        (both,) = share(ctx, values, shapes={0: (2, len(xs))})
        before, expected = ctx.measured, quotient_cost(scheme, ctx.me, ctx.triples, len(xs), DIGITS)
        found = quotient(ctx, both[0], both[1], DIGITS)
        assert ctx.measured == before + expected
        return reveal(ctx, found)

    return simulate(party, [None] * 3, scheme, triples=triples)[0].tolist()


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda s: f"{s.name} {s.algebra.name}")
@given(data=st.data())
@settings(max_examples=6, deadline=None)
def test_a_quotient_is_exact_up_to_the_bound(scheme, data):
    largest = scheme.algebra.bound >> 12
    pairs = [(0, 1), (4095, 1), (0, 0), (4096 * largest - 1, largest), (largest - 1, largest), (largest, largest), (0, largest)]
    for y in data.draw(st.lists(st.integers(1, largest) | st.integers(1, 9), max_size=6)):
        q = data.draw(st.integers(0, 4095))
        pairs += [(q * y + r, y) for r in (0, y - 1, data.draw(st.integers(0, y - 1)))]
    xs, ys = zip(*pairs, strict=True)
    assert divided(scheme, xs, ys) == [x // y if y else 4095 for x, y in pairs]


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda s: f"{s.name} {s.algebra.name}")
def test_a_quotient_by_transfers_at_the_declared_cost(scheme):
    assert divided(scheme, [7, 100, 0], [2, 3, 5], triples="ot") == [3, 33, 0]


def test_seven_rounds_a_digit_and_one_less_for_the_last():
    def party(ctx, _):
        (both,) = share(ctx, [[40], [3]] if ctx.me == 0 else None, shapes={0: (2, 1)})
        before = ctx.measured
        quotient(ctx, both[0], both[1], 4)
        return ctx.measured.rounds - before.rounds

    assert simulate(party, [None] * 2, "additive", triples="insecure") == [27, 27]


GROUP = Column("g", "category", 0, 1, values=("p", "q"))
COLUMNS = {
    "g": GROUP,
    "x": Column("x", "decimal", -500, 1500, scale=2, nullable=True),
    "y": Column("y", "integer", 0, 10**6),
    "z": Column("z", "integer", 7, 7),
}


def planned(sql, n=3, scheme="additive", colluding=1, privacy=None, rules=None, triples=None):
    names = NINE[:n]
    query = parse_query("q", sql, {"t": Table("t", COLUMNS, 1000, names)}, names)
    changes = {"privacy": privacy} | ({"rules": rules} if rules else {})
    return plan_query(type(query)(**{**vars(query), **changes}), Security(names, scheme, colluding, triples))


def run(plan, companies, triples="insecure", wrap=lambda me, channel: channel):
    def party(ctx, rows):
        prepare(ctx, plan)
        opened = execute(ctx, plan, inputs(plan, [home(plan, rows)]))
        if triples == "ot":
            assert ctx.measured == plan.cost(ctx.me)
        return answer(plan, opened)

    return simulate(party, companies, plan.scheme, triples=triples, wrap=wrap)[0]


def expected(plan, companies):
    """By itself, from the rows."""
    rows = []
    for cell in range(plan.cells):
        own = [[x for g, x in of if (plan.cells == 1 or g == cell)] for of in companies]
        row = []
        for output in plan.query.select:
            if not isinstance(output, StatisticOutput):
                continue
            if output.function == "HHI":
                row.append(output.statistic.index([sum(x for x in of if x is not None) for of in own]))
            elif output.function == "AVG_ONLY":
                row.append(output.statistic.reference("", (), [(x,) for of in own for x in of]))
            else:
                row.append(Fraction(sum(1 for of in own for _ in of)))
        rows.append(row)
    return rows


def assert_right(plan, companies, **how):
    got = run(plan, companies, **how)
    values = [[None if value is None else Fraction(value) for value in row if not isinstance(value, str)] for row in got.rows]
    assert values == expected(plan, companies)


rows = st.lists(st.tuples(st.integers(0, 1), st.none() | st.integers(-500, 1500)), max_size=5)


@pytest.mark.parametrize("scheme", ["additive", "shamir", "replicated"])
@given(companies=st.lists(rows, min_size=3, max_size=3))
@settings(max_examples=12, deadline=None)
def test_averages_in_groups_are_those_of_the_rows(scheme, companies):
    assert_right(planned("SELECT g, AVG_ONLY(x), AVG_ONLY(x, 0.25) AS b, AVG_ONLY(x, 3), COUNT(*) FROM t GROUP BY g", scheme=scheme), companies)


@pytest.mark.parametrize("scheme", ["additive", "shamir", "replicated"])
@given(companies=st.lists(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 10**6)), max_size=3), min_size=3, max_size=3))
@settings(max_examples=8, deadline=None)
def test_an_index_in_groups_is_that_of_the_companies(scheme, companies):
    assert_right(planned("SELECT g, HHI(y) AS h, COUNT(*) FROM t GROUP BY g", scheme=scheme), companies)


def test_known_indices():
    plan = planned("SELECT HHI(y) FROM t", 4)
    assert str(run(plan, [[(0, 30)], [(0, 30)], [(0, 20)], [(0, 20)]]).rows[0][0]) == "0.2600"
    assert str(run(plan, [[(0, 10**6)] * 1000, [], [], []]).rows[0][0]) == "1.0000"
    assert run(plan, [[], [], [], [(0, 0)]]).rows[0][0] is None


def test_what_cannot_vary_is_itself_and_no_value_is_null():
    plan = planned("SELECT AVG_ONLY(z) FROM t")
    assert Fraction(run(plan, [[(0, 7)], [], [(0, 7)]]).rows[0][0]) == 7
    assert run(plan, [[], [], []]).rows[0][0] is None


@pytest.mark.parametrize(("scheme", "colluding", "n"), [("additive", 1, 3), ("additive", 3, 4), ("shamir", 1, 3), ("shamir", 2, 5), ("replicated", 1, 3)])
def test_by_transfers_at_the_declared_cost(scheme, colluding, n):
    plan = planned("SELECT g, AVG_ONLY(x), COUNT(*) FROM t GROUP BY g", n, scheme, colluding)
    assert plan.triples == ("ot" if scheme != "replicated" else None)
    assert_right(plan, [[(0, 10 * k), (1, -k), (1, None)] for k in range(n)], triples="ot")


@pytest.mark.parametrize("scheme", ["additive", "shamir", "replicated"])
def test_a_small_group_is_withheld_and_a_large_one_averaged(scheme):
    plan = planned("SELECT g, AVG_ONLY(x, 0.5), COUNT(x) FROM t GROUP BY g", scheme=scheme, rules=Rules(minimum_group=4))
    companies = [[(0, 100)] * 2 + [(1, 100)] * 9, [(0, 200)] * 2, [(0, 200), (1, 200)]]
    got = run(plan, companies, triples="ot")
    assert [row[1:] for row in got.rows] == [(None, None), (None, None)]  # without the largest company's own, three and one
    companies[2].append((0, 200))
    assert [[str(value) for value in row[1:]] for row in run(plan, companies).rows] == [["1.5", "6"], ["None", "None"]]


class Opening:
    """Of one party's channel, the steps in which anything but masked numbers goes to others."""

    def __init__(self, channel, seen):
        self._channel, self._seen = channel, seen

    def send(self, to, tag, payload):
        self._seen.append((tag.operation, len(payload)))
        self._channel.send(to, tag, payload)

    def receive(self, sender, tag, size):
        return self._channel.receive(sender, tag, size)


def test_nothing_is_revealed_but_the_ratios():
    plan, seen = planned("SELECT g, AVG_ONLY(x), HHI(y) FROM t GROUP BY g".replace("AVG_ONLY(x), ", "")), []
    run(plan, [[(0, 1)], [(0, 2), (1, 5)], [(1, 9)]], wrap=lambda me, channel: Opening(channel, seen))
    element = plan.scheme.algebra.element_bytes
    assert {operation for operation, _ in seen} == {"square", "multiply", "compare", "bits as numbers", "reveal"}
    assert [size for operation, size in seen if operation == "reveal"] == [2 * element] * 6  # two cells, from each to each of the others


def test_what_is_said():
    plan = planned("SELECT AVG_ONLY(x) AS a, HHI(y) AS h, SUM(y) AS s FROM t")
    assert [d.what for d in disclosures(plan) if not d.implied] == ["SUM(y)", "AVG_ONLY(x), to 0.02", "HHI(y), to 0.0001"]
    implied = [(d.what, d.cells, d.to) for d in disclosures(plan) if d.implied]
    assert ("one equation between the sums, or counts, of the others, from each ratio and its own sum and count", 2, ("c0",)) in implied
    assert ("the same values for c1 and c2 together, by taking away c0's own", 1, ("c0",)) in implied
    said = "\n".join(said_by_statistics(plan))
    assert "a: AVG_ONLY(x) gives the receivers it alone, neither the sum nor the count; no count may follow from it, and where x has two values only, one of at most 31" in said
    assert "h: HHI(y) gives the receivers it alone, neither the total nor any company's part of it" in said
    fine = planned("SELECT AVG_ONLY(x, 0.0001) FROM t")
    assert "a count of at most 10 may follow from it, and where x has two values only, one of at most 447" in said_by_statistics(fine)[0]
    assert any("divide: 2 ratios" in step for step in steps(plan))
    ((_, what, numbers),) = at_home(plan)
    assert "the square of SUM(y)" in what
    assert numbers == "4 numbers"


def test_fractions_that_are_said_to_follow_are_told_apart():
    """Of N values, integers, N up to the number said: no two averages lie closer together than a step."""
    (output,) = planned("SELECT AVG_ONLY(y, 0.1) FROM t").query.select
    assert "a count of at most 3 may follow" in output.statistic.counts
    averages = sorted({Fraction(k, n) for n in range(1, 4) for k in range(n + 1)})
    assert min(b - a for a, b in pairwise(averages)) >= output.statistic.step


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("SELECT AVG_ONLY() FROM t", "write AVG_ONLY\\(x\\), or AVG_ONLY\\(x, step\\) with a step above 0"),
        ("SELECT AVG_ONLY(*) FROM t", "write AVG_ONLY"),
        ("SELECT AVG_ONLY(x, 0) FROM t", "with a step above 0"),
        ("SELECT AVG_ONLY(x, y) FROM t", "with a step above 0"),
        ("SELECT AVG_ONLY(x, -1) FROM t", "with a step above 0"),
        ("SELECT AVG_ONLY(y, 0.01) FROM t", "more than 16,777,216 such steps apart"),
        ("SELECT AVG_ONLY(g) FROM t", "AVG_ONLY needs a number, and g is none"),
        ("SELECT HHI(x) FROM t", "HHI is of parts of a total, and x may be negative: give it a lower bound of 0"),
        ("SELECT HHI(y, 1) FROM t", "write HHI\\(x\\)"),
        ("SELECT HHIX(y) FROM t", "HHI"),
    ],
)
def test_what_is_refused_as_sql(sql, problem):
    with pytest.raises(SqlProblem, match=problem):
        planned(sql)


def test_what_is_refused_as_a_plan():
    with pytest.raises(PlanError, match="HHI takes 3 companies or more, and t has 2: with fewer it would give their parts away"):
        planned("SELECT HHI(y) FROM t", 2)
    with pytest.raises(PlanError, match="HHI is about companies, and release rules about groups of rows"):
        planned("SELECT HHI(y) FROM t", rules=Rules(minimum_group=4))
    with pytest.raises(PlanError, match="AVG_ONLY cannot be had with privacy"):
        planned("SELECT AVG_ONLY(x) FROM t", privacy=Privacy(1_000_000, "laplace", None))
    with pytest.raises(PlanError, match="MEDIAN_ACROSS"):
        planned("SELECT AVG_ONLY(x), MEDIAN_ACROSS(SUM(x)) FROM t", 5)


def test_a_floor_concerns_averages_and_not_indices():
    floor = Rules(minimum_group=10)
    assert below(planned("SELECT HHI(y) FROM t"), floor) == ""
    assert below(planned("SELECT AVG_ONLY(x) FROM t"), floor) == "minimum_group = 10 or more"
    assert below(planned("SELECT HHI(y), SUM(y) FROM t"), floor) == "minimum_group = 10 or more"


def test_bounds_of_the_error():
    plan = planned("SELECT AVG_ONLY(x, 0.25) AS a, HHI(y) FROM t")
    assert answer(plan, [[3], [5]]).error_bound == (0.125, 0.00005)
    assert ratio.STEPS == 1_000


def test_more_comparisons_than_a_query_may_take_are_refused():
    names = NINE[:3]
    many = {f"k{i}": Column(f"k{i}", "integer", 0, 9) for i in range(4)} | {"x": COLUMNS["y"]}
    query = parse_query("q", "SELECT AVG_ONLY(x, 0.25), AVG_ONLY(x, 0.125), AVG_ONLY(x, 0.2) FROM t GROUP BY k0, k1, k2, k3", {"t": Table("t", many, 10, names)}, names)
    with pytest.raises(PlanError, match="its ratios are divided in more than 2,097,152 comparisons: group by less, or name a larger step"):
        plan_query(query, Security(names, "additive", 1))


def test_a_measured_cost_of_no_ratio_is_none():
    assert quotient_cost(SCHEMES[0], 0, None, 5, 0) == Cost()
