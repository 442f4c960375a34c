"""A running node: takes part in the queries of the spec it approved, and runs those its own company asks for."""

import json
import queue
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from mpc.algebra import Array
from mpc.errors import ComityError
from mpc.schemes import Scheme
from mpc.schemes.named import schemes
from mpc.triples.dealer import deal
from mpc.triples.named import triple_source
from parties.data.home import DataError, check_source
from parties.data.source import remove_snapshots
from parties.governance.approval import DEALER_NAME, Approval, Membership
from parties.governance.ledger import Ledger
from parties.governance.release import LedgerError
from parties.governance.stock import Stock, StockFull
from parties.node import preparing
from parties.node.agreement import PROPOSAL_BYTES, Attempt, Terms, agree, context, dials, new_proposal, party_ids
from parties.node.config import read_config
from parties.node.logs import fields, log, unexpected
from parties.node.query import home_vectors, run_query
from parties.node.release import Disclosing
from parties.node.report import write
from parties.spec.problems import nearest
from parties.wire import identity
from parties.wire.endpoint import Endpoint, Node
from parties.wire.stream import HOME, PeerStream, Session, SessionFailed, as_failure, plain
from parties.wire.v1 import party_pb2 as pb
from protocols.planning.gates import below
from protocols.planning.plan import Plan
from protocols.planning.search import Ranks

SESSIONS = 64
"""Sessions at once. Each peer may open its share of them, and this node's own company has one, too."""

T = TypeVar("T")
Tell = Callable[[str], None]


