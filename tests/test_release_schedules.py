"""A query with noise under a crash at every step of every party, and then again: no ledger ever says less than what was opened,
asking again gives the same answer for the same charge, and in the end all ledgers agree.

The product's own `charged`, ledgers (real files) and `execute` run over the simulated links of schedule.py. A crash ends a
party at a send or a receive; test_ledger.py kills a process between any two statements of the ledger itself.
"""

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from schedule import Fault, Result, Simulation, Stopped

from mpc.channel import MemoryChannel, MemoryNetwork
from mpc.context import Context
from mpc.schemes import PartyId
from parties.governance.ledger import Ledger, Reservation
from parties.node import release as product
from parties.node.release import charged, kept, release_id, release_of
from parties.spec.sql import parse_query
from parties.wire import identity
from protocols.planning.execute import execute
from protocols.planning.plan import Plan, Security
from protocols.planning.planner import plan_query
from protocols.planning.privacy import Privacy
from protocols.tables import Column, Table, Unit

DEADLINE = 20.0
NAMES = ("alpha", "beta", "gamma")
RECEIVERS = ("alpha", "beta")
PARTIES = range(3)


@pytest.fixture(scope="module")
def plan() -> Plan:
    table = Table("t", {"g": Column("g", "integer", 0, 3)}, 100, NAMES, unit=Unit("person"))
    query = parse_query("q", "SELECT g, COUNT(*) FROM t GROUP BY g", {"t": table}, RECEIVERS)
    return plan_query(replace(query, privacy=Privacy("gaussian", 20_000)), Security(NAMES, "additive", 2))


@pytest.fixture(scope="module")
def identities(tmp_path_factory: pytest.TempPathFactory) -> list[identity.Identity]:
    folder = tmp_path_factory.mktemp("identities")
    return [identity.create(folder / name, name) for name in NAMES]


class Companies:
    """Three nodes' ledgers, which outlive their crashes."""

    def __init__(self, folder: Path, plan: Plan, identities: list[identity.Identity]) -> None:
        self.plan, self.identities, self.sessions = plan, identities, 0
        self.folders = [folder / name for name in NAMES]
        for directory in self.folders:
            directory.mkdir()
        self.opened: list[dict[PartyId, Any]] = []
        self.part: Callable[..., Any] = charged

    def session(self, *crashes: Fault) -> Result:
        """One session; its ledgers are opened anew, as after a restart."""
        self.sessions += 1
        ledgers = [Ledger(folder, name, own) for folder, name, own in zip(self.folders, NAMES, self.identities, strict=True)]
        session_id = sha256(f"session {self.sessions}".encode()).digest()
        unsettled = [ledger.unsettled(self.plan.digest, "spec") or b"" for ledger in ledgers]
        identifier = release_id(session_id, unsettled)
        simulation = Simulation(f"seed {self.sessions} {crashes}", crashes, DEADLINE + 1)
        network = MemoryNetwork(PARTIES, DEADLINE, simulation.link)  # type: ignore[arg-type]

        def work(me: PartyId) -> Callable[[], Any]:
            keys = {i: sha256(session_id + bytes([min(me, i), max(me, i)])).digest() for i in PARTIES if i != me}
            ctx = Context(me, self.plan.scheme, MemoryChannel(network, me), keys)
            peers = {n: SimpleNamespace(certificate=i.der) for n, i in zip(NAMES, self.identities, strict=True) if n != NAMES[me]}
            member: Any = SimpleNamespace(
                me=NAMES[me], peers=peers, spec=SimpleNamespace(digest="spec", security=self.plan.security)
            )

            def body() -> Any:
                release = release_of(self.plan, member, identifier)
                home = [np.array([me, 10 + me, 20, 30])]
                reserved = self.part(ctx, self.plan, member, ledgers[me], lambda account: None, release, lambda: home)
                values = execute(ctx, self.plan, kept(self.plan, me, reserved)[0] if isinstance(reserved, Reservation) else reserved)
                self.seen[me] = values
                ledgers[me].settle(identifier)
                return values

            return body

        self.seen: dict[PartyId, Any] = {}
        result = simulation.run({me: work(me) for me in PARTIES}, network.close)
        self.opened.append({me: values for me, values in self.seen.items() if values is not None})
        for ledger in ledgers:
            ledger.close()
        assert not result.hung
        return result

    def entries(self) -> list[dict[bytes, tuple[str, int]]]:
        """Each company's releases: state and price by id."""
        found = []
        for folder, name, own in zip(self.folders, NAMES, self.identities, strict=True):
            ledger = Ledger(folder, name, own)
            found.append({e.id: (e.state, sum(c.micro_rho for c in e.charges)) for e in ledger.entries()})
            ledger.close()
        return found

    def wrongs(self) -> list[str]:
        """After a session that crashed, and one that did not."""
        found = []
        first, second = self.opened[0], self.opened[1]
        if set(second) != {0, 1}:
            found.append("asking again gives no answer")
        if any(values != second.get(0) for values in (*first.values(), *second.values())):
            found.append("asking again gives another answer")
        entries = self.entries()
        if any(mine != entries[0] for mine in entries):
            found.append(f"ledgers differ: {entries}")
        if [state for state, _ in entries[0].values()] != ["settled"]:
            found.append("not one settled charge")
        return found


