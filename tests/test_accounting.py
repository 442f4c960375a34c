"""Prices, epsilons and amounts of noise: against mpmath, brute force over coalitions, and other implementations."""

from fractions import Fraction
from itertools import pairwise
from math import ceil, inf, nan

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mpc.noise import polya
from protocols.accounting import (
    MICRO,
    ORDERS,
    central_variance,
    epsilon,
    gaussian_rdp,
    laplace_rdp,
    laplace_scale,
    micro_rho,
    noise_variance,
    pure_micro_rho,
    rdp_epsilon,
)

PRICES = [1, 7, 1000, 5000, 100_000, 500_000, 10**6, 10**7, 10**9, 10**13]
DELTAS = [1e-300, 1e-12, 1e-6, 1e-3, 0.3]


def delta_at(rho: mpmath.mpf, eps: mpmath.mpf) -> mpmath.mpf:
    """[CKS20], Corollary 13, at the alpha where the derivative of its logarithm, (2 alpha - 1) rho - eps + log(1 - 1/alpha),
    is zero: found by halving to 60 digits."""
    low, high = mpmath.mpf(10) ** -40, (eps + 2) / rho + 2  # alpha - 1; at the upper end the derivative is positive
    for _ in range(400):
        a = mpmath.sqrt(low * high)
        if (2 * a + 1) * rho - eps - mpmath.log1p(1 / a) < 0:
            low = a
        else:
            high = a
    a = high
    return mpmath.exp(a * ((1 + a) * rho - eps)) / a * (a / (1 + a)) ** (1 + a)


@pytest.mark.parametrize("delta", [1e-12, 1e-6, 1e-4])
@pytest.mark.parametrize("price", [1, 5000, 10**6, 10**9, 10**13])
def test_epsilon_is_that_of_the_corollary_rounded_up(price, delta):
    """Halving finds the best alpha for an epsilon, where `epsilon` searches the best for a delta."""
    with mpmath.workdps(60):
        rho, eps = mpmath.mpf(price) / MICRO, mpmath.mpf(epsilon(price, delta))
        assert delta_at(rho, eps) <= delta  # never understated
        assert delta_at(rho, eps * (1 - mpmath.mpf(10) ** -11)) > delta  # and tight


@given(st.integers(1, 10**9), st.floats(1e-15, 0.1), st.floats(-9, 9))
def test_no_order_gives_a_smaller_epsilon(price, delta, log_a):
    with mpmath.workdps(60):
        a, rho, d = mpmath.mpf(10) ** log_a, mpmath.mpf(price) / MICRO, mpmath.mpf(delta)
        of_order = (1 + a) * rho + mpmath.log(1 / ((1 + a) * d)) / a + mpmath.log(a / (1 + a))
        assert epsilon(price, delta) <= max(0, of_order) * (1 + mpmath.mpf(10) ** -11) + mpmath.mpf(10) ** -12


def gaussian_delta(rho: float, eps: float) -> float:
    """The exact delta of continuous Gaussian noise [Balle and Wang 2018, Theorem 8]: sensitivity / deviation = sqrt(2 rho)."""
    mu = np.sqrt(2 * rho)
    return float(stats.norm.cdf(mu / 2 - eps / mu) - np.exp(eps) * stats.norm.cdf(-mu / 2 - eps / mu))


@pytest.mark.parametrize("price", [1000, 100_000, 10**6])
def test_epsilon_covers_gaussian_noise_and_not_by_much(price):
    eps = epsilon(price, 1e-6)
    assert gaussian_delta(price / MICRO, eps) <= 1e-6
    assert gaussian_delta(price / MICRO, eps * 0.9) > 1e-6
    assert eps < price / MICRO + 2 * np.sqrt(price / MICRO * np.log(1e6))


@pytest.mark.parametrize("delta", DELTAS)
def test_epsilon_rises_with_the_price_and_falls_with_delta(delta):
    values = [epsilon(price, delta) for price in PRICES]
    assert all(small <= large for small, large in pairwise(values))
    assert epsilon(0, delta) == 0
    assert all(epsilon(price, delta) >= epsilon(price, min(0.9, 2 * delta)) for price in PRICES)


