"""Arrays of residues: the numbers that shares are made of.

`ring.py` is Z_2^64, `field.py` is GF(2^61-1), both in `uint64`; `wide.py` is any larger modulus, on Python integers.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mpc.randomness import Stream

Array = NDArray[Any]
"""Residues in [0, modulus): dtype `uint64`, or `object` (Python integers) in a wide algebra."""

Shape = tuple[int, ...]


class Algebra(Protocol):
    """Integers modulo `modulus`. Signed integers are represented by their residue, as in two's complement."""

    @property
    def name(self) -> str: ...
    @property
    def modulus(self) -> int: ...
    @property
    def element_bytes(self) -> int:
        """Bytes of one element on the wire."""
        ...

    @property
    def bound(self) -> int:
        """Largest magnitude that a plan may prove for a value; the difference of two such values does not wrap."""
        ...

    @property
    def is_field(self) -> bool: ...

    def add(self, x: Array, y: Array, /) -> Array: ...
    def subtract(self, x: Array, y: Array, /) -> Array: ...
    def multiply(self, x: Array, y: Array, /) -> Array: ...
    def total(self, x: Array, axis: int, /) -> Array: ...
    def combination(self, weights: Sequence[int], arrays: Sequence[Array], /) -> Array:
        """The sum of weights[k] * arrays[k], arrays of one shape; weights are residues."""
        ...

    def encode(self, values: object, /) -> Array:
        """Signed integers to residues. TypeError for anything but integers, OverflowError beyond half the modulus."""
        ...

    def decode(self, x: Array, /) -> Array:
        """Residues to signed integers: `int64`, or Python integers in an `object` array."""
        ...

    def uniform(self, shape: Shape, stream: Stream, /) -> Array: ...
    def to_bytes(self, x: Array, /) -> bytes | memoryview: ...
    def from_bytes(self, buffer: bytes | bytearray | memoryview, shape: Shape, /) -> Array:
        """The inverse of `to_bytes`. ValueError where the length is wrong or an element is no residue."""
        ...


def integers(values: object) -> Array:
    """`values` as an array of integer dtype (signed, unsigned, or Python integers as `object`); else TypeError."""
    array = np.asarray(values)
    if array.dtype.kind == "b":
        return array.astype(np.int64)
    if array.dtype.kind == "O":
        if all(isinstance(v, int | np.integer) for v in array.flat):
            return array
    elif array.dtype.kind in "iu":
        return array
    elif array.size == 0:
        return array.astype(np.int64)
    elif array.dtype.kind == "f" and not isinstance(values, np.ndarray | float):
        # a list of Python integers that straddles int64 and uint64 becomes float64 in numpy
        return integers(np.array(values, dtype=object))
    raise TypeError(f"expected integers, got {array.dtype}: encode decimals with mpc.fixed_point first")
