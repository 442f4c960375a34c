"""Integer noise from a cryptographic stream, by tables of exact probabilities.

A table holds the distribution function of a bounded integer at 192 binary digits, rounded down; a value costs 24 bytes of
the stream and is the count of table entries not above them. So each probability is off by less than 2^-192, and what is drawn
is within (entries / 2 + 1) 2^-192 of the distribution in statistical distance, the tails cut off included. A large scale
would need a large table; there a value is a fixed sum of multiples of independent draws from small tables.

All values of a call are looked up alike: time tells how many were drawn, and of their values only what memory accesses
of `searchsorted` tell (and, with probability below 2^-46 a value, that a tie was resolved).
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate
from math import ceil, exp, expm1, floor, isqrt

import numpy as np
from numpy.typing import NDArray

from mpc.randomness import Stream

LEAST_VARIANCE = 9
"""Discrete Gaussians narrower than this (standard deviation 3) are refused: see `discrete_gaussian`."""

MOST_PARTS = 4096
"""`polya` draws at most so many parts: its tables grow with their root."""

MOST_BOUND = 1 << 62
"""Noise has to stay below this, such that it and its sum with a value fit in int64."""

_LIMBS = 3
_TABLE_BITS = 64 * _LIMBS
_BITS = 320
"""Fractional bits of the weights while a table is built. A recurrence of n < 2^18 steps errs by less than n^2 2^-320 in a
weight and n^3 2^-320 < 2^-266 in their sum, which is at least 1: far below the table's own 2^-192."""

_CHUNK = 1 << 14
"""Values drawn at a time: the words and a table stay in a core's cache, and memory is bounded."""

_BASE, _STEP_BASE = 64, 4
"""Gaussians of a variance above 64 b^2 are b A + B, with B of variance 16 b^2: drawn at home, and by comparing."""
STEP_BITS = 128

_DIGIT = 1024


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """A distribution over `lower`, `lower` + 1, ...: of value number i but the last, limbs[:, i] holds P(X <= that) 2^192
    rounded down, as uint64, the highest limb first."""

    lower: int
    limbs: NDArray[np.uint64] = field(repr=False)

    @property
    def upper(self) -> int:
        return self.lower + len(self.limbs[0])

    def threshold(self, i: int) -> int:
        return _joined(self.limbs[:, i])

    def draw(self, count: int, stream: Stream) -> NDArray[np.int64]:
        words = stream.words((_LIMBS, count))
        index: NDArray[np.int64] = np.searchsorted(self.limbs[0], words[0], side="right")
        # an equal highest limb leaves it to the lower ones; entry -1, met where index is 0, is only ever a needless check
        for i in np.flatnonzero(self.limbs[0][index - 1] == words[0]):
            index[i] = bisect_right(range(len(self.limbs[0])), _joined(words[:, i]), key=self.threshold)
        index += self.lower
        return index


def _joined(limbs: NDArray[np.uint64]) -> int:
    return int.from_bytes(limbs.astype(">u8").tobytes(), "big")


@dataclass(frozen=True, slots=True, eq=False)
class Sampler:
    """Draws integers: the sum, over `terms`, of a factor times a draw from a table of its own.

    |value| <= `bound`, always. `variance` is that of what is drawn; a Fraction is right to a relative 2^-160.
    """

    variance: Fraction | float
    bound: int
    terms: tuple[tuple[int, _Table], ...] = field(repr=False)

    def draw(self, count: int, stream: Stream) -> NDArray[np.int64]:
        """`count` independent values, shape (count,). Reads 24 count len(terms) bytes of the stream; the same seed gives
        the same values on every machine."""
        out = np.zeros(count, dtype=np.int64)
        for start in range(0, count, _CHUNK):
            part = out[start : start + _CHUNK]
            for factor, table in self.terms:
                part += factor * table.draw(part.size, stream)
        return out


