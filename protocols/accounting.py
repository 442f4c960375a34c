"""What noise protects and costs: zero-concentrated differential privacy in whole micro-rho.

A price is an integer number of millionths of rho, rounded up, so that prices add up exactly and no budget allows or refuses
by a rounding error. An epsilon at a delta is a report: a float, rounded up. rho-zCDP bounds the Rényi divergence of order alpha
between neighbours by alpha rho, for every alpha > 1 [BS16]; a vector of bounds at `ORDERS` alone, also in millionths, is
kept for mechanisms of which more is known [Mironov17]. Both add up over releases.
"""

from collections.abc import Callable
from fractions import Fraction
from math import ceil, exp, fsum, inf, isfinite, log, log1p

MICRO = 1_000_000
"""Units in one: of rho, and of a Rényi divergence (in nats)."""

ORDERS: tuple[Fraction, ...] = tuple(1 + Fraction(m, 4) * Fraction(2) ** j for j in range(-4, 14) for m in range(4, 8))
"""The orders of an RDP vector: alpha - 1 from 1/16 to 14336 in steps of a quarter or less, by which epsilon is less than
1 % above that of the best order, as long as this is within the range."""


# --- epsilon at a delta -------------------------------------------------------------------------------------------------


def epsilon(micro_rho: int, delta: float) -> float:
    """The smallest epsilon for which this rho is known to give (epsilon, delta)-differential privacy, rounded up by less than
    10^-13 of the largest summand: the least over alpha > 1 of

        alpha rho + log(1 / (alpha delta)) / (alpha - 1) + log(1 - 1/alpha)        ([CKS20], Proposition 12 and Corollary 13).

    ValueError for a negative micro_rho and for a delta outside of 0 < delta < 1.
    """
    if micro_rho < 0:
        raise ValueError(f"a price is not negative: {micro_rho} micro-rho")
    _check_delta(delta)
    if micro_rho == 0:
        return 0.0
    rho = micro_rho / MICRO
    # where a bound is at most e, log delta of it is convex in alpha: it falls, then rises, so thirds find the least
    return max(0.0, _least(lambda log_a: _converted(exp(log_a), (rho, exp(log_a) * rho), delta), -100.0, 100.0))


def micro_rho(epsilon: float, delta: float) -> int:
    """The largest price that keeps (epsilon, delta)-differential privacy, by `epsilon`; 0 where not even one micro-rho does.

    ValueError for an epsilon that is not positive and finite, or a delta outside of 0 < delta < 1: no rho gives delta = 0. What
    is epsilon-private by itself has its price by `pure_micro_rho`.
    """
    _check_epsilon(epsilon)
    _check_delta(delta)
    above = 1
    while _epsilon(above, delta) <= epsilon:
        above *= 2
    kept = above // 2
    while above - kept > 1:
        middle = (kept + above) // 2
        if _epsilon(middle, delta) <= epsilon:
            kept = middle
        else:
            above = middle
    return kept


_epsilon = epsilon  # by a name that no parameter hides


def pure_micro_rho(epsilon: Fraction | float) -> int:
    """The price of an epsilon-differentially private release: epsilon^2 / 2 ([BS16], Proposition 3.3), rounded up.

    A float stands for its exact binary value: give Fraction("0.1") for a tenth. ValueError where it is not positive and finite.
    """
    _check_epsilon(epsilon)
    return ceil(MICRO * Fraction(epsilon) ** 2 / 2)


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"delta is between 0 and 1, not {delta}: no rho gives pure differential privacy")


def _check_epsilon(epsilon: Fraction | float) -> None:
    if not (epsilon > 0 and isfinite(epsilon)):
        raise ValueError(f"epsilon is a positive number, not {epsilon}")


def _converted(a: float, divergence: tuple[float, ...], delta: float) -> float:
    """Epsilon from the Rényi divergence (a sum) of order 1 + a, above the exact one by 10^-14 of the largest summand or so."""
    summands = (*divergence, -log(delta) / a, -log1p(a) / a, -log1p(1 / a))
    # each is right to some units in the last place, 2^-53
    return fsum(summands) + 2.0**-48 * fsum(map(abs, summands))


def _least(f: Callable[[float], float], low: float, high: float) -> float:
    """The least f seen in a search by thirds; any f(x) is a valid answer, so rounding can only cost tightness."""
    least = inf
    for _ in range(120):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        at_left, at_right = f(left), f(right)
        least = min(least, at_left, at_right)
        low, high = (low, right) if at_left <= at_right else (left, high)
    return least


# --- RDP vectors --------------------------------------------------------------------------------------------------------


def gaussian_rdp(micro_rho: int) -> tuple[int, ...]:
    """The bounds of rho-zCDP at `ORDERS`, alpha rho, in millionths, rounded up."""
    if micro_rho < 0:
        raise ValueError(f"a price is not negative: {micro_rho} micro-rho")
    return tuple(ceil(order * micro_rho) for order in ORDERS)


