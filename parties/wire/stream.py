"""One session over gRPC: a bidirectional stream to each peer, behind the channel interface of mpc/channel.py.

gRPC's threads write into bounded mailboxes; the one worker thread of the session reads them. A message goes in frames
of at most 512 KiB. A peer that is busy beats each second; a peer from which nothing comes until the deadline has
failed, and so has the session, at every node: whoever notices first tells the others.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import grpc

from mpc.channel import Payload, SessionEnded, Tag, wrong_size, wrong_tag
from mpc.errors import ComityError, PeerError
from mpc.schemes import PartyId
from parties.wire.frames import Data, Frame, cut
from parties.wire.v1 import party_pb2 as pb

MAILBOX = 16 << 20
"""Bytes of a peer's frames that wait for this node; beyond, its stream is not read until some are taken."""
FRAME_OVERHEAD = 1024
"""Bytes of memory that a frame takes beside its own, which is much where a peer sends very many small ones."""
AGREEMENT = "the agreement"
HOME = "the home query"
BEAT = 1.0
LONGEST = 3600.0
"""Seconds that one wait may last, however busily the peer beats."""

Digests = dict[str, str]


class SessionFailed(ComityError):
    """The session ended without an answer. `reason` and `culprit` are what the peers are told."""

    def __init__(
        self, message: str, reason: "pb.Abort.Reason.ValueType", culprit: str, where: str = "", digests: Digests | None = None
    ) -> None:
        super().__init__(message)
        self.reason, self.culprit, self.where, self.digests = reason, culprit, where, digests or {}


class PeerEnded(SessionEnded):
    """A peer has said that it sends nothing more, and this node waits for something of it."""

    def __init__(self, peer: str, where: str) -> None:
        super().__init__(f"{peer} ended the session at {where}")
        self.peer = peer


def spec_differs(digests: Digests) -> SessionFailed:
    approved: dict[str, list[str]] = {}
    for name, digest in sorted(digests.items()):
        approved.setdefault(digest, []).append(name)
    who = "; ".join(f"{', '.join(names)}: {digest}" for digest, names in approved.items())
    return SessionFailed(
        f"the companies approved different specs (SHA-256): {who}. Nothing was shared. "
        "All must `comity approve` the same file",
        pb.Abort.SPEC_DIFFERS,
        "",
        digests=digests,
    )


def told(peer: str, abort: pb.Abort) -> SessionFailed:
    """The failure that `peer` reports. What it sends is not trusted: names and places are cut to plain text."""
    culprit, where = plain(abort.culprit) or peer, plain(abort.where)
    by = "" if culprit == peer else f" (so says {peer})"  # a peer may blame another falsely
    at = f" at {where}" if where else ""
    if abort.reason == pb.Abort.SPEC_DIFFERS:
        return spec_differs({plain(name): plain(digest) for name, digest in list(abort.digests.items())[:64]})
    message = {
        pb.Abort.CANNOT_ANSWER: f"{culprit} cannot answer: its own log says why{by}",
        pb.Abort.REFUSED: f"{culprit} refuses{': ' + where if where else ''}{by}",
        pb.Abort.LOST: f"{peer} lost {culprit}{at}" + (": is its node up? `comity node` starts it there" * (where == AGREEMENT)),
    }.get(abort.reason, f"{culprit} failed{at}: its own log says why{by}")
    return SessionFailed(message, abort.reason, culprit, where)


def plain(text: str) -> str:
    """What a peer says, as it may be logged and shown."""
    return "".join(c for c in text[:300] if c.isascii() and c.isprintable())


