"""Noise: tables against mpmath, draws against exact probabilities found another way, and each test against planted bugs."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from math import ceil, sqrt

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal, stats

from mpc import noise
from mpc.noise import MOST_BOUND, MOST_PARTS, Sampler, discrete_gaussian, gaussian_bound, polya, polya_bound
from mpc.randomness import Stream, fresh_seed

FALSE_ALARM = 1e-7
"""The probability with which one statistical test below fails on right noise (bins are large enough that the chi-square
approximation of it stays below 1e-6)."""

COUNT = 300_000
UNIT = mpmath.mpf(2) ** -192


def draws(sampler: Sampler, count: int = COUNT) -> np.ndarray:
    return sampler.draw(count, Stream(fresh_seed()))


# --- exact probabilities, by floats and scipy ---------------------------------------------------------------------------

Law = tuple[int, np.ndarray]  # lowest value, probabilities


def gaussian_law(variance: float) -> Law:
    reach = ceil(9 * sqrt(variance))
    x = np.arange(-reach, reach + 1)
    weights = np.exp(-(x**2) / (2 * variance))
    return -reach, weights / weights.sum()


def laplace_law(scale: float) -> Law:
    reach = ceil(40 * scale)
    return -reach, stats.dlaplace(1 / scale).pmf(np.arange(-reach, reach + 1))


def polya_law(scale: float, parts: int, step: int) -> Law:
    """The difference of two draws of step N + R, N of shape 1/parts, R geometric below step."""
    one = np.zeros((ceil(40 * scale / step) + 1, step))
    one[:, 0] = stats.nbinom(1 / parts, -np.expm1(-step / scale)).pmf(np.arange(len(one)))
    rest = np.exp(-np.arange(step) / scale)
    one = signal.fftconvolve(one.reshape(-1), rest / rest.sum())
    return 1 - len(one), signal.fftconvolve(one, one[::-1]).clip(0)


def p_value(values: np.ndarray, law: Law, expected: int = 2_000) -> float:
    """Chi-square over neighbouring values put together until a bin expects at least `expected`."""
    lowest, probabilities = law
    sums = np.cumsum(probabilities)
    # the last value of each bin but the last
    ends = [0]
    while len(values) * (sums[-1] - sums[ends[-1]]) > 2 * expected:
        ends.append(int(np.searchsorted(sums, sums[ends[-1]] + expected / len(values))))
    ends = [end for end in ends[1:] if len(values) * (sums[-1] - sums[end]) > expected / 2]
    edges = np.array(ends) + lowest
    seen = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
    share = np.diff(np.concatenate([[0], sums[ends], [1]]))
    return float(stats.chisquare(seen, share * len(values)).pvalue)


def quantile_p_value(values: np.ndarray, law: stats.rv_continuous) -> float:
    """Chi-square in 40 equal bins of a continuous law, for scales so large that the grid is too fine to matter."""
    edges = law.ppf(np.arange(1, 40) / 40)
    return float(stats.chisquare(np.bincount(np.searchsorted(edges, values), minlength=40)).pvalue)


def residues_p_value(values: np.ndarray, modulus: int) -> float:
    """At a large scale all residues are equally likely: to exp(-2 pi^2 sigma^2 / modulus^2), or for Laplace a relative
    (modulus / scale)^2."""
    return float(stats.chisquare(np.bincount(values % modulus, minlength=modulus)).pvalue)


# --- planted bugs -------------------------------------------------------------------------------------------------------


def even(values: np.ndarray) -> np.ndarray:
    return values - values % 2


def some_zero(values: np.ndarray) -> np.ndarray:
    return np.where(np.arange(len(values)) % 50 == 0, 0, values)


def one_sided(values: np.ndarray) -> np.ndarray:
    return np.where(np.arange(len(values)) % 20 == 0, abs(values), values)


# --- the tables ---------------------------------------------------------------------------------------------------------


def thresholds(table: noise._Table) -> list[int]:
    return [table.threshold(i) for i in range(table.limbs.shape[1])]


def assert_exact(table: noise._Table, lowest: int, weights: list[mpmath.mpf]) -> None:
    """Each threshold is P(X <= lowest + i) 2^192 rounded down, or one less or more (of the cut tails)."""
    assert table.lower == lowest
    assert table.upper == lowest + len(weights) - 1
    total, below = mpmath.fsum(weights), mpmath.mpf(0)
    for weight, threshold in zip(weights, thresholds(table), strict=False):
        below += weight
        assert abs(threshold * UNIT - below / total) <= 2 * UNIT


@pytest.mark.parametrize("variance", [Fraction(9), Fraction(1234, 100), Fraction(400), Fraction(10**30 + 7, 10**28)])
def test_gaussian_tables_are_exact(variance):
    with mpmath.workprec(420):
        v = mpmath.mpf(variance.numerator) / variance.denominator
        reach = gaussian_bound(variance) + 40  # beyond the table: what it cuts does not matter
        weights = [mpmath.exp(-(x**2) / (2 * v)) for x in range(-reach, reach + 1)]
        total = mpmath.fsum(weights)
        ((_, table),) = discrete_gaussian(variance).terms
        below = mpmath.fsum(weights[:40])
        assert below < UNIT * total
        for threshold, weight in zip(thresholds(table), weights[40:], strict=False):
            below += weight
            assert abs(threshold * UNIT - below / total) <= 2 * UNIT


@pytest.mark.parametrize(("scale", "parts"), [(Fraction(5), 1), (Fraction(7, 3), 3), (Fraction(40), 7), (Fraction(1, 3), 2)])
def test_polya_tables_are_exact(scale, parts):
    with mpmath.workprec(420):
        q = mpmath.exp(-mpmath.mpf(scale.denominator) / scale.numerator)
        shape = mpmath.mpf(1) / parts
        lead = (1 - q) ** shape / mpmath.gamma(shape)
        (_, table), (_, again) = polya(scale, parts).terms
        assert table is again
        below = mpmath.mpf(0)
        for j, threshold in enumerate(thresholds(table)):
            if j <= 400:
                below += lead * mpmath.gamma(j + shape) / mpmath.factorial(j) * q**j
                assert abs(threshold * UNIT - below) <= 2 * UNIT


@pytest.mark.parametrize(
    ("rate", "width"), [(Fraction(1, 1000), 2), (Fraction(1, 300), 64), (Fraction(1024, 2**50), 32), (Fraction(3), 16)]
)
def test_digit_tables_are_exact(rate, width):
    with mpmath.workprec(420):
        q = mpmath.exp(-mpmath.mpf(rate.numerator) / rate.denominator)
        differences = {d: mpmath.mpf(0) for d in range(1 - width, width)}
        for a in range(width):
            for b in range(width):
                differences[a - b] += q ** (a + b)
        assert_exact(noise._digit_table(rate, width), 1 - width, list(differences.values()))


@pytest.mark.parametrize("variance", [Fraction(2**18 + 1), Fraction(10**7, 3)])
def test_a_sum_of_two_gaussians_has_the_probabilities_of_one(variance):
    """Each probability of 64 A + B, from the variances of both, is the discrete Gaussian's to a relative 2^-330: by sums of
    the products of weights in mpmath."""
    (one, small), (factor, large) = noise._gaussian_terms(variance)
    assert one == 1
    assert factor**2 * large + small == variance
    with mpmath.workprec(420):

        def weight(x: int, v: Fraction) -> mpmath.mpf:
            return mpmath.exp(-mpmath.mpf(x * x * v.denominator) / (2 * v.numerator))

        def ratio(x: int) -> mpmath.mpf:
            middle = round(x * factor * large / variance)  # the products are of standard deviation 4 at most about it
            products = mpmath.fsum(
                weight(a, large) * weight(x - factor * a, small) for a in range(middle - 120, middle + 121)
            )
            return products / weight(x, variance)

        at_zero = ratio(0)
        for x in (1, 31, 32, 33, 500, -1001):
            assert abs(ratio(x) / at_zero - 1) < mpmath.mpf(2) ** -330
        # narrower than its factor asks for, it would not be: the test can fail
        small = Fraction(100)
        large = (variance - small) / factor**2
        assert abs(ratio(32) / ratio(0) - 1) > 0.1


@given(st.fractions(9, 10**34))
def test_variances_of_the_summands_add_up(variance):
    terms = noise._gaussian_terms(variance)
    assert sum(factor**2 * part for factor, part in terms) == variance
    assert all(9 <= part <= 2**18 for _, part in terms)
    assert all(part > 48 for _, part in terms[1:])


class Chosen(Stream):
    """A stream of chosen words."""

    def __init__(self, limbs: list[int]) -> None:
        self.limbs = limbs

    def words(self, shape: tuple[int, ...]) -> np.ndarray:
        assert shape == (3, 1)
        return np.array(self.limbs, dtype=np.uint64).reshape(shape)


def test_a_tie_of_the_highest_limbs_is_resolved_by_the_lower_ones():
    ((_, table),) = discrete_gaussian(Fraction(25)).terms
    all_thresholds = thresholds(table)
    words = [0, 1, (1 << 192) - 1]
    for threshold in all_thresholds:
        words += [threshold - 1, threshold, threshold + 1, threshold + (1 << 64), threshold >> 128 << 128]
    for word in words:
        if 0 <= word < 1 << 192:
            limbs = [word >> 128, (word >> 64) % (1 << 64), word % (1 << 64)]
            expected = sum(threshold <= word for threshold in all_thresholds) + table.lower
            assert table.draw(1, Chosen(limbs)).tolist() == [expected]


# --- draws --------------------------------------------------------------------------------------------------------------

GAUSSIANS = [Fraction(9), Fraction(250, 7), Fraction(50**2), Fraction(600**2), Fraction(3000**2)]


@pytest.mark.parametrize("variance", GAUSSIANS, ids=str)
def test_gaussian_draws_have_the_exact_probabilities(variance):
    law = gaussian_law(float(variance))
    values = draws(discrete_gaussian(variance))
    assert p_value(values, law) > FALSE_ALARM
    for bug in (some_zero, one_sided):
        assert p_value(bug(values), law) < FALSE_ALARM
    assert p_value(draws(discrete_gaussian(variance * 95 / 100 if variance > 9 else variance * 105 / 100)), law) < FALSE_ALARM


@pytest.mark.parametrize("scale", [Fraction(1, 2), Fraction(3), Fraction(100, 7), Fraction(200), Fraction(1000)], ids=str)
def test_laplace_draws_have_the_exact_probabilities(scale):
    law = laplace_law(float(scale))
    values = draws(polya(scale, 1))
    assert p_value(values, law) > FALSE_ALARM
    for bug in (some_zero, one_sided) if scale > 1 else ():  # below, most are zero anyway
        assert p_value(bug(values), law) < FALSE_ALARM
    assert p_value(draws(polya(scale * 95 / 100, 1)), law) < FALSE_ALARM  # a ratio that is off


@pytest.mark.parametrize(
    ("scale", "parts", "step"), [(Fraction(1), 3, 1), (Fraction(20), 2, 1), (Fraction(50), 10, 1), (Fraction(1000), 3, 8)]
)
def test_polya_draws_have_the_exact_probabilities_and_parts_sum_to_laplace(scale, parts, step):
    def total(scale: Fraction, shape: int) -> np.ndarray:
        sampler = polya(scale, shape)
        return np.sum([draws(sampler) for _ in range(parts)], axis=0)

    law = polya_law(float(scale), parts, step)
    assert p_value(draws(polya(scale, parts)), law) > FALSE_ALARM
    assert p_value(draws(polya(scale, parts + 1)), law) < FALSE_ALARM
    law = laplace_law(float(scale))  # from scale 128 on a little narrower than the sum: too little to be seen here
    assert p_value(total(scale, parts), law) > FALSE_ALARM
    assert p_value(total(scale, parts + 1), law) < FALSE_ALARM  # a divisor that is off by one
    assert p_value(total(scale * 95 / 100, parts), law) < FALSE_ALARM


def test_values_of_small_scales_are_on_every_integer():
    values = even(draws(discrete_gaussian(Fraction(9))))
    assert p_value(values, gaussian_law(9.0)) < FALSE_ALARM
    values = even(draws(polya(Fraction(3), 1)))
    assert p_value(values, laplace_law(3.0)) < FALSE_ALARM


@pytest.mark.parametrize("bits", [20, 36, 50])
def test_large_scales_have_the_continuous_law_and_all_residues(bits):
    gauss, laplace = draws(discrete_gaussian(Fraction(4**bits))), draws(polya(Fraction(2**bits), 1))
    for values, law, less in (
        (gauss, stats.norm(scale=2.0**bits), discrete_gaussian(Fraction(4**bits) * 95 / 100)),
        (laplace, stats.laplace(scale=2.0**bits), polya(Fraction(2**bits) * 95 / 100, 1)),
    ):
        assert quantile_p_value(values, law) > FALSE_ALARM
        assert quantile_p_value(draws(less), law) < FALSE_ALARM
        assert quantile_p_value(some_zero(values), law) < FALSE_ALARM
        for modulus in (2, 64, 1000, 1024):
            assert residues_p_value(values, modulus) > FALSE_ALARM
        for modulus in (2, 1024):
            assert residues_p_value(even(values), modulus) < FALSE_ALARM


def test_the_right_number_of_values_are_zero_at_a_large_scale():
    # at standard deviation 3000 a zero has probability 1/7520: 1 % of cells without noise would be 75 times as many
    variance, scale = Fraction(3000**2), Fraction(3000)
    for values, chance in (
        (draws(discrete_gaussian(variance)), 1 / sqrt(2 * np.pi * 3000**2)),
        (draws(polya(scale, 1)), np.tanh(1 / 6000)),
    ):
        assert stats.binomtest(int(np.sum(values == 0)), COUNT, chance).pvalue > FALSE_ALARM
        few = np.where(np.arange(COUNT) % 1000 == 0, 0, values)  # one in a thousand is found already
        assert stats.binomtest(int(np.sum(few == 0)), COUNT, chance).pvalue < FALSE_ALARM


@pytest.mark.parametrize(
    ("scale", "parts"),
    [(Fraction(2), 3), (Fraction(127), 2), (Fraction(1000), 3), (Fraction(2**30), 5), (Fraction(1, 10), 1)],
)
def test_the_variance_is_that_of_what_is_drawn(scale, parts):
    """From the tables themselves, by floats."""
    sampler = polya(scale, parts)
    variance = 0.0
    for factor, table in sampler.terms:
        sums = [0, *thresholds(table), 1 << 192]
        p = np.array([(above - below) / 2**192 for below, above in pairwise(sums)])
        x = np.arange(table.lower, table.upper + 1, dtype=float)
        variance += factor**2 * float(p @ x**2 - (p @ x) ** 2)
    assert sampler.variance == pytest.approx(variance, rel=1e-9)


@pytest.mark.parametrize("parts", [1, 2, 5, 100, 1000, MOST_PARTS])
@pytest.mark.parametrize("scale", [Fraction(100), Fraction(129), Fraction(12345, 7), Fraction(2**40 + 1)])
def test_what_is_beyond_laplace_is_little(scale, parts):
    x = 1 / float(scale)
    laplace = 2 * np.exp(-x) / np.expm1(-x) ** 2
    total = parts * polya_variance(scale, parts)
    assert laplace * (1 - 1e-9) <= total < laplace * (1 + 1 / 300)


def polya_variance(scale: Fraction, parts: int) -> float:
    """As `polya` says, without the time of tables."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noise, "_polya_table", lambda scale, parts: None)
        patch.setattr(noise, "_digit_table", lambda rate, width: None)
        return float(polya(scale, parts).variance)


