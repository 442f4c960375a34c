"""Shamir sharing: party i holds f(i + 1) of a random polynomial of degree t with f(0) the value. [Shamir79]

Any t parties together learn nothing; any t + 1 determine the value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from mpc.algebra import Algebra, Array
from mpc.algebra.field import FIELD
from mpc.schemes import OneComponent, PartyId


@cache
def lagrange(points: tuple[int, ...], at: int, modulus: int) -> tuple[int, ...]:
    """The weights w with f(at) = sum of w_k f(points_k), for every f of degree below len(points)."""
    weights = []
    for k in points:
        numerator = denominator = 1
        for m in points:
            if m != k:
                numerator = numerator * (at - m) % modulus
                denominator = denominator * (k - m) % modulus
        weights.append(numerator * pow(denominator, -1, modulus) % modulus)
    return tuple(weights)


@dataclass(frozen=True, slots=True)
class Shamir(OneComponent):
    parties: int
    privacy_threshold: int
    algebra: Algebra = FIELD
    name = "shamir"

    def __post_init__(self) -> None:
        if not self.algebra.is_field:
            raise ValueError(f"Shamir sharing needs a field, not {self.algebra.name}")
        if self.privacy_threshold < 1 or 2 * self.privacy_threshold >= self.parties:
            raise ValueError("Shamir sharing needs 1 <= colluding and 2 * colluding < parties")

    @property
    def product_weights(self) -> tuple[int, ...]:
        # a product of two sharings lies on a polynomial of degree 2t, which 2t + 1 parties determine
        return lagrange(tuple(range(1, 2 * self.privacy_threshold + 2)), 0, self.algebra.modulus)

    def _interpolate(self, points: Sequence[int], values: Sequence[Array], at: int) -> Array:
        return self.algebra.combination(lagrange(tuple(points), at, self.algebra.modulus), values)

    def seeded(self, *, owner: PartyId | None = None, random: bool = False) -> tuple[PartyId, ...]:
        others = [i for i in range(self.parties) if i != owner]
        return tuple(others[: self.privacy_threshold + random])

    def complete(self, drawn: Mapping[PartyId, Array], value: Array | None = None) -> tuple[Array, dict[PartyId, Array]]:
        points = [i + 1 for i in drawn] + ([0] if value is not None else [])
        values = [*drawn.values()] + ([value] if value is not None else [])
        rest = {
            i: self._interpolate(points, values, i + 1) for i in range(self.parties) if i not in drawn
        }
        return self._interpolate(points, values, 0) if value is None else value, rest

    def combine(self, shares: Mapping[PartyId, Array]) -> Array:
        parties = sorted(shares)
        basis, extra = parties[: self.privacy_threshold + 1], parties[self.privacy_threshold + 1 :]
        if len(basis) <= self.privacy_threshold:
            raise ValueError(f"{self.privacy_threshold + 1} shares are needed")
        points, values = [i + 1 for i in basis], [shares[i] for i in basis]
        for i in extra:
            if not np.array_equal(self._interpolate(points, values, i + 1), shares[i]):
                raise ValueError("the shares contradict one another: at least one was altered")
        return self._interpolate(points, values, 0)

    def constant(self, c: Array, me: PartyId) -> Array:
        return c