@dataclass
class Session:
    """What the streams of one session share: one lock, and the failure that ends all waits."""

    me: str
    deadline: float
    changed: threading.Condition = field(default_factory=threading.Condition)
    streams: dict[str, "PeerStream"] = field(default_factory=dict)
    failure: SessionFailed | None = None
    waiting_for: str = ""
    step: str = AGREEMENT
    ended: bool = False

    @property
    def over(self) -> bool:
        return self.ended or self.failure is not None

    def fail(self, failure: SessionFailed) -> None:
        """Ends every wait, and tells the peers. The first failure stays."""
        with self.changed:
            if self.over:
                return
            self.failure = failure
            self.changed.notify_all()
            streams = list(self.streams.values())
        for stream in streams:
            stream.refuse(failure)

    def finish(self) -> None:
        """All is sent and received."""
        with self.changed:
            self.ended = True
            self.changed.notify_all()
        for stream in list(self.streams.values()):
            stream.put(pb.Frame(end=pb.End()))
            stream.finish()

    def part(self) -> None:
        """Waits until every peer has ended, so that closing the connections cuts nothing off; after the deadline it
        hangs up on those that have not."""
        with self.changed:
            self.changed.wait_for(lambda: all(stream.is_closed for stream in self.streams.values()), self.deadline)
            streams = list(self.streams.values())
        for stream in streams:
            stream.hang_up()

    def wait(self, what: Callable[[], bool], timeout: float) -> bool:
        """Waits (the lock is held) until `what` holds; raises the session's failure; False after `timeout` seconds."""
        held = self.changed.wait_for(lambda: self.failure is not None or what(), timeout)
        if self.failure is not None:
            raise self.failure
        return held

    def wait_for_peer(self, peer: "PeerStream", what: Callable[[], bool], where: str) -> None:
        """Waits until `what` holds. The deadline runs while nothing comes from `peer`, and while it waits, directly
        or through others, for this node: then the two are out of step, and nobody would ever move."""
        with self.changed:
            self.waiting_for, self.step = peer.name, where
            stuck_since: float | None = None
            try:
                since = time.monotonic()
                while not self.wait(lambda: what() or peer.ended, BEAT) or not what():
                    if peer.ended:
                        raise PeerEnded(peer.name, where)
                    now = time.monotonic()
                    if now - since > LONGEST:
                        raise self.lost(peer.name, where, f"{peer.name} was busy for {LONGEST:g} s at {where}")
                    if now - peer.heard > self.deadline:
                        raise self.silence(peer.name, where)
                    stuck_since = (stuck_since or now) if self._circular(peer) else None
                    if stuck_since is not None and now - stuck_since > self.deadline:
                        raise self.lost(
                            peer.name, where, f"{peer.name} is out of step: it waits for this node, at {where}"
                        )
            finally:
                self.waiting_for = ""

    @contextmanager
    def working(self, where: str, stop: Callable[[], object]) -> Iterator[None]:
        """Within, this node is busy by itself, and waits for no peer. One that is silent until the deadline fails the
        session all the same; `stop` is to end the work once the session has failed."""
        at_work = True

        def watch() -> None:
            with self.changed:
                while at_work:
                    silent = next((peer for peer in self.streams.values() if peer.is_silent), None)
                    if self.failure is not None:
                        stop()  # again and again: it may have come between two pieces of the work
                        self.changed.wait(0.1)
                    elif silent is not None:
                        self.fail(self.silence(silent.name, where))
                    else:
                        self.changed.wait(BEAT)

        self.step = where
        threading.Thread(target=watch, name=f"watch {where}", daemon=True).start()
        try:
            yield
        finally:
            with self.changed:
                at_work = False
                self.changed.notify_all()

    def _circular(self, peer: "PeerStream") -> bool:
        name = peer.name
        for _ in self.streams:
            name = self.streams[name].waiting_for
            if name == self.me:
                return True
            if name not in self.streams:
                return False
        return True

    def lost(self, culprit: str, where: str, message: str) -> SessionFailed:
        return SessionFailed(message, pb.Abort.LOST, culprit, where)

    def silence(self, culprit: str, where: str) -> SessionFailed:
        return self.lost(culprit, where, f"{culprit} sent nothing for {self.deadline:g} s at {where}")


