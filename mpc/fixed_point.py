"""Decimals as integers: x is represented by round(x * 2^scale), `scale` fractional bits."""

from typing import Any

import numpy as np

from mpc.algebra import Array, integers


def encode(values: object, scale: int) -> Array:
    """Numbers to integers with `scale` fractional bits, rounded half to even; error at most 2^-(scale+1).

    OverflowError where a result needs more than 53 bits (a float holds no more), or is no number.
    """
    if scale == 0:
        return integers(values)
    scaled = np.rint(np.asarray(values, dtype=np.float64) * 2.0**scale)
    if not np.all(np.abs(scaled) <= 2.0**53):
        raise OverflowError(f"a value with {scale} fractional bits does not fit in 53 bits")
    return scaled.astype(np.int64)


def decode(values: Array, scale: int) -> Any:
    """Integers with `scale` fractional bits back to floats; with scale 0 they stay integers."""
    if scale == 0:
        return values
    return np.asarray(values / (1 << scale), dtype=np.float64)