class ServingNode:
    """The node in `directory`, serving from its construction until `close`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = read_config(directory)
        self.identity = identity.load(directory)
        self.approval = Approval(directory, self.config.name, self.identity)
        self.ledger = Ledger(directory, self.config.name, self.identity)
        self.stock = Stock(directory, self.config.stock)
        self._preparing = threading.Lock()
        self._attempts: dict[bytes, Attempt] = {}
        self._opened_by: dict[Attempt, str] = {}  # all that are not over at this node yet
        self._lock, self._exact = threading.Lock(), threading.Lock()
        self._closed = threading.Event()
        self._links: list[Callable[[], None]] = []
        self._behind: dict[str, str] = {}  # peers that hold more of this node's ledger than is there: why nothing is served
        member = self.approval.current()
        self.endpoint = Endpoint(self.identity, self.config.listen, self)
        remove_snapshots(directory)  # by now, no other node serves from this folder
        log.info("listening", extra=fields(name=member.me, address=self.endpoint.address))
        self._take_up(member)
        threading.Thread(target=self._watch, args=(member.spec.digest,), name="approvals", daemon=True).start()

    def close(self) -> None:
        """Ends what is in progress, and tells the peers."""
        self._closed.set()
        with self._lock:
            attempts = list(self._attempts.values())
        for attempt in attempts:
            me = attempt.session.me
            attempt.session.fail(SessionFailed(f"{me} was stopped", pb.Abort.REFUSED, me, "it was stopped"))
        for end in self._links:
            end()
        self.endpoint.close()
        self.ledger.close()
        self.stock.close()
        log.info("stopped")

    # ---- approvals

    def _watch(self, digest: str) -> None:
        complaint = ""
        while not self._closed.wait(1.0):
            try:
                member = self.approval.current()
            except ComityError as error:
                if str(error) != complaint:
                    complaint, digest = str(error), ""
                    log.error(complaint)
                continue
            if member.spec.digest != digest:
                digest, complaint = member.spec.digest, ""
                self._take_up(member)

    def _take_up(self, member: Membership) -> None:
        log.info("approved spec", extra=fields(spec=member.spec.name, digest=member.spec.digest))
        for end in self._links:
            end()
        self._links = [
            self.endpoint.link(peer, self._invited)
            for peer in member.peers.values()
            if peer.name != DEALER_NAME and dials(member.me, peer.name)
        ]
        for table in member.spec.tables.values():
            if member.me not in table.holders:
                continue
            source = self.config.tables.get(table.name)
            try:
                if source is None:
                    raise DataError(self._lacks(table.name))
                check_source(table, source)
            except DataError as error:
                log.warning("queries over %s will be refused: %s", table.name, error)
        for plan in member.spec.plans.values():
            triple_source(plan.triples)  # what has to be loaded for it is, before peers wait for it

    def _lacks(self, table: str) -> str:
        return f"{self.directory / 'node.toml'} has no [tables.{table}]: say there where this company's part of it is"

    # ---- what the endpoint asks for

    def peers(self) -> Mapping[str, Node]:
        try:
            return self.approval.current().peers
        except ComityError:
            return {}

    def accept(self, peer: str, hello: pb.Hello) -> PeerStream:
        member = self.approval.current()
        with self._lock:
            attempt = self._attempts.get(hello.proposal)
            if attempt is not None and peer in attempt.session.streams:
                attempt.session.fail(SessionFailed(f"{peer} started anew", pb.Abort.LOST, peer, "it started anew"))
                attempt = None
            refusal = self._objection(member, hello, is_known=attempt is not None)
            if attempt is None and not refusal:
                attempt, refusal = self._begin(hello.proposal, peer)
                if attempt is not None:
                    terms = (hello.purpose, hello.name, hello.initiator, hello.algebra)
                    threading.Thread(target=self._follow, args=(attempt, *terms), daemon=True).start()
            if refusal or attempt is None:
                session = Session(member.me, self.config.deadline)
                session.fail(SessionFailed(refusal, pb.Abort.REFUSED, member.me, refusal))
                attempt = Attempt(hello.proposal, session)
                log.warning("refused a session of %s: %s", peer, refusal)
            stream = PeerStream(peer, attempt.session, hello)
            attempt.add(stream)  # under the lock: else a second stream of the peer's would take its place unnoticed
        return stream

    def _objection(self, member: Membership, hello: pb.Hello, *, is_known: bool) -> str:
        """Why this node takes no part in what `hello` proposes; empty where it does. That specs differ is found, and
        told to all, by the agreement."""
        if len(hello.proposal) != PROPOSAL_BYTES:
            return "a proposal of no meaning"
        if hello.initiator == member.me and not is_known:
            return f"{member.me} has not proposed this session, or has ended it"
        if hello.purpose == "protocol":
            if not member.is_dealer:
                return "a running `comity node` serves queries alone; stop it, and join the library session in its stead"
            return "" if member.spec.security.triples == "dealer" else "the approved spec has no dealer"
        if hello.spec_digest.hex() != member.spec.digest:
            return ""
        if hello.purpose == preparing.PURPOSE:
            return self._no_preparation(member, hello.name, hello.initiator)
        plan = member.spec.plans.get(hello.name)
        if plan is None:
            return "the approved spec has no such query"
        return "" if hello.initiator in plan.query.receivers else "its initiator is no receiver of the query"

    @staticmethod
    def _no_preparation(member: Membership, name: str, initiator: str) -> str:
        """Why nothing is made for the stock in a session of that name; empty where it is."""
        if initiator not in member.spec.security.parties:
            return "its initiator is no party of the spec"
        if member.spec.security.triples != "ot":
            return "under the approved spec the companies make no triples among themselves: there is nothing to prepare"
        return "" if preparing.asked(name) else f"a session can have 1 to {preparing.LARGEST:,} of a kind in stock: {', '.join(preparing.KINDS)}"

    def _invited(self, peer: str, invitation: pb.Invitation) -> None:
        """`peer` starts a query, and this node is to dial it."""
        with self._lock:
            if invitation.proposal in self._attempts or invitation.initiator != peer:
                return
            if len(invitation.proposal) != PROPOSAL_BYTES:
                return
            attempt, refusal = self._begin(invitation.proposal, peer)
        if attempt is None:
            log.warning("refused a session of %s: %s", peer, refusal)
            return
        terms = (invitation.purpose or "query", invitation.query, invitation.initiator, "")
        threading.Thread(target=self._follow, args=(attempt, *terms), daemon=True).start()

    def seen(self, peer: str) -> pb.Seen:
        node = self.peers().get(peer)
        length, head = self.ledger.seen(node.certificate) if node is not None else (0, b"")
        return pb.Seen(length=length, head=head)

    def met(self, peer: str, seen: pb.Seen) -> None:
        """On start, and whenever a peer is there again: a ledger from a backup must not be gone on with."""
        try:
            self.ledger.check(peer, seen.length, seen.head)
            self._behind.pop(peer, None)
        except LedgerError as error:
            if self._behind.get(peer) != str(error):
                log.error("no query is served: %s", error)
            self._behind[peer] = str(error)

    def run(self, request: pb.RunRequest, cancelled: threading.Event) -> Iterator[pb.RunReply]:
        """The node's own company asks for a query, or for something in stock."""
        replies: queue.SimpleQueue[pb.RunReply] = queue.SimpleQueue()
        try:
            with self._lock:
                attempt, refusal = self._begin(new_proposal(), self.approval.current().me)
        except ComityError as error:
            attempt, refusal = None, str(error)
        if attempt is None:
            yield pb.RunReply(error=refusal)
            return

        def work() -> None:
            try:
                begin, name = self._initiate, request.query
                if request.WhichOneof("kind") == "prepare":
                    begin, name = self._initiate_preparation, request.prepare
                result = begin(attempt, name, lambda phase: replies.put(pb.RunReply(progress=phase)))
                replies.put(pb.RunReply(result=json.dumps(result)))
            except ComityError as error:
                replies.put(pb.RunReply(error=str(error)))
            finally:
                self._part(attempt)

        threading.Thread(target=work, daemon=True).start()
        try:
            while not cancelled.is_set():
                try:
                    reply = replies.get(timeout=0.1)
                except queue.Empty:
                    continue
                yield reply
                if reply.WhichOneof("kind") != "progress":
                    return
        finally:  # also where gRPC drops this iterator at a `yield`, because the call was cancelled just then
            me = attempt.session.me
            attempt.session.fail(SessionFailed("the run was cancelled", pb.Abort.REFUSED, me, "cancelled there"))

    # ---- sessions

    def _begin(self, proposal: bytes, opener: str) -> tuple[Attempt | None, str]:
        """A new attempt (the lock is held), or why there is none: a peer that opens too many takes nobody's place."""
        member = self.approval.current()
        share = SESSIONS // (len(member.peers) + 1)
        if sum(by == opener for by in self._opened_by.values()) >= share:
            return None, f"{share} sessions that {opener} opened are in progress already"
        attempt = self._attempts[proposal] = Attempt(proposal, Session(member.me, self.config.deadline))
        self._opened_by[attempt] = opener
        return attempt, ""

    def _part(self, attempt: Attempt) -> None:
        """Frees the session's place once its peers have ended as well, or will not."""
        attempt.session.part()
        with self._lock:
            del self._opened_by[attempt]
            if self._attempts.get(attempt.proposal) is attempt:
                del self._attempts[attempt.proposal]

    def _follow(self, attempt: Attempt, purpose: str, name: str, initiator: str, algebra: str) -> None:
        """A session that another node started. What it calls itself is cut to plain text."""
        name, initiator, algebra = plain(name), plain(initiator), plain(algebra)
        try:
            if self.approval.current().is_dealer:
                self._conclude(attempt, name, lambda member: self._deal(attempt, member, purpose, name, initiator, algebra))
            elif purpose == preparing.PURPOSE:
                self._conclude(attempt, name, lambda member: self._prepare(attempt, member, name, initiator, lambda _: None))
            else:
                self._conclude(attempt, name, lambda member: self._query(attempt, member, name, initiator, lambda _: None))
        except ComityError:
            pass  # logged, and told to the peers
        finally:
            self._part(attempt)

    def _initiate(self, attempt: Attempt, name: str, tell: Tell) -> dict[str, Any]:
        def work(member: Membership) -> dict[str, Any]:
            if member.is_dealer:
                raise ComityError("the dealer runs no queries")
            plan = member.spec.plans.get(name)
            if plan is None:
                raise ComityError(f"the approved spec has no query {name!r}: {nearest(name, member.spec.plans)}")
            if member.me not in plan.query.receivers:
                raise ComityError(
                    f"{member.me} does not receive the answer of {name}, so it cannot run it: "
                    f"the receivers are {', '.join(plan.query.receivers)}"
                )
            result = self._query(attempt, member, name, member.me, tell)
            assert result is not None
            return result

        return self._conclude(attempt, name, work)

    def _initiate_preparation(self, attempt: Attempt, name: str, tell: Tell) -> dict[str, Any]:
        def work(member: Membership) -> dict[str, Any]:
            if member.is_dealer:
                raise ComityError("the dealer keeps no stock")
            why = self._no_preparation(member, name, member.me)
            if why:
                raise ComityError(why)
            return self._prepare(attempt, member, name, member.me, tell)

        return self._conclude(attempt, f"prepare {name}", work)

    def _prepare(self, attempt: Attempt, member: Membership, name: str, initiator: str, tell: Tell) -> dict[str, Any]:
        """A party's part in making something for the stock, with all others."""
        wanted, scheme, me = preparing.asked(name), preparing.smallest(member), member.me
        terms = Terms(preparing.PURPOSE, name, initiator, scheme.algebra.name, member.spec.digest, "")
        invitation = pb.Invitation(proposal=attempt.proposal, query=name, initiator=initiator, purpose=preparing.PURPOSE)
        peers = {peer: node for peer, node in member.peers.items() if peer != DEALER_NAME}
        agreed = agree(
            attempt, member, terms, peers, self.endpoint.open,
            lambda peer: initiator == me and self.endpoint.invite(peer, invitation),
        )  # fmt: skip
        refusal = self._no_preparation(member, name, initiator)
        if not self._preparing.acquire(blocking=False):
            refusal = refusal or "something is being made for its stock already: let that end first"
        elif refusal:
            self._preparing.release()
        if refusal or wanted is None:
            raise SessionFailed(f"{me} refuses: {refusal}", pb.Abort.REFUSED, me, refusal)
        try:
            log.info("preparing", extra=fields(wanted=name, initiator=initiator, session=agreed.session_id.hex()[:16]))
            ctx = context(member, attempt.session, agreed.session_id, agreed.keys, scheme)
            shelf = self.stock.shelf(preparing.group(member, scheme), type(wanted))
            with preparing.making(self.stock, member) as maker:
                made = preparing.prepare(
                    ctx, shelf, maker, agreed.session_id, wanted, lambda made, of: tell(preparing.progress(made, of))
                )
            each = wanted.EACH
            return {"kind": wanted.name, "wanted": each * wanted.count, "made": each * made, "with": sorted(peers)}
        except StockFull as error:
            raise SessionFailed(f"{me} refuses: {error}", pb.Abort.REFUSED, me, str(error)) from None
        finally:
            self._preparing.release()

    def _conclude(self, attempt: Attempt, name: str, work: Callable[[Membership], T]) -> T:
        """Does this node's part, and ends the session at all nodes, whatever happens."""
        session, started = attempt.session, time.monotonic()
        names: dict[int, str] = {}
        try:
            member = self.approval.current()
            names = {number: party for party, number in party_ids(member).items()}
            result = work(member)
            session.finish()
            log.info("done", extra=fields(session=name, seconds=round(time.monotonic() - started, 3)))
            return result
        except Exception as error:
            if not isinstance(error, ComityError):
                log.error("%s failed: %s", name, unexpected(error))
                error = ComityError(f"{session.me} failed inside: its own log says where")
            failure = as_failure(error, session, names)
            session.fail(failure)
            log.error("%s failed: %s", name, failure)
            raise failure from None

    def _query(self, attempt: Attempt, member: Membership, name: str, initiator: str, tell: Tell) -> dict[str, Any] | None:
        """A party's part in a query. The report where this party receives the answer."""
        spec = member.spec
        plan = spec.plans.get(name)
        peers = {p: node for p, node in member.peers.items() if p != DEALER_NAME or (plan and plan.triples == "dealer")}
        terms = Terms(
            "query", name, initiator, plan.scheme.algebra.name if plan else "", spec.digest, plan.digest if plan else ""
        )
        invitation = pb.Invitation(proposal=attempt.proposal, query=name, initiator=initiator)
        unsettled = b""
        if plan is not None and plan.noise:
            unsettled = self.ledger.unsettled(plan.digest, spec.digest, once=plan.is_once) or b""
        agreed = agree(
            attempt, member, terms, peers, self.endpoint.open,
            lambda peer: initiator == member.me and self.endpoint.invite(peer, invitation),
            release=unsettled, seen=self.ledger.seen,
        )  # fmt: skip
        if plan is None or initiator not in plan.query.receivers:
            why = "the approved spec has no such query" if plan is None else f"{initiator} is not a receiver of {name}"
            raise SessionFailed(why, pb.Abort.REFUSED, member.me, why)
        if weaker := below(plan, self.config.floor):
            why = f"queries.{name} has weaker release rules than [release] of its node.toml: it takes {weaker}"
            raise SessionFailed(f"{member.me} refuses: {why}", pb.Abort.REFUSED, member.me, why)
        if plan.is_of_few and not self.config.quartiles_of_few:
            why = f"queries.{name} asks for quartiles of {len(plan.holders)} companies, which nearly give their figures away: its node.toml would have to say quartiles_of_few = true"
            raise SessionFailed(f"{member.me} refuses: {why}", pb.Abort.REFUSED, member.me, why)
        for why in list(self._behind.values()):
            raise SessionFailed(f"{member.me} refuses: {why}", pb.Abort.REFUSED, member.me, why)
        log.info("agreed", extra=fields(query=name, initiator=initiator, session=agreed.session_id.hex()[:16]))
        disclosing = Disclosing(self.config, self.ledger, self._exact, plan, member, agreed, unsettled)
        with preparing.source(self.stock, member, plan.scheme, plan.triples) as triples:
            ctx = context(member, attempt.session, agreed.session_id, agreed.keys, plan.scheme, triples)
            ranks: list[Ranks] = []
            result = run_query(
                ctx, plan, spec.digest, lambda: disclosing.mine(ctx, lambda: self._at_home(plan, member, attempt.session, ranks)), tell, ranks
            )
        if result is not None:
            disclosing.complete(result)
        if result is not None and initiator != member.me:
            file = write(result, self.directory, agreed.session_id)
            log.info("wrote the answer", extra=fields(query=name, file=str(file)))
        disclosing.settle()
        return result

    def _at_home(self, plan: Plan, member: Membership, session: Session, ranks: list[Ranks]) -> list[Array | None]:
        try:
            for task in plan.tasks:
                if member.me in task.table.holders and task.table.name not in self.config.tables:
                    raise DataError(self._lacks(task.table.name))
            return home_vectors(plan, member.me, self.config.tables, lambda stop: session.working(HOME, stop), ranks)
        except DataError as error:
            if session.failure is not None:  # the engine was stopped
                raise session.failure from None
            raise SessionFailed(
                f"{member.me} cannot answer: {error}", pb.Abort.CANNOT_ANSWER, member.me
            ) from None

    def _deal(
        self, attempt: Attempt, member: Membership, purpose: str, name: str, initiator: str, algebra: str
    ) -> None:
        """The dealer's part: agrees like all others, then deals until the parties have ended."""
        spec, scheme, plan_digest = member.spec, self._scheme(member, algebra), ""
        if purpose == "query" and name in spec.plans:
            scheme, plan_digest = spec.plans[name].scheme, spec.plans[name].digest
        terms = Terms(purpose, name, initiator, scheme.algebra.name if scheme else "", spec.digest, plan_digest)
        patience = 10.0 if purpose == "query" else 600.0
        session_id, keys, _ = agree(
            attempt, member, terms, member.peers, self.endpoint.open, lambda peer: False, patience
        )
        if scheme is None or (purpose == "query") != bool(plan_digest):
            why = "the approved spec has no such session"
            raise SessionFailed(why, pb.Abort.REFUSED, member.me, why)
        log.info("dealing", extra=fields(purpose=purpose, name=name, session=session_id.hex()[:16]))
        deal(context(member, attempt.session, session_id, keys, scheme))

    @staticmethod
    def _scheme(member: Membership, algebra: str) -> Scheme | None:
        security = member.spec.security
        found = schemes(security.scheme, len(security.parties), security.colluding)
        return next((scheme for scheme in found if scheme.algebra.name == algebra), None)


def serve(directory: Path) -> None:
    """Until SIGTERM or Ctrl-C."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # idle connections must not use the descriptors up
    signals: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: signals.append(number))
    node = ServingNode(directory)
    while not signals:
        # no lock, and no endless wait: a signal may interrupt any lock's holder, and be delivered to another thread
        time.sleep(0.2)
    node.close()