STEPS = 22
"""More sends and receives than a party has."""


@pytest.mark.parametrize("party", PARTIES)
def test_a_crash_at_every_step(tmp_path: Path, plan: Plan, identities: list[identity.Identity], party: PartyId) -> None:
    for step in range(STEPS):
        (tmp_path / str(step)).mkdir()
        companies = Companies(tmp_path / str(step), plan, identities)
        if not isinstance(companies.session(Fault("crash", party, step)).ends[party], Stopped):
            break  # it had done its part
        if companies.opened[0]:  # then all have been charged by now
            assert all(next(iter(mine.values()))[1] == 20_000 for mine in companies.entries())
        companies.session()
        assert companies.wrongs() == [], f"party {party}, step {step}"
    assert 14 <= step < STEPS


def test_two_crashes_in_a_row(tmp_path: Path, plan: Plan, identities: list[identity.Identity]) -> None:
    for number, (one, other) in enumerate([(0, 1), (1, 2), (2, 0), (1, 1)]):
        (tmp_path / str(number)).mkdir()
        companies = Companies(tmp_path / str(number), plan, identities)
        companies.session(Fault("crash", one, 9))
        companies.session(Fault("crash", other, 12))
        first = companies.opened.pop(0)
        companies.session()
        companies.opened[0] |= first
        assert companies.wrongs() == []


def test_a_new_question_is_a_new_charge_with_new_noise(tmp_path: Path, plan: Plan, identities: list[identity.Identity]) -> None:
    companies = Companies(tmp_path, plan, identities)
    for _ in range(3):
        companies.session()
    answers = [opened[0] for opened in companies.opened]
    assert answers[0] != answers[1] != answers[2]
    assert [sorted(mine.values()) for mine in companies.entries()] == [[("settled", 20_000)] * 3] * 3


def test_what_one_company_has_given_up_all_give_up(tmp_path: Path, plan: Plan, identities: list[identity.Identity]) -> None:
    """Else the others would offer it for ever, and it would refuse it for ever."""
    companies = Companies(tmp_path, plan, identities)
    companies.session(Fault("crash", 0, 9))
    ((first, _),) = companies.entries()[1].items()
    gamma = Ledger(companies.folders[2], "gamma", identities[2])
    gamma.abandon(first)
    gamma.close()
    refused = companies.session()
    assert all("was given up at gamma" in str(end) for end in refused.ends.values())
    companies.session()
    assert set(companies.opened[-1]) == {0, 1}
    for mine in companies.entries():
        assert [state for identifier, (state, _) in mine.items() if identifier != first] == ["settled"]
        assert mine[first][0] == "abandoned"


def test_a_retry_goes_out_under_fresh_masks(tmp_path: Path, plan: Plan, identities: list[identity.Identity]) -> None:
    companies = Companies(tmp_path, plan, identities)
    first = companies.session(Fault("crash", 0, 13))
    second = companies.session()
    sent = [{m.content for m in result.sent if m.tag.operation == "reveal"} for result in (first, second)]
    assert sent[0]
    assert sent[0].isdisjoint(sent[1])


def test_noise_is_drawn_before_anything_is_computed_at_home(
    tmp_path: Path, plan: Plan, identities: list[identity.Identity], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So how long a home query takes says nothing of the noise, and how long the noise takes nothing of the rows."""
    order: list[str] = []
    draw = product.draw_noise
    monkeypatch.setattr(product, "draw_noise", lambda *arguments: [order.append("noise"), draw(*arguments)][1])

    def part(ctx: Context, plan: Plan, member: Any, ledger: Any, caps: Any, release: Any, home: Any) -> Any:
        return charged(ctx, plan, member, ledger, caps, release, lambda: [order.append("home"), home()][1])

    companies = Companies(tmp_path, plan, identities)
    companies.part = part
    companies.session()
    assert sorted(order) == ["home"] * 3 + ["noise"] * 3
    assert order.index("noise") < order.index("home")
    assert order[-1] == "home"


@pytest.mark.parametrize("bug", ["fresh noise on retry", "opened before the receipts"])
def test_a_planted_bug_is_found(tmp_path: Path, plan: Plan, identities: list[identity.Identity], bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for step in range(12, STEPS):
        if found:
            break
        (tmp_path / str(step)).mkdir()
        companies = Companies(tmp_path / str(step), plan, identities)
        if bug == "fresh noise on retry":

            def part(ctx: Context, plan: Plan, member: Any, ledger: Any, caps: Any, release: Any, home: Any) -> Any:
                charged(ctx, plan, member, ledger, caps, release, home)
                return product.inputs(plan, home(), product.draw_noise(plan, member.me, product.Stream(product.fresh_seed())))
        else:

            def part(ctx: Context, plan: Plan, member: Any, ledger: Any, caps: Any, release: Any, home: Any) -> Any:
                if member.me == "gamma":  # an honest company that forgets to wait for anybody
                    return product.inputs(plan, home(), product.draw_noise(plan, member.me, product.Stream(product.fresh_seed())))
                return charged(ctx, plan, member, ledger, caps, release, home)

        companies.part = part
        try:
            companies.session(Fault("crash", 1, step))
            companies.session()
            found += companies.wrongs()
        except Exception as error:
            found.append(repr(error))
    assert found