# --- bounds, refusals, seeds --------------------------------------------------------------------------------------------


def reach(sampler: Sampler) -> int:
    """The largest |value| there could be, word by word."""
    high = sum(max(f * t.lower, f * t.upper) for f, t in sampler.terms)
    low = sum(min(f * t.lower, f * t.upper) for f, t in sampler.terms)
    assert low == -high
    return high


@pytest.mark.parametrize("variance", list(map(Fraction, [9, 2**18, Fraction(3 * 2**18 + 1, 3), 10**12, 4**50])))
def test_gaussian_bounds_are_those_of_the_tables(variance):
    sampler = discrete_gaussian(variance)
    assert sampler.bound == gaussian_bound(variance) == reach(sampler)
    assert 16.3 < sampler.bound / sqrt(variance) < 23
    assert sampler.variance == variance
    assert np.abs(draws(sampler, 1000)).max() <= sampler.bound


@pytest.mark.parametrize("parts", [1, 3, 1000])
@pytest.mark.parametrize("scale", list(map(Fraction, [Fraction(1, 10**40), Fraction(1, 2), 127, 128, 3000, 2**50])))
def test_polya_bounds_are_those_of_the_tables(scale, parts):
    sampler = polya(scale, parts)
    assert sampler.bound == polya_bound(scale, parts) == reach(sampler)
    assert sampler.bound <= 136 * scale + 1
    assert np.abs(draws(sampler, 1000)).max() <= sampler.bound


