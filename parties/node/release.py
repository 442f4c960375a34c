"""What comes before anything of a query with noise is opened: the charge in every company's ledger, countersigned by all.

1. `reserve`: each node draws its noise, computes at home, and writes what it will share into its ledger, with the price.
2. All tell each other commitments to that; 3. and then signed receipts over all of it. Only a node that holds everybody's
goes on. Two rounds of small messages, which `Context.tell` does not count as a cost of the protocol.

A query that fails later keeps its charge, and asking again is free: its next session finds the reservation, and shares the
same noisy totals anew, under fresh masks. So nobody gets two answers to one charge, and ledgers say at least what was opened.
"""

from collections.abc import Callable, Mapping, Sequence

from mpc.algebra import Array
from mpc.context import Context
from mpc.randomness import Stream, fresh_seed
from parties.governance.approval import Membership
from parties.governance.ledger import Caps, Ledger
from parties.governance.release import Charge, Receipt, Release
from parties.node.agreement import party_ids
from protocols.accounting import gaussian_rdp, laplace_rdp
from protocols.planning.execute import draw_noise, inputs
from protocols.planning.plan import Plan


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

    def make() -> bytes:
        noise = draw_noise(plan, member.me, Stream(fresh_seed()))  # before the home query, so that its time tells nothing
        mine = inputs(plan, home(), noise)
        return b"" if mine is None else bytes(algebra.to_bytes(algebra.encode(mine)))

    reservation = ledger.reserve(release, make, caps)
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
