"""Masked: a secret x is opened with a random r of which the bits are shared, to go on with the public x + r and the bits of r."""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from mpc.algebra import Array
from mpc.context import Context, Costed
from mpc.correlations import PRODUCTS, Masks
from mpc.cost import Cost
from mpc.errors import ProtocolError
from mpc.schemes import PartyId, Scheme
from mpc.share import Share, concatenate
from protocols.gadgets.bits import bits_of, words_of
from protocols.gadgets.reveal import opened, reveal_cost

_ALL = ~np.uint64(0)


def against_mask(ctx: Context, x: Share, length: int, at: int) -> tuple[list[Share], list[Share], Share]:
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


def against_mask_cost(scheme: Scheme, me: PartyId, source: Costed | None, count: int) -> Cost:
    """What one `against_mask` of `count` elements costs party `me`."""
    assert source is not None
    return source.cost(scheme, me, Masks(words_of(count))) + reveal_cost(scheme, me, range(scheme.parties), count)


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

    for _, mine, received in ctx.broadcast(operation, x.size, masked):
        bits, products, numbers = kept.popleft()
        yield opened(ctx, mine, received, operation), bits, products, numbers


def in_fours(c: Array, r: Share, products: Share, width: int = 4) -> list[Share]:
    """Whether the public bits c (length, words) are less than the secret ones r (words, bits), four by four, lowest first; then
    whether they are the same. Only the `width` lowest of each four are looked at.

    With n the opposite of c, the product of r_j + n_j is 1 where all four are the same; and c is less if for some j, n_j r_j is 1,
    and r_k + n_k for all k above. Multiplied out, both are sums of products of bits of r, which come with r, times products of bits
    of n, which are public. What the last four lacks is 0 in r, and 1 in n."""
    length, words = c.shape
    fours, lacking, axes = -(-length // 4), -length % 4, r.scheme.axes
    bits, n = np.zeros((*axes, 4 * fours, words), np.uint64), np.full((4 * fours, words), _ALL)
    bits[..., :length, :], n[:length] = r.data[..., :length].swapaxes(-1, -2), ~c
    for beyond in range(width, 4):
        n[beyond::4] = _ALL
    secret, public = np.empty((16, *axes, fours, words), np.uint64), np.empty((16, fours, words), np.uint64)
    public[0] = _ALL
    for s in range(1, 16):
        public[s] = public[s & (s - 1)] & n[(s & -s).bit_length() - 1 :: 4]
    secret[0] = r.scheme.constant(public[0], r.party)
    secret[[1, 2, 4, 8]] = np.moveaxis(bits.reshape(*axes, fours, 4, words), -2, 0)
    secret[list(PRODUCTS)] = np.moveaxis(products.data[..., :fours, :], -1, 0).swapaxes(-1, -2)
    if lacking:
        secret[1 << (4 - lacking) :, ..., -1, :] = 0
    if width < 4:
        secret[1 << width :] = 0
    less, same, term = np.zeros_like(secret[0]), secret[0] & public[15], np.empty_like(secret[0])
    for s in range(1, 16):
        lowest = s & -s
        np.bitwise_and(secret[s], public[15 & ~s], out=term)
        same ^= term
        np.bitwise_and(secret[s], public[lowest | 15 & ~(2 * lowest - 1) & ~s], out=term)
        less ^= term
    return [replace(r, data=rows[..., k, :]) for rows in (less, same) for k in range(fours)]
