"""What a transport must do, and the one in memory. gRPC's (parties/wire) passes the same tests."""

import queue
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from mpc.errors import ComityError, PeerError
from mpc.schemes import DEALER, PartyId

Payload = bytes | bytearray | memoryview


class Tag(NamedTuple):
    """Where in a session a message belongs. Two parties out of step get an error that says where.

    `block` numbers the messages of one step from one party to another, which differ in nothing else.
    """

    step: int
    operation: str
    block: int = 0

    def __str__(self) -> str:
        return f"step {self.step} ({self.operation}{f', block {self.block}' if self.block else ''})"


class SessionEnded(ComityError):
    """The session was closed while this party was waiting."""


class Channel(Protocol):
    """One party's ends of its links to all others in one session. From each sender, messages arrive in order."""

    def send(self, to: PartyId, tag: Tag, payload: Payload) -> None:
        """Hands `payload` over and returns at once, never waiting for the peer. The payload must not change after."""
        ...

    def receive(self, sender: PartyId, tag: Tag, size: int) -> Payload:
        """The next message of `sender`, which must carry `tag` and have `size` bytes.

        PeerError names the peer and the step where it does not, or where nothing comes until the deadline.
        """
        ...


def wrong_tag(sender: PartyId, name: str, expected: Tag, got: Tag) -> PeerError:
    return PeerError(sender, f"out of step: {name} is at {got}, this party at {expected}")


def wrong_size(sender: PartyId, name: str, tag: Tag) -> PeerError:
    return PeerError(sender, f"{name} sent a message of the wrong size at {tag}")


Item = tuple[Tag, Payload] | None
"""A message under way in memory; None where the session was closed."""


class Link(Protocol):
    """One way between two parties: a `queue.SimpleQueue`, or what a simulation puts in its place, with its own clock."""

    def put(self, item: Item, /) -> None: ...

    def get(self, *, timeout: float | None) -> Item:
        """The next one; queue.Empty where none comes for `timeout` seconds."""
        ...


def _queue(sender: PartyId, receiver: PartyId) -> Link:
    return queue.SimpleQueue()


class MemoryNetwork:
    """Links between the parties of one process, each made by `link(sender, receiver)`."""

    def __init__(
        self, parties: Iterable[PartyId], deadline: float = 20.0, link: Callable[[PartyId, PartyId], Link] = _queue
    ) -> None:
        parties = list(parties)
        self.deadline = deadline
        self.links = {(a, b): link(a, b) for a in parties for b in parties if a != b}

    def close(self) -> None:
        """Ends every wait, now and later, once what was sent before has been received."""
        for link in self.links.values():
            link.put(None)


class MemoryChannel:
    def __init__(self, network: MemoryNetwork, me: PartyId) -> None:
        self._network, self._me = network, me

    def send(self, to: PartyId, tag: Tag, payload: Payload) -> None:
        self._network.links[self._me, to].put((tag, payload))

    def receive(self, sender: PartyId, tag: Tag, size: int) -> Payload:
        name = "the dealer" if sender < 0 else f"party {sender}"
        try:
            # the dealer waits for requests as long as the parties are at work
            patience = None if self._me == DEALER else self._network.deadline
            message = self._network.links[sender, self._me].get(timeout=patience)
        except queue.Empty:
            raise PeerError(sender, f"{name} sent nothing for {self._network.deadline:g} s at {tag}") from None
        if message is None:
            raise SessionEnded("the session has ended")
        got, payload = message
        if got != tag:
            raise wrong_tag(sender, name, tag, got)
        if len(payload) != size:
            raise wrong_size(sender, name, tag)
        return payload