def test_epsilon_at_the_edges():
    assert 0 < epsilon(1, 1e-300) < 0.06
    assert epsilon(1, 0.999) == 0
    assert epsilon(10**30, 1e-6) == pytest.approx(1e24, rel=1e-9)
    assert epsilon(10**30, 1e-6) > 1e24


@pytest.mark.parametrize("delta", DELTAS)
@pytest.mark.parametrize("eps", [0.001, 0.1, 1, 3, 20, 1e6])
def test_the_price_of_an_epsilon_is_the_largest_that_keeps_it(eps, delta):
    price = micro_rho(eps, delta)
    assert price == 0 or epsilon(price, delta) <= eps
    assert epsilon(price + 1, delta) > eps


def test_the_price_of_an_epsilon_too_small_is_zero():
    assert micro_rho(1e-6, 1e-6) == 0


def test_epsilon_1_at_a_millionth_is_121_counts_at_deviation_50():
    # the goal of the design; at the price of each count, 1 / (2 50^2), rounded up
    each = ceil(Fraction(MICRO, 2 * 50**2))
    assert each == 200
    assert micro_rho(1.0, 1e-6) // each == 121


@given(st.fractions(Fraction(1, 10**6), 1000))
def test_a_pure_price_is_half_the_square_rounded_up(eps):
    assert pure_micro_rho(eps) - 1 < MICRO * eps**2 / 2 <= pure_micro_rho(eps)


def test_pure_prices():
    assert pure_micro_rho(Fraction("0.1")) == 5000
    assert pure_micro_rho(0.1) == 5001  # the float is above a tenth
    assert pure_micro_rho(1) == 500_000
    assert pure_micro_rho(Fraction(1, 10**9)) == 1


@pytest.mark.parametrize("bad", [0, 1, -0.1, 1.5, nan])
def test_a_delta_outside_of_its_range_is_refused(bad):
    for f in (lambda: epsilon(1, bad), lambda: micro_rho(1.0, bad), lambda: rdp_epsilon(gaussian_rdp(1), bad)):
        with pytest.raises(ValueError, match="delta"):
            f()


@pytest.mark.parametrize("bad", [0, -1, inf, nan])
def test_an_epsilon_that_is_none_is_refused(bad):
    for f in (
        lambda: micro_rho(bad, 1e-6),
        lambda: pure_micro_rho(bad),
        lambda: laplace_rdp(bad),
        lambda: laplace_scale(holders=3, colluding=1, companies=1, sensitivity=1, epsilon=bad),
    ):
        with pytest.raises(ValueError, match="epsilon"):
            f()


def test_negative_prices_and_odd_vectors_are_refused():
    for f in (lambda: epsilon(-1, 1e-6), lambda: gaussian_rdp(-1)):
        with pytest.raises(ValueError, match="negative"):
            f()
    for vector in ((1, 2), (-1,) * len(ORDERS)):
        with pytest.raises(ValueError, match="vector"):
            rdp_epsilon(vector, 1e-6)


# --- RDP vectors --------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**10))
def test_a_gaussian_vector_is_alpha_rho_rounded_up(price):
    for order, entry in zip(ORDERS, gaussian_rdp(price), strict=True):
        assert entry - 1 < order * price <= entry


@pytest.mark.parametrize("delta", [1e-12, 1e-6])
@pytest.mark.parametrize("price", [1000, 100_000, 10**6, 10**8])
def test_a_vector_gives_nearly_the_epsilon_of_the_best_order(price, delta):
    best, of_vector = epsilon(price, delta), rdp_epsilon(gaussian_rdp(price), delta)
    assert best <= of_vector <= 1.01 * best
    assert rdp_epsilon(gaussian_rdp(0), delta) == 0


def renyi(p: list[mpmath.mpf], q: list[mpmath.mpf], order: Fraction) -> mpmath.mpf:
    alpha = mpmath.mpf(order.numerator) / order.denominator
    return mpmath.log(mpmath.fsum(a * (a / b) ** (alpha - 1) for a, b in zip(p, q, strict=True))) / (alpha - 1)


