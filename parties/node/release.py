"""What comes before anything of a query with noise is opened: the charge in every company's ledger, countersigned by all.

1. Each node draws its noise, computes at home, and tells the others that it can answer and pay: so that nothing is charged
where one of them cannot. 2. `reserve`: it writes what it will share into its ledger, with the price, and tells a commitment
to it. 3. It signs a receipt over all that. Only a node that holds everybody's goes on. Three rounds of small messages, which
`Context.tell` does not count as a cost of the protocol.

A query that fails later keeps its charge, and asking again is free: its next session finds the reservation, and shares the
same noisy totals anew, under fresh masks. So nobody gets two answers to one charge, and ledgers say at least what was opened. Of
a join, and of a value that is found on shares, that is true up to step 3 alone: their noise is added to what follows from all that others share, which could be another table the
second time; so once it may have been opened, asking again is a new release. Where a node has given a release up, it says so
in step 1, and so do all others.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from threading import Lock
from typing import Any

from mpc.algebra import Array
from mpc.context import Context
from mpc.randomness import SEED_BYTES, Stream, fresh_seed
from mpc.schemes import PartyId
from parties.governance.approval import Membership
from parties.governance.differencing import objection, predicate
from parties.governance.ledger import Caps, ExactRelease, Ledger, Reservation
from parties.governance.release import ID_BYTES, Charge, LedgerError, PeerRefused, Receipt, Release
from parties.node.agreement import Agreed, party_ids
from parties.node.config import Config
from parties.wire.stream import SessionFailed
from parties.wire.v1 import party_pb2 as pb
from protocols.accounting import gaussian_rdp, laplace_rdp
from protocols.expression import Reference
from protocols.planning.execute import draw_noise, inputs
from protocols.planning.plan import Plan

READY, GIVEN_UP = b"\1", b"\2"


def release_id(session_id: bytes, unsettled: Iterable[bytes]) -> bytes:
    """What all charge the query under: the first of the reservations that somebody has not settled; else a new one."""
    return min(filter(None, unsettled), default=session_id[:ID_BYTES])


def release_of(plan: Plan, member: Membership, identifier: bytes) -> Release:
    """What is charged for one answer to a query with noise."""
    privacy, table = plan.query.privacy, plan.tasks[0].table
    assert privacy is not None
    assert table.unit is not None
    is_pure = privacy.is_pure and privacy.epsilon is not None
    rdp = laplace_rdp(privacy.epsilon or 0) if is_pure else gaussian_rdp(privacy.micro_rho)
    charge = Charge(table.name, table.unit.key or "row", privacy.micro_rho, rdp)
    return Release(
        identifier, plan.query.name, member.spec.digest, plan.digest, plan.security.parties, plan.query.receivers, (charge,)
    )


def charged(
    ctx: Context,
    plan: Plan,
    member: Membership,
    ledger: Ledger,
    caps: Caps,
    release: Release,
    home: Callable[[], Sequence[Array | None]],
) -> Reservation:
    """What this party is to share (see `kept`), once the release is in all ledgers. BudgetExceeded, LedgerError and what
    `home` raises: nothing has been opened then."""
    names = {number: name for name, number in party_ids(member).items()}
    has_told = False

    def tell(said: bytes) -> None:
        nonlocal has_told
        if not has_told:
            has_told = True
            heard = ctx.tell("ready", said)
            who = [names[party] for party, answer in heard.items() if answer != READY]
            if who:
                ledger.abandon(release.id)
                raise LedgerError(f"{plan.query.name} was given up at {', '.join(who)}: asking again is a new charge")

    if ledger.state(release.id) in (("abandoned", "held", "settled") if plan.is_once else ("abandoned",)):
        tell(GIVEN_UP)

    def make() -> bytes:
        seed = fresh_seed()
        noise = draw_noise(plan, member.me, Stream(seed))  # before the home query, so that its time tells nothing
        mine = inputs(plan, home(), noise)
        tell(READY)
        return _bytes(plan, mine) + (seed if plan.joint else b"")

    reservation = ledger.reserve(release, make, caps)
    tell(READY)  # where it was made before
    commitments = {names[party]: told for party, told in ctx.tell("commitments", reservation.commitment).items()}
    receipt = ledger.sign(release.id, commitments)
    receipts = {names[party]: Receipt.from_bytes(told) for party, told in ctx.tell("receipts", receipt.to_bytes()).items()}
    del receipts[member.me]
    ledger.hold(release.id, receipts, {name: peer.certificate for name, peer in member.peers.items()})
    return reservation


def kept(plan: Plan, me: PartyId, reservation: Reservation) -> tuple[Array | None, bytes | None]:
    """What was reserved, as `execute` takes it: what is shared, and with joint noise the seed of this party's bits."""
    algebra, shape, made = plan.scheme.algebra, plan.shapes.get(me), reservation.inputs
    seed = made[-SEED_BYTES:] if plan.joint else None
    shared = made[: len(made) - len(seed or b"")]
    return None if shape is None else algebra.decode(algebra.from_bytes(shared, shape)), seed


