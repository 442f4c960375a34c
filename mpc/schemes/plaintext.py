"""No sharing at all: every party holds the value itself. The reference that tests compare the real schemes with."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mpc.algebra import Algebra, Array
from mpc.algebra.ring import RING
from mpc.schemes import OneComponent, PartyId


@dataclass(frozen=True, slots=True)
class Plaintext(OneComponent):
    parties: int
    algebra: Algebra = RING
    name = "plaintext"
    privacy_threshold = 0
    product_weights = None

    def seeded(self, *, owner: PartyId | None = None, random: bool = False) -> tuple[PartyId, ...]:
        return (0,) if random else ()

    def complete(self, drawn: Mapping[PartyId, Array], value: Array | None = None) -> tuple[Array, dict[PartyId, Array]]:
        if value is None:
            value = drawn[0]
        return value, {i: value for i in range(self.parties) if i not in drawn}

    def combine(self, shares: Mapping[PartyId, Array]) -> Array:
        value, *others = shares.values()
        if not all(np.array_equal(value, other) for other in others):
            raise ValueError("the parties hold different values")
        return value

    def constant(self, c: Array, me: PartyId) -> Array:
        return c
