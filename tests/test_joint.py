"""Joint noise: drawn inside the computation, from everybody's bits; its distribution, what a coalition can do to it, its error, its cost, and
that a retry has the same."""

import math
from dataclasses import replace
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from cluster import Cluster
from conformance import named
from scipy import stats
from test_privacy import LAPLACE, ONE, many_cells, plan
from test_private_nodes import NAMES, TABLES, charges, rows

from mpc.noise import STEP_BITS, gaussian_steps, gaussian_steps_bound, gaussian_steps_count
from mpc.randomness import Stream, fresh_seed
from mpc.schemes.additive import Additive
from mpc.schemes.replicated import Replicated
from mpc.schemes.shamir import Shamir
from mpc.simulate import simulate
from parties.node.release import _bytes, kept
from protocols.gadgets import gaussian, gaussian_cost, noise, reveal
from protocols.planning.execute import draw_noise, execute, inputs, prepare
from protocols.planning.explain import expected_errors, guarantee, steps
from protocols.planning.gates import below
from protocols.planning.query import PlanError
from protocols.planning.rules import Rules
from protocols.tables import Unit

JOINT = replace(ONE, mechanism="joint")
FALSE_ALARM = 1e-9
"""Of each chi-square below."""

SCHEMES = [Additive(2), Additive(3), Shamir(3, 1), Replicated()]
every_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=named)


def exact(variance: Fraction, reach: int) -> list[Decimal]:
    """P(|X| = 0), P(|X| = 1), ... of the discrete Gaussian, each from the exponential function by itself."""
    with localcontext() as context:
        context.prec = 80
        weights = [(-Decimal(x * x) * variance.denominator / (2 * variance.numerator)).exp() * (2 if x else 1) for x in range(reach)]
        total = sum(weights)
        return [weight / total for weight in weights]


@pytest.mark.parametrize("variance", [Fraction(9), Fraction(77, 3), Fraction(1000)])
def test_the_public_table_is_the_distribution_function(variance):
    ((factor, thresholds),) = gaussian_steps(variance)
    assert factor == 1
    assert len(thresholds) == gaussian_steps_count(variance) == gaussian_steps_bound(variance)
    with localcontext() as context:
        context.prec = 80
        below = Decimal(0)
        for threshold, probability in zip(thresholds, exact(variance, 3 * len(thresholds)), strict=False):
            below += probability
            assert abs(Decimal(threshold) / (1 << STEP_BITS) - below) < Decimal(2) ** -126
    assert all(0 < threshold < 1 << STEP_BITS for threshold in thresholds)


def test_large_variances_are_sums():
    for variance in (Fraction(1025), Fraction(2500), Fraction(10**9), Fraction(10**18, 7)):
        terms = gaussian_steps(variance)
        parts = [sum(float(p) * x * x for x, p in enumerate(np.diff([0, *t, 1 << STEP_BITS]) / 2.0**STEP_BITS)) for _, t in terms]
        assert sum(factor**2 * part for (factor, _), part in zip(terms, parts, strict=True)) == pytest.approx(float(variance), rel=1e-9)
        assert gaussian_steps_count(variance) <= 524 + 262 * math.log(float(variance) / 1024 + 1, 16) + 262
    with pytest.raises(ValueError, match="too narrow"):
        gaussian_steps(Fraction(8))
    with pytest.raises(ValueError, match="does not fit"):
        gaussian_steps_bound(Fraction(2**120))


# --- what is drawn --------------------------------------------------------------------------------------------------------------


def drawn(scheme, variance, count, seeds=None):
    """Noise, opened."""
    seeds = seeds or [fresh_seed() for _ in range(scheme.parties)]

    def party(ctx, seed):
        before, cost = ctx.measured, gaussian_cost(ctx.scheme, ctx.me, ctx.triples, [(variance, count)])
        found = gaussian(ctx, [(variance, count)], Stream(seed))
        assert ctx.measured == before + cost
        return reveal(ctx, found)

    return simulate(party, seeds, scheme, triples="insecure")[0]


def differs(values, variance):
    """Whether values are not of the discrete Gaussian, by a chi-square over those that are expected ten times and more."""
    reach = int(20 * math.sqrt(variance))
    sizes = np.array([float(p) for p in exact(Fraction(variance), reach)])
    two_sided = np.concatenate([sizes[:0:-1] / 2, sizes[:1], sizes[1:] / 2])
    expected = two_sided * len(values)
    seen = np.bincount(values + reach - 1, minlength=2 * reach - 1)
    kept_ = expected >= 10
    table = [np.append(x[kept_], x[~kept_].sum()) for x in (seen, expected)]
    return stats.chisquare(table[0], table[1]).pvalue < FALSE_ALARM


@every_scheme
@pytest.mark.parametrize("variance", [Fraction(12), Fraction(1500)])
def test_what_is_drawn_is_a_discrete_gaussian(scheme, variance):
    assert not differs(drawn(scheme, variance, 6_000), variance)


