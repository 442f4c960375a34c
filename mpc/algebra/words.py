"""64 bits side by side in a `uint64`: a sum is XOR, a product AND. What boolean shares are made of."""

from collections.abc import Sequence
from functools import reduce

import numpy as np

from mpc.algebra import Array, Shape
from mpc.randomness import Stream


class Words64:
    """Words of 64 bits, each an element of GF(2) of its own; every number is its own opposite."""

    name = "GF(2)^64"
    modulus = 1 << 64
    """So many different words there are."""
    element_bytes = 8
    bound = (1 << 64) - 1
    is_field = False

    def add(self, x: Array, y: Array, /) -> Array:
        return np.bitwise_xor(x, y)

    subtract = add

    def multiply(self, x: Array, y: Array, /) -> Array:
        return np.bitwise_and(x, y)

    def total(self, x: Array, axis: int, /) -> Array:
        return np.asarray(np.bitwise_xor.reduce(x, axis=axis))

    def combination(self, weights: Sequence[int], arrays: Sequence[Array], /) -> Array:
        return reduce(self.add, (np.uint64(weight) & array for weight, array in zip(weights, arrays, strict=True)))

    def encode(self, values: object, /) -> Array:
        """Words as they are."""
        array = np.asarray(values)
        if array.dtype.kind not in "iub" or (array.dtype.kind == "i" and array.size and array.min() < 0):
            raise TypeError("expected words of 64 bits")
        return array.astype(np.uint64, copy=False)

    def decode(self, x: Array, /) -> Array:
        return x

    def uniform(self, shape: Shape, stream: Stream, /) -> Array:
        return stream.words(shape)

    def to_bytes(self, x: Array, /) -> memoryview:
        return np.ascontiguousarray(x, dtype="<u8").reshape(-1).view(np.uint8).data

    def from_bytes(self, buffer: bytes | bytearray | memoryview, shape: Shape, /) -> Array:
        return np.frombuffer(buffer, dtype="<u8").astype(np.uint64, copy=False).reshape(shape)


WORDS = Words64()


def transposed(words: Array) -> Array:
    """Of at most 64 rows of words, (rows, n): row i has bit i of all rows, bit j that of row j, (64, n). By swaps of ever
    smaller squares. (section 7-3) [Warren13]"""
    count = words.shape[1]
    out = np.zeros((64, count), np.uint64)
    out[: len(words)] = words
    step, mask = 32, np.uint64(0x00000000FFFFFFFF)
    while step:
        squares, shift = out.reshape(-1, 2, step, count), np.uint64(step)
        upper, lower = squares[:, 0], squares[:, 1]
        swap = ((upper >> shift) ^ lower) & mask
        upper ^= swap << shift
        lower ^= swap
        step //= 2
        mask ^= mask << np.uint64(step)
    return out