def discrete_gaussian(variance: Fraction) -> Sampler:
    """The discrete Gaussian: P(x) proportional to exp(-x^2 / (2 variance)) over the integers. [CKS20]

    Within 2^-175 of it in statistical distance, for every variance that fits. ValueError for a variance below 9: the sum of n
    discrete Gaussians is only nearly one, within 10 (n-1) exp(-pi^2 variance) in max-divergence [KLS21]: that is below
    (n-1) 2^-124 from 9 on, but (n-1) / 2000 at 1. (The argument below with the factor 1 shows it, too.) ValueError also where
    noise would not fit (`gaussian_bound`).

    A variance V above 2^18 is drawn as 64 A + B, discrete Gaussians of variances V_A = (V - 2^16) / 2^12 (in turn such a
    sum, if large) and V_B = 2^16, so 64^2 V_A + V_B = V. Completing the square,
        P(64 A + B = x) ~ exp(-x^2 / (2V)) S(x),   S(x) = sum over integers a of exp(-(a - c x)^2 / (2 T)),
    with c = 64 V_A / V and T = V_A V_B / V = 16 V_A / (16 + V_A), which exceeds 12 as V_A > 48. By Poisson's formula
        S(x) = sqrt(2 pi T) (1 + 2 sum over j >= 1 of exp(-2 pi^2 T j^2) cos(2 pi j c x)),
    the same for all x up to factors 1 +- 2^-340: so each probability is that of the discrete Gaussian up to
    a factor 1 +- 2^-338. (The argument of [MW17]; at most 9 levels.)
    """
    bound = gaussian_bound(variance)
    terms = tuple((factor, _gaussian_table(part)) for factor, part in _gaussian_terms(variance))
    return Sampler(Fraction(variance), bound, terms)


def gaussian_bound(variance: Fraction) -> int:
    """The largest |value| that `discrete_gaussian(variance)` draws, between 16.3 and 23 standard deviations. Builds no table;
    the same ValueErrors."""
    if variance < LEAST_VARIANCE:
        raise ValueError(
            f"a discrete Gaussian of variance {variance} is too narrow: below {LEAST_VARIANCE} the sum of several is not "
            "close enough to a Gaussian; count in smaller steps, or spend less"
        )
    return _checked(sum(factor * _gaussian_reach(part) for factor, part in _gaussian_terms(variance)))


def gaussian_steps(variance: Fraction) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """The discrete Gaussian of this variance, to be drawn by comparing: the sum, over all (factor, thresholds), of the factor times a number of random sign, whose size is the number of
    thresholds that a uniform number of `STEP_BITS` bits reaches. Within 2^-118 a factor in statistical distance, the tails cut off included. Large variances are sums as in `discrete_gaussian`, of 4 A + B with B of
    variance 2^8 above 2^10: the argument there holds for any base b, with 16 b^2 for the variance of B and 64 b^2 for the least of the sum. The same ValueErrors."""
    gaussian_steps_bound(variance)
    return tuple((factor, _thresholds(part)) for factor, part in _gaussian_terms(variance, _STEP_BASE))


def gaussian_steps_bound(variance: Fraction) -> int:
    """The largest |value| of `gaussian_steps(variance)`. Builds no table; the same ValueErrors."""
    gaussian_bound(variance)
    return _checked(sum(factor * _gaussian_reach(part) for factor, part in _gaussian_terms(variance, _STEP_BASE)))


def gaussian_steps_count(variance: Fraction) -> int:
    """How many thresholds there are in all. Builds no table."""
    return sum(_gaussian_reach(part) for _, part in _gaussian_terms(variance, _STEP_BASE))


