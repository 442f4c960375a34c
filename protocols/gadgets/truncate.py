"""Truncate: the lowest bits of a secret dropped, as a product of fixed-point numbers needs it.

x' = x + 2^(k-2), which is not negative, has a random number r of k bits added, and c = x' + r is opened. Whether the sum has wrapped
is local: x' is below half, so it has where the highest bit of r is 1, and that of c is 0. (section 5.1) [EGKRS20] What
is left of x' is what is left of c less what is left of r, of which shares are there (`Truncations`), and one less where the dropped
bits of c are less than those of r. Modulo 2^k - 1 a wrap also adds 1 at the bottom.
"""

from dataclasses import replace
from operator import add

import numpy as np

from mpc.algebra import Array
from mpc.context import Context, Costed
from mpc.correlations import Truncations, bit_length
from mpc.cost import Cost
from mpc.errors import ProtocolError
from mpc.schemes import PartyId, Scheme
from mpc.schemes.replicated import Replicated
from mpc.schemes.words import boolean
from mpc.share import Share, concatenate
from protocols.gadgets.addends import by_first, by_first_cost, by_others, known
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
from protocols.gadgets.trees import join, join_cost, words_multiplied


def truncate(ctx: Context, x: Share, bits: int, *, exact: bool = True) -> Share:
    """x / 2^bits, rounded down, for x within the algebra's `bound`. Of a fixed-point number they are fractional bits. Discloses
    nothing: what is opened is uniform.

    Rounds: two, and one for each halving of ceil(bits / 4), upwards (modulo 2^k - 1, of one more). To each peer an element, two bits for each
    AND of that tree, and a bit; from the source a tuple of `Truncations`, the ANDs, and a bit in both domains. Of replicated shares: five rounds, and one
    for each halving of `bits`; two elements and a bit for each AND from each party, three elements and `bits` + 1 bits more from the first. [MR18]

    Not `exact`: one round and the element alone. Then the result is 1 too large with the probability of what was dropped, in
    units of 2^bits (modulo 2^k - 1 of up to one bit more). Whether it is follows from c, which all see, and from what was dropped: who is told the result to its
    last bit, and has an idea of x, learns about the dropped bits (section 3) [LDHHZS23]. So nothing may be opened of which it is
    not lost in more noise or rounding. Of replicated shares: five rounds, an element and a bit from each party, two more and a bit from the first; the error
    follows from what the first party knows, and from what was dropped."""
    ctx.check(x)
    if x.scale and x.scale < bits:
        raise ProtocolError(f"{x!r} has {x.scale} fractional bits: {bits} cannot be dropped")
    algebra = ctx.scheme.algebra
    length, odd = bit_length(algebra), bool(algebra.modulus & 1)
    shifted = replace(x, scale=0) + (1 << length - 2)
    if isinstance(ctx.scheme, Replicated):
        left_of = _of_addends(ctx, shifted, bits, exact) - (1 << length - 2 - bits)
        return replace(left_of.reshape(*x.shape), scale=max(x.scale - bits, 0))
    flat = shifted.data.reshape(-1)
    left, found, start = np.empty_like(flat), list[list[Share]](), 0
    for c, of_r, products, numbers in opened_with(ctx, flat, Truncations(1, bits), "truncate"):
        _, upper, highest = (numbers.data[:, k].reshape(-1)[: c.size] for k in range(3))
        below = 1 - (c >> _like(c, length - 1))  # whether the highest bit of c is 0
        wrapped = algebra.multiply(highest, below * _like(c, (1 << length - bits) % algebra.modulus))
        public = ctx.scheme.constant(c >> _like(c, bits), ctx.me)
        left[start : start + c.size] = algebra.add(algebra.subtract(public, upper), wrapped)
        start += c.size
        if exact:
            opened = bits_of(algebra, c)
            rows = in_fours(opened[:bits], of_r, products)
            if odd:  # the dropped bits of r and whether it has wrapped are compared with those of c and 0
                lowest = of_r[:, length - 1] * ~opened[length - 1]
                rows = [lowest, *rows[: len(rows) // 2], lowest, *rows[len(rows) // 2 :]]
            found.append(rows)
    result = replace(x, data=left.reshape(x.shape), scale=max(x.scale - bits, 0))
    if exact:
        rows = [concatenate(blocks) for blocks in zip(*found, strict=True)]
        borrow = join(ctx, rows[: len(rows) // 2], rows[len(rows) // 2 :])
        result = result - replace(as_numbers(ctx, BitShare(borrow, x.shape)), scale=result.scale)
    return replace(replace(result, scale=0) - (1 << length - 2 - bits), scale=result.scale)


def _of_addends(ctx: Context, x: Share, bits: int, exact: bool) -> Share:
    """x / 2^bits, flat, for 0 <= x < 2^(k-1). x is the sum of two numbers, or one more where it need not be exact; that wraps where the
    highest bit of either is 1, for that of x is 0. What is left of both, less the wrap, is one less than what is left of x where the dropped
    bits have a carry."""
    length = bit_length(ctx.scheme.algebra)
    if not exact:
        x = x - 1
    first, second = known(x)
    left = by_first(ctx, None if first is None else first >> _like(first, bits), second.shape) + by_others(ctx, second >> _like(second, bits))
    chosen = [*range(bits)] * exact + [length - 1]
    a, b = addend_bits(ctx, x, chosen)
    both, same = words_multiplied(ctx, a, b), [*map(add, a, b)]
    wrapped = both[-1] + same[-1]
    rows = [wrapped, join(ctx, both[:-1], same[:-1])] if exact else [wrapped]
    numbers = as_numbers(ctx, BitShare(concatenate(rows), (len(rows), 64 * wrapped.size)))[:, : x.size]
    return left + -(1 << length - bits) * numbers[0] + (numbers[1] if exact else 1)


def truncate_cost(scheme: Scheme, me: PartyId, source: Costed | None, count: int, bits: int, *, exact: bool = True) -> Cost:
    """What one `truncate` of `count` elements costs party `me`."""
    if isinstance(scheme, Replicated):
        chosen = bits * exact + 1
        cost = by_first_cost(scheme, me, count) + addend_bits_cost(scheme, me, count, chosen)
        cost += multiply_cost(boolean(scheme), me, None, chosen * words_of(count))
        if exact:
            return cost + join_cost(scheme, me, None, bits, count) + as_numbers_cost(scheme, me, None, 2 * 64 * words_of(count))
        return cost + as_numbers_cost(scheme, me, None, 64 * words_of(count))
    assert source is not None
    cost = source.cost(scheme, me, Truncations(words_of(count), bits)) + reveal_cost(scheme, me, range(scheme.parties), count)
    if exact:
        parts = -(-bits // 4) + (scheme.algebra.modulus & 1)
        cost += join_cost(scheme, me, source, parts, count) + as_numbers_cost(scheme, me, source, count)
    return cost


def _like(x: Array, number: int) -> Array:
    """A number of the type of residues x."""
    return np.asarray(number, x.dtype)
