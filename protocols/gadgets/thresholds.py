"""Thresholds: which of many public numbers a secret one reaches, and how many secret numbers lie between them.

The secret's bits are multiplied in fours once, so that comparing four of them with public ones is local (protocols/gadgets/masked.py); for each threshold the
fours are joined in a tree.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mpc.algebra import Array
from mpc.context import BLOCK, Context, Costed, blocks
from mpc.correlations import PRODUCTS, bit_length
from mpc.cost import Cost
from mpc.errors import ProtocolError
from mpc.schemes import PartyId, Scheme
from mpc.share import Share, concatenate
from protocols.gadgets.bits import BitShare, as_numbers, as_numbers_cost, words_of
from protocols.gadgets.decompose import decompose, decompose_cost
from protocols.gadgets.masked import in_fours
from protocols.gadgets.trees import fours_multiplied, fours_multiplied_cost, join, join_cost

_ALL = ~np.uint64(0)


def reached(ctx: Context, bits: Sequence[Share], thresholds: Sequence[int]) -> Share:
    """Whether numbers that are not negative, of which `bits` has the bits in words, lowest first, are at least each threshold, from 1 to as large as so many bits can be: in words, (thresholds, words).
    Discloses nothing. Rounds: two, and one for each halving of ceil(bits / 4), upwards. 11 ANDs for each four bits, and those of a `join` of as many parts for each threshold: 26 of 62 bits."""
    length, words = len(bits), bits[0].size
    if not all(0 < threshold < 1 << length for threshold in thresholds):
        raise ProtocolError(f"thresholds of numbers of {length} bits lie between 1 and 2^{length} - 1")
    padded = [*bits, *[0 * bits[0]] * (-length % 4)]
    fours = fours_multiplied(ctx, [padded[k : k + 4] for k in range(0, len(padded), 4)])
    by_word = _stacked([*bits])
    products = _stacked([four[subset] for four in fours for subset in PRODUCTS]).reshape(words, len(fours), len(PRODUCTS))
    rows = [in_fours(_public(threshold - 1, length, words), by_word, products) for threshold in thresholds]
    lower = [concatenate([of[k] for of in rows]) for k in range(2 * len(fours))]
    return join(ctx, lower[: len(fours)], lower[len(fours) :]).reshape(len(thresholds), words)


def reached_cost(scheme: Scheme, me: PartyId, source: Costed | None, bits: int, thresholds: int, count: int) -> Cost:
    """What one `reached` of `count` numbers of so many bits costs party `me`."""
    fours = -(-bits // 4)
    cost = fours_multiplied_cost(scheme, me, source, fours, count)
    return cost + join_cost(scheme, me, source, fours, 64 * thresholds * words_of(count))


def histogram(ctx: Context, x: Share, edges: Sequence[int]) -> Share:
    """How many of the numbers x, flat, lie below the first of the ascending `edges`, from each to below the next, and from the last on: one count more than there are edges. x and the edges are
    integers within the algebra's `bound`. Discloses nothing.

    Rounds: those of `decompose`, of `reached` (six in all over Z_2^64) and of `as_numbers`, for every `BLOCK` / 2 numbers, or as many as make 2^21 comparisons. For each number one `decompose`, and for each edge of it
    26 ANDs (over Z_2^64 and GF(2^61-1)) and a bit that becomes a number."""
    bound = ctx.scheme.algebra.bound
    if list(edges) != sorted(set(edges)) or not edges or max(map(abs, edges)) > bound:
        raise ProtocolError(f"a histogram has ascending edges, at most {bound} in size")
    (count,) = x.shape
    offset = 1 << bit_length(ctx.scheme.algebra) - 2
    from_edge: list[Share] = []
    for block in _blocks(count, len(edges)):
        part = x[block]
        bits = decompose(ctx, replace(part, scale=0))
        # two's complement with the sign turned round: the number plus offset
        ordered = [*(bit.words for bit in bits[:-1]), bits[-1].words + np.full(bits[-1].words.shape, _ALL)]
        words = reached(ctx, ordered, [edge + offset for edge in edges])
        numbers = as_numbers(ctx, BitShare(words.reshape(-1), (len(edges), 64 * words.shape[1])))
        from_edge.append(numbers[:, : part.size].sum(1))
    total = sum(from_edge[1:], from_edge[0])
    above = concatenate([total[1:], 0 * total[:1]])
    return concatenate([count - total[:1], total - above])


def histogram_cost(scheme: Scheme, me: PartyId, source: Costed | None, count: int, edges: int) -> Cost:
    """What one `histogram` of `count` numbers costs party `me`."""
    cost = Cost()
    for block in _blocks(count, edges):
        size = block.stop - block.start
        cost += decompose_cost(scheme, me, source, size)
        cost += reached_cost(scheme, me, source, bit_length(scheme.algebra) - 1, edges, size)
        cost += as_numbers_cost(scheme, me, source, edges * 64 * words_of(size))
    return cost


def _blocks(count: int, edges: int) -> Sequence[slice]:
    return [*blocks(count, max(min(BLOCK // 2, (1 << 21) // edges), 64))]


def _stacked(rows: Sequence[Share]) -> Share:
    """Words row by row, (rows, words), as (words, rows)."""
    return replace(rows[0], data=np.stack([row.data for row in rows], axis=-1))


def _public(number: int, length: int, words: int) -> Array:
    """The bits of a public number, in words: (length, words)."""
    bits = np.array([_ALL if number >> i & 1 else 0 for i in range(length)], np.uint64)
    return np.broadcast_to(bits[:, np.newaxis], (length, words))
