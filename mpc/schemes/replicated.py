"""Replicated sharing among three: a value is the sum of three components, of which each party lacks one. [AFLNO16]

Party i holds components i and i + 1 (modulo 3), so any one alone learns nothing, and two have everything. Of a value of its own a
party makes the component that it lacks 0, draws one of the others with the party after it, and sends the third to the one before.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mpc.algebra import Algebra, Array
from mpc.algebra.ring import RING
from mpc.schemes import PartyId

PARTIES = 3


@dataclass(frozen=True, slots=True)
class Replicated:
    algebra: Algebra = RING
    name = "replicated"
    parties = PARTIES
    privacy_threshold = 1
    product_weights = None
    axes = (2,)

    def seeded(self, *, owner: PartyId | None = None, random: bool = False) -> tuple[PartyId, ...]:
        if owner is None or random:
            raise ValueError("nobody deals replicated shares: they are multiplied without triples")
        return (after(owner),)

    def complete(self, drawn: Mapping[PartyId, Array], value: Array | None = None) -> tuple[Array, dict[PartyId, Array]]:
        ((next_, of_next),) = drawn.items()
        assert value is not None
        owner = before(next_)
        left = self.algebra.subtract(value, of_next)
        return value, {before(owner): left, owner: np.stack([left, of_next])}

    def dealt(self, dealt: Array, owner: PartyId, me: PartyId) -> Array:
        if me == owner:
            return dealt
        zero = np.zeros_like(dealt)
        return np.stack([dealt, zero] if me == after(owner) else [zero, dealt])

    def component(self, number: int, value: Array, me: PartyId) -> Array:
        """Party `me`'s share of `value`, as component `number` alone; to who does not hold that only its shape matters."""
        share = np.zeros((2, *value.shape), value.dtype)
        if me != after(number):
            share[int(me != number)] = value
        return share

    def constant(self, c: Array, me: PartyId) -> Array:
        return self.component(0, c, me)

    def senders(self, to: PartyId) -> tuple[PartyId, ...]:
        return (before(to),)

    def sent(self, share: Array) -> Array:
        first: Array = share[0]
        return first

    def opened(self, me: PartyId, share: Array, received: Mapping[PartyId, Array]) -> Array:
        return self.algebra.add(self.algebra.add(share[0], share[1]), received[before(me)])

    def combine(self, shares: Mapping[PartyId, Array]) -> Array:
        if any(not np.array_equal(shares[i][1], shares[after(i)][0]) for i in range(PARTIES)):
            raise ValueError("the shares contradict one another: at least one was altered")
        return self.opened(0, shares[0], {2: shares[2][0]})


def after(party: PartyId) -> PartyId:
    return (party + 1) % PARTIES


def before(party: PartyId) -> PartyId:
    return (party - 1) % PARTIES
