"""Secret bits, 64 in a word: XOR and NOT are free, AND costs a round, and so does a bit that is to be a number."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from mpc.algebra import Algebra, Array, Shape
from mpc.algebra.words import transposed
from mpc.context import Context, Costed
from mpc.correlations import Bits, bit_length, unpacked
from mpc.cost import Cost
from mpc.errors import ProtocolError
from mpc.schemes import PartyId, Scheme
from mpc.schemes.replicated import Replicated
from mpc.schemes.words import boolean
from mpc.share import Share, concatenate
from protocols.gadgets.addends import by_first, by_first_cost, by_others, known
from protocols.gadgets.multiply import multiply, multiply_cost
from protocols.gadgets.reveal import open_residues, reveal_cost


@dataclass(frozen=True, slots=True)
class BitShare:
    """An array of secret bits of `shape`: bit k, in C order, is bit k % 64 of word k // 64 of `words`, a flat share under
    `boolean(scheme)`. What the last word has beyond them means nothing."""

    words: Share
    shape: Shape

    def __post_init__(self) -> None:
        if self.words.shape != (words_of(prod(self.shape)),):
            raise ProtocolError(f"{self.words.shape} words cannot hold bits of shape {self.shape}")

    def _like(self, other: BitShare) -> Share:
        if other.shape != self.shape:
            raise ProtocolError(f"cannot combine bits of shapes {self.shape} and {other.shape}")
        return other.words

    def __xor__(self, other: BitShare) -> BitShare:
        return replace(self, words=self.words + self._like(other))

    def __invert__(self) -> BitShare:
        return replace(self, words=self.words + np.full(self.words.shape, ~np.uint64(0)))

    def __and__(self, other: object) -> BitShare:
        raise TypeError("AND of secret bits needs a round: use both(ctx, x, y) from protocols.gadgets")

    __or__ = __and__

    def reshape(self, *shape: int) -> BitShare:
        if prod(shape) != prod(self.shape):
            raise ProtocolError(f"cannot give bits of shape {self.shape} the shape {shape}")
        return replace(self, shape=shape)


def bits_of(algebra: Algebra, x: Array) -> Array:
    """The bits of residues, (bits, words)."""
    padded = np.concatenate([x, np.zeros(-x.size % 64, x.dtype)]).reshape(-1, 64).T
    if x.dtype == np.uint64:
        return transposed(padded)[: bit_length(algebra)]
    halves = (padded & (1 << 64) - 1, padded >> 64)
    return np.concatenate([transposed(half.astype(np.uint64)) for half in halves])[: bit_length(algebra)]


def words_of(count: int) -> int:
    """Words that hold so many bits."""
    return -(-count // 64)


def both(ctx: Context, x: BitShare, y: BitShare) -> BitShare:
    """x AND y, of one shape. Discloses nothing. One round, two bits to each peer and one AND from the source of triples a
    bit. [Beaver91]"""
    return replace(x, words=multiply(ctx.under(boolean(ctx.scheme)), x.words, x._like(y)))


def both_cost(scheme: Scheme, me: PartyId, source: Costed | None, count: int) -> Cost:
    """What one `both` of `count` bits costs party `me`."""
    return multiply_cost(boolean(scheme), me, source, words_of(count))


def addend_bits(ctx: Context, x: Share, chosen: slice | list[int] = slice(None), *, opposite: bool = False) -> tuple[list[Share], list[Share]]:
    """Of a replicated share the bits of two numbers, lowest first, in words: x is their sum, or with `opposite` their difference. Discloses
    nothing. One round: the first party sends as many bits as are `chosen` (protocols/gadgets/addends.py). [MR18]"""
    ctx.check(x)
    algebra, words = ctx.scheme.algebra, ctx.under(boolean(ctx.scheme))
    first, second = known(x)
    if opposite:
        second = algebra.subtract(second - second, second)
    of_second = np.ascontiguousarray(bits_of(algebra, second)[chosen])
    of_first = None if first is None else np.ascontiguousarray(bits_of(algebra, first)[chosen])
    shares = by_first(words, of_first, of_second.shape), by_others(words, of_second)
    return [shares[0][k] for k in range(len(of_second))], [shares[1][k] for k in range(len(of_second))]


def addend_bits_cost(scheme: Scheme, me: PartyId, count: int, bits: int) -> Cost:
    """What one `addend_bits` of `count` elements, and so many bits of each, costs party `me`."""
    return by_first_cost(boolean(scheme), me, bits * words_of(count))


def all_of(ctx: Context, x: BitShare) -> BitShare:
    """The AND over the first axis: (k, ...) to (...,). Discloses nothing. As many rounds as k has halvings, upwards; as `both`, of
    k - 1 times the bits in all."""
    count, each = x.shape[0], prod(x.shape[1:])
    width, words = words_of(each), _row_by_row(x, count, each)
    while count > 1:
        half, middle = count // 2, count // 2 * width
        joined = multiply(ctx.under(boolean(ctx.scheme)), words[:middle], words[middle : 2 * middle])
        words, count = concatenate([joined, words[2 * middle :]]), count - half
    return BitShare(words, x.shape[1:])


def _row_by_row(x: BitShare, count: int, each: int) -> Share:
    """The words of `count` rows of bits, where every row begins with a word of its own; local."""
    if each % 64 == 0 or count == 1:
        return x.words
    axes = x.words.scheme.axes
    bits = unpacked(x.words.data).reshape(*axes, -1)[..., : count * each].reshape(*axes, count, each)
    padded = np.concatenate([bits, np.zeros((*axes, count, -each % 64), np.uint8)], axis=-1)
    packed = np.packbits(padded, axis=-1, bitorder="little").reshape(*axes, -1).view("<u8").astype(np.uint64, copy=False)
    return replace(x.words, data=packed)


def all_of_cost(scheme: Scheme, me: PartyId, source: Costed | None, count: int, each: int) -> Cost:
    """What one `all_of` of `count` times `each` bits costs party `me`."""
    cost = Cost()
    while count > 1:
        cost += multiply_cost(boolean(scheme), me, source, count // 2 * words_of(each))
        count -= count // 2
    return cost


def as_numbers(ctx: Context, x: BitShare) -> Share:
    """The bits as 0 or 1 under the session's scheme. Discloses nothing: x XOR r is opened for random bits r that are there in both
    domains, and x = (x XOR r) + r - 2 (x XOR r) r. One round, a bit to each peer. [RW19] Of replicated shares: x is the XOR of a bit that the first
    party knows and one that the others know, which are shared and multiplied: two rounds, an element from each party, two from the first. [MR18]"""
    if isinstance(ctx.scheme, Replicated):
        return _multiplied(ctx, x)
    if ctx.triples is None:
        raise ProtocolError("bits become numbers with random bits of both kinds only, and this session has no source of them")
    count, words = prod(x.shape), ctx.under(boolean(ctx.scheme))
    random, numbers = ctx.triples.take(ctx, Bits(words_of(count)))
    opened = open_residues(words, [x.words + random], range(ctx.parties), "bits as numbers")
    assert opened is not None
    bits = unpacked(opened[0]).reshape(-1)[:count].astype(np.int64)
    return (bits + (1 - 2 * bits) * numbers.reshape(-1)[:count]).reshape(*x.shape)


def _multiplied(ctx: Context, x: BitShare) -> Share:
    """x as a + b - 2 a b."""
    encode = ctx.scheme.algebra.encode
    first, second = known(x.words)
    size = prod(x.shape)
    a = by_first(ctx, None if first is None else encode(unpacked(first).reshape(-1)[:size]), (size,))
    b = by_others(ctx, encode(unpacked(second).reshape(-1)[:size]))
    return (a + b - 2 * multiply(ctx, a, b)).reshape(*x.shape)


def as_numbers_cost(scheme: Scheme, me: PartyId, source: Costed | None, count: int) -> Cost:
    """What one `as_numbers` of `count` bits costs party `me`."""
    if isinstance(scheme, Replicated):
        return by_first_cost(scheme, me, count) + multiply_cost(scheme, me, None, count)
    assert source is not None
    made = source.cost(scheme, me, Bits(words_of(count)))
    return made + reveal_cost(boolean(scheme), me, range(scheme.parties), words_of(count))


def reveal_bits(ctx: Context, *shares: BitShare, to: Iterable[PartyId] | None = None) -> list[Array] | None:
    """Opens bits to the parties `to` (default: all), together in one round: an array of bools for each of `shares`; None at a
    party that is no receiver. Discloses exactly these bits: what the last word has beyond them is not sent as it is, but 0."""
    words = ctx.under(boolean(ctx.scheme))
    kept = [_only(share) for share in shares]
    opened = open_residues(words, kept, range(ctx.parties) if to is None else to, "reveal bits")
    if opened is None:
        return None
    return [
        unpacked(x).reshape(-1)[: prod(share.shape)].astype(bool).reshape(share.shape)
        for x, share in zip(opened, shares, strict=True)
    ]


def reveal_bits_cost(scheme: Scheme, me: PartyId, to: Iterable[PartyId], *counts: int) -> Cost:
    """What one `reveal_bits` of shares of so many bits costs party `me`."""
    return reveal_cost(boolean(scheme), me, to, sum(map(words_of, counts)))


def _only(x: BitShare) -> Share:
    """The words with 0 for what is beyond the bits."""
    keep = np.full(x.words.shape, ~np.uint64(0))
    if beyond := -prod(x.shape) % 64:
        keep[-1] >>= np.uint64(beyond)
    return x.words * keep


