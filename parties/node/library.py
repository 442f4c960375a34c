"""Library sessions: a protocol of one's own over the same nodes, in the node's stead."""

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mpc.context import Context
from mpc.errors import ComityError, PeerError, ProtocolError
from mpc.schemes.named import schemes
from mpc.triples.named import triple_source
from parties.governance.approval import Approval
from parties.node.agreement import PROPOSAL_BYTES, Attempt, Terms, agree, context, party_ids
from parties.node.config import read_config
from parties.wire import identity
from parties.wire.endpoint import Endpoint, Node
from parties.wire.stream import AGREEMENT, PeerEnded, PeerStream, Session, SessionFailed, as_failure
from parties.wire.v1 import party_pb2 as pb


class _Joining:
    """What the endpoint asks for, in a session of a library user."""

    def __init__(self, approval: Approval, attempt: Attempt) -> None:
        self._approval, self._attempt = approval, attempt

    def peers(self) -> Mapping[str, Node]:
        return self._approval.current().peers

    def accept(self, peer: str, hello: pb.Hello) -> PeerStream:
        attempt, me = self._attempt, self._attempt.session.me
        why = ""
        if hello.proposal != attempt.proposal:
            why = f"it is in a library session, and not in {hello.name or 'this one'}"
        elif peer in attempt.session.streams:
            attempt.session.fail(SessionFailed(f"{peer} started anew", pb.Abort.LOST, peer, AGREEMENT))
            why = "the session was broken by your starting anew: join it again"
        if why:
            attempt = Attempt(hello.proposal, Session(me, 1.0))
            attempt.session.fail(SessionFailed(why, pb.Abort.REFUSED, me, why))
        stream = PeerStream(peer, attempt.session, hello)
        attempt.add(stream)
        return stream

    def seen(self, peer: str) -> pb.Seen:
        return pb.Seen()  # nothing is charged in a library session

    def met(self, peer: str, seen: pb.Seen) -> None:
        pass

    def run(self, request: pb.RunRequest, cancelled: threading.Event) -> Iterator[pb.RunReply]:
        yield pb.RunReply(error="this node is in a library session; start `comity node` to run queries")


@contextmanager
def join(
    directory: str | Path, session: str, *, algebra: str | None = None, wait: float = 60.0
) -> Iterator[Context]:
    """Joins the library session called `session` with all parties of the spec that `directory` approved.

    Listens on the node's port in the stead of `comity node`, and waits `wait` seconds for the others to join. Scheme
    and triples are the spec's; `algebra` picks one of the scheme's by name (default: the smallest). What is disclosed
    is what the protocol opens: no query of the spec, and no data of node.toml, is touched. ComityError where the
    session cannot start, or a peer fails: the message names it.
    """
    directory = Path(directory)
    config, own = read_config(directory), identity.load(directory)
    approval = Approval(directory, config.name, own)
    member = approval.current()
    if member.is_dealer:
        raise ComityError("the dealer takes part in library sessions by running `comity node`")
    security = member.spec.security
    offered = {s.algebra.name: s for s in schemes(security.scheme, len(security.parties), security.colluding)}
    if algebra is not None and algebra not in offered:
        raise ProtocolError(f"{security.scheme} sharing is over {' or '.join(offered)}, not {algebra}")
    scheme = offered[algebra or next(iter(offered))]
    proposal = hashlib.sha256(f"comity library session\n{session}".encode()).digest()[:PROPOSAL_BYTES]
    attempt = Attempt(proposal, Session(member.me, config.deadline))
    endpoint = Endpoint(own, config.listen, _Joining(approval, attempt))
    terms = Terms("protocol", session, "", scheme.algebra.name, member.spec.digest, "")
    try:
        session_id, keys, _ = agree(attempt, member, terms, member.peers, endpoint.open, lambda peer: False, wait)
        yield context(member, attempt.session, session_id, keys, scheme, triple_source(security.triples))
        attempt.session.finish()
    except BaseException as error:
        names = {number: name for name, number in party_ids(member).items()}
        failure = as_failure(error, attempt.session, names)
        attempt.session.fail(failure)
        if isinstance(error, PeerError | PeerEnded):
            raise failure from None
        raise
    finally:
        attempt.session.part()
        endpoint.close()