@pytest.mark.parametrize("eps", [Fraction(1, 100), Fraction(1, 2), Fraction(1), Fraction(5)])
def test_a_laplace_vector_covers_discrete_laplace_noise_and_is_met_by_a_count(eps):
    entries = list(zip(ORDERS, laplace_rdp(eps), strict=True))[::5]
    with mpmath.workdps(60):
        e = mpmath.mpf(eps.numerator) / eps.denominator
        for order, entry in entries:
            alpha = mpmath.mpf(order.numerator) / order.denominator
            # randomised response: right with probability exp(eps) / (1 + exp(eps))
            right = mpmath.exp(e) / (1 + mpmath.exp(e))
            response = renyi([right, 1 - right], [1 - right, right], order) * MICRO
            assert response <= entry <= response + 1.001
            # discrete Laplace of scale 1/eps, moved by 1: within the reach of the sums to 30 digits
            assert abs(moved_laplace(e, 1, alpha) * MICRO - response) < mpmath.mpf(10) ** -20 * MICRO
            # of scale 10/eps, moved by 10: less
            assert moved_laplace(e / 10, 10, alpha) * MICRO <= entry


def moved_laplace(rate: mpmath.mpf, by: int, alpha: mpmath.mpf) -> mpmath.mpf:
    """The Rényi divergence between discrete Laplace noise with ratio exp(-rate) and the same moved by `by`: geometric sums
    to the left, to the right, and between."""
    q = mpmath.exp(-rate)
    left = q ** ((1 - alpha) * by) / (1 - q)
    right = q ** (alpha * by) / (1 - q)
    between = mpmath.fsum(q ** (alpha * x + (1 - alpha) * (by - x)) for x in range(1, by))
    return mpmath.log((left + right + between) * (1 - q) / (1 + q)) / (alpha - 1)


def test_the_formula_of_continuous_laplace_noise_would_understate_a_count():
    at = ORDERS.index(Fraction(2))
    continuous = np.log(2 / 3 * np.exp(1) + 1 / 3 * np.exp(-2))
    assert laplace_rdp(1)[at] > 1.15 * MICRO * continuous


@given(st.fractions(Fraction(1, 10**6), 50))
def test_a_laplace_vector_keeps_its_caps(eps):
    vector = laplace_rdp(eps)
    assert all(1 <= entry <= ceil(MICRO * eps) for entry in vector)
    assert all(entry <= ceil(MICRO * order * eps**2 / 2) for order, entry in zip(ORDERS, vector, strict=True))
    assert list(vector) == sorted(vector)


def test_vectors_at_the_edges():
    assert set(laplace_rdp(Fraction(1, 10**9))) == {1}
    assert laplace_rdp(1e6)[-1] == 10**12
    # composition adds vectors: ten releases cost less than their epsilons added, and less than by their prices alone
    ten = tuple(10 * entry for entry in laplace_rdp(Fraction(1)))
    assert rdp_epsilon(ten, 1e-6) < epsilon(10 * pure_micro_rho(1), 1e-6) * 1.01


# --- how much noise -----------------------------------------------------------------------------------------------------

TABLES = [(n, t, m) for n in range(1, 9) for t in range(9) for m in range(1, 10)]


def test_noise_is_just_enough_against_the_worst_coalition():
    squared, price = Fraction(7, 3), 1234
    for n, t, m in TABLES:
        variance = noise_variance(holders=n, colluding=t, companies=m, squared_sensitivity=squared, micro_rho=price)
        prices = []
        for bad in range(min(t, n - 1) + 1):  # where all collude nothing is left to protect
            honest = n - bad
            moved = max(has for has in range(1, m + 1) if has <= honest)
            prices.append(MICRO * moved**2 * squared / (2 * honest * variance))
        assert max(prices) == price, (n, t, m)