class PeerStream:
    """This node's end of the stream to one peer in one session."""

    def __init__(self, name: str, session: Session, hello: pb.Hello | None = None) -> None:
        self.name, self.session = name, session
        self.hello = hello
        self.heard = time.monotonic()
        self.waiting_for = ""
        self.ended = False
        self.is_closed = False
        self.hang_up: Callable[[], object] = lambda: None
        self._outgoing: deque[pb.Frame | tuple[bytes, Tag, Payload] | None] = deque()
        self._put = threading.Condition()
        self._mailbox: deque[Data] = deque()
        self._held = 0

    # ---- towards the peer

    def put(self, frame: "pb.Frame | tuple[bytes, Tag, Payload]") -> None:
        with self._put:
            self._outgoing.append(frame)
            self._put.notify()

    def refuse(self, failure: SessionFailed) -> None:
        """Tells the peer why the session fails; nothing more will be sent."""
        self.put(pb.Frame(abort=pb.Abort(
            reason=failure.reason, culprit=failure.culprit, where=failure.where, digests=failure.digests
        )))  # fmt: skip
        self.finish()

    def finish(self) -> None:
        """Nothing more will be sent."""
        with self._put:
            self._outgoing.append(None)
            self._put.notify()

    def frames(self) -> Iterator[Frame]:
        """What gRPC sends: the frames that were put, and a beat in each second without any."""
        while True:
            with self._put:
                self._put.wait_for(lambda: bool(self._outgoing), BEAT)
                item = self._outgoing.popleft() if self._outgoing else pb.Frame(beat=self._beat())
            if item is None:
                return
            if isinstance(item, pb.Frame):
                yield item
                continue
            session, tag, payload = item
            yield from cut(session, tag, payload)

    def _beat(self) -> pb.Beat:
        return pb.Beat(waiting_for=self.session.waiting_for)

    # ---- from the peer

    @property
    def is_silent(self) -> bool:
        """Whether nothing has come until the deadline, though there is room for it and more is to come."""
        silence = time.monotonic() - self.heard
        return silence > self.session.deadline and not self.ended and self._held < MAILBOX

    def read(self, frames: Iterator[Frame]) -> None:
        """Files what comes until the stream ends; runs in a thread of its own."""
        session = self.session
        try:
            for frame in frames:
                self.heard = time.monotonic()
                if not self._file(frame):
                    break
        except grpc.RpcError:
            pass  # said below
        finally:
            with session.changed:
                clean, self.ended, self.is_closed = self.ended, True, True
                where = session.step
                session.changed.notify_all()
            if not clean:
                session.fail(session.lost(self.name, where, f"the connection to {self.name} broke at {where}"))

    def _file(self, frame: Frame) -> bool:
        """Whether to read on: until the stream ends by itself, but for nonsense."""
        session = self.session
        if self.ended:
            return self._nonsense("sent more after its end")
        if isinstance(frame, Data):
            if self.hello is None:
                return self._nonsense("sent data before its greeting")
            frame = replace(frame, operation=plain(frame.operation))
            with session.changed:
                session.changed.wait_for(lambda: self._held < MAILBOX or session.over)
                if not session.over:
                    self._mailbox.append(frame)
                    self._held += frame.size + FRAME_OVERHEAD
                session.changed.notify_all()
            return True
        kind = frame.WhichOneof("kind")
        sense = True
        with session.changed:
            if kind == "abort":  # before its end shows: who waits for this peer is to learn why
                session.fail(told(self.name, frame.abort))
            if kind == "beat":
                self.waiting_for = plain(frame.beat.waiting_for)
            elif kind == "hello" and self.hello is None:
                self.hello = frame.hello
            elif kind in ("end", "abort"):
                self.ended = True
            else:
                sense = False
            session.changed.notify_all()
        return sense or self._nonsense("sent a frame of no meaning")

    def _nonsense(self, what: str) -> bool:
        session = self.session
        session.fail(session.lost(self.name, session.step, f"{self.name} {what}"))
        return False

    def receive(self, session_id: bytes, sender: PartyId, tag: Tag, size: int) -> Payload:
        """The next message, which must carry `tag` and have `size` bytes. A session that has failed gives none."""
        session, received = self.session, bytearray()
        session.step = str(tag)
        while True:
            if session.failure is not None:
                raise session.failure
            if not self._mailbox:
                session.wait_for_peer(self, lambda: bool(self._mailbox), str(tag))
            with session.changed:
                data = self._mailbox.popleft()
                self._held -= data.size + FRAME_OVERHEAD
                session.changed.notify_all()
            got = Tag(data.step, data.operation, data.block)
            if got != tag or data.session != session_id:
                raise wrong_tag(sender, self.name, tag, got)
            arrived = len(received) + len(data.payload)
            if arrived > size or (arrived != size if data.last else not data.payload):
                raise wrong_size(sender, self.name, tag)
            if data.last and not received:
                return data.payload
            received += data.payload
            if data.last:
                return received


class StreamChannel:
    """The channel of one session: `streams` by party, all bound to one session id."""

    def __init__(self, session_id: bytes, streams: Mapping[PartyId, PeerStream]) -> None:
        self._id, self._streams = session_id, streams

    def send(self, to: PartyId, tag: Tag, payload: Payload) -> None:
        self._streams[to].put((self._id, tag, payload))

    def receive(self, sender: PartyId, tag: Tag, size: int) -> Payload:
        return self._streams[sender].receive(self._id, sender, tag, size)


def as_failure(error: BaseException, session: Session, names: Mapping[PartyId, str]) -> SessionFailed:
    """What ended this node's part of the session, as the peers are to be told it."""
    if isinstance(error, SessionFailed):
        return error
    if isinstance(error, PeerError):
        return session.lost(names[error.peer], session.step, str(error))
    if isinstance(error, PeerEnded):
        return session.lost(error.peer, session.step, str(error))
    return SessionFailed(str(error), pb.Abort.FAILED, session.me, session.step)