def test_a_tiny_scale_adds_nothing():
    assert not draws(polya(Fraction(1, 10**40), 2), 1000).any()


def test_tables_stay_small():
    sizes = [t.limbs.shape[1] for v in (2**18, 4**50) for _, t in discrete_gaussian(Fraction(v)).terms]
    sizes += [t.limbs.shape[1] for _, t in polya(Fraction(2**49), MOST_PARTS).terms]
    assert max(sizes) < 100_000
    # no scale of any number of parts asks for more
    assert all(
        noise._polya_reach(scale / noise._polya_step(scale, parts)) < 90_000
        for parts in (1, 100, 1000, MOST_PARTS)
        for scale in (Fraction(127), Fraction(639), Fraction(1000), Fraction(2**50 - 1))
    )


@pytest.mark.parametrize("variance", [0, -1, Fraction(899, 100)])
def test_narrow_gaussians_are_refused(variance):
    for f in (gaussian_bound, discrete_gaussian):
        with pytest.raises(ValueError, match="too narrow"):
            f(Fraction(variance))


@pytest.mark.parametrize(
    ("scale", "parts", "match"),
    [(0, 1, "above zero"), (-1, 1, "above zero"), (1, 0, "parts"), (1, MOST_PARTS + 1, "parts")],
)
def test_other_polya_draws_are_refused(scale, parts, match):
    for f in (polya_bound, polya):
        with pytest.raises(ValueError, match=match):
            f(Fraction(scale), parts)


