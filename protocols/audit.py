"""What released values say of the noise in them: bounds on epsilon, and whether the noise is what it should be.

Pure: values in, conclusions out. The probabilities here are worked out from the formulas in floating point, and owe nothing to
the tables from which noise is drawn. Every test says how often it fails where nothing is wrong: `ALARM` at most.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import erfc, exp, inf, lgamma, log, log1p, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from protocols.accounting import epsilon

ALARM = 1e-6
"""How often a test fails where nothing is wrong, at most."""
DEVIATIONS = 5.5
"""A sum of thousands of values is this many standard deviations off with a chance of 4e-8 if it were Gaussian. Those
tested here are skewed, by up to 0.05, which makes it up to 4 times as much."""
CELLS_OF_CHI_SQUARE = 21

Values = NDArray[np.float64]
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Distribution:
    """Of integer noise: `probabilities[i]` is that of i - `reach`."""

    reach: int
    probabilities: Values = field(repr=False)

    @property
    def values(self) -> Values:
        return np.arange(-self.reach, self.reach + 1, dtype=np.float64)

    def moment(self, order: int) -> float:
        return float(np.sum(self.values**order * self.probabilities))

    @property
    def deviation(self) -> float:
        return sqrt(self.moment(2))

    def at_least(self, value: int) -> float:
        return float(self.probabilities[min(max(0, value + self.reach), len(self.probabilities)) :].sum())


def gaussian(variance: float) -> Distribution:
    """The discrete Gaussian. The sum of discrete Gaussians of variance 9 or more is one, to 10^-37. [KLS21]"""
    return _distribution(int(12 * sqrt(variance)) + 1, lambda x: -(x**2) / (2 * variance))


def laplace(scale: float) -> Distribution:
    """The discrete Laplace distribution."""
    return _distribution(int(45 * scale) + 1, lambda x: -np.abs(x) / scale)


def _distribution(reach: int, log_weight: Callable[[Values], Values]) -> Distribution:
    weights = np.exp(log_weight(np.arange(-reach, reach + 1, dtype=np.float64)))
    return Distribution(reach, weights / weights.sum())


# --- a lower bound on epsilon -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bound:
    """What an audit shows with a confidence of 1 - `ALARM`: `epsilon` without any assumption; `mu` if two neighbours are as
    far apart as two Gaussians of deviation 1 with means `mu` apart, and `through_mu` the epsilon of that."""

    epsilon: float
    mu: float
    through_mu: float


def audit(without: Values, having: Values, threshold: float, middle: float, delta: float) -> Bound:
    """From independent answers on a table and on its neighbour: how often they are at least `threshold`, or `middle`, which
    has to be chosen before the answers are seen. Each of four proportions is bounded at ALARM / 4."""
    lowest, highest = _proportions(without, having, threshold)
    # of the event and of its complement, either of which may be the likelier under the one table
    seen = max(_log_ratio(lowest - delta, highest), _log_ratio(1 - highest - delta, 1 - lowest))
    lowest, highest = _proportions(without, having, middle)
    mu = max(0.0, _quantile(lowest) - _quantile(highest))
    return Bound(seen, mu, gaussian_epsilon(mu, delta))


def _proportions(without: Values, having: Values, threshold: float) -> tuple[float, float]:
    """How often at least the neighbour's answers reach the threshold, and how often at most the table's do."""
    hits = int(np.sum(having >= threshold)), int(np.sum(without >= threshold))
    return proportion_above(hits[0], having.size, ALARM / 4), 1 - proportion_above(without.size - hits[1], without.size, ALARM / 4)


def _log_ratio(above: float, below: float) -> float:
    return max(0.0, log(above / below)) if above > 0 and below > 0 else 0.0


def _quantile(p: float) -> float:
    return -inf if p <= 0 else inf if p >= 1 else _NORMAL.inv_cdf(p)


def best_threshold(noise: Distribution, shift: int, count: int, delta: float) -> tuple[int, float]:
    """Where `audit` is to look if answers on the neighbour are `shift` > 0 larger and each table has `count` of them, by theory
    alone; and the epsilon that it then shows in a middling case. (Proportions are bounded by their deviations in this.)"""
    reach = _NORMAL.inv_cdf(1 - ALARM / 4)
    best = (max(1, (shift + 1) // 2), 0.0)
    step = max(1, int(noise.deviation / 20))
    for threshold in range(-int(6 * noise.deviation), int(6 * noise.deviation) + shift, step):
        having, without = noise.at_least(threshold - shift), noise.at_least(threshold)
        lowest = having - reach * sqrt(having * max(0.0, 1 - having) / count) - reach**2 / (3 * count)
        highest = without + reach * sqrt(without * max(0.0, 1 - without) / count) + reach**2 / (3 * count)
        seen = max(_log_ratio(lowest - delta, highest), _log_ratio(1 - highest - delta, 1 - lowest))
        best = max(best, (threshold, seen), key=lambda item: item[1])
    return best


def gaussian_epsilon(mu: float, delta: float) -> float:
    """The exact epsilon at `delta` of two Gaussians of deviation 1 whose means are `mu` apart. [BW18]"""
    if mu <= 0:
        return 0.0

    def is_enough(size: float) -> bool:
        return _cdf(mu / 2 - size / mu) - exp(size) * _cdf(-mu / 2 - size / mu) <= delta

    low, high = 0.0, 1.0
    while high < 512 and not is_enough(high):
        low, high = high, 2 * high
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return low


def _cdf(x: float) -> float:
    """Of the normal distribution, right in the tails, too."""
    return erfc(-x / sqrt(2)) / 2


def proportion_above(hits: int, count: int, alarm: float) -> float:
    """A number that the probability of a hit is at least, but with a chance of `alarm`: that for which `hits` or more of `count`
    have this chance. [CP34]"""
    if hits == 0:
        return 0.0
    low, high = 0.0, hits / count
    for _ in range(45):
        middle = (low + high) / 2
        low, high = (middle, high) if log_tail(hits, count, middle) <= log(alarm) else (low, middle)
    return low


def log_tail(hits: int, count: int, probability: float) -> float:
    """The logarithm of the chance of `hits` or more among `count` independent trials, summed term by term."""
    if hits <= 0 or probability >= 1:
        return 0.0
    if probability <= 0:
        return -inf
    # from one term to the next the factor is known, and falls
    places = np.arange(hits, count, dtype=np.float64)
    steps = np.log((count - places) / (places + 1)) + log(probability) - log1p(-probability)
    first = lgamma(count + 1) - lgamma(hits + 1) - lgamma(count - hits + 1)
    first += hits * log(probability) + (count - hits) * log1p(-probability)
    terms = first + np.concatenate([[0.0], np.cumsum(steps)])
    largest = float(terms.max())
    return largest + log(float(np.sum(np.exp(terms - largest))))


# --- whether the noise is what it should be -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """One test: what it would have caught, what was measured beside what should be, and how often it fails for no reason."""

    name: str
    catches: str
    measured: str
    expected: str
    alarm: float
    passed: bool


def check_epsilon(name: str, bound: Bound, claimed: float, rho: float | None) -> Check:
    """The measured lower bounds are not above what is claimed: epsilon, and for Gaussian noise sqrt(2 rho)."""
    measured, expected = f"epsilon >= {bound.epsilon:.3g}", f"epsilon <= {claimed:.4g}"
    passed = bound.epsilon <= claimed
    if rho is not None:
        measured, expected = f"{measured}, mu >= {bound.mu:.3g}", f"{expected}, mu <= {sqrt(2 * rho):.3g}"
        passed = passed and bound.mu <= sqrt(2 * rho)
    return Check(name, "a sensitivity that is too small, noise of the wrong size or missing", measured, expected, ALARM, passed)


def check_deviation(name: str, catches: str, found: Values, noise: Distribution) -> Check:
    """The mean square of `found` is the variance, within `DEVIATIONS` of its own deviations."""
    variance = noise.moment(2)
    own = sqrt((noise.moment(4) - variance**2) / found.size)
    mean = float(np.mean(found**2))
    low, high = (sqrt(max(0.0, variance + sign * DEVIATIONS * own)) for sign in (-1, 1))
    return Check(name, catches, f"deviation {sqrt(mean):.4g}", f"{low:.4g} to {high:.4g}", ALARM, low <= sqrt(mean) <= high)


def check_shape(found: Values, noise: Distribution) -> Check:
    """Chi-square over cells that are equally likely or nearly so."""
    edges = _edges(noise)
    starts = np.concatenate([[0], edges + noise.reach])
    likely = np.add.reduceat(noise.probabilities, starts) * found.size
    counted = np.bincount(np.searchsorted(edges, found, side="right"), minlength=len(likely))
    statistic = float(np.sum((counted - likely) ** 2 / likely))
    chance = chi_square_tail(statistic, len(likely) - 1)
    # a chi-square of counts is one only nearly, so it is asked for ten times more
    return Check(
        "shape of the noise", "another distribution, noise off its grid, cells that share theirs",
        f"chi-square {statistic:.3g} over {len(likely)} cells", f"chance of more at least {ALARM / 10:g} (here {chance:.2g})",
        ALARM, chance >= ALARM / 10 and bool(np.all(found == np.round(found))),
    )  # fmt: skip


def _edges(noise: Distribution) -> NDArray[np.int64]:
    """First values of all cells but the first; cells are odd in number, so that degrees of freedom are even."""
    below = np.cumsum(noise.probabilities)
    wanted = np.arange(1, CELLS_OF_CHI_SQUARE) / CELLS_OF_CHI_SQUARE
    edges = np.unique(np.searchsorted(below, wanted)) - noise.reach + 1
    return edges[len(edges) % 2 :]


def chi_square_tail(statistic: float, freedom: int) -> float:
    """The chance of more than `statistic`, for even degrees of freedom: that of fewer than half of them in a Poisson count."""
    half = statistic / 2
    return sum(exp(place * log(half) - half - lgamma(place + 1)) for place in range(freedom // 2)) if half > 0 else 1.0


def check_zeros(found: Values, noise: Distribution) -> Check:
    """As many zeros as the probability of zero says, binomial. At a large scale there are few."""
    zeros, probability = int(np.sum(found == 0)), float(noise.probabilities[noise.reach])
    chance = exp(log_tail(zeros, found.size, probability))
    return Check(
        "zeros at a large scale", "some cells without any noise", f"{zeros} of {found.size:,}",
        f"{found.size * probability:.3g}, chance of so many at least {ALARM:g} (here {chance:.2g})", ALARM, chance >= ALARM,
    )  # fmt: skip


def check_independent(name: str, catches: str, one: Values, other: Values) -> Check:
    """The correlation of noise with noise that should have nothing to do with it."""
    correlation = float(np.sum(one * other) / sqrt(float(np.sum(one**2)) * float(np.sum(other**2)) or inf))
    most = DEVIATIONS / sqrt(one.size)
    return Check(name, catches, f"correlation {correlation:.2g}", f"at most {most:.2g} either way", ALARM, abs(correlation) <= most)


def check_contribution(found: Values, most: float, deviation: float) -> Check:
    """Units with too many rows add what they may, and no more, to all cells together."""
    total, slack = float(np.sum(found)), DEVIATIONS * deviation * sqrt(found.size)
    return Check(
        "units with too many rows", "contributions that are not bounded, or are bounded otherwise", f"{total:,.0f} rows count",
        f"{most - slack:,.0f} to {most + slack:,.0f}", ALARM, abs(total - most) <= slack,
    )  # fmt: skip


def check_fact(name: str, catches: str, expected: str, *, holds: bool) -> Check:
    """Of what has no chance in it."""
    return Check(name, catches, "yes" if holds else "no", expected, 0.0, holds)


# --- attacks on released answers ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attack:
    """How often an attacker is right about its `targets`, from answers with noise and from exact ones, beside guessing, and
    beside the most that anybody can reach by what the noise promises."""

    name: str
    learns: str
    targets: int
    guessing: float
    exact: float
    noisy: float
    most: float


def most_success(guessing: float, micro_rho: int, delta: float) -> float:
    """The most often that one guesses right between equally likely tables, any two of which differ by `micro_rho`: by the
    epsilon of that, and by the statistical distance, at most sqrt(rho / 2) (Pinsker's inequality)."""
    size = epsilon(micro_rho, delta)
    by_epsilon = exp(size) / (exp(size) + 1 / guessing - 1) + delta if size < 700 else 1.0
    return min(1.0, by_epsilon, guessing + sqrt(micro_rho / 1e6 / 2))


def is_member(answers: Values, others: Values) -> NDArray[np.bool_]:
    """Membership: is the target in its cell's count, if all others in it are known? The likelihood ratio of noise that falls to
    both sides alike is above 1 where the answer is nearer to the count with the target."""
    return answers - others >= 0.5


def differenced(all_of_them: Values, all_but_one: Values) -> NDArray[np.bool_]:
    """Differencing: whether the one whom the second query leaves out has what is counted."""
    return all_of_them - all_but_one >= 0.5


def intersected(first: Values, second: Values) -> NDArray[np.int64]:
    """Intersecting groups: the value of each target whose groups' counts by value are `first` and `second`, one row a target:
    where both together are largest. (With Gaussian noise nothing that forgets the others' values does better.)"""
    guessed: NDArray[np.int64] = np.argmax(first + second, axis=1)
    return guessed


def success(guessed: NDArray[np.generic], truth: NDArray[np.generic]) -> float:
    return float(np.mean(guessed == truth))
