"""Shares of products of two parties' secrets, by oblivious transfer: the bits of one choose among multiples of the other.
[Gilboa99]"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpc.algebra import Algebra, Array
from mpc.algebra.field import FIELD
from mpc.algebra.ring import RING
from mpc.algebra.words import WORDS
from mpc.channel import Payload
from mpc.errors import ProtocolError
from mpc.ot import kernels
from mpc.ot.extension import Words


@dataclass(frozen=True, slots=True)
class Product:
    """How elements of one algebra are multiplied: 64 transfers each, and `corrections` words, of which the last is
    half a word where `halved`."""

    corrections: int
    halved: bool
    send: Callable[..., Any]
    choose: Callable[..., Any]

    @property
    def bytes(self) -> int:
        """Bytes of an element's corrections."""
        return 8 * self.corrections - 4 * self.halved

    def sender(self, keys: tuple[Words, Words, Words, Words], a: Array) -> tuple[Array, bytes]:
        """The sender's shares of a * b, and the corrections to send. `keys` as `Sender.extend` gives them."""
        kept, corrections = np.empty(a.size, np.uint64), np.empty((a.size, self.corrections), np.uint64)
        self.send(*keys, np.ascontiguousarray(a), kept, corrections)
        if self.halved:
            return kept, corrections[:, :-1].astype("<u8").tobytes() + corrections[:, -1].__rshift__(_32).astype("<u4").tobytes()
        return kept, corrections.astype("<u8", copy=False).tobytes()

    def chooser(self, keys: tuple[Words, Words], b: Array, corrections: Payload) -> Array:
        """The chooser's shares of a * b. `keys` as `Chooser.extend` gives them."""
        had = np.empty(b.size, np.uint64)
        whole = self.corrections - self.halved
        words = np.empty((b.size, self.corrections), np.uint64)
        words[:, :whole] = np.frombuffer(corrections, "<u8", b.size * whole).reshape(b.size, whole)
        if self.halved:
            half = np.frombuffer(corrections, "<u4", b.size, 8 * whole * b.size)
            words[:, -1] = half.astype(np.uint64) << _32
        self.choose(*keys, np.ascontiguousarray(b), words, had)
        return had


_32 = np.uint64(32)

_PRODUCTS: dict[str, Product] = {
    RING.name: Product(33, True, kernels.send_ring, kernels.choose_ring),
    FIELD.name: Product(61, False, kernels.send_field, kernels.choose_field),
    WORDS.name: Product(1, False, kernels.send_words, kernels.choose_words),
}
