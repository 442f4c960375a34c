"""Compare: which of two secrets is less, or whether they are equal, as secret bits.

x + r is opened for a random r whose bits are shared (`Masks`), so what remains is to compare the public x + r with those
bits. Over Z_2^k, x is negative if its highest bit is 1, and that is the sum of the highest bits of x + r and of r, and of the
borrow: whether the lower bits of x + r are less than those of r. Modulo an odd p, x is negative if 2 x is odd, and its lowest
bit is the sum of those of 2 x + r and of r, and of the borrow, by which p is added. [EGKRS20; NO07] Four bits are compared at
once, which is local, for the source has multiplied the bits of r; the fours are joined in a tree.

Replicated shares need no mask: x is the sum of two numbers whose bits are shared (`addend_bits`), of which the carries are joined.
"""

from typing import Any

import numpy as np

from mpc.algebra import Algebra
from mpc.context import Context, Costed
from mpc.correlations import bit_length
from mpc.cost import Cost
from mpc.schemes import PartyId, Scheme
from mpc.schemes.replicated import Replicated
from mpc.schemes.words import boolean
from mpc.share import Share
from protocols.gadgets.bits import BitShare, addend_bits, addend_bits_cost, words_of
from protocols.gadgets.masked import against_mask, against_mask_cost
from protocols.gadgets.multiply import multiply_cost
from protocols.gadgets.trees import join, join_cost, levels, words_multiplied


def less(ctx: Context, x: Share, y: Any) -> BitShare:
    """Whether x < y, element by element; y is a share or public. As `negative`, of x - y: right where both are within the
    algebra's `bound`."""
    return negative(ctx, x - y)


def negative(ctx: Context, x: Share) -> BitShare:
    """Whether x < 0, for every element of the algebra as a signed number. Discloses nothing: what is opened is uniform.

    Five rounds (six in a wide algebra). To each peer an element, and two bits for each AND of the tree, 26 or 58: 14.5 bytes
    over Z_2^64 and GF(2^61-1), 30.5 in a wide algebra; and a tuple of `Masks` and so many ANDs from the source of triples.

    Of replicated shares: eight rounds (nine over Z_2^128). From each party two bits for each number of bits that are joined, and from the first
    an element: 30.6 bytes from it, and 22.6 from the others; twice as much over Z_2^128. [MR18]"""
    length = bit_length(ctx.scheme.algebra)
    if isinstance(ctx.scheme, Replicated):
        first, second = addend_bits(ctx, x)
        same = [a + b for a, b in zip(first, second, strict=True)]
        carried = join(ctx, words_multiplied(ctx, first[:-1], second[:-1]), same[:-1])
        return BitShare(carried + same[-1], x.shape)
    if _is_odd(ctx.scheme.algebra):
        lower, same, lowest = against_mask(ctx, 2 * x, length, 0)
        return BitShare(join(ctx, lower, same) + lowest, x.shape)
    lower, same, highest = against_mask(ctx, x, length - 1, length - 1)
    return BitShare(join(ctx, lower, same) + highest, x.shape)


def negative_cost(scheme: Scheme, me: PartyId, source: Costed | None, count: int) -> Cost:
    """What one `negative` or `less` of `count` elements costs party `me`."""
    if isinstance(scheme, Replicated):
        bits = bit_length(scheme.algebra) - 1
        cost = addend_bits_cost(scheme, me, count, bit_length(scheme.algebra)) + multiply_cost(boolean(scheme), me, None, bits * words_of(count))
        return cost + join_cost(scheme, me, None, bits, count)
    fours = -(-bit_length(scheme.algebra) // 4)
    return against_mask_cost(scheme, me, source, count) + join_cost(scheme, me, source, fours, count)


def equal(ctx: Context, x: Share, y: Any) -> BitShare:
    """Whether x = y, element by element; y is a share or public. As `is_zero`, of x - y."""
    return is_zero(ctx, x - y)


def is_zero(ctx: Context, x: Share) -> BitShare:
    """Whether x = 0; modulo 2^k - 1 with an error of probability 2^-k. Discloses nothing: what is opened is uniform.

    Five rounds (six in a wide algebra). To each peer an element, and two bits for each AND of the tree, 15 or 31: 11.75 bytes
    over Z_2^64 and GF(2^61-1), 23.75 in a wide algebra; and a tuple of `Masks` and so many ANDs from the source of triples.

    Of replicated shares: seven rounds (eight over Z_2^128). From each party a bit for each pair of bits that are joined, and from the first an
    element: 15.9 bytes from it, and 7.9 from the others; twice as much over Z_2^128."""
    if isinstance(ctx.scheme, Replicated):
        first, second = addend_bits(ctx, x, opposite=True)
        same = [a + b + np.full(a.shape, ~np.uint64(0)) for a, b in zip(first, second, strict=True)]
    else:
        _, same, _ = against_mask(ctx, x, bit_length(ctx.scheme.algebra), 0)
    while len(same) > 1:
        pairs = len(same) // 2
        same = words_multiplied(ctx, same[: 2 * pairs : 2], same[1 : 2 * pairs : 2]) + same[2 * pairs :]
    return BitShare(same[0], x.shape)


def is_zero_cost(scheme: Scheme, me: PartyId, source: Costed | None, count: int) -> Cost:
    """What one `is_zero` or `equal` of `count` elements costs party `me`."""
    if isinstance(scheme, Replicated):
        cost, parts = addend_bits_cost(scheme, me, count, bit_length(scheme.algebra)), bit_length(scheme.algebra)
    else:
        cost, parts = against_mask_cost(scheme, me, source, count), -(-bit_length(scheme.algebra) // 4)
    for level in levels(parts):
        cost += multiply_cost(boolean(scheme), me, source, level // 2 * words_of(count))
    return cost


def _is_odd(algebra: Algebra) -> bool:
    return bool(algebra.modulus & 1)
