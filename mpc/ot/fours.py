"""Random bits as numbers, and their products in fours, when a party adds bits of its own: one transfer a bit with each party before it.

The parties before have shares of a number R, 0 or 1, for each bit, and XOR shares of the products of every four bits. With the next one's bit r, R becomes R + r - 2 R r, a transfer
with a correction of one element [Gilboa99]. The transfers of four bits give one of sixteen keys as well, by the four r's: under that of number w the sender sends what its shares of the eleven
products become when w is added to the four, which is linear in them. Between two parties such keys for four bits are those of [RRKCGRS20].
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from mpc.algebra import Algebra, Array
from mpc.channel import Payload
from mpc.context import blocks
from mpc.correlations import PRODUCTS, in_fours
from mpc.ot import kernels
from mpc.ot.extension import Chooser, Sender, Words
from mpc.ot.products import OneBit
from mpc.ot.transfers import BLOCK

_SHAPE = (15, len(PRODUCTS))


def bytes_corrected(algebra: Algebra, bits: int, used: int) -> int:
    """Of what the sender sends for 64 numbers of so many bits, of which the first `used` are multiplied."""
    return bits * OneBit(algebra).corrected + 8 * -(-used // 4) * _SHAPE[0] * _SHAPE[1]


@dataclass(frozen=True)
class Fours:
    """A `Factor` (`crossing.py`): this party's words `mine` (groups, bits), and what it has so far, which is changed: of each bit as a number, `numbers` (groups, bits, 64), and
    of the products of the first `used` bits in fours, `products` (groups, fours, 11), an array without gaps. At first these are of its own bits."""

    algebra: Algebra
    mine: Array = field(repr=False)
    used: int
    numbers: Array = field(repr=False)
    products: Array = field(repr=False)

    @property
    def bits(self) -> int:
        return int(self.mine.shape[1])

    @property
    def blocks(self) -> list[slice]:
        return list(blocks(len(self.mine), max(BLOCK // self.bits, 1))) if len(self.mine) else []

    def words(self, block: slice) -> int:
        count: int = block.stop - block.start
        return count * self.bits

    def choices(self, block: slice) -> Words:
        return np.ascontiguousarray(self.mine[block]).reshape(-1)

    def send(self, end: Sender, keys: tuple[Words, Words, Words, Words], block: slice) -> Iterator[Payload]:
        part = self.numbers[block].reshape(-1, 64)
        minus_twice = self.algebra.subtract(self.algebra.subtract(part - part, part), part)
        share, corrections = OneBit(self.algebra).sender(keys, minus_twice)
        self.numbers[block] = self.algebra.add(part, share).reshape(self.numbers[block].shape)
        yield corrections
        fours, rows = self._fours(block), keys[0].reshape(block.stop - block.start, -1, 2)
        masked = np.empty((*fours.shape[:2], *_SHAPE), np.uint64)
        for group, products in enumerate(self.products[block]):  # one by one: its sixteen keys for each four fill a core's cache
            kernels.send_fours(*end.sixteen(rows[group], self.bits, self.used), fours[group], products, masked[group])
        yield masked.astype("<u8", copy=False).tobytes()

    def choose(self, end: Chooser, keys: tuple[Words, Words], block: slice, receive: Callable[[int], Payload]) -> None:
        one_bit, flat = OneBit(self.algebra), self._fours(block).reshape(-1, 4)
        had = one_bit.chooser(keys, self.choices(block), receive(self.words(block) * one_bit.corrected))
        self.numbers[block] = self.algebra.add(self.numbers[block], had.reshape(self.numbers[block].shape))
        masked = np.frombuffer(receive(8 * len(flat) * _SHAPE[0] * _SHAPE[1]), "<u8").astype(np.uint64).reshape(-1, *_SHAPE)
        kernels.choose_fours(*end.sixteen(keys[0], self.bits, self.used), flat, masked, self.products[block].reshape(-1, _SHAPE[1]))

    def _fours(self, block: slice) -> Array:
        """(groups, fours, 4)."""
        return np.ascontiguousarray(in_fours(self.mine[block][:, : self.used]))
