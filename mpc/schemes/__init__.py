"""Sharing schemes: how a value is spread over n parties. A scheme is one file."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Protocol

from mpc.algebra import Algebra, Array, Shape

PartyId = int
"""0 to n-1, in the order of the parties' names. The dealer, who holds no share, is -1."""

DEALER: PartyId = -1


class Scheme(Protocol):
    """A linear sharing scheme for `parties` parties: sums and public multiples are computed share by share.

    Whoever deals a value shares a random stream with each party, so only the shares that those streams do not fix
    travel: `seeded` names the parties whose share is drawn, `complete` computes all the others.
    """

    @property
    def name(self) -> str: ...
    @property
    def algebra(self) -> Algebra: ...
    @property
    def parties(self) -> int: ...
    @property
    def privacy_threshold(self) -> int:
        """This many parties together learn nothing."""
        ...

    @property
    def product_weights(self) -> tuple[int, ...] | None:
        """Where products of shares are themselves shares of the product (at higher degree): the weights with which
        the first parties' products add up to it. None where they are not."""
        ...

    @property
    def axes(self) -> Shape:
        """Those of a party's share before the axes of the values: none, or (2,) where it holds two components of each."""
        ...

    def seeded(self, *, owner: PartyId | None = None, random: bool = False) -> tuple[PartyId, ...]:
        """The parties whose share is drawn: of a value that `owner` (None: the dealer) chose, or of a random one."""
        ...

    def complete(self, drawn: Mapping[PartyId, Array], value: Array | None = None) -> tuple[Array, dict[PartyId, Array]]:
        """The value, and for all parties that are not in `drawn` what they are sent; for the owner its share. `value` is None for a
        random one."""
        ...

    def dealt(self, dealt: Array, owner: PartyId, me: PartyId) -> Array:
        """The share of party `me`, from what it drew or was sent of a value of `owner`."""
        ...

    def senders(self, to: PartyId) -> tuple[PartyId, ...]:
        """Who sends something to party `to` when a value is opened to it."""
        ...

    def sent(self, share: Array) -> Array:
        """What of a share is sent then."""
        ...

    def opened(self, me: PartyId, share: Array, received: Mapping[PartyId, Array]) -> Array:
        """The value, from this party's share and what its senders sent. ValueError where they contradict one another."""
        ...

    def combine(self, shares: Mapping[PartyId, Array]) -> Array:
        """The value, from the shares of all parties. ValueError where they contradict one another."""
        ...

    def constant(self, c: Array, me: PartyId) -> Array:
        """Party `me`'s share of a public value."""
        ...


class OneComponent(ABC):
    """What is the same in all schemes in which a share has one element a value, and is sent to open it."""

    parties: int
    axes: Shape = ()

    def dealt(self, dealt: Array, owner: PartyId, me: PartyId) -> Array:
        return dealt

    def senders(self, to: PartyId) -> tuple[PartyId, ...]:
        return tuple(i for i in range(self.parties) if i != to)

    def sent(self, share: Array) -> Array:
        return share

    def opened(self, me: PartyId, share: Array, received: Mapping[PartyId, Array]) -> Array:
        return self.combine(dict(sorted({**received, me: share}.items())))

    @abstractmethod
    def combine(self, shares: Mapping[PartyId, Array]) -> Array: ...
