"""Decompose: the bits of a secret number, and a number from bits.

c = x' + r is opened, as for `truncate`; x' is c less r, and less one modulo 2^k - 1 where the sum has wrapped. Bit i of a difference is
the sum of bit i of both and of the borrow into it: whether what is below in c is less than what is below in r. These prefixes are
joined as in a parallel prefix adder, four bits at a time. [Sklansky60] Of replicated shares it is the sum of two numbers (`addend_bits`).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mpc.context import Context, Costed
from mpc.correlations import Masks, bit_length
from mpc.cost import Cost
from mpc.errors import ProtocolError
from mpc.schemes import PartyId, Scheme
from mpc.schemes.replicated import Replicated
from mpc.schemes.words import boolean
from mpc.share import Share, concatenate
from protocols.gadgets.bits import (
    BitShare,
    addend_bits,
    addend_bits_cost,
    as_numbers,
    as_numbers_cost,
    bits_of,
    words_of,
)
from protocols.gadgets.masked import in_fours, opened_with
from protocols.gadgets.multiply import multiply_cost
from protocols.gadgets.reveal import reveal_cost
from protocols.gadgets.trees import all_joined, all_joined_cost, words_multiplied


def decompose(ctx: Context, x: Share) -> list[BitShare]:
    """The bits of x in two's complement, lowest first: one less than the modulus has, of which the last is the sign, for x within
    the algebra's `bound`; of a fixed-point number those of the integer that it is held as. Discloses nothing: what is opened is uniform.

    Six rounds (seven in a wide algebra). To each peer an element, and two bits for each AND: 90 over Z_2^64, 87 over GF(2^61-1), 216 or
    225 in a wide algebra; and a tuple of `Masks` and so many ANDs from the source of triples. Of replicated shares: eight rounds (nine over Z_2^128),
    a bit for each AND, 363 or 871, from each party, and an element from the first."""
    ctx.check(x)
    if isinstance(ctx.scheme, Replicated):
        first, second = addend_bits(ctx, x, slice(bit_length(ctx.scheme.algebra) - 1))
        sums = [a + b for a, b in zip(first, second, strict=True)]
        carries = all_joined(ctx, words_multiplied(ctx, first[:-1], second[:-1]), sums[:-1])
        return [BitShare(bit, x.shape) for bit in (sums[0], *(a + b for a, b in zip(sums[1:], carries, strict=True)))]
    algebra = ctx.scheme.algebra
    length, odd = bit_length(algebra), bool(algebra.modulus & 1)
    flat, found = (replace(x, scale=0) + (1 << length - 2)).data.reshape(-1), list[list[Share]]()
    for c, r, products, _ in opened_with(ctx, flat, Masks(1), "decompose"):
        opened = bits_of(algebra, c)
        sums = [r[:, i] + opened[i] for i in range(length - 1)]
        wrapped = r[:, length - 1] * (~opened[length - 1] if odd else np.uint64(0))
        found.append([*sums, wrapped, *(row for width in (4, 1, 2, 3) for row in in_fours(opened[: length - 1], r, products, width))])
    rows = [concatenate(blocks) for blocks in zip(*found, strict=True)]
    sums, wrapped, fours = rows[: length - 1], rows[length - 1], _fours(ctx.scheme)
    lower, same = ([rows[start + k * 2 * fours :][:fours] for k in range(4)] for start in (length, length + fours))
    # into each four, from what is below it
    into = [wrapped, *lower[0][:-1]] if odd else lower[0][:-1]
    equal = [wrapped, *same[0][:-1]] if odd else same[0][:-1]
    into = all_joined(ctx, into, equal)
    if not odd:
        into = [wrapped, *into]
    within = words_multiplied(ctx, [row for rows in same[1:] for row in rows], into * 3)
    borrows = [into, *([a + b for a, b in zip(lower[w], within[(w - 1) * fours :], strict=False)] for w in (1, 2, 3))]
    bits = [BitShare(sums[i] + borrows[i % 4][i // 4], x.shape) for i in range(length - 1)]
    return [*bits[:-1], ~bits[-1]]


def decompose_cost(scheme: Scheme, me: PartyId, source: Costed | None, count: int) -> Cost:
    """What one `decompose` of `count` elements costs party `me`."""
    words = words_of(count)
    if isinstance(scheme, Replicated):
        bits = bit_length(scheme.algebra) - 1
        cost = addend_bits_cost(scheme, me, count, bits) + multiply_cost(boolean(scheme), me, None, (bits - 1) * words)
        return cost + all_joined_cost(scheme, me, None, bits - 1, count)
    assert source is not None
    cost = source.cost(scheme, me, Masks(words)) + reveal_cost(scheme, me, range(scheme.parties), count)
    fours = _fours(scheme)
    cost += all_joined_cost(scheme, me, source, fours - 1 + (scheme.algebra.modulus & 1), count)
    return cost + multiply_cost(boolean(scheme), me, source, 3 * fours * words)


def compose(ctx: Context, bits: Sequence[BitShare], *, signed: bool = True) -> Share:
    """The number of which these are the bits, lowest first; the last is the sign, where it is `signed`. Discloses nothing. One round, a bit to
    each peer and one from the source in both domains for each (`as_numbers`)."""
    if not bits or any(bit.shape != bits[0].shape for bit in bits):
        raise ProtocolError("bits of one shape make up a number")
    words = concatenate([bit.words for bit in bits])
    numbers = as_numbers(ctx, BitShare(words, (len(bits), 64 * words.size // len(bits))))
    weights = [1 << i for i in range(len(bits))]
    if signed:
        weights[-1] = -weights[-1]
    whole = (numbers * np.array(weights, object)[:, np.newaxis]).sum(0)
    shape = bits[0].shape
    return whole[: int(np.prod(shape))].reshape(*shape)


def compose_cost(scheme: Scheme, me: PartyId, source: Costed | None, count: int, bits: int) -> Cost:
    """What one `compose` of `count` numbers of so many bits costs party `me`."""
    return as_numbers_cost(scheme, me, source, bits * words_of(count) * 64)


def _fours(scheme: Scheme) -> int:
    return -(-(bit_length(scheme.algebra) - 1) // 4)