def test_the_error_against_central_noise_is_that_of_the_design():
    for n, t, companies in TABLES:
        arguments = {"holders": n, "companies": companies, "squared_sensitivity": 5, "micro_rho": 77}
        total, m = n * noise_variance(colluding=t, **arguments), min(companies, n)
        assert central_variance(**arguments) == Fraction(m**2 * 5 * MICRO, 2 * 77)
        assert total / central_variance(**arguments) == Fraction(n, max(m, n - t, 1))


@pytest.mark.parametrize(("holders", "colluding", "companies"), [(1, 0, 1), (3, 2, 1), (3, 1, 1), (3, 1, 2), (3, 2, 3), (4, 1, 9)])
def test_laplace_noise_is_private_against_every_coalition(holders, colluding, companies):
    """The honest companies' noise, folded from the probabilities of Polya draws, against the largest move, in log
    probability at every point; and with fewer parts' worth of noise the check fails."""
    eps, sensitivity = Fraction(1, 2), 1
    scale, parts = laplace_scale(holders=holders, colluding=colluding, companies=companies, sensitivity=sensitivity, epsilon=eps)
    assert scale == min(companies, holders) * sensitivity / eps
    assert parts == max(1, holders - colluding)
    polya(scale, parts)  # takes them

    def loss(honest: int, shape: float) -> float:
        moved = min(companies, honest) * sensitivity
        one = stats.nbinom(honest * shape, -np.expm1(-1 / float(scale))).pmf(np.arange(600))
        law = np.correlate(one, one, "full")[300:-300]
        return float(np.max(np.abs(np.log(law[moved:] / law[:-moved]))))

    smallest = max(1, holders - colluding)
    assert max(loss(honest, 1 / parts) for honest in range(smallest, holders + 1)) <= eps * (1 + Fraction(1, 10**9))
    if companies > 1 or smallest > 1:
        assert loss(smallest, 1 / (2 * parts)) > eps


def test_amounts_of_what_does_not_exist_are_refused():
    good = {"holders": 3, "colluding": 1, "companies": 1}
    for bad in ({"holders": 0}, {"colluding": -1}, {"companies": 0}):
        with pytest.raises(ValueError, match="no such table"):
            noise_variance(**good | bad, squared_sensitivity=1, micro_rho=1)
        with pytest.raises(ValueError, match="no such table"):
            laplace_scale(**good | bad, sensitivity=1, epsilon=1)
    for squared in (0, -1):
        with pytest.raises(ValueError, match="sensitivity"):
            noise_variance(**good, squared_sensitivity=squared, micro_rho=1)
        with pytest.raises(ValueError, match="sensitivity"):
            laplace_scale(**good, sensitivity=squared, epsilon=1)
        with pytest.raises(ValueError, match="price"):
            noise_variance(**good, squared_sensitivity=1, micro_rho=squared)
        with pytest.raises(ValueError, match="price"):
            central_variance(holders=3, companies=1, squared_sensitivity=1, micro_rho=squared)


# --- other implementations ----------------------------------------------------------------------------------------------


def test_opendp_converts_alike():
    dp = pytest.importorskip("opendp.prelude")
    dp.enable_features("contrib")
    for sd in (0.5, 1.0, 10.0, 100.0):
        noise = dp.m.make_gaussian(dp.atom_domain(T=int), dp.absolute_distance(T=int), sd)
        curve = dp.c.make_zCDP_to_approxDP(noise).map(1)
        price = round(MICRO / (2 * sd**2))
        for delta in (1e-9, 1e-6, 1e-3):
            assert epsilon(price, delta) == pytest.approx(curve.epsilon(delta), rel=1e-9)


def test_dp_accounting_converts_alike():
    rdp = pytest.importorskip("dp_accounting.rdp")
    orders = [float(order) for order in ORDERS]
    for vector in (gaussian_rdp(5000), gaussian_rdp(10**6), laplace_rdp(Fraction(1, 2)), laplace_rdp(2)):
        for delta in (1e-9, 1e-6, 1e-3):
            theirs, _ = rdp.compute_epsilon(orders, [entry / MICRO for entry in vector], delta)
            assert theirs * (1 - 1e-9) <= rdp_epsilon(vector, delta) <= theirs * (1 + 1e-9) + 1e-12
