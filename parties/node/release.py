"""What comes before anything of a query with noise is opened: the charge in every company's ledger, countersigned by all.

1. Each node draws its noise, computes at home, and tells the others that it can answer and pay: so that nothing is charged
where one of them cannot. 2. `reserve`: it writes what it will share into its ledger, with the price, and tells a commitment
to it. 3. It signs a receipt over all that. Only a node that holds everybody's goes on. Three rounds of small messages, which
`Context.tell` does not count as a cost of the protocol.

A query that fails later keeps its charge, and asking again is free: its next session finds the reservation, and shares the
same noisy totals anew, under fresh masks. So nobody gets two answers to one charge, and ledgers say at least what was opened.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from mpc.algebra import Array
from mpc.context import Context
from mpc.randomness import Stream, fresh_seed
from parties.governance.approval import Membership
from parties.governance.differencing import objection, predicate
from parties.governance.ledger import Caps, ExactRelease, Ledger
from parties.governance.release import ID_BYTES, Charge, LedgerError, Receipt, Release
from parties.node.agreement import party_ids
from protocols.accounting import gaussian_rdp, laplace_rdp
from protocols.expression import Reference
from protocols.planning.execute import draw_noise, inputs
from protocols.planning.plan import Plan


def release_id(session_id: bytes, unsettled: Iterable[bytes]) -> bytes:
    """What all charge the query under: the first of the reservations that somebody has not settled; else a new one."""
    return min(filter(None, unsettled), default=session_id[:ID_BYTES])


def release_of(plan: Plan, member: Membership, identifier: bytes) -> Release:
    """What is charged for one answer to a query with noise."""
    privacy, table = plan.query.privacy, plan.tasks[0].table
    assert privacy is not None
    assert table.unit is not None
    is_pure = privacy.mechanism == "laplace" and privacy.epsilon is not None
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
) -> Array | None:
    """What this party is to share in `execute`, once the release is in all ledgers. BudgetExceeded, LedgerError and what
    `home` raises: nothing has been opened then."""
    algebra = plan.scheme.algebra

    is_ready = False

    def ready() -> None:
        nonlocal is_ready
        if not is_ready:
            ctx.tell("ready", b"\1")
        is_ready = True

    def make() -> bytes:
        noise = draw_noise(plan, member.me, Stream(fresh_seed()))  # before the home query, so that its time tells nothing
        mine = inputs(plan, home(), noise)
        ready()
        return b"" if mine is None else bytes(algebra.to_bytes(algebra.encode(mine)))

    reservation = ledger.reserve(release, make, caps)
    ready()  # where it was made before
    names = {number: name for name, number in party_ids(member).items()}
    commitments = {names[party]: told for party, told in ctx.tell("commitments", reservation.commitment).items()}
    receipt = ledger.sign(release.id, commitments)
    receipts = {names[party]: Receipt.from_bytes(told) for party, told in ctx.tell("receipts", receipt.to_bytes()).items()}
    del receipts[member.me]
    ledger.hold(release.id, receipts, _certificates(member))
    shape = plan.shapes.get(ctx.me)
    return None if shape is None else algebra.decode(algebra.from_bytes(reservation.inputs, shape))


def _certificates(member: Membership) -> Mapping[str, bytes]:
    return {name: peer.certificate for name, peer in member.peers.items()}


def record_exact(
    ledger: Ledger, plan: Plan, member: Membership, session_id: bytes, mine: Array | None, allowed: Collection[str]
) -> None:
    """Writes down that an exact answer over protected rows is about to be opened. LedgerError where earlier ones speak
    against it."""
    tables = [table.name for table in plan.exact_over]
    earlier = {release.id: release for table in tables for release in ledger.exact_releases(table)}
    why = objection(plan, earlier.values(), allowed)
    if why:
        raise LedgerError(f"{why}; {member.me} allows it with `differing = [\"{plan.query.name}\"]` in its node.toml")
    encoded = b"" if mine is None else bytes(plan.scheme.algebra.to_bytes(plan.scheme.algebra.encode(mine)))
    ledger.record(_exact(plan, member, session_id, hashlib.sha256(session_id + encoded).digest()))


def keep_cells(ledger: Ledger, plan: Plan, member: Membership, session_id: bytes, rows: object) -> None:
    """Adds what was opened, at a receiver."""
    (known,) = (r for r in ledger.exact_releases(plan.exact_over[0].name) if r.id == session_id[:ID_BYTES])
    ledger.record(replace(known, cells=json.dumps(rows)))


def _exact(plan: Plan, member: Membership, session_id: bytes, snapshot: bytes) -> ExactRelease:
    columns = {str(node) for task in plan.tasks for x in task.expressions for node in x.walk() if isinstance(node, Reference)}
    return ExactRelease(
        session_id[:ID_BYTES], plan.query.name, member.spec.sql[plan.query.name], tuple(t.name for t in plan.exact_over),
        tuple(sorted(columns)), predicate(plan), snapshot,
    )  # fmt: skip