@pytest.mark.parametrize("bug", ["one sign", "a threshold too many", "half of the bits", "another variance"])
def test_a_planted_bug_is_found(monkeypatch, bug):
    variance = Fraction(12)
    ((factor, thresholds),) = gaussian_steps(variance)
    if bug == "one sign":
        multiply = noise.multiply
        monkeypatch.setattr(noise, "multiply", lambda ctx, x, y: 0 * multiply(ctx, x, y))
    if bug == "a threshold too many":
        monkeypatch.setattr(noise, "gaussian_steps", lambda v: ((factor, (thresholds[0] // 2, *thresholds)),))
    if bug == "half of the bits":
        found = noise.reached
        monkeypatch.setattr(noise, "reached", lambda ctx, bits, at: found(ctx, [*[0 * bit for bit in bits[:126]], *bits[126:]], at))
    if bug == "another variance":
        monkeypatch.setattr(noise, "gaussian_steps", lambda v: gaussian_steps(v * Fraction(6, 5)))
    assert differs(drawn(Additive(3), variance, 6_000), variance)


@pytest.mark.parametrize("scheme", [Additive(3), Replicated()], ids=named)
def test_bits_that_a_coalition_chooses_change_nothing(scheme):
    """All but one give zeros, or the same as each other."""
    seeds = [bytes(32), fresh_seed(), bytes(32)]
    assert not differs(drawn(scheme, Fraction(12), 6_000, seeds), Fraction(12))
    first, second = drawn(scheme, Fraction(12), 500, seeds), drawn(scheme, Fraction(12), 500, seeds)
    assert (first == second).all()  # a retry has the same noise, under fresh masks
    other = drawn(scheme, Fraction(12), 500, [seeds[0], fresh_seed(), seeds[2]])
    assert (first != other).any()
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.3  # 6.7 deviations


def test_bits_of_which_one_partys_are_missing_are_found():
    """If the honest party's were left out, a coalition would know the noise: the same whatever that party drew."""
    found = [drawn(Additive(3), Fraction(12), 300, [bytes(32), fresh_seed(), bytes(32)]).tolist() for _ in range(2)]
    assert found[0] != found[1]


# --- queries --------------------------------------------------------------------------------------------------------------------


def opened(made, home, seeds=None):
    seeds = seeds or [fresh_seed() for _ in made.security.parties]
    mine = [inputs(made, vectors, draw_noise(made, name, Stream(fresh_seed()))) for name, vectors in zip(made.security.parties, home, strict=True)]

    def party(ctx, own):
        prepare(ctx, made)
        values, seed = own
        found = execute(ctx, made, values, seed=seed)
        return found, ctx.measured

    return simulate(party, [*zip(mine, seeds, strict=True)], made.scheme, triples=made.triples and "dealer", deadline=120)


@pytest.mark.parametrize("companies", [1, 2])
def test_the_error_is_that_of_a_trusted_party(companies):
    """The root mean square of 10,000 errors is that of central noise: its own relative error is 0.7 % (false alarms: 3e-8)."""
    made = many_cells(3, 2, companies, JOINT)
    theory = companies / math.sqrt(2 * ONE.micro_rho / 1e6)
    assert made.noise[0].deviation == pytest.approx(theory, rel=1e-6)
    (found, _), *_ = opened(made, [[np.full(10_000, 7 + number)] for number in range(3)])
    errors = np.array(found[0], dtype=float) / 10 ** made.noise[0].digits - 24
    assert 0.96 * theory < np.sqrt(np.mean(errors**2)) < 1.04 * theory
    assert abs(np.mean(errors)) < 5.5 * theory / 100
    gaussian_ = many_cells(3, 2, companies, ONE)
    assert gaussian_.noise[0].deviation == pytest.approx(theory * math.sqrt(3 / max(companies, 1)), rel=1e-3)


@pytest.mark.parametrize(("scheme", "triples"), [("additive", "dealer"), ("shamir", None), ("replicated", None)])
@pytest.mark.parametrize(
    "sql", ["SELECT origin, COUNT(*) AS n, AVG(delay) AS d FROM flights GROUP BY origin", "SELECT COUNT(*) AS n, SUM(delay * rain) AS s FROM flights JOIN weather USING (hour)"]
)
def test_a_query_and_a_join_at_the_declared_cost(sql, scheme, triples):
    made = plan(sql, JOINT, scheme=scheme, triples=triples)
    assert made.adding == ()
    generator = np.random.default_rng(5)
    home = [[generator.integers(0, 3, task.size) if name in task.table.holders else None for task in made.tasks] for name in made.security.parties]
    found = opened(made, home)
    if made.triples in (None, "dealer"):
        assert [measured for _, measured in found] == [made.cost(me) for me in range(3)]
    if made.join is None:
        exact_ = sum(vectors[0] for vectors in home).reshape(len(made.opened), -1)
    else:
        x, y = sum(vectors[0] for vectors in home).reshape(-1, 100), home[0][1].reshape(-1, 100)
        exact_ = np.array([[(x[left] * y[right]).sum()] for left, right in made.products])
    for values, of, added in zip(found[0][0], exact_, made.noise, strict=True):
        assert np.all(np.abs(np.array(values, dtype=float) / added.factor - of) < 7 * added.deviation)
    # all noise is 0 with probability below 1e-6
    assert any(values != (of * added.factor).tolist() for values, of, added in zip(found[0][0], exact_, made.noise, strict=True))


def test_a_median_from_a_tree_with_joint_noise():
    made = plan("SELECT MEDIAN(delay) AS m, COUNT(delay) AS n FROM flights", replace(JOINT, micro_rho=2_000_000), triples="dealer")
    home = [[np.zeros(task.size, dtype=np.int64) for task in made.tasks] for _ in range(3)]
    (levels, measured), *_ = opened(made, home)
    assert measured == made.cost(0)
    assert [len(level) for level in levels] == list(made.tree.sizes)
    assert any(level != [0] * len(level) for level in levels)


def test_without_a_seed_nothing_is_opened():
    made = plan("SELECT COUNT(*) AS n FROM flights", JOINT, triples="dealer")
    home = [np.zeros(1, dtype=np.int64)] * 3
    with pytest.raises(ValueError, match="joint noise takes a seed of each party's own"):
        simulate(lambda ctx, own: execute(ctx, made, own), home, made.scheme)


def test_what_is_kept_for_a_retry_has_the_seed():
    made, seed = plan("SELECT COUNT(*) AS n FROM flights", JOINT), fresh_seed()
    mine = inputs(made, [np.array([5])])
    reserved = SimpleNamespace(inputs=_bytes(made, mine) + seed)
    values, again = kept(made, 0, reserved)
    assert (values.tolist(), again) == ([5 * made.noise[0].factor], seed)
    other = plan("SELECT COUNT(*) AS n FROM flights", JOINT, holders=2)
    assert kept(other, 2, SimpleNamespace(inputs=_bytes(other, None) + seed)) == (None, seed)
    assert kept(plan("SELECT COUNT(*) AS n FROM flights"), 0, SimpleNamespace(inputs=_bytes(made, mine)))[1] is None


def test_what_is_said_and_refused():
    made = plan("SELECT COUNT(*) AS n FROM flights", JOINT, triples="dealer")
    said = " ".join(guarantee(made))
    assert "gaussian noise is drawn inside the computation, of random bits of p0, p1, p2" in said
    assert "(0.02-zCDP is charged)" in said
    ((name, _, ours, central, local),) = expected_errors(made)
    assert (name, ours) == ("n", central)
    assert float(local) > float(ours)
    assert any("draw noise: 1 values, by 82 comparisons" in step for step in steps(made))
    assert below(made, Rules(minimum_group=10)) == ""
    with pytest.raises(PlanError, match="joint noise is drawn by all together, and local noise by each company alone"):
        plan("SELECT COUNT(*) AS n FROM flights", replace(JOINT, local=True))
    with pytest.raises(PlanError, match=r"its joint noise is drawn by [0-9,]+ comparisons, and a query has at most 2,097,152: group by less, spend more, or take"):
        plan("SELECT hour, SUM(delay) AS n, SUM(fare) AS f, COUNT(*) AS c, AVG(delay) AS d FROM flights GROUP BY hour, origin", replace(JOINT, micro_rho=50), Unit("person", 3, 100, 100))
    assert plan("SELECT COUNT(*) AS n FROM flights", LAPLACE).joint == ()


QUERIES = """
[queries.heads]
sql = "SELECT region, COUNT(*) AS heads, AVG(pay) AS pay FROM people GROUP BY region"
receivers = ["alpha", "beta"]
privacy = { mechanism = "joint", epsilon = 1, delta = 1e-6 }
"""


def test_among_nodes_it_is_charged_and_errs_as_said(tmp_path: Path) -> None:
    """Errors are within 6 standard errors (false alarms: 1e-8)."""
    with Cluster(tmp_path, NAMES, tables=TABLES, queries=QUERIES) as cluster:
        for seed, name in enumerate(NAMES, 1):
            cluster.hold(name, "people", rows(seed))
        cluster.approve()
        cluster.start()
        heads = cluster.result("heads", "alpha")
        assert heads["privacy"]["mechanism"] == "joint"
        for row, right, error in zip(heads["rows"], (3 * 667, 3 * 1333), heads["privacy"]["standard_error"], strict=True):
            assert abs(float(row[1]) - right) < 6 * error[1]
        assert heads["cost"]["declared"] == heads["cost"]["measured"]
        again = cluster.result("heads", "beta")
        assert again["rows"] != heads["rows"]
        assert charges(cluster, "alpha") == charges(cluster, "gamma")
        assert [state for _, _, state in charges(cluster, "beta")] == ["settled", "settled"]
