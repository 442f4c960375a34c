"""GF(p) with the Mersenne prime p = 2^61 - 1, in `uint64`: 2^61 is 1, so reduction is a shift and an addition."""

from typing import Any

import numpy as np

from mpc.algebra import Array, Shape, integers
from mpc.randomness import Stream

P = (1 << 61) - 1
_P = np.uint64(P)
_29, _32, _61 = np.uint64(29), np.uint64(32), np.uint64(61)
_LOW29, _LOW32 = np.uint64((1 << 29) - 1), np.uint64((1 << 32) - 1)


def _once(x: Any) -> Array:
    """A value below 2p to [0, p): below p, the difference wraps to a larger number than x."""
    return np.asarray(np.minimum(x, np.subtract(x, _P)))


def _reduce(x: Any) -> Array:
    """Any 64-bit value to [0, p)."""
    return _once((x & _P) + (x >> _61))


class Field61:
    """Integers modulo 2^61 - 1; residues above half the modulus stand for negative numbers."""

    name = "GF(2^61-1)"
    modulus = P
    element_bytes = 8
    bound = (1 << 59) - 1
    is_field = True

    def add(self, x: Array, y: Array, /) -> Array:
        return _once(np.add(x, y))

    def subtract(self, x: Array, y: Array, /) -> Array:
        return _once(np.add(x, np.subtract(_P, y)))

    def multiply(self, x: Array, y: Array, /) -> Array:
        # schoolbook on 32-bit limbs; 2^64 is 8, and the middle part m * 2^32 is (m >> 29) + (m mod 2^29) * 2^32
        x1, x0 = x >> _32, x & _LOW32
        y1, y0 = y >> _32, y & _LOW32
        low, middle = x0 * y0, x1 * y0 + x0 * y1
        high = (x1 * y1) << np.uint64(3)
        return _reduce(high + (middle >> _29) + ((middle & _LOW29) << _32) + (low & _P) + (low >> _61))

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
        return _reduce(stream.words(shape) & _P)

    def to_bytes(self, x: Array, /) -> memoryview:
        return np.ascontiguousarray(x, dtype="<u8").reshape(-1).view(np.uint8).data

    def from_bytes(self, buffer: bytes | bytearray | memoryview, shape: Shape, /) -> Array:
        x = np.frombuffer(buffer, dtype="<u8").astype(np.uint64, copy=False).reshape(shape)
        if x.size and x.max() >= _P:
            raise ValueError("an element is not in GF(2^61-1)")
        return x


FIELD = Field61()
