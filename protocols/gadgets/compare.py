"""Compare: which of two secrets is less, or whether they are equal, as secret bits.

x + r is opened for a random r whose bits are shared (`Masks`), so what remains is to compare the public x + r with those
bits. Over Z_2^k, x is negative if its highest bit is 1, and that is the sum of the highest bits of x + r and of r, and of the
borrow: whether the lower bits of x + r are less than those of r. Modulo an odd p, x is negative if 2 x is odd, and its lowest
bit is the sum of those of 2 x + r and of r, and of the borrow, by which p is added. [EGKRS20; NO07] Four bits are compared at
once, which is local, for the source has multiplied the bits of r; the fours are joined in a tree.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import add
from typing import Any

import numpy as np

from mpc.algebra import Algebra, Array
from mpc.algebra.words import transposed
from mpc.context import Context, Costed
from mpc.correlations import PRODUCTS, Ands, Masks, bit_length
from mpc.cost import Cost
from mpc.errors import ProtocolError
from mpc.schemes import PartyId, Scheme
from mpc.schemes.additive import boolean
from mpc.share import Share, concatenate
from protocols.gadgets.bits import BitShare, words_of
from protocols.gadgets.multiply import multiply, multiply_cost
from protocols.gadgets.reveal import combine, reveal_cost

_ALL = ~np.uint64(0)


def less(ctx: Context, x: Share, y: Any) -> BitShare:
    """Whether x < y, element by element; y is a share or public. As `negative`, of x - y: right where both are within the
    algebra's `bound`."""
    return negative(ctx, x - y)


def negative(ctx: Context, x: Share) -> BitShare:
    """Whether x < 0, for every element of the algebra as a signed number. Discloses nothing: what is opened is uniform.

    Five rounds (six in a wide algebra). To each peer an element, and two bits for each AND of the tree, 26 or 58: 14.5 bytes
    over Z_2^64 and GF(2^61-1), 30.5 in a wide algebra; and a tuple of `Masks` and so many ANDs from the source of triples."""
    length = bit_length(ctx.scheme.algebra)
    if _is_odd(ctx.scheme.algebra):
        lower, same, lowest = _against_mask(ctx, 2 * x, length, 0)
        return BitShare(join(ctx, lower, same) + lowest, x.shape)
    lower, same, highest = _against_mask(ctx, x, length - 1, length - 1)
    return BitShare(join(ctx, lower, same) + highest, x.shape)


