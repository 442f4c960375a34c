"""The agreement that opens a session: all nodes compare what they are about to do, and make its id and keys."""

import hashlib
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from mpc.context import Context, TripleSource
from mpc.randomness import derive, fresh_seed
from mpc.schemes import DEALER, PartyId, Scheme
from parties.governance.approval import DEALER_NAME, Membership
from parties.wire.endpoint import PATIENCE, Node, Unreachable
from parties.wire.stream import AGREEMENT, BEAT, PeerStream, Session, SessionFailed, StreamChannel, spec_differs
from parties.wire.v1 import party_pb2 as pb

NONCE_BYTES = 32
PROPOSAL_BYTES = 16


class Terms(NamedTuple):
    """What the nodes of a session must agree on. `purpose` is "query" or "protocol"; `initiator` proposed it."""

    purpose: str
    name: str
    initiator: str
    algebra: str
    spec_digest: str
    plan_digest: str


class Agreed(NamedTuple):
    """What `agree` ends in: the session's id, a key for each peer, and what each of them said."""

    session_id: bytes
    keys: dict[str, bytes]
    hellos: dict[str, pb.Hello]


@dataclass(eq=False)
class Attempt:
    """A proposed session, whose streams arrive one by one."""

    proposal: bytes
    session: Session

    def add(self, stream: PeerStream) -> None:
        with self.session.changed:
            self.session.streams[stream.name] = stream
            self.session.changed.notify_all()
            failure = self.session.failure
        if failure is not None:  # too late: it is told what the others were
            stream.refuse(failure)


def new_proposal() -> bytes:
    return os.urandom(PROPOSAL_BYTES)


def agree(
    attempt: Attempt,
    membership: Membership,
    terms: Terms,
    peers: Mapping[str, Node],
    dial: Callable[[Node, Session, float], PeerStream],
    invite: Callable[[str], bool],
    patience: float = PATIENCE,
    *,
    release: bytes = b"",
    seen: Callable[[bytes], tuple[int, bytes]] = lambda certificate: (0, b""),
) -> Agreed:
    """Returns the session's id, which no other session has, a key for each peer, known to the two alone, and the peers'
    greetings. `release` is the id of this node's reservation for the query, if one is not settled;
    `seen` gives how far this node knows the ledger of a peer, by its certificate.

    Every node sends every other a Hello with the terms, one fresh nonce, and a fresh seed for that peer. The id hashes
    the terms and all nonces; a pair's key is made of the two seeds. Of two parties the later name dials, and everybody
    dials the dealer; `invite` asks a peer that dials to do so. Nothing of any data is sent. SessionFailed, told to
    all, where terms differ.
    """
    session, me = attempt.session, membership.me
    nonce = secrets.token_bytes(NONCE_BYTES)
    seeds = {peer: fresh_seed() for peer in peers}
    greeted: set[str] = set()

    def greet(stream: PeerStream) -> None:
        greeted.add(stream.name)
        length, head = seen(peers[stream.name].certificate)
        stream.put(pb.Frame(hello=pb.Hello(
            proposal=attempt.proposal, purpose=terms.purpose, name=terms.name, initiator=terms.initiator,
            algebra=terms.algebra, spec_digest=bytes.fromhex(terms.spec_digest),
            plan_digest=bytes.fromhex(terms.plan_digest), nonce=nonce, seed=seeds[stream.name],
            release=release, ledger_length=length, ledger_head=head,
        )))  # fmt: skip

    until = time.monotonic() + patience
    for name, peer in peers.items():
        if dials(me, name):
            try:
                stream = dial(peer, session, max(1.0, until - time.monotonic()))
            except Unreachable as error:
                raise SessionFailed(str(error), pb.Abort.LOST, name, AGREEMENT) from None
            attempt.add(stream)
            greet(stream)
    invite_at = 0.0
    while True:
        with session.changed:
            arrived = [stream for name, stream in session.streams.items() if name in peers and name not in greeted]
        for stream in arrived:
            greet(stream)
        missing = [name for name in peers if name not in greeted]
        if not missing:
            break
        if time.monotonic() >= invite_at:  # again and again: a link may be broken, or not there yet
            without_link = [name for name in missing if not invite(name)]
            invite_at = time.monotonic() + (0.1 if without_link else 1.0)
        if time.monotonic() > until:
            at = ", ".join(f"{name} ({peers[name].address})" for name in missing)
            raise SessionFailed(
                f"{at} did not connect to this node for {patience:g} s: start it there with `comity node`",
                pb.Abort.LOST, missing[0], AGREEMENT,
            )  # fmt: skip
        with session.changed:
            session.wait(lambda: any(name in peers and name not in greeted for name in session.streams), 0.2)

    streams = {name: session.streams[name] for name in peers}
    _hear(session, streams, me, terms, patience)
    hellos = {name: _checked(name, stream.hello, terms) for name, stream in streams.items()}
    digest = hashlib.sha256(b"comity session 1")
    nonces = {me: nonce, **{name: hello.nonce for name, hello in hellos.items()}}
    for part in (attempt.proposal, *terms, *(x for name in sorted(nonces) for x in (name, nonces[name]))):
        raw = part.encode() if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(4, "big") + raw)
    session_id = digest.digest()
    keys = {}
    for name, hello in hellos.items():
        low, high = sorted((me, name))
        both = {me: seeds[name], name: hello.seed}
        keys[name] = derive(both[low] + both[high], "pair", session_id, low, high)
    return Agreed(session_id, keys, hellos)