def polya(scale: Fraction, parts: int) -> Sampler:
    """One company's part of Laplace noise: the sum of `parts` independent draws is discrete Laplace, P(x) proportional to
    exp(-|x| / scale), exactly, or that plus independent noise; within parts 2^-175 of it in statistical distance.

    The part is the difference of two Polya (negative binomial) draws of shape 1/parts and ratio q = exp(-1/scale),
    P(j) = Gamma(j + 1/parts) / (j! Gamma(1/parts)) q^j (1-q)^(1/parts): shapes add up, shape 1 is geometric, and the
    difference of two geometric draws is discrete Laplace. [GX17]

    From scale 128 on (more, with over 160 parts) the table would be long. A geometric G is k Q + R, with Q = floor(G / k)
    geometric of ratio q^k, R on 0 ... k-1 with P(r) ~ q^r, and both independent, as q^(k Q + R) is a product. The part is the
    difference of two draws of k N + R, with N Polya of shape 1/parts and ratio q^k: the sum over the parts is k Q + R, that is G,
    plus the R of all parts but one, which are independent of the rest and so can only hide more. Their variance is
    (parts-1) (k^2-1) / 12 at most (a geometric draw cut to 0 ... k-1 varies less than a uniform one), that of G is above
    scale^2 - 1/12; k is the largest power of two with 64 k <= scale and 25 parts k^2 <= scale^2. So they add less than 1/300 to
    the variance and 1/600 to the root-mean-square; `variance` has it in. The digits of R to base 1024 are independent, as q^R is
    a product over them; each table is of the difference of two digits.

    ValueError for a scale that is not positive, for parts outside of 1 to 4096, and where noise would not fit (`polya_bound`).
    """
    bound = polya_bound(scale, parts)
    k = _polya_step(scale, parts)
    quotient = _polya_table(scale / k, parts)
    terms = [(k, quotient), (-k, quotient)]
    place = 1
    while place < k:
        terms.append((place, _digit_table(place / Fraction(scale), min(_DIGIT, k // place))))
        place *= _DIGIT
    whole, above = _geometric_variance(1 / Fraction(scale)), k**2 * _geometric_variance(k / Fraction(scale))
    # of G it is that of k Q plus that of R; of Q each part has its share
    return Sampler(2 * (above / parts + (whole - above if k > 1 else 0.0)), bound, tuple(terms))


def polya_bound(scale: Fraction, parts: int) -> int:
    """The largest |value| that `polya(scale, parts)` draws, about 134 scales. Builds no table; the same ValueErrors."""
    if scale <= 0:
        raise ValueError(f"the scale of noise is above zero, not {scale}")
    if not 1 <= parts <= MOST_PARTS:
        raise ValueError(f"noise is of 1 to {MOST_PARTS} parts, not {parts}")
    k = _polya_step(scale, parts)
    return _checked(k * _polya_reach(scale / k) + k - 1)


def _checked(bound: int) -> int:
    if bound >= MOST_BOUND:
        raise ValueError("the noise does not fit in 64 bits: its bound is 2^62 or more")
    return bound


# --- how a draw is put together -----------------------------------------------------------------------------------------


def _gaussian_terms(variance: Fraction, base: int = _BASE) -> list[tuple[int, Fraction]]:
    """Factors and variances of the discrete Gaussians from tables that make up one of `variance`."""
    terms, factor, rest = [], 1, Fraction(variance)
    while rest > 64 * base**2:
        terms.append((factor, Fraction(16 * base**2)))
        rest = rest / base**2 - 16
        factor *= base
    return [*terms, (factor, rest)]


def _gaussian_reach(variance: Fraction) -> int:
    # b >= sqrt(267 V), so the mass beyond is at most exp(-b^2 / (2V)) <= exp(-133.5) < 2^-192: sums beyond b are below
    # sqrt(2 pi V) times the Gaussian tail, the sum of all is above sqrt(2 pi V)
    return isqrt(floor(267 * variance)) + 1


def _polya_step(scale: Fraction, parts: int) -> int:
    k = 1
    while 128 * k <= scale and 25 * parts * (2 * k) ** 2 <= scale**2:
        k *= 2
    return k


def _polya_reach(scale: Fraction) -> int:
    # a shape below 1 only makes a draw smaller than a geometric one, whose mass beyond is at most exp(-134) < 2^-193
    return ceil(134 * scale)


def _geometric_variance(rate: Fraction) -> float:
    """The variance of the geometric draw of ratio exp(-rate)."""
    x = float(min(rate, Fraction(1000)))
    return exp(-x) / expm1(-x) ** 2


# --- tables -------------------------------------------------------------------------------------------------------------


def _decay(rate: Fraction) -> int:
    """exp(-rate) with `_BITS` fractional bits, off by at most one unit."""
    with localcontext(Context(prec=120)):
        return int((-Decimal(rate.numerator) / rate.denominator).exp() * (1 << _BITS))


def _table(lower: int, weights: Sequence[int]) -> _Table:
    """The table of P(lower + i) proportional to weights[i]; at least two of them."""
    total = sum(weights)
    most = (1 << _TABLE_BITS) - 1  # the last weights may be zero in their fixed point: then a threshold would be 2^192
    raw = b"".join(
        min((below << _TABLE_BITS) // total, most).to_bytes(8 * _LIMBS, "big") for below in accumulate(weights[:-1])
    )
    limbs = np.frombuffer(raw, dtype=">u8").reshape(-1, _LIMBS).T.astype(np.uint64, order="C")
    limbs.flags.writeable = False
    return _Table(lower, limbs)


def _gaussian_weights(variance: Fraction) -> list[int]:
    """Of 0, 1, 2 ..."""
    # weight(x+1) = weight(x) exp(-(2x+1) / (2 variance)), and that factor falls by exp(-1/variance) a step
    weight, ratio, step = 1 << _BITS, _decay(1 / (2 * variance)), _decay(1 / variance)
    half = [weight]
    for _ in range(_gaussian_reach(variance)):
        weight = weight * ratio >> _BITS
        ratio = ratio * step >> _BITS
        half.append(weight)
    return half


@lru_cache(maxsize=32)
def _gaussian_table(variance: Fraction) -> _Table:
    half = _gaussian_weights(variance)
    return _table(1 - len(half), half[:0:-1] + half)


@lru_cache(maxsize=32)
def _thresholds(variance: Fraction) -> tuple[int, ...]:
    """P(|X| <= 0), P(|X| <= 1) ..., in `STEP_BITS` binary digits, rounded down."""
    zero, *others = _gaussian_weights(variance)
    sizes = [zero, *(2 * weight for weight in others)]
    total, most = sum(sizes), (1 << STEP_BITS) - 1
    return tuple(min((below << STEP_BITS) // total, most) for below in accumulate(sizes[:-1]))


@lru_cache(maxsize=32)
def _polya_table(scale: Fraction, parts: int) -> _Table:
    # P(j+1) / P(j) = q (j + 1/parts) / (j + 1)
    weight, ratio = 1 << _BITS, _decay(1 / scale)
    weights = [weight]
    for j in range(_polya_reach(scale)):
        weight = (weight * ratio >> _BITS) * (j * parts + 1) // ((j + 1) * parts)
        weights.append(weight)
    return _table(0, weights)


@lru_cache(maxsize=64)
def _digit_table(rate: Fraction, width: int) -> _Table:
    """The difference of two independent digits 0 ... width-1, each with P(d) proportional to q^d, q = exp(-rate)."""
    # both lead to a difference d in width - d ways, of weight q^d (1 + q^2 + q^4 + ...), width - d summands
    ratio, power, series = _decay(rate), 1 << _BITS, 1 << _BITS
    square = ratio * ratio >> _BITS
    powers, sums = [power], [series]
    for _ in range(width - 1):
        power = power * ratio >> _BITS
        series = (1 << _BITS) + (series * square >> _BITS)
        powers.append(power)
        sums.append(series)
    half = [p * s >> _BITS for p, s in zip(powers, reversed(sums), strict=True)]
    return _table(1 - width, half[:0:-1] + half)
