"""Division, square root, exponential and logarithm of secret fixed-point numbers, each within a stated error over a stated range.

A range is public, and the caller's to prove: where what comes up within it could wrap, ProtocolError is raised before anything is sent. Of
secrets beyond it the result means nothing. All are functions of whole arrays, and disclose nothing. Quotients and roots are found digit by
digit as on paper, and rounded down; the others from tables that are looked up on shares, and a short series. [AS19; Knuth97]
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from decimal import Context as Precision
from decimal import Decimal

import numpy as np

from mpc.context import Context, Costed
from mpc.cost import Cost
from mpc.errors import ProtocolError
from mpc.schemes import PartyId, Scheme
from mpc.share import Share, concatenate
from protocols.gadgets.bits import BitShare, as_numbers, as_numbers_cost, words_of
from protocols.gadgets.compare import negative, negative_cost
from protocols.gadgets.decompose import decompose, decompose_cost
from protocols.gadgets.multiply import multiply, multiply_cost
from protocols.gadgets.quotient import BASE, quotient, quotient_cost
from protocols.gadgets.trees import fours_multiplied, fours_multiplied_cost
from protocols.gadgets.truncate import truncate, truncate_cost

GUARD = 4
"""Fractional bits that an exponential or logarithm works with beyond those of its result."""
EXPONENTS = 8
"""An exponential is of numbers from -8 to 8."""
_EXACT = Precision(prec=80)



def divide(ctx: Context, x: Share, y: Share, *, scale: int, below: int, most: int) -> Share:
    """x / y to `scale` fractional bits, rounded down, for |x / y| < `below` and 0 < y <= `most`.

    Rounds, bytes: as `quotient` of as many digits as 2 `below` 2^`scale` has in base 16. A reciprocal is the quotient of a public 1:
    `divide(ctx, 0 * y + 1, y, ...)`."""
    digits = _digits(2 * below << scale)
    _fits(ctx.scheme, BASE**digits * most << max(y.scale, x.scale - scale), f"a quotient below {below:,} of divisors up to {most:,}")
    # at one scale: x 2^scale / y with both as integers; and made positive, as `below` is public
    up = y.scale + scale - x.scale
    dividend, divisor = replace(x, scale=0) * (1 << max(up, 0)), replace(y, scale=0) * (1 << max(-up, 0))
    offset = below << scale
    found = quotient(ctx, dividend + offset * divisor, divisor, digits) - offset
    return replace(found, scale=scale)


def divide_cost(scheme: Scheme, me: PartyId, source: Costed | None, count: int, *, scale: int, below: int) -> Cost:
    """What one `divide` of `count` elements costs party `me`."""
    return quotient_cost(scheme, me, source, count, _digits(2 * below << scale))


def square_root(ctx: Context, x: Share, *, scale: int, most: int) -> Share:
    """The square root of x to `scale` fractional bits, rounded down, for 0 <= x <= `most`.

    With R what is found of it so far, (R + d p)^2 = R^2 + 2 R d p + d^2 p^2, of which what is left of x is compared with all d from 1 to 15 at once.
    Seven rounds a digit in base 16 (eight in a wide algebra), one less for the last; 15 comparisons and a multiplication."""
    digits = _digits((math.isqrt(most) + 1) << scale)
    up = 2 * scale - x.scale
    if up < 0:
        raise ProtocolError(f"a root of a number with {x.scale} fractional bits has {-(-x.scale // 2)} and more, not {scale}")
    _fits(ctx.scheme, BASE ** (2 * digits), f"a root of numbers up to {most:,}")
    left = (replace(x, scale=0) * (1 << up)).reshape(-1)
    root, steps = 0 * left, np.arange(1, BASE)[:, np.newaxis]
    for place in (BASE**k for k in reversed(range(digits))):
        tried = [left - 2 * d * place * root - d * d * place * place for d in range(1, BASE)]
        reached = as_numbers(ctx, (~negative(ctx, concatenate(tried))).reshape(BASE - 1, *left.shape))
        digit = reached.sum(0)
        if place > 1:
            square = (reached * (2 * steps - 1)).sum(0)  # 1 + 3 + 5 + ...
            left = left - 2 * place * multiply(ctx, digit, root) - place * place * square
        root = root + place * digit
    return replace(root, scale=scale).reshape(*x.shape)


def square_root_cost(scheme: Scheme, me: PartyId, source: Costed | None, count: int, *, scale: int, most: int) -> Cost:
    """What one `square_root` of `count` elements costs party `me`."""
    return quotient_cost(scheme, me, source, count, _digits((math.isqrt(most) + 1) << scale))


def exponential(ctx: Context, x: Share) -> Share:
    """e^x to as many fractional bits as x has, 8 and more, for -8 <= x < 8; off by 2^-scale (1 + e^x) at most.

    x + 8 is cut in fours of bits; for each four a factor is looked up, and what is left below, z, has the factor 1 + z. Rounds: those of `decompose`,
    three, and for each halving of the number of factors one and those of `truncate`; then those of another one."""
    scale, of_fours = x.scale, _fours_of(x.scale)
    inside = scale + GUARD
    _fits(ctx.scheme, math.ceil(math.exp(EXPONENTS)) + 1 << 2 * inside, f"an exponential to {scale} fractional bits")
    shifted = replace(x, scale=0).reshape(-1) + (EXPONENTS << scale)
    bits = decompose(ctx, shifted)
    looked_up = _looked_up(ctx, [bits[low : low + 4] for low in of_fours])
    factors, rest = list[Share](), shifted
    for low, terms in zip(of_fours, looked_up, strict=True):
        start = EXPONENTS if low == scale else 0
        factors.append(_table(terms, [_exact(_exp(Decimal(d << low) / (1 << scale) - start), inside) for d in range(16)]))
        rest = rest - _table(terms, [d << low for d in range(16)])
    factors.append(rest * (1 << GUARD) + (1 << inside))
    while len(factors) > 1:
        half = len(factors) // 2
        product = _product(ctx, concatenate(factors[:half]), concatenate(factors[half : 2 * half]), inside)
        factors = [*_parts(product, half), *factors[2 * half :]]
    return replace(_rounded(ctx, factors[0]), scale=scale).reshape(*x.shape)


def exponential_cost(scheme: Scheme, me: PartyId, source: Costed | None, count: int, scale: int) -> Cost:
    """What one `exponential` of `count` elements costs party `me`."""
    fours = len(_fours_of(scale))
    cost = decompose_cost(scheme, me, source, count) + _looked_up_cost(scheme, me, source, fours, count)
    factors = fours + 1
    while factors > 1:
        cost += _product_cost(scheme, me, source, factors // 2 * count, scale + GUARD)
        factors -= factors // 2
    return cost + truncate_cost(scheme, me, source, count, GUARD)


def logarithm(ctx: Context, x: Share, *, most: int) -> Share:
    """The natural logarithm of x to as many fractional bits as x has, 8 and more, for 2^-scale <= x <= `most`; off by 2^-scale at most.

    x is compared with all powers of two, and multiplied by one of them so that it is from 1 to 2; then with 15 numbers in between,
    of which the nearest's reciprocal leaves it within 1/32 of 1, for the series of log(1 + z). Rounds: those of two comparisons, three, and for
    each term of the series one and those of `truncate`."""
    scale = x.scale
    inside, highest, terms = _shape_of_logarithm(scale, most)
    _fits(ctx.scheme, 1 << max(2 * inside + 2, highest + 1), f"a logarithm of numbers up to {most:,}, to {scale} fractional bits")
    flat = replace(x, scale=0).reshape(-1)
    # how often x was doubled, and the power of two that is still missing
    reached = _reached(ctx, flat, [1 << j for j in range(1, highest + 1)])
    power = _unary(reached, [1 << highest - j for j in range(highest + 1)])
    result = _unary(reached, [_exact((j - scale) * _ln(Decimal(2)), inside) for j in range(highest + 1)])
    y = multiply(ctx, flat, power)
    y = truncate(ctx, y, highest - inside) if highest > inside else y * (1 << inside - highest)
    sixteenths = _reached(ctx, y, [(16 + j << inside) // 16 for j in range(1, 16)])
    centres = [Decimal(33 + 2 * j) / 32 for j in range(16)]
    result = result + _unary(sixteenths, [_exact(_ln(c), inside) for c in centres])
    reciprocals = _unary(sixteenths, [_exact(_EXACT.divide(Decimal(1), c), inside) for c in centres])
    z = _product(ctx, y, reciprocals, inside) - (1 << inside)
    coefficients = [_exact(_EXACT.divide(Decimal(1), Decimal(k)), inside) for k in range(1, terms + 1)]
    series = truncate(ctx, z * coefficients[-1], inside) if terms > 1 else z
    for coefficient in reversed(coefficients[:-1]):
        series = _product(ctx, z, coefficient - series, inside)
    return replace(_rounded(ctx, result + series), scale=scale).reshape(*x.shape)


def logarithm_cost(scheme: Scheme, me: PartyId, source: Costed | None, count: int, scale: int, *, most: int) -> Cost:
    """What one `logarithm` of `count` elements costs party `me`."""
    inside, highest, terms = _shape_of_logarithm(scale, most)
    cost = multiply_cost(scheme, me, source, count) + truncate_cost(scheme, me, source, count, GUARD)
    for thresholds in (highest, 15):
        cost += negative_cost(scheme, me, source, thresholds * count) + as_numbers_cost(scheme, me, source, thresholds * count)
    if highest > inside:
        cost += truncate_cost(scheme, me, source, count, highest - inside)
    for _ in range(terms):
        cost += _product_cost(scheme, me, source, count, inside)
    return cost + truncate_cost(scheme, me, source, count, inside)


# --- tables on shares ----------------------------------------------------------------------------------------------------


def _looked_up(ctx: Context, fours: Sequence[Sequence[BitShare]]) -> list[list[Share]]:
    """For each four of bits all 15 products of some of them as numbers, that of bits i with number sum of 2^i, less one. Three rounds."""
    count = fours[0][0].words.shape[0]
    found = fours_multiplied(ctx, [[bit.words for bit in four] for four in fours])
    words = concatenate([of[s] for of in found for s in range(1, 16)])
    numbers = as_numbers(ctx, BitShare(words, (15 * len(fours), 64 * count)))
    size = math.prod(fours[0][0].shape)
    return [[numbers[15 * k + s, :size] for s in range(15)] for k in range(len(fours))]


def _looked_up_cost(scheme: Scheme, me: PartyId, source: Costed | None, fours: int, count: int) -> Cost:
    words = words_of(count)
    return as_numbers_cost(scheme, me, source, 15 * fours * words * 64) + fours_multiplied_cost(scheme, me, source, fours, count)


def _table(terms: Sequence[Share], entries: Sequence[int]) -> Share:
    """The entry that a four of bits selects; local. As a sum over all subsets of the bits that are 1."""
    weights = list(entries)
    for bit in (1, 2, 4, 8):
        for s in range(16):
            if s & bit:
                weights[s] -= weights[s ^ bit]
    return _sum([term * weight for term, weight in zip(terms, weights[1:], strict=True)]) + weights[0]


def _reached(ctx: Context, x: Share, thresholds: Sequence[int]) -> list[Share]:
    """Whether x reaches each of them, as numbers."""
    reached = as_numbers(ctx, ~negative(ctx, concatenate([x - threshold for threshold in thresholds])))
    return _parts(reached, len(thresholds))


def _unary(reached: Sequence[Share], entries: Sequence[int]) -> Share:
    """The entry whose number is how many thresholds were reached; local."""
    steps = [bit * (after - before) for bit, before, after in zip(reached, entries, entries[1:], strict=False)]
    return _sum(steps) + entries[0]


# --- arithmetic ----------------------------------------------------------------------------------------------------------


def _product(ctx: Context, x: Share, y: Share, bits: int) -> Share:
    return truncate(ctx, multiply(ctx, x, y), bits)


def _product_cost(scheme: Scheme, me: PartyId, source: Costed | None, count: int, bits: int) -> Cost:
    return multiply_cost(scheme, me, source, count) + truncate_cost(scheme, me, source, count, bits)


def _rounded(ctx: Context, x: Share) -> Share:
    """Without the guard bits, to the nearest."""
    return truncate(ctx, x + (1 << GUARD - 1), GUARD)


def _parts(x: Share, count: int) -> list[Share]:
    size = x.size // count
    return [x[k * size : (k + 1) * size] for k in range(count)]


def _sum(shares: Sequence[Share]) -> Share:
    first, *others = shares
    for other in others:
        first = first + other
    return first


def _digits(beyond: int) -> int:
    """How many in base 16 an integer below `beyond` has."""
    return -(-(beyond - 1).bit_length() // 4)


def _fits(scheme: Scheme, largest: int, what: str) -> None:
    if largest > scheme.algebra.bound:
        raise ProtocolError(f"{what} may come by 2^{largest.bit_length() - 1}, beyond the bound of {scheme.algebra.name}: narrow the range, or take fewer fractional bits or a wider algebra")


def _fours_of(scale: int) -> list[int]:
    """The lowest bits of the fours that an exponential looks up: above and below the point, until the square of what is left is negligible."""
    _enough(scale)
    below = -(-(scale + GUARD) // 8)
    return [scale - 4 * k for k in range(below + 1)]


def _shape_of_logarithm(scale: int, most: int) -> tuple[int, int, int]:
    """The fractional bits that it works with, the highest power of two that x may reach, and the terms of the series."""
    _enough(scale)
    inside = scale + GUARD
    return inside, (most << scale).bit_length() - 1, -(-inside // 5)


def _enough(scale: int) -> None:
    if scale < 8:
        raise ProtocolError(f"exponentials and logarithms are of numbers with 8 fractional bits and more, not {scale}")


def _exact(x: Decimal, scale: int) -> int:
    return int(_EXACT.multiply(x, Decimal(1 << scale)).to_integral_value())


def _exp(x: Decimal) -> Decimal:
    return _EXACT.exp(x)


def _ln(x: Decimal) -> Decimal:
    return _EXACT.ln(x)