def dials(me: str, peer: str) -> bool:
    """Whether of the two it is me who dials."""
    return me != DEALER_NAME and (peer == DEALER_NAME or me > peer)


def context(
    membership: Membership,
    session: Session,
    session_id: bytes,
    keys: Mapping[str, bytes],
    scheme: Scheme,
    triples: TripleSource | None = None,
) -> Context:
    """What a protocol runs on, after `agree`."""
    ids = party_ids(membership)
    channel = StreamChannel(session_id, {ids[name]: session.streams[name] for name in keys})
    return Context(ids[membership.me], scheme, channel, {ids[name]: key for name, key in keys.items()}, triples)


def party_ids(membership: Membership) -> dict[str, PartyId]:
    return {DEALER_NAME: DEALER, **{name: i for i, name in enumerate(membership.spec.security.parties)}}


def _hear(session: Session, streams: Mapping[str, PeerStream], me: str, terms: Terms, patience: float) -> None:
    """Waits for all hellos, or until it is plain that specs differ: then for who has which."""

    def digests() -> dict[str, str]:
        heard = {name: stream.hello.spec_digest.hex() for name, stream in streams.items() if stream.hello}
        return {me: terms.spec_digest, **heard}

    def differ() -> bool:
        return len(set(digests().values())) > 1

    def settled() -> bool:
        return differ() or all(stream.hello is not None or stream.ended for stream in streams.values())

    try:
        with session.changed:
            # a peer's beats buy it no time here: it has nothing yet to be busy with, but waiting for others to come
            until = time.monotonic() + patience + session.deadline
            while not session.wait(settled, BEAT) and time.monotonic() < until:
                for name, stream in streams.items():
                    if stream.hello is None and stream.is_silent:
                        raise session.silence(name, AGREEMENT)
        for name, stream in streams.items():
            if stream.hello is None and not differ():
                raise session.lost(name, AGREEMENT, f"{name} did not say what it agrees to, for {patience + session.deadline:g} s")
        if differ():
            with session.changed:
                session.wait(lambda: len(digests()) > len(streams), 2.0)
            raise spec_differs(digests())
    except SessionFailed as failure:
        if failure.reason == pb.Abort.SPEC_DIFFERS:
            raise spec_differs({**failure.digests, **digests()}) from None
        raise


def _checked(name: str, hello: pb.Hello | None, terms: Terms) -> pb.Hello:
    assert hello is not None
    if len(hello.nonce) != NONCE_BYTES or len(hello.seed) != NONCE_BYTES or len(hello.release) not in (0, PROPOSAL_BYTES):
        raise SessionFailed(f"{name} sent a greeting of no meaning", pb.Abort.LOST, name, AGREEMENT)
    theirs = (hello.purpose, hello.name, hello.initiator, hello.algebra, hello.plan_digest.hex())
    if theirs != (terms.purpose, terms.name, terms.initiator, terms.algebra, terms.plan_digest):
        raise SessionFailed(
            f"{name} has the same spec but another plan for {terms.name}: do all run the same version of Comity?",
            pb.Abort.REFUSED, name, "plans differ: do all run the same version of Comity?",
        )  # fmt: skip
    return hello
