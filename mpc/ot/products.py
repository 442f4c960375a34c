"""Shares of products of two parties' secrets, by oblivious transfer: the bits of one choose among multiples of the other.
[Gilboa99]"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mpc.algebra import Algebra, Array
from mpc.algebra.field import FIELD
from mpc.algebra.ring import RING
from mpc.algebra.words import WORDS
from mpc.channel import Payload
from mpc.correlations import unpacked
from mpc.errors import ProtocolError
from mpc.ot import kernels
from mpc.ot.base import COUNT
from mpc.ot.extension import K, Words


class Product(Protocol):
    """How elements of one algebra are multiplied."""

    @property
    def words(self) -> int:
        """Words of choices, 64 transfers each, that an element takes."""
        ...

    @property
    def corrected(self) -> int:
        """Bytes of an element's corrections."""
        ...

    def choices(self, b: Array) -> Words:
        """The choices that stand for the elements `b`."""
        ...

    def sender(self, keys: tuple[Words, Words, Words, Words], a: Array) -> tuple[Array, bytes]:
        """The sender's shares of a * b, and the corrections to send. `keys` as `Sender.extend` gives them."""
        ...

    def chooser(self, keys: tuple[Words, Words], b: Array, corrections: Payload) -> Array:
        """The chooser's shares of a * b. `keys` as `Chooser.extend` gives them. ValueError where a correction is none."""
        ...


def bytes_chosen(words: int) -> int:
    """What a chooser sends for so many words of choices; the sender sends the corrections."""
    return 8 * (COUNT // K) * words


def bytes_each_way(product: Product) -> int:
    """What a party sends to a peer for an element, where each is the sender of one product and the chooser of another."""
    return bytes_chosen(product.words) + product.corrected


@dataclass(frozen=True, slots=True)
class Compiled:
    """64 transfers an element, and `corrections` words, of which the last is half a word where `halved`."""

    corrections: int
    halved: bool
    send: Callable[..., Any]
    choose: Callable[..., Any]
    limit: int = 1 << 64
    words = 1

    @property
    def corrected(self) -> int:
        return 8 * self.corrections - 4 * self.halved

    def choices(self, b: Array) -> Words:
        return b

    def sender(self, keys: tuple[Words, Words, Words, Words], a: Array) -> tuple[Array, bytes]:
        kept, corrections = np.empty(a.size, np.uint64), np.empty((a.size, self.corrections), np.uint64)
        self.send(*keys, np.ascontiguousarray(a), kept, corrections)
        if self.halved:
            return kept, corrections[:, :-1].astype("<u8").tobytes() + corrections[:, -1].__rshift__(_32).astype("<u4").tobytes()
        return kept, corrections.astype("<u8", copy=False).tobytes()

    def chooser(self, keys: tuple[Words, Words], b: Array, corrections: Payload) -> Array:
        had = np.empty(b.size, np.uint64)
        whole = self.corrections - self.halved
        words = np.empty((b.size, self.corrections), np.uint64)
        words[:, :whole] = np.frombuffer(corrections, "<u8", b.size * whole).reshape(b.size, whole)
        if self.halved:
            half = np.frombuffer(corrections, "<u4", b.size, 8 * whole * b.size)
            words[:, -1] = half.astype(np.uint64) << _32
        if self.limit < 1 << 64 and words.size and words.max() >= self.limit:
            raise ValueError("a correction is no element")
        self.choose(*keys, np.ascontiguousarray(b), words, had)
        return had


@dataclass(frozen=True, slots=True)
class Wide:
    """Elements of a wide algebra, in Python integers, 128 transfers each; the corrections are elements."""

    algebra: Algebra
    words = 2

    @property
    def corrected(self) -> int:
        return 128 * self.algebra.element_bytes

    def choices(self, b: Array) -> Words:
        return np.frombuffer(b"".join(int(x).to_bytes(16, "little") for x in b), "<u8").astype(np.uint64, copy=False)

    def sender(self, keys: tuple[Words, Words, Words, Words], a: Array) -> tuple[Array, bytes]:
        m0, m1 = self._pads(*keys[:2]), self._pads(*keys[2:])
        corrections = self.algebra.add(self.algebra.subtract(m0, m1), np.broadcast_to(a[:, None], m0.shape))
        kept = self.weighted(m0)
        return self.algebra.subtract(kept - kept, kept), bytes(self.algebra.to_bytes(corrections))

    def chooser(self, keys: tuple[Words, Words], b: Array, corrections: Payload) -> Array:
        m = self._pads(*keys)
        had = self.algebra.add(m, np.where(self.bits(b), self.algebra.from_bytes(corrections, m.shape), 0))
        return self.weighted(had)

    def bits(self, b: Array) -> Array:
        """The choices, (t, 128)."""
        return unpacked(self.choices(b)).reshape(-1, 128).astype(bool)

    def _pads(self, rows: Words, encrypted: Words) -> Array:
        return elements(self.algebra, rows ^ encrypted).reshape(-1, 128)

    def weighted(self, x: Array) -> Array:
        """The sum of 2^i x[t, i], for each t."""
        return np.asarray(x @ np.array([1 << i for i in range(128)], object) % self.algebra.modulus, object)


@dataclass(frozen=True, slots=True)
class OneBit:
    """Elements times bits, 64 of each an item: the sender's are elements (t, 64), the chooser's words of bits (t,); one
    transfer and one element of correction each."""

    algebra: Algebra
    words = 1

    @property
    def corrected(self) -> int:
        return 64 * self.algebra.element_bytes

    def choices(self, b: Array) -> Words:
        return b

    def sender(self, keys: tuple[Words, Words, Words, Words], a: Array) -> tuple[Array, bytes]:
        m0, m1 = self._pads(*keys[:2]), self._pads(*keys[2:])
        corrections = self.algebra.add(self.algebra.subtract(m0, m1), a)
        return self.algebra.subtract(m0 - m0, m0), bytes(self.algebra.to_bytes(corrections))

    def chooser(self, keys: tuple[Words, Words], b: Array, corrections: Payload) -> Array:
        had = self.algebra.from_bytes(corrections, (b.size, 64))
        return self.algebra.add(self._pads(*keys), np.where(unpacked(b).astype(bool), had, had - had))

    def _pads(self, rows: Words, encrypted: Words) -> Array:
        return elements(self.algebra, rows ^ encrypted).reshape(-1, 64)


def elements(algebra: Algebra, keys: Words) -> Array:
    """An element from each key of 128 bits (t, 2): 2^-60 from uniform or less."""
    if algebra.modulus == 1 << 64:
        return keys[:, 0]
    if algebra.modulus < 1 << 64:
        return keys[:, 0] % np.uint64(algebra.modulus)
    both = keys.astype(object)
    return np.asarray((both[:, 0] + (both[:, 1] << 64)) % algebra.modulus)


_32 = np.uint64(32)

_COMPILED: dict[str, Product] = {
    RING.name: Compiled(33, True, kernels.send_ring, kernels.choose_ring),
    FIELD.name: Compiled(61, False, kernels.send_field, kernels.choose_field, FIELD.modulus),
    WORDS.name: Compiled(1, False, kernels.send_words, kernels.choose_words),
}


def product_over(algebra: Algebra) -> Product:
    """ProtocolError for an algebra whose elements have more than 128 bits."""
    if algebra.name in _COMPILED:
        return _COMPILED[algebra.name]
    if algebra.modulus > 1 << 128:
        raise ProtocolError(f"no triples by oblivious transfer over {algebra.name}")
    return Wide(algebra)
