"""Compiled loops over GF(2^61-1), for whole arrays: plain numpy takes ten passes and more over memory for what each of
these does in one. Importing this module costs half a second (the compiled code is kept on disk), so it is imported where
the field is first used."""

from typing import Any

import numba
import numpy as np

P = np.uint64((1 << 61) - 1)
_3, _29, _32, _61 = np.uint64(3), np.uint64(29), np.uint64(32), np.uint64(61)
_LOW29, _LOW32 = np.uint64((1 << 29) - 1), np.uint64((1 << 32) - 1)


@numba.njit
def once(x: Any) -> Any:
    """A value below 2p to [0, p): below p, the difference wraps to a larger number than x."""
    return min(x, x - P)


@numba.njit
def _product(x: Any, y: Any) -> Any:
    """Schoolbook on 32-bit limbs; 2^61 is 1 and 2^64 is 8, and the middle part m * 2^32 is
    (m >> 29) + (m mod 2^29) * 2^32."""
    x1, x0 = x >> _32, x & _LOW32
    y1, y0 = y >> _32, y & _LOW32
    low, middle = x0 * y0, x1 * y0 + x0 * y1
    total = ((x1 * y1) << _3) + (middle >> _29) + ((middle & _LOW29) << _32) + (low & P) + (low >> _61)
    return once((total & P) + (total >> _61))


@numba.vectorize(["uint64(uint64,uint64)"], cache=True)
def add(x: Any, y: Any) -> Any:
    return once(x + y)


@numba.vectorize(["uint64(uint64,uint64)"], cache=True)
def subtract(x: Any, y: Any) -> Any:
    return once(x + (P - y))


@numba.vectorize(["uint64(uint64,uint64)"], cache=True)
def multiply(x: Any, y: Any) -> Any:
    return _product(x, y)


@numba.vectorize(["uint64(uint64)"], cache=True)
def from_61_bits(x: Any) -> Any:
    """The low 61 bits of each word as a residue."""
    return once(x & P)


# A weight is an argument of its own: an array of stride 0 would keep the loops above from being vectorised.
_SCALING = numba.void(
    numba.types.Array(numba.uint64, 1, "C", readonly=True), numba.uint64, numba.types.Array(numba.uint64, 1, "C")
)


@numba.njit(_SCALING, cache=True, nogil=True)
def scale(x: Any, weight: Any, out: Any) -> None:
    """out = weight * x"""
    for i in range(x.size):
        out[i] = _product(x[i], weight)


@numba.njit(_SCALING, cache=True, nogil=True)
def add_scaled(x: Any, weight: Any, out: Any) -> None:
    """out += weight * x"""
    for i in range(x.size):
        out[i] = once(out[i] + _product(x[i], weight))
