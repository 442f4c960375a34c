"""Moduli beyond 64 bits, on Python integers in `object` arrays: for the few cells whose proven range asks for it,
and as the oracle of the fast algebras in the tests."""

from collections.abc import Iterable, Sequence

import numpy as np

from mpc.algebra import Array, Shape, integers
from mpc.randomness import Stream


def _objects(values: Iterable[int], shape: Shape) -> Array:
    array = np.empty(int(np.prod(shape)), dtype=object)
    array[:] = list(values)
    return array.reshape(shape)


class Wide:
    """Integers modulo 2^k or a Mersenne prime 2^k - 1: k random bits are then (statistically) uniform."""

    def __init__(self, name: str, modulus: int, *, is_field: bool) -> None:
        self.name = name
        self.modulus = modulus
        self.is_field = is_field
        self._bits = (modulus - 1).bit_length()
        if modulus not in (1 << self._bits, (1 << self._bits) - 1):
            raise ValueError("the modulus must be 2^k or 2^k - 1")
        self.element_bytes = (self._bits + 7) // 8
        self.bound = modulus >> 3

    def add(self, x: Array, y: Array, /) -> Array:
        return np.asarray((x + y) % self.modulus, dtype=object)

    def subtract(self, x: Array, y: Array, /) -> Array:
        return np.asarray((x - y) % self.modulus, dtype=object)

    def multiply(self, x: Array, y: Array, /) -> Array:
        return np.asarray((x * y) % self.modulus, dtype=object)

    def total(self, x: Array, axis: int, /) -> Array:
        return np.asarray(np.sum(x, axis=axis, dtype=object, initial=0) % self.modulus, dtype=object)

    def combination(self, weights: Sequence[int], arrays: Sequence[Array], /) -> Array:
        total = sum(weight * array for weight, array in zip(weights, arrays, strict=True))
        return np.asarray(total % self.modulus, dtype=object)

    def encode(self, values: object, /) -> Array:
        array = integers(values).astype(object)
        lowest, highest = -(self.modulus // 2), (self.modulus - 1) // 2
        if any(not lowest <= v <= highest for v in array.flat):
            raise OverflowError(f"a value does not fit in {self.name}")
        return _objects((int(v) % self.modulus for v in array.flat), array.shape)

    def decode(self, x: Array, /) -> Array:
        half = (self.modulus - 1) // 2
        return _objects((v - self.modulus if v > half else v for v in x.flat), x.shape)

    def uniform(self, shape: Shape, stream: Stream, /) -> Array:
        count, width = int(np.prod(shape)), self.element_bytes
        mask, raw = (1 << self._bits) - 1, stream.read(count * width)
        return _objects(
            ((int.from_bytes(raw[i : i + width], "little") & mask) % self.modulus for i in range(0, len(raw), width)),
            shape,
        )

    def to_bytes(self, x: Array, /) -> bytes:
        return b"".join(int(v).to_bytes(self.element_bytes, "little") for v in x.flat)

    def from_bytes(self, buffer: bytes | bytearray | memoryview, shape: Shape, /) -> Array:
        raw, width = bytes(buffer), self.element_bytes
        if len(raw) != int(np.prod(shape)) * width:
            raise ValueError("wrong number of bytes")
        values = [int.from_bytes(raw[i : i + width], "little") for i in range(0, len(raw), width)]
        if any(v >= self.modulus for v in values):
            raise ValueError(f"an element is not in {self.name}")
        return _objects(values, shape)


RING128 = Wide("Z_2^128", 1 << 128, is_field=False)
FIELD127 = Wide("GF(2^127-1)", (1 << 127) - 1, is_field=True)
