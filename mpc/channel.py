"""What a transport must do, and the one in memory. gRPC's (parties/wire) passes the same tests."""

import queue
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from mpc.errors import ComityError, PeerError
from mpc.schemes import DEALER, PartyId

Payload = bytes | bytearray | memoryview


class Tag(NamedTuple):
    """Where in a session a message belongs. Two parties out of step get an error that says where."""

    step: int
    operation: str

    def __str__(self) -> str:
        return f"step {self.step} ({self.operation})"


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


class MemoryNetwork:
    """Queues between the parties of one process."""

    def __init__(self, parties: Iterable[PartyId], deadline: float = 20.0) -> None:
        parties = list(parties)
        self.deadline = deadline
        self.queues: dict[tuple[PartyId, PartyId], queue.SimpleQueue[tuple[Tag, Payload] | None]] = {
            (a, b): queue.SimpleQueue() for a in parties for b in parties if a != b
        }

    def close(self) -> None:
        """Ends every wait, now and later, once what was sent before has been received."""
        for q in self.queues.values():
            q.put(None)


class MemoryChannel:
    def __init__(self, network: MemoryNetwork, me: PartyId) -> None:
        self._network, self._me = network, me

    def send(self, to: PartyId, tag: Tag, payload: Payload) -> None:
        self._network.queues[self._me, to].put((tag, payload))

    def receive(self, sender: PartyId, tag: Tag, size: int) -> Payload:
        name = "the dealer" if sender < 0 else f"party {sender}"
        try:
            # the dealer waits for requests as long as the parties are at work
            patience = None if self._me == DEALER else self._network.deadline
            message = self._network.queues[sender, self._me].get(timeout=patience)
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