def negative_cost(scheme: Scheme, me: PartyId, source: Costed | None, count: int) -> Cost:
    """What one `negative` or `less` of `count` elements costs party `me`."""
    fours = -(-bit_length(scheme.algebra) // 4)
    return _against_mask_cost(scheme, me, source, count) + join_cost(scheme, me, source, fours, count)


def negative_takes(scheme: Scheme, count: int) -> tuple[Masks, Ands]:
    """What one `negative` or `less` of `count` elements takes from the source of triples, to be requested ahead."""
    words = words_of(count)
    return Masks(words), Ands(sum(2 * (fours // 2) - 1 for fours in _levels(scheme)) * words)


def negative_online_cost(scheme: Scheme, me: PartyId, count: int) -> Cost:
    """What it costs party `me` where that is there already."""
    everybody = range(scheme.parties)
    cost = reveal_cost(scheme, me, everybody, count)
    for fours in _levels(scheme):
        words = (2 * (fours // 2) - 1) * words_of(count)
        cost += Cost(triples=words) + reveal_cost(boolean(scheme), me, everybody, 2 * words)
    return cost


def equal(ctx: Context, x: Share, y: Any) -> BitShare:
    """Whether x = y, element by element; y is a share or public. As `is_zero`, of x - y."""
    return is_zero(ctx, x - y)


def is_zero(ctx: Context, x: Share) -> BitShare:
    """Whether x = 0; modulo 2^k - 1 with an error of probability 2^-k. Discloses nothing: what is opened is uniform.

    Five rounds (six in a wide algebra). To each peer an element, and two bits for each AND of the tree, 15 or 31: 11.75 bytes
    over Z_2^64 and GF(2^61-1), 23.75 in a wide algebra; and a tuple of `Masks` and so many ANDs from the source of triples."""
    _, same, _ = _against_mask(ctx, x, bit_length(ctx.scheme.algebra), 0)
    while len(same) > 1:
        pairs = len(same) // 2
        same = words_multiplied(ctx, same[: 2 * pairs : 2], same[1 : 2 * pairs : 2]) + same[2 * pairs :]
    return BitShare(same[0], x.shape)


def is_zero_cost(scheme: Scheme, me: PartyId, source: Costed | None, count: int) -> Cost:
    """What one `is_zero` or `equal` of `count` elements costs party `me`."""
    cost = _against_mask_cost(scheme, me, source, count)
    for fours in _levels(scheme):
        cost += multiply_cost(boolean(scheme), me, source, fours // 2 * words_of(count))
    return cost


def _is_odd(algebra: Algebra) -> bool:
    return bool(algebra.modulus & 1)


def _levels(scheme: Scheme) -> Iterator[int]:
    return levels(-(-bit_length(scheme.algebra) // 4))


def levels(parts: int) -> Iterator[int]:
    """How many parts there are at each level of a tree, but the last."""
    while parts > 1:
        yield parts
        parts = -(-parts // 2)


def join(ctx: Context, lower: list[Share], same: list[Share]) -> Share:
    """Of numbers in parts, lowest first: whether the first is less, from whether each of its parts is less or the same."""
    while (parts := len(lower)) > 1:
        pairs = parts // 2
        # less in the higher part, or the same there and less in the lower; whether the lowest is the same matters to nothing
        product = words_multiplied(ctx, 2 * same[1 : 2 * pairs : 2], lower[: 2 * pairs : 2] + same[: 2 * pairs : 2], skip=pairs)
        lower = [*map(add, lower[1 : 2 * pairs : 2], product), *lower[2 * pairs :]]
        same = [same[0], *product[pairs:], *same[2 * pairs :]]
    return lower[0]


def join_cost(scheme: Scheme, me: PartyId, source: Costed | None, parts: int, count: int) -> Cost:
    """What one `join` of so many parts of `count` numbers costs party `me`."""
    cost = Cost()
    for level in levels(parts):
        cost += multiply_cost(boolean(scheme), me, source, (2 * (level // 2) - 1) * words_of(count))
    return cost


def words_multiplied(ctx: Context, x: Sequence[Share], y: Sequence[Share], skip: int = -1) -> list[Share]:
    """The products of words, all in one round; without the one numbered `skip`."""
    chosen = [k for k in range(len(x)) if k != skip]
    product = multiply(ctx.under(x[0].scheme), concatenate([x[k] for k in chosen]), concatenate([y[k] for k in chosen]))
    size = x[0].shape[0]
    return [product[start : start + size] for start in range(0, size * len(chosen), size)]


def _against_mask(ctx: Context, x: Share, length: int, at: int) -> tuple[list[Share], list[Share], Share]:
    """Opens c = x + r for a random r. Four by four of their lowest `length` bits, lowest first: whether those of c are less than
    those of r, and whether they are the same, in words; and the sum of bit `at` of both. One round."""
    ctx.check(x)
    found: list[list[Share]] = []
    for c, bits, products, _ in opened_with(ctx, x.data.reshape(-1), Masks(1), "compare"):
        opened = bits_of(ctx.scheme.algebra, c)
        found.append([*in_fours(opened[:length], bits, products), bits[:, at] + opened[at]])
    rows = [concatenate(blocks) for blocks in zip(*found, strict=True)]
    fours = len(rows) // 2
    return rows[:fours], rows[fours:-1], rows[-1]


def opened_with(ctx: Context, x: Array, kind: Masks, operation: str) -> Iterator[tuple[Array, Share, Share, Share]]:
    """Opens c = x + r, for residues x and random r; yields c, and all that `kind` has of r, a block at a time. One round."""
    source, algebra = ctx.triples, ctx.scheme.algebra
    if source is None:
        raise ProtocolError(f"{operation}: takes random numbers with their bits, and this session has no source of them")
    source.request(ctx, replace(kind, count=words_of(x.size)))
    kept: deque[tuple[Share, ...]] = deque()

    def masked(block: slice) -> Array:
        count = block.stop - block.start
        bits, products, numbers = source.take(ctx, replace(kind, count=words_of(count)))
        kept.append((bits, products, numbers))
        r = numbers.data if numbers.data.ndim == 2 else numbers.data[:, 0]
        return algebra.add(x[block], r.reshape(-1)[:count])

    for _, parts in ctx.broadcast(operation, x.size, masked):
        bits, products, numbers = kept.popleft()
        yield combine(ctx, parts, operation), bits, products, numbers


def _against_mask_cost(scheme: Scheme, me: PartyId, source: Costed | None, count: int) -> Cost:
    assert source is not None
    return source.cost(scheme, me, Masks(words_of(count))) + reveal_cost(scheme, me, range(scheme.parties), count)


def bits_of(algebra: Algebra, x: Array) -> Array:
    """The bits of residues, (bits, words)."""
    padded = np.concatenate([x, np.zeros(-x.size % 64, x.dtype)]).reshape(-1, 64).T
    if x.dtype == np.uint64:
        return transposed(padded)[: bit_length(algebra)]
    halves = (padded & (1 << 64) - 1, padded >> 64)
    return np.concatenate([transposed(half.astype(np.uint64)) for half in halves])[: bit_length(algebra)]


def in_fours(c: Array, r: Share, products: Share, width: int = 4) -> list[Share]:
    """Whether the public bits c (length, words) are less than the secret ones r (words, bits), four by four, lowest first; then
    whether they are the same. Only the `width` lowest of each four are looked at.

    With n the opposite of c, the product of r_j + n_j is 1 where all four are the same; and c is less if for some j, n_j r_j is 1,
    and r_k + n_k for all k above. Multiplied out, both are sums of products of bits of r, which come with r, times products of bits
    of n, which are public. What the last four lacks is 0 in r, and 1 in n."""
    length, words = c.shape
    fours, lacking = -(-length // 4), -length % 4
    bits, n = np.zeros((4 * fours, words), np.uint64), np.full((4 * fours, words), _ALL)
    bits[:length], n[:length] = r.data[:, :length].T, ~c
    for beyond in range(width, 4):
        n[beyond::4] = _ALL
    secret, public = np.empty((16, fours, words), np.uint64), np.empty((16, fours, words), np.uint64)
    public[0] = _ALL
    for s in range(1, 16):
        public[s] = public[s & (s - 1)] & n[(s & -s).bit_length() - 1 :: 4]
    secret[0] = r.scheme.constant(public[0], r.party)
    secret[[1, 2, 4, 8]] = bits.reshape(fours, 4, words).transpose(1, 0, 2)
    secret[list(PRODUCTS)] = products.data[:, :fours].transpose(2, 1, 0)
    if lacking:
        secret[1 << (4 - lacking) :, -1] = 0
    if width < 4:
        secret[1 << width :] = 0
    less, same, term = np.zeros_like(public[0]), secret[0] & public[15], np.empty_like(public[0])
    for s in range(1, 16):
        lowest = s & -s
        np.bitwise_and(secret[s], public[15 & ~s], out=term)
        same ^= term
        np.bitwise_and(secret[s], public[lowest | 15 & ~(2 * lowest - 1) & ~s], out=term)
        less ^= term
    return [replace(r, data=row) for row in (*less, *same)]
