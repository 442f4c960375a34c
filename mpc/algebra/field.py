"""GF(p) with the Mersenne prime p = 2^61 - 1, in `uint64`: 2^61 is 1, so reduction is a shift and an addition."""

from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from mpc.algebra import Array, Shape, integers
from mpc.randomness import Stream

P = (1 << 61) - 1
_P = np.uint64(P)
_29, _32, _61 = np.uint64(29), np.uint64(32), np.uint64(61)
_LOW29, _LOW32 = np.uint64((1 << 29) - 1), np.uint64((1 << 32) - 1)


@cache
def _kernels() -> ModuleType:
    from mpc.algebra import kernels

    return kernels


def _reduce(x: Any) -> Array:
    """Any 64-bit value to [0, p): below 2p, the smaller of it and of it less p, which wraps below p."""
    folded = (x & _P) + (x >> _61)
    return np.asarray(np.minimum(folded, np.subtract(folded, _P)))


class Field61:
    """Integers modulo 2^61 - 1; residues above half the modulus stand for negative numbers."""

    name = "GF(2^61-1)"
    modulus = P
    element_bytes = 8
    bound = (1 << 59) - 1
    is_field = True

    def add(self, x: Array, y: Array, /) -> Array:
        return np.asarray(_kernels().add(x, y))

    def subtract(self, x: Array, y: Array, /) -> Array:
        return np.asarray(_kernels().subtract(x, y))

    def multiply(self, x: Array, y: Array, /) -> Array:
        return np.asarray(_kernels().multiply(x, y))

    def combination(self, weights: Sequence[int], arrays: Sequence[Array], /) -> Array:
        kernels, out = _kernels(), np.empty(arrays[0].shape, dtype=np.uint64)
        flat = out.reshape(-1)
        for k, (weight, array) in enumerate(zip(weights, arrays, strict=True)):
            step = kernels.add_scaled if k else kernels.scale
            step(np.ascontiguousarray(array).reshape(-1), np.uint64(weight), flat)
        return out

    def total(self, x: Array, axis: int, /) -> Array:
        high = np.sum(x >> _32, axis=axis, dtype=np.uint64)  # exact below 2^35 terms
        low = np.sum(x & _LOW32, axis=axis, dtype=np.uint64)
        return self.add(_reduce((high >> _29) + ((high & _LOW29) << _32)), _reduce(low))

    def encode(self, values: object, /) -> Array:
        array = integers(values)
        if array.size and (array.max() > P // 2 or array.min() < -(P // 2)):
            raise OverflowError("a value does not fit in GF(2^61-1)")
        signed = array.astype(np.int64)
        return np.asarray(np.where(signed < 0, signed + P, signed)).astype(np.uint64)

    def decode(self, x: Array, /) -> Array:
        signed = x.astype(np.int64)
        return np.asarray(np.where(signed > P // 2, signed - P, signed))

    def uniform(self, shape: Shape, stream: Stream, /) -> Array:
        """61 random bits each; 0 is drawn twice as often as it should be, a distance of 2^-61 from uniform."""
        return np.asarray(_kernels().from_61_bits(stream.words(shape)))

    def to_bytes(self, x: Array, /) -> memoryview:
        return np.ascontiguousarray(x, dtype="<u8").reshape(-1).view(np.uint8).data

    def from_bytes(self, buffer: bytes | bytearray | memoryview, shape: Shape, /) -> Array:
        x = np.frombuffer(buffer, dtype="<u8").astype(np.uint64, copy=False).reshape(shape)
        if x.size and x.max() >= _P:
            raise ValueError("an element is not in GF(2^61-1)")
        return x


FIELD = Field61()
