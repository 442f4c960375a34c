"""Everything a protocol may touch: who it is, the scheme, the channel, random streams, a source of triples."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import Any, Protocol

import numpy as np

from mpc.algebra import Array, Shape
from mpc.channel import Channel, Payload, Tag
from mpc.correlations import Kind, Row
from mpc.cost import Cost
from mpc.errors import PeerError, ProtocolError
from mpc.randomness import Stream, derive, fresh_seed
from mpc.schemes import PartyId, Scheme
from mpc.share import Share

BLOCK = 1 << 16
"""Elements that travel as one message and are worked on together: they stay in a core's cache."""

AHEAD = 8
"""Blocks that are sent before the first is waited for."""


def blocks(count: int, size: int = BLOCK) -> Iterator[slice]:
    """`count` elements in blocks; an empty one where there are none."""
    for start in range(0, max(count, 1), size):
        yield slice(start, min(start + size, count))


def _numbered(last: dict[PartyId, Tag], peer: PartyId, tag: Tag) -> Tag:
    """`tag` for the next message to or from `peer`: where the last one was of the same step, with the next number."""
    before = last.get(peer)
    if before is not None and before._replace(block=0) == tag:
        tag = tag._replace(block=before.block + 1)
    last[peer] = tag
    return tag


class Costed(Protocol):
    """What a source of triples costs."""

    def cost(self, scheme: Scheme, me: PartyId, kind: Kind) -> Cost:
        """What one `request` and taking it costs party `me`."""
        ...


class TripleSource(Costed, Protocol):
    """Where random multiplication triples a * b = c, and other correlations (mpc/correlations.py), come from (mpc/triples,
    one source a file). All parties must ask for the same."""

    @property
    def name(self) -> str: ...

    def request(self, ctx: "Context", kind: Row) -> None:
        """Sees to it that so many are there or on their way, so that `take` need not wait."""
        ...

    def take(self, ctx: "Context", kind: Kind) -> tuple[Share, ...]:
        """Fresh shares of all parts; each is handed out once."""
        ...


