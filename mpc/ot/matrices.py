"""Shares of products of two parties' secret matrices, by oblivious transfer: each bit of an element of the one chooses among
multiples of a whole vector of the other. So there are fewer transfers than for products of numbers, by the vectors' length;
the corrections are as many, and so the bytes about half: 260 a product of elements over Z_2^64, 488 over GF(2^61-1), and 256
an element of the smaller matrix. [MZ17]"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from mpc.algebra import Algebra, Array
from mpc.algebra.field import FIELD
from mpc.algebra.ring import RING
from mpc.channel import Payload
from mpc.context import blocks
from mpc.correlations import Matrices
from mpc.ot import kernels
from mpc.ot.extension import Chooser, Sender, Words
from mpc.ot.products import Compiled, Wide, bytes_chosen, elements, product_over

PART = 1 << 10
"""Products of elements that are made at once, and whose corrections are one message: their long keys stay in a core's cache."""
LARGEST_BLOCK = 1 << 22
"""Bytes of the corrections for transfers that are made at once."""


class VectorProduct(Protocol):
    """How vectors over one algebra are multiplied by numbers, and added up. Keys (transfers, -) are expanded."""

    @property
    def words(self) -> int:
        """Words of choices, 64 transfers each, that a number takes."""
        ...

    @property
    def corrected(self) -> int:
        """Bytes of corrections for each element of a vector."""
        ...

    @property
    def per_block(self) -> int:
        """Elements to which a block of a long key comes."""
        ...

    def choices(self, b: Array) -> Words:
        """The choices that stand for the numbers `b`."""
        ...

    def sender(self, m0: Words, m1: Words, a: Array) -> tuple[Array, bytes]:
        """The sender's share (m,) of the sum of all b[t] * a[t], a (t, m), and the corrections."""
        ...

    def chooser(self, m: Words, b: Array, length: int, corrections: Payload) -> Array:
        """The chooser's share (length,). ValueError where a correction is none."""
        ...


@dataclass(frozen=True, slots=True)
class CompiledVectors:
    """Corrections as for products of numbers."""

    scalar: Compiled
    send: Callable[..., Any]
    choose: Callable[..., Any]
    words = 1
    per_block = 2

    @property
    def corrected(self) -> int:
        return self.scalar.corrected

    def choices(self, b: Array) -> Words:
        return b

    def sender(self, m0: Words, m1: Words, a: Array) -> tuple[Array, bytes]:
        kept, corrections = np.empty(a.shape[1], np.uint64), np.empty((self.scalar.corrections, *a.shape), np.uint64)
        self.send(m0, m1, np.ascontiguousarray(a), kept, corrections)
        if not self.scalar.halved:
            return kept, corrections.astype("<u8", copy=False).tobytes()
        half = (corrections[-1] >> _32).astype("<u4")
        return kept, corrections[:-1].astype("<u8", copy=False).tobytes() + half.tobytes()

    def chooser(self, m: Words, b: Array, length: int, corrections: Payload) -> Array:
        count, size = self.scalar.corrections - self.scalar.halved, b.size * length
        words, had = np.empty((self.scalar.corrections, b.size, length), np.uint64), np.empty(length, np.uint64)
        words[:count] = np.frombuffer(corrections, "<u8", count * size).reshape(count, b.size, length)
        if self.scalar.halved:
            half = np.frombuffer(corrections, "<u4", size, 8 * count * size)
            words[-1] = half.reshape(b.size, length).astype(np.uint64) << _32
        if self.scalar.limit < 1 << 64 and words.max() >= self.scalar.limit:
            raise ValueError("a correction is no element")
        self.choose(m, np.ascontiguousarray(b), words, had)
        return had


@dataclass(frozen=True, slots=True)
class WideVectors:
    """Over a wide algebra, in Python integers."""

    scalar: Wide
    words = 2
    per_block = 1

    @property
    def corrected(self) -> int:
        return self.scalar.corrected

    def choices(self, b: Array) -> Words:
        return self.scalar.choices(b)

    def sender(self, m0: Words, m1: Words, a: Array) -> tuple[Array, bytes]:
        algebra = self.scalar.algebra
        pads, others = (self._pads(m, *a.shape) for m in (m0, m1))
        corrections = algebra.add(algebra.subtract(pads, others), a[:, None])
        total = self._weighted(pads)
        return algebra.subtract(total - total, total), bytes(algebra.to_bytes(corrections))

    def chooser(self, m: Words, b: Array, length: int, corrections: Payload) -> Array:
        pads = self._pads(m, b.size, length)
        given = self.scalar.algebra.from_bytes(corrections, pads.shape)
        return self._weighted(self.scalar.algebra.add(pads, np.where(self.scalar.bits(b)[:, :, None], given, 0)))

    def _pads(self, m: Words, numbers: int, length: int) -> Array:
        return elements(self.scalar.algebra, m.reshape(-1, 2)).reshape(numbers, 128, -1)[:, :, :length]

    def _weighted(self, x: Array) -> Array:
        """The sum of 2^i x[t, i]."""
        return self.scalar.weighted(x.sum(0).T)