def test_noise_that_does_not_fit_is_refused():
    for f in (gaussian_bound, discrete_gaussian):
        with pytest.raises(ValueError, match="64 bits"):
            f(Fraction(4**58))
    for g in (polya_bound, polya):
        with pytest.raises(ValueError, match="64 bits"):
            g(Fraction(2**55), 1)
    assert gaussian_bound(Fraction(4**57)) < MOST_BOUND
    assert polya_bound(Fraction(2**54), 1) < MOST_BOUND


@pytest.mark.parametrize("sampler", [discrete_gaussian(Fraction(10**9)), polya(Fraction(5000), 3)], ids=["gaussian", "polya"])
def test_the_same_seed_gives_the_same_noise(sampler):
    seed = fresh_seed()
    count = 20_000  # more than is drawn at a time
    values = sampler.draw(count, Stream(seed))
    assert values.dtype == np.int64
    assert values.shape == (count,)
    assert np.array_equal(values, sampler.draw(count, Stream(seed)))
    assert not np.array_equal(values, sampler.draw(count, Stream(fresh_seed())))
    stream = Stream(seed)
    assert np.array_equal(values, sampler.draw(count, stream))
    assert not np.array_equal(values, sampler.draw(count, stream))
    assert sampler.draw(0, stream).shape == (0,)


