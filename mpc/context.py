"""Everything a protocol may touch: who it is, the scheme, the channel, random streams, a source of triples."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from mpc.algebra import Array, Shape
from mpc.channel import Channel, Payload, Tag
from mpc.cost import Cost
from mpc.errors import PeerError, ProtocolError
from mpc.randomness import Stream, derive
from mpc.schemes import PartyId, Scheme
from mpc.share import Share


class TripleSource(Protocol):
    """Where random multiplication triples a * b = c come from (mpc/triples, one source a file)."""

    @property
    def name(self) -> str: ...

    def take(self, ctx: "Context", shape: Shape) -> tuple[Share, Share, Share]:
        """Fresh shares of a, b and c, each of `shape`; each triple is handed out once."""
        ...

    def cost(self, scheme: Scheme, me: PartyId, count: int) -> Cost:
        """What one `take` of `count` triples costs party `me` while it runs."""
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

    def __repr__(self) -> str:
        return f"<context of party {self.me} of {self.parties}>"

    @property
    def parties(self) -> int:
        return self.scheme.parties

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

    def exchange(
        self,
        operation: str,
        outgoing: Mapping[PartyId, Array],
        incoming: Mapping[PartyId, Shape],
        step: int | None = None,
    ) -> dict[PartyId, Array]:
        """One round: sends an array to each party in `outgoing`, then waits for one of the given shape from each in
        `incoming`. All parties of a session pass here in the same order; the tag of a message says where.

        `step` numbers conversations with the dealer, which does not see the other steps.
        """
        if step is None:
            step, self._step = self._step, self._step + 1
        tag, algebra = Tag(step, operation), self.scheme.algebra
        sent = 0
        for to, array in outgoing.items():
            payload: Payload = algebra.to_bytes(array)
            sent += len(payload)
            self._channel.send(to, tag, payload)
        received = {}
        for sender, shape in incoming.items():
            payload = self._channel.receive(sender, tag, int(np.prod(shape)) * algebra.element_bytes)
            try:
                received[sender] = algebra.from_bytes(payload, shape)
            except ValueError as error:
                raise PeerError(sender, f"a message of no meaning at {tag}: {error}") from None
        self.measured += Cost(rounds=1 if outgoing or incoming else 0, bytes=sent)
        return received
