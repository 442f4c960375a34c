"""A share: what one party holds of a secret array. Its operators are local and free; what costs a round is a
function that takes the context (see protocols/gadgets)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, NoReturn, SupportsIndex

import numpy as np

from mpc.algebra import Array, Shape, integers
from mpc.errors import ProtocolError
from mpc.schemes import PartyId, Scheme


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """Party `party`'s share of an array of secrets under `scheme`, with `scale` fractional bits.

    `+`, `-` and multiplication by public integers are local. Prints its shape, never its content.
    """

    data: Array = field(repr=False)
    scheme: Scheme
    party: PartyId
    scale: int = 0
    __array_ufunc__ = None  # so that `array * share` reaches __rmul__

    @property
    def shape(self) -> Shape:
        return self.data.shape[len(self.scheme.axes) :]

    @property
    def size(self) -> int:
        """How many values."""
        return prod(self.shape)

    def __repr__(self) -> str:
        return f"<{self.scheme.name} share over {self.scheme.algebra.name}, shape {self.shape}>"

    def _with(self, operation: Callable[[Array, Array], Array], other: Any) -> Share:
        """`operation` with `other`, a share or a public integer array, as residues to add."""
        operand = self._operand(other)
        return replace(self, data=operation(self._of(self.data, operand.ndim), self._of(operand, self.data.ndim)))

    def _of(self, data: Array, dimensions: int) -> Array:
        """`data` with so many axes at least: what is new, and of length 1, comes after those of the scheme."""
        axes = len(self.scheme.axes)
        return data.reshape(*data.shape[:axes], *[1] * (dimensions - data.ndim), *data.shape[axes:]) if axes else data

    def _operand(self, other: Any) -> Array:
        """`other`, a share or a public integer array, as residues to add."""
        if isinstance(other, Share):
            if other.scheme != self.scheme or other.party != self.party:
                raise ProtocolError(f"cannot combine {self!r} with {other!r}: not of one scheme and party")
            if other.scale != self.scale:
                raise ProtocolError(f"cannot add fixed-point scales {self.scale} and {other.scale}")
            return other.data
        public = integers(other)
        if self.scale:
            public = np.asarray(public.astype(object) * (1 << self.scale), dtype=object)  # an int64 would wrap
        public = self.scheme.algebra.encode(public)
        return self.scheme.constant(public, self.party)

    def __add__(self, other: Any) -> Share:
        return self._with(self.scheme.algebra.add, other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Share:
        return self._with(self.scheme.algebra.subtract, other)

    def __rsub__(self, other: Any) -> Share:
        return self._with(lambda x, y: self.scheme.algebra.subtract(y, x), other)

    def __neg__(self) -> Share:
        return 0 - self

    def __mul__(self, other: Any) -> Share:
        if isinstance(other, Share):
            raise TypeError("share * share needs a round: use multiply(ctx, x, y) from protocols.gadgets")
        public = self.scheme.algebra.encode(other)
        data = self._of(self.data, len(self.scheme.axes) + public.ndim)
        return replace(self, data=self.scheme.algebra.multiply(data, public))

    __rmul__ = __mul__

    def __bool__(self) -> NoReturn:
        raise TypeError("a share is neither true nor false: nobody here knows its value")

    def __getitem__(self, index: Any) -> Share:
        if self.scheme.axes:
            index = (slice(None), *(index if isinstance(index, tuple) else (index,)))
        return replace(self, data=np.asarray(self.data[index], dtype=self.data.dtype))

    def sum(self, axis: int = 0) -> Share:
        """The sum over one axis; local."""
        return replace(self, data=self.scheme.algebra.total(self.data, axis + len(self.scheme.axes) * (axis >= 0)))

    def reshape(self, *shape: SupportsIndex) -> Share:
        return replace(self, data=self.data.reshape((*self.scheme.axes, *shape)))

    def broadcast_to(self, shape: Shape) -> Share:
        """Repeated along the axes of length 1; local."""
        axes = self.scheme.axes
        return replace(self, data=np.broadcast_to(self._of(self.data, len(axes) + len(shape)), (*axes, *shape)))


def concatenate(shares: Sequence[Share]) -> Share:
    """Flat shares end to end; local."""
    axes = shares[0].scheme.axes
    return replace(shares[0], data=np.concatenate([share.data.reshape(*axes, -1) for share in shares], axis=-1))
