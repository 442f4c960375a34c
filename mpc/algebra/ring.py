"""Z_2^64 in `uint64`: sums and products wrap by themselves."""

from collections.abc import Sequence

import numpy as np

from mpc.algebra import Array, Shape, integers
from mpc.randomness import Stream


class Ring64:
    """Integers modulo 2^64, in two's complement."""

    name = "Z_2^64"
    modulus = 1 << 64
    element_bytes = 8
    bound = 1 << 61
    is_field = False

    def add(self, x: Array, y: Array, /) -> Array:
        return np.add(x, y)

    def subtract(self, x: Array, y: Array, /) -> Array:
        return np.subtract(x, y)

    def multiply(self, x: Array, y: Array, /) -> Array:
        return np.multiply(x, y)

    def total(self, x: Array, axis: int, /) -> Array:
        return np.asarray(np.sum(x, axis=axis, dtype=np.uint64))

    def combination(self, weights: Sequence[int], arrays: Sequence[Array], /) -> Array:
        return np.asarray(sum(np.uint64(weight) * array for weight, array in zip(weights, arrays, strict=True)))

    def encode(self, values: object, /) -> Array:
        array = integers(values)
        if array.dtype.kind == "O":
            if any(not -(1 << 63) <= v < 1 << 63 for v in array.flat):
                raise OverflowError("a value does not fit in 64 bits")
            array = array.astype(np.int64)
        elif array.dtype == np.uint64 and array.size and array.max() >= 1 << 63:
            raise OverflowError("a value does not fit in 64 bits")
        return np.ascontiguousarray(array, dtype=np.int64).view(np.uint64).reshape(array.shape)

    def decode(self, x: Array, /) -> Array:
        return np.ascontiguousarray(x).view(np.int64).reshape(x.shape)

    def uniform(self, shape: Shape, stream: Stream, /) -> Array:
        return stream.words(shape)

    def to_bytes(self, x: Array, /) -> memoryview:
        return np.ascontiguousarray(x, dtype="<u8").reshape(-1).view(np.uint8).data

    def from_bytes(self, buffer: bytes | bytearray | memoryview, shape: Shape, /) -> Array:
        return np.frombuffer(buffer, dtype="<u8").astype(np.uint64, copy=False).reshape(shape)


RING = Ring64()