@dataclass(frozen=True)
class Outer:
    """As a sender: `vectors` (k, m); as a chooser: `numbers` (n, k). To row q of `out` (n, m) are added this party's shares of
    the sum of numbers[q, p] * vectors[p] over all p."""

    product: VectorProduct
    algebra: Algebra
    vectors: Array = field(repr=False)
    numbers: Array = field(repr=False)
    out: Array = field(repr=False)

    @property
    def blocks(self) -> list[slice]:
        """Of numbers, row by row, once for each slab of elements of the vectors."""
        length, many = self.vectors.shape[1], self.numbers.size
        found: list[slice] = []
        for slab in _slabs(self.product, length):
            each = max(1, LARGEST_BLOCK // (self.product.corrected * (slab.stop - slab.start)))
            start = slab.start // _slab(self.product) * many
            found += [slice(start + block.start, start + block.stop) for block in blocks(many, min(each, PART))]
        return found

    def words(self, block: slice) -> int:
        count: int = block.stop - block.start
        return count * self.product.words

    def choices(self, block: slice) -> Words:
        start = block.start % self.numbers.size
        return self.product.choices(self.numbers.reshape(-1)[start : start + block.stop - block.start])

    def send(self, end: Sender, keys: tuple[Words, Words, Words, Words], block: slice) -> Iterator[Payload]:
        for q, p, columns, rows, first in self._parts(block):
            count = -(-(columns.stop - columns.start) // self.product.per_block)
            m0, m1 = end.expanded(keys[1][rows], keys[3][rows], first, count)
            share, corrections = self.product.sender(m0, m1, self.vectors[p, columns])
            self.out[q, columns] = self.algebra.add(self.out[q, columns], share)
            yield corrections

    def choose(
        self, end: Chooser, keys: tuple[Words, Words], block: slice, receive: Callable[[int], Payload]
    ) -> None:
        for q, p, columns, rows, first in self._parts(block):
            length = columns.stop - columns.start
            m = end.expanded(keys[1][rows], first, -(-length // self.product.per_block))
            raw = receive((p.stop - p.start) * length * self.product.corrected)
            share = self.product.chooser(m, self.numbers[q, p], length, raw)
            self.out[q, columns] = self.algebra.add(self.out[q, columns], share)

    def _parts(self, block: slice) -> Iterator[tuple[int, slice, slice, slice, int]]:
        """What of a block is made at once: the row q of the numbers, a slice of p, one of the vectors' elements, that of the
        transfers, and the first block of the long keys."""
        number, k = self.numbers.size, self.numbers.shape[1]
        slab = _slabs(self.product, self.vectors.shape[1])[block.start // number]
        length, each = slab.stop - slab.start, 64 * self.product.words
        at, start, stop = 0, block.start % number, block.start % number + block.stop - block.start
        while start < stop:
            q, p = divmod(start, k)
            some = min(max(1, PART // length), k - p, stop - start)
            for piece in blocks(length, PART):
                columns = slice(slab.start + piece.start, slab.start + piece.stop)
                yield q, slice(p, p + some), columns, slice(each * at, each * (at + some)), piece.start // self.product.per_block
            at, start = at + some, start + some


def _slab(product: VectorProduct) -> int:
    """Elements of vectors for which there are transfers of their own, so that a block is not too long."""
    return LARGEST_BLOCK // product.corrected


def _slabs(product: VectorProduct, length: int) -> list[slice]:
    return list(blocks(length, _slab(product)))


def bytes_of_matrices(product: VectorProduct, kind: Matrices) -> int:
    """What a contributor sends to a peer for matrix triples: as the chooser of one product and the sender of another."""
    long, short = max(kind.m, kind.n), min(kind.m, kind.n)
    messages = len(_slabs(product, long)) * kind.k * short * bytes_chosen(product.words)
    return messages + kind.m * kind.k * kind.n * product.corrected


_32 = np.uint64(32)
_COMPILED = {
    RING.name: (kernels.send_ring_vectors, kernels.choose_ring_vectors),
    FIELD.name: (kernels.send_field_vectors, kernels.choose_field_vectors),
}


def vector_product_over(algebra: Algebra) -> VectorProduct:
    """ProtocolError for an algebra whose elements have more than 128 bits."""
    scalar = product_over(algebra)
    if isinstance(scalar, Compiled):
        return CompiledVectors(scalar, *_COMPILED[algebra.name])
    assert isinstance(scalar, Wide)
    return WideVectors(scalar)
