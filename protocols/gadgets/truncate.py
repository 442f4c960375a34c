"""Truncate: the lowest bits of a secret dropped, as a product of fixed-point numbers needs it.

x' = x + 2^(k-2), which is not negative, has a random number r of k bits added, and c = x' + r is opened. Whether the sum has wrapped
is local: x' is below half, so it has where the highest bit of r is 1, and that of c is 0. (section 5.1) [EGKRS20] What
is left of x' is what is left of c less what is left of r, of which shares are there (`Truncations`), and one less where the dropped
bits of c are less than those of r. Modulo 2^k - 1 a wrap also adds 1 at the bottom.
"""

from dataclasses import replace

import numpy as np

from mpc.algebra import Array
from mpc.context import Context, Costed
from mpc.correlations import Truncations, bit_length
from mpc.cost import Cost
from mpc.errors import ProtocolError
from mpc.schemes import PartyId, Scheme
from mpc.share import Share, concatenate
from protocols.gadgets.bits import BitShare, as_numbers, as_numbers_cost, words_of
from protocols.gadgets.compare import bits_of, in_fours, join, join_cost, opened_with
from protocols.gadgets.reveal import reveal_cost


def truncate(ctx: Context, x: Share, bits: int, *, exact: bool = True) -> Share:
    """x / 2^bits, rounded down, for x within the algebra's `bound`. Of a fixed-point number they are fractional bits. Discloses
    nothing: what is opened is uniform.

    Rounds: two, and one for each halving of ceil(bits / 4), upwards (modulo 2^k - 1, of one more). To each peer an element, two bits for each
    AND of that tree, and a bit; from the source a tuple of `Truncations`, the ANDs, and a bit in both domains.

    Not `exact`: one round and the element alone. Then the result is 1 too large with the probability of what was dropped, in
    units of 2^bits (modulo 2^k - 1 of up to one bit more). Whether it is follows from c, which all see, and from what was dropped: who is told the result to its
    last bit, and has an idea of x, learns about the dropped bits (section 3) [LDHHZS23]. So nothing may be opened of which it is
    not lost in more noise or rounding."""
    ctx.check(x)
    if x.scale and x.scale < bits:
        raise ProtocolError(f"{x!r} has {x.scale} fractional bits: {bits} cannot be dropped")
    algebra = ctx.scheme.algebra
    length, odd = bit_length(algebra), bool(algebra.modulus & 1)
    flat = (replace(x, scale=0) + (1 << length - 2)).data.reshape(-1)
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


def truncate_cost(scheme: Scheme, me: PartyId, source: Costed | None, count: int, bits: int, *, exact: bool = True) -> Cost:
    """What one `truncate` of `count` elements costs party `me`."""
    assert source is not None
    cost = source.cost(scheme, me, Truncations(words_of(count), bits)) + reveal_cost(scheme, me, range(scheme.parties), count)
    if exact:
        parts = -(-bits // 4) + (scheme.algebra.modulus & 1)
        cost += join_cost(scheme, me, source, parts, count) + as_numbers_cost(scheme, me, source, count)
    return cost


def _like(x: Array, number: int) -> Array:
    """A number of the type of residues x."""
    return np.asarray(number, x.dtype)