def _bytes(plan: Plan, mine: Array | None) -> bytes:
    algebra = plan.scheme.algebra
    return b"" if mine is None else bytes(algebra.to_bytes(algebra.encode(mine)))


def record_exact(
    ledger: Ledger, plan: Plan, member: Membership, session_id: bytes, mine: Array | None, allowed: Collection[str]
) -> None:
    """Writes down that an exact answer over protected rows is about to be opened. LedgerError where earlier ones speak
    against it."""
    tables = tuple(table.name for table in plan.exact_over)
    earlier = {release.id: release for table in tables for release in ledger.exact_releases(table)}
    why = objection(plan, earlier.values(), allowed)
    if why:
        raise LedgerError(f"{why}; {member.me} allows it with `differing = [\"{plan.query.name}\"]` in its node.toml")
    columns = {str(node) for task in plan.tasks for x in task.expressions for node in x.walk() if isinstance(node, Reference)}
    ledger.record(ExactRelease(
        session_id[:ID_BYTES], plan.query.name, member.spec.sql[plan.query.name], tables, tuple(sorted(columns)), predicate(plan),
        hashlib.sha256(session_id + _bytes(plan, mine)).digest(),
    ))  # fmt: skip


class Disclosing:
    """What this node does before and after it takes part in opening an answer: for one query in one session, after the
    agreement."""

    def __init__(
        self, node: Config, ledger: Ledger, guard: Lock, plan: Plan, member: Membership, agreed: Agreed, unsettled: bytes
    ) -> None:
        self._node, self._ledger, self._guard = node, ledger, guard
        self._plan, self._member, self._agreed = plan, member, agreed
        self._id = release_id(agreed.session_id, [unsettled, *(hello.release for hello in agreed.hellos.values())])
        self._retried: datetime | None = None

    def mine(self, ctx: Context, home: Callable[[], Sequence[Array | None]]) -> tuple[Array | None, bytes | None]:
        """What this company shares, and the seed of its part of joint noise; of a query with noise, once it is charged everywhere. SessionFailed where this company
        refuses, or a peer's ledger speaks against it."""
        plan, member, ledger = self._plan, self._member, self._ledger
        try:
            for name, hello in self._agreed.hellos.items():
                ledger.check(name, hello.ledger_length, hello.ledger_head)
            if plan.noise:
                release = release_of(plan, member, self._id)
                reservation = charged(ctx, plan, member, ledger, lambda account: self._node.cap, release, home)
                self._retried = reservation.made if reservation.is_retry else None
                return kept(plan, ctx.me, reservation)
            if plan.exact_over and not self._node.exact:
                tables = ", ".join(table.name for table in plan.exact_over)
                raise LedgerError(f"it gives no exact answers over {tables}, whose rows are about somebody: the query has no `privacy`")
            mine = inputs(plan, home())
            if plan.exact_over:
                with self._guard:  # of two at once the second sees the first
                    record_exact(ledger, plan, member, self._agreed.session_id, mine, self._node.differing)
            return mine, None
        except PeerRefused as error:
            ledger.abandon(self._id)  # it could never be retried
            raise SessionFailed(str(error), pb.Abort.LOST, error.peer, str(error)) from None
        except LedgerError as error:
            raise SessionFailed(f"{member.me} refuses: {error}", pb.Abort.REFUSED, member.me, str(error)) from None

    def complete(self, result: dict[str, Any]) -> None:
        """Adds to a receiver's report what only its node knows, and keeps what was exactly opened."""
        plan, table = self._plan, self._plan.tasks[0].table
        if plan.noise and (self._node.exact or self._ledger.exact_releases(table.name)):
            result["privacy"]["guarantee"].append(
                f"exact answers over {table.name} are allowed here, or were given: of those no differential privacy holds"
            )
        if self._plan.noise and self._node.cap is None:
            result["privacy"]["guarantee"].append(f"{self._member.me} has no `budget` in its node.toml: it limits no further answers")
        if self._retried is not None:
            result["privacy"]["guarantee"].append(
                f"asked again: the totals are those of {self._retried:%Y-%m-%d %H:%M} UTC, when they were charged"
            )
        if self._plan.exact_over:
            earlier = self._ledger.exact_releases(self._plan.exact_over[0].name)
            (known,) = (release for release in earlier if release.id == self._agreed.session_id[:ID_BYTES])
            self._ledger.record(replace(known, cells=json.dumps(result["rows"])))

    def settle(self) -> None:
        """It was opened, and the report is where it belongs: asking again would be another release."""
        if self._plan.noise:
            self._ledger.settle(self._id)