def test_values_are_those_of_every_machine():
    seed = bytes(range(32))
    assert discrete_gaussian(Fraction(10**6)).draw(6, Stream(seed)).tolist() == GAUSSIAN_VALUES
    assert polya(Fraction(10**6), 2).draw(6, Stream(seed)).tolist() == POLYA_VALUES


GAUSSIAN_VALUES = [485, 1, 260, -886, 1381, 1217]
POLYA_VALUES = [510574, -14370, 1133606, 1919, -727831, -879627]


@pytest.mark.parametrize("sampler", [discrete_gaussian(Fraction(2**20)), polya(Fraction(5000), 3)], ids=["gaussian", "polya"])
def test_it_reads_24_bytes_for_each_table_and_value(sampler):
    seed, count = fresh_seed(), 1000
    used, counted = Stream(seed), Stream(seed)
    sampler.draw(count, used)
    counted.read(24 * count * len(sampler.terms))
    assert used.read(16) == counted.read(16)


def test_a_sampler_prints_no_table():
    sampler = replace(discrete_gaussian(Fraction(9)))
    assert repr(sampler) == f"Sampler(variance=Fraction(9, 1), bound={sampler.bound})"


# --- another implementation ---------------------------------------------------------------------------------------------


def test_opendp_draws_alike():
    dp = pytest.importorskip("opendp.prelude")
    dp.enable_features("contrib")
    count, domain = 20_000, (dp.vector_domain(dp.atom_domain(T=int)), dp.l2_distance(T=float))
    for sd in (3, 40, 1000):
        theirs = dp.m.make_gaussian(*domain, float(sd))([0] * count)
        assert p_value(np.array(theirs), gaussian_law(float(sd**2)), 400) > FALSE_ALARM
        assert same_law(draws(discrete_gaussian(Fraction(sd**2))), np.array(theirs))
        assert not same_law(draws(discrete_gaussian(Fraction(sd**2) * 5 / 4)), np.array(theirs))
    domain = (dp.vector_domain(dp.atom_domain(T=int)), dp.l1_distance(T=int))
    for scale in (2, 40, 1000):
        theirs = dp.m.make_laplace(*domain, float(scale))([0] * count)
        assert same_law(draws(polya(Fraction(scale), 1)), np.array(theirs))
        assert not same_law(draws(polya(Fraction(scale) * 5 / 4, 1)), np.array(theirs))


def same_law(mine: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether two samples look alike in about 20 bins between quantiles of the first."""
    edges = np.unique(np.quantile(mine, np.arange(1, 20) / 20))
    table = [np.bincount(np.searchsorted(edges, x), minlength=len(edges) + 1) for x in (mine, theirs)]
    return bool(stats.chi2_contingency(np.array(table)).pvalue > FALSE_ALARM)