class Context:
    """One party's view of one session.

    `pair_keys` holds a 32-byte key for each peer, fresh for the session and known to the two of them alone; from it
    come the streams that stand in for most messages when a value is shared.
    """

    def __init__(
        self,
        me: PartyId,
        scheme: Scheme,
        channel: Channel,
        pair_keys: Mapping[PartyId, bytes],
        triples: TripleSource | None = None,
    ) -> None:
        self.me = me
        self.scheme = scheme
        self.triples = triples
        self.measured = Cost()
        self._channel = channel
        self._pair_keys = pair_keys
        self._streams: dict[tuple[PartyId, PartyId], Stream] = {}
        self._step = 0
        self._sent: dict[PartyId, Tag] = {}  # the last tag to each peer
        self._received: dict[PartyId, Tag] = {}

    def __repr__(self) -> str:
        return f"<context of party {self.me} of {self.parties}>"

    @property
    def parties(self) -> int:
        return self.scheme.parties

    def under(self, scheme: Scheme) -> "Context":
        """The same session under another scheme of the same parties: for bits beside numbers, say. Channel, keys, steps and
        measured cost are the same."""
        return _Under(self, scheme)

    def check(self, share: Share) -> None:
        """ProtocolError unless `share` is one of this party, under this session's scheme."""
        if share.scheme != self.scheme or share.party != self.me:
            raise ProtocolError(f"{share!r} of party {share.party} is not of this session ({self!r})")

    def stream(self, dealt_by: PartyId, held_by: PartyId) -> Stream:
        """The stream from which the shares that `dealt_by` deals to `held_by` are drawn; one of the two is me."""
        key = (dealt_by, held_by)
        if key not in self._streams:
            peer = held_by if dealt_by == self.me else dealt_by
            self._streams[key] = Stream(derive(self._pair_keys[peer], "shares", f"{dealt_by}>{held_by}"))
        return self._streams[key]

    def secret(self, peer: PartyId, *labels: str) -> bytes:
        """32 bytes that this party and `peer` alone know, of this session alone, for the purpose that `labels` name."""
        return derive(self._pair_keys[peer], *labels)

    def own_seed(self) -> bytes:
        """A fresh seed that this party alone knows. Where the machine's generator gives out again what it once gave (after a
        snapshot of it was restored), the seed is another one all the same, as long as one peer's generator did not do so."""
        return derive(fresh_seed(), "own", *(key for _, key in sorted(self._pair_keys.items())))

    def tag(self, operation: str) -> Tag:
        """The next step's. All parties of a session take their steps in the same order."""
        self._step += 1
        return Tag(self._step - 1, operation)

    def send(self, to: PartyId, tag: Tag, array: Array) -> None:
        """Hands an array of residues over, in messages of at most `BLOCK` elements; never waits. It must not change
        after."""
        flat = array.reshape(-1)
        for block in blocks(flat.size):
            self.send_bytes(to, tag, self.scheme.algebra.to_bytes(flat[block]))

    def send_bytes(self, to: PartyId, tag: Tag, payload: Payload) -> None:
        """Hands one message over; never waits. It must not change after."""
        self._channel.send(to, _numbered(self._sent, to, tag), payload)
        self.measured += Cost(bytes=len(payload))

    def receive_bytes(self, sender: PartyId, tag: Tag, size: int) -> Payload:
        """The message that `sender` sends with `send_bytes`, which must have `size` bytes; it may be read-only."""
        return self._channel.receive(sender, _numbered(self._received, sender, tag), size)

    def receive(self, sender: PartyId, tag: Tag, shape: Shape) -> Array:
        """What `sender` sends with `send`; it may be read-only."""
        algebra, count = self.scheme.algebra, prod(shape)

        def part(size: int) -> Array:
            numbered = _numbered(self._received, sender, tag)
            payload = self._channel.receive(sender, numbered, size * algebra.element_bytes)
            try:
                return algebra.from_bytes(payload, (size,))
            except ValueError as error:
                raise PeerError(sender, f"a message of no meaning at {numbered}: {error}") from None

        if count <= BLOCK:
            return part(count).reshape(shape)
        whole = np.empty(count, dtype=algebra.encode(0).dtype)
        for block in blocks(count):
            whole[block] = part(block.stop - block.start)
        return whole.reshape(shape)

    def exchange(
        self, operation: str, outgoing: Mapping[PartyId, Array], incoming: Mapping[PartyId, Shape]
    ) -> dict[PartyId, Array]:
        """One round: sends an array to each party in `outgoing`, then waits for one of the given shape from each in
        `incoming`."""
        tag = self.tag(operation)
        for to, array in outgoing.items():
            self.send(to, tag, array)
        received = {sender: self.receive(sender, tag, shape) for sender, shape in incoming.items()}
        self.measured += Cost(rounds=1 if outgoing or incoming else 0)
        return received

    def tell(self, operation: str, message: bytes) -> dict[PartyId, bytes]:
        """`tell_each` with one message for all others: what all sent, this party too, by party."""
        heard = self.tell_each(operation, {i: message for i in range(self.parties) if i != self.me})
        return dict(sorted({**heard, self.me: message}.items()))

    def tell_each(self, operation: str, messages: Mapping[PartyId, bytes]) -> dict[PartyId, bytes]:
        """One round in which each of the parties in `messages` is sent its message, and sends one of the same length, that
        is no share. It is not counted as a cost of the protocol, as the agreement is not."""
        tag = self.tag(operation)
        for to, message in messages.items():
            self._channel.send(to, _numbered(self._sent, to, tag), message)
        return {i: bytes(self.receive_bytes(i, tag, len(message))) for i, message in messages.items()}

    def broadcast(
        self, operation: str, count: int, mine: Callable[[slice], Array], rows: int = 1, to: Sequence[PartyId] = (), of: Sequence[PartyId] = ()
    ) -> Iterator[tuple[slice, Array, dict[PartyId, Array]]]:
        """One round in which every party sends the parties `to` (none: all others) the same, and hears `of` others, in blocks, so that
        sending, receiving and computing go on side by side.

        `mine(block)` gives this party's array, of `rows` rows, for a block of `count` columns. Yields each block with
        that array and those received.
        """
        tag, others = self.tag(operation), [i for i in range(self.parties) if i != self.me]
        to, of = to or others, of or others
        coming, under_way = blocks(count, BLOCK // rows), deque[tuple[slice, Array]]()

        def send_next() -> None:
            block = next(coming, None)
            if block is not None:
                under_way.append((block, mine(block)))
                for peer in to:
                    self.send(peer, tag, under_way[-1][1])

        for _ in range(AHEAD):
            send_next()
        while under_way:
            block, array = under_way.popleft()
            received = {peer: self.receive(peer, tag, array.shape) for peer in of}
            send_next()
            yield block, array, received
        self.measured += Cost(rounds=1)


class _Under(Context):
    """All but the scheme is of the context it stands for."""

    def __init__(self, of: Context, scheme: Scheme) -> None:
        if scheme.parties != of.parties:
            raise ProtocolError(f"a scheme of {scheme.parties} parties in a session of {of.parties}")
        self.__dict__.update(_of=of, scheme=scheme)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_of"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__dict__["_of"], name, value)