def laplace_rdp(epsilon: Fraction | float) -> tuple[int, ...]:
    """The bounds of any epsilon-differentially private release at `ORDERS`, in millionths, rounded up:

        log(cosh((alpha - 1/2) epsilon) / cosh(epsilon / 2)) / (alpha - 1),

    which is at most epsilon and at most alpha epsilon^2 / 2 ([BS16], Proposition 3.3; randomised response has just this,
    [Mironov17], Proposition 5). Discrete Laplace noise of scale 1/epsilon on a count has it, too: the loss is always epsilon or
    -epsilon. Continuous noise has less ([Mironov17], Proposition 6; by 16 % at epsilon 1, alpha 2): its formula would understate.
    """
    _check_epsilon(epsilon)
    exact, x = Fraction(epsilon), float(epsilon)
    vector = []
    for order in ORDERS:
        a = float(order - 1)
        large = (a + 0.5) * x
        # log cosh y = y + log(1 + exp(-2y)) - log 2, and large - x/2 is a x
        value = x + (log1p(exp(-2 * large)) - log1p(exp(-x))) / a
        slack = 2.0**-48 * (x + 1 / a)
        vector.append(min(ceil(MICRO * (value + slack)), ceil(MICRO * exact), ceil(MICRO * order * exact**2 / 2)))
    return tuple(vector)


def rdp_epsilon(vector: tuple[int, ...], delta: float) -> float:
    """The smallest epsilon at `delta` that an RDP vector gives at one of `ORDERS`, rounded up ([CKS20], Proposition 12).

    ValueError for a vector of another length, with a negative entry, and for a delta outside of 0 < delta < 1.
    """
    if len(vector) != len(ORDERS) or min(vector) < 0:
        raise ValueError(f"an RDP vector has {len(ORDERS)} entries that are not negative")
    _check_delta(delta)
    if not any(vector):
        return 0.0
    pairs = zip(ORDERS, vector, strict=True)
    return max(0.0, min(_converted(float(order - 1), (micro / MICRO,), delta) for order, micro in pairs))


# --- how much noise -----------------------------------------------------------------------------------------------------


def noise_variance(
    *, holders: int, colluding: int, companies: int, squared_sensitivity: Fraction | int, micro_rho: int
) -> Fraction:
    """The variance of the Gaussian noise that each holder of the table adds to its own vector, before sharing, so that the sum
    costs at most `micro_rho` against every coalition:

        m^2 Delta^2 / (2 rho max(m, h)),   h = max(1, holders - colluding),   m = min(companies, holders).

    `companies` is in how many companies' tables a unit may be, `squared_sensitivity` is Delta^2, that of one company's vector
    to one unit in the Euclidean norm.

    A coalition of c <= colluding holders knows its own rows and noise and can take both off. There are g = holders - c honest
    ones left, so h <= g <= holders (where none is left, nothing is left to protect). A unit is in min(m, g) of them at most and
    moves their sum by min(m, g) Delta; the noise on it has variance g v, v being each one's. Gaussian noise costs
    sensitivity^2 / (2 variance) [CKS20; KLS21], so that v has to be Delta^2 / (2 rho) times the greatest min(m, g)^2 / g.
    That rises as g up to g = m, and then falls as m^2 / g: the worst is g = max(m, h), and there it is m^2 / max(m, h).

    Joined and other functions of which `squared_sensitivity` is that of the whole: companies = 1. ValueError for counts below
    1 (colluding below 0), and for a sensitivity or price that is not positive.
    """
    honest, m = _honest(holders, colluding, companies)
    return _variance(Fraction(m * m, max(m, honest)), squared_sensitivity, micro_rho)


def central_variance(*, holders: int, companies: int, squared_sensitivity: Fraction | int, micro_rho: int) -> Fraction:
    """The variance of the noise that one trusted company would add to the pooled sum at the same price, to compare with:
    m^2 Delta^2 / (2 rho). Arguments and errors as for `noise_variance`."""
    _, m = _honest(holders, 0, companies)
    return _variance(Fraction(m * m), squared_sensitivity, micro_rho)


def laplace_scale(
    *, holders: int, colluding: int, companies: int, sensitivity: Fraction | int, epsilon: Fraction | float
) -> tuple[Fraction, int]:
    """Scale and parts of the noise (`mpc.noise.polya`) that each holder adds to its own vector, so that the sum is
    epsilon-differentially private against every coalition: m Delta / epsilon, and h = max(1, holders - colluding) parts.

    `sensitivity` is Delta, that of one company's vector to one unit in the sum of absolute values; m as for `noise_variance`.
    Of at least h honest holders h parts make the noise discrete Laplace of that scale [GX17], the others are independent of it. A
    unit moves their sum by m Delta at most. Less noise each, as Gaussian noise allows where a unit may be in m > h companies,
    would not do: were there m parts, h of them would have a peak at zero that gives more than epsilon away.

    ValueError for counts below 1 (colluding below 0), and for a sensitivity or epsilon that is not positive.
    """
    honest, m = _honest(holders, colluding, companies)
    _check_epsilon(epsilon)
    _check_sensitivity(sensitivity)
    return m * Fraction(sensitivity) / Fraction(epsilon), honest


def _honest(holders: int, colluding: int, companies: int) -> tuple[int, int]:
    if holders < 1 or colluding < 0 or companies < 1:
        raise ValueError(f"{holders} holders, {colluding} colluding, a unit in {companies} companies: there is no such table")
    return max(1, holders - colluding), min(companies, holders)


def _check_sensitivity(sensitivity: Fraction | int) -> None:
    if sensitivity <= 0:
        raise ValueError(f"a sensitivity is above zero, not {sensitivity}")


def _variance(factor: Fraction, squared_sensitivity: Fraction | int, micro_rho: int) -> Fraction:
    _check_sensitivity(squared_sensitivity)
    if micro_rho <= 0:
        raise ValueError(f"noise has a price above zero, not {micro_rho} micro-rho")
    return factor * squared_sensitivity * MICRO / (2 * micro_rho)
