"""Additive sharing: a value is the sum of all parties' shares. Any n - 1 parties together learn nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

from mpc.algebra import Algebra, Array
from mpc.algebra.ring import RING
from mpc.schemes import OneComponent, PartyId


@dataclass(frozen=True, slots=True)
class Additive(OneComponent):
    """`privacy_threshold` may be lower than the sharing gives: then so is that of the session, and what the parties make
    for it among themselves (mpc/triples/ot.py) need not be better."""

    parties: int
    algebra: Algebra = RING
    privacy_threshold: int = -1  # parties - 1
    name = "additive"
    product_weights = None

    def __post_init__(self) -> None:
        if self.parties < 2:
            raise ValueError("additive sharing needs at least 2 parties")
        if self.privacy_threshold == -1:
            object.__setattr__(self, "privacy_threshold", self.parties - 1)

    def seeded(self, *, owner: PartyId | None = None, random: bool = False) -> tuple[PartyId, ...]:
        return tuple(i for i in range(self.parties) if random or i != (owner or 0))

    def complete(self, drawn: Mapping[PartyId, Array], value: Array | None = None) -> tuple[Array, dict[PartyId, Array]]:
        total = reduce(self.algebra.add, drawn.values())
        if value is None:
            return total, {}
        (left,) = set(range(self.parties)) - drawn.keys()
        return value, {left: self.algebra.subtract(value, total)}

    def combine(self, shares: Mapping[PartyId, Array]) -> Array:
        return reduce(self.algebra.add, shares.values())

    def constant(self, c: Array, me: PartyId) -> Array:
        return c if me == 0 else self.algebra.subtract(c, c)
