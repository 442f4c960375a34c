"""The privacy budget ledger: what it promises holds over crashes, threads, backups and peers that change their word."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from mpc.errors import ComityError
from parties.cli.main import cli
from parties.governance import release as signed
from parties.governance.ledger import (
    FILE,
    KEY,
    LOCK,
    BudgetExceeded,
    Cap,
    ExactRelease,
    Ledger,
    LedgerBehind,
    LedgerView,
    Reservation,
)
from parties.governance.release import NO_HEAD, Account, Charge, LedgerError, PeerRefused, Receipt, Release
from parties.node.config import read_config
from parties.wire.identity import Identity, create
from protocols.accounting import epsilon

NAMES = ("acme", "birch", "cedar")
ACCOUNT = Account("pay", "person")
SECRET = b"planted-inputs-4711"


def unlimited(account: Account) -> Cap | None:
    return None


def release(number: int = 1, price: int = 10, query: str = "totals") -> Release:
    charges = (Charge(*ACCOUNT, price, (price, 2 * price)),)
    return Release(number.to_bytes(16, "big"), query, "aa" * 32, "bb" * 32, NAMES, ("acme",), charges)


@dataclass
class Company:
    name: str
    directory: Path
    identity: Identity
    ledger: Ledger

    def reopen(self) -> None:
        self.ledger.close()
        self.ledger = Ledger(self.directory, self.name, self.identity)

    def reserve(self, wanted: Release) -> Reservation:
        return self.ledger.reserve(wanted, lambda: SECRET, unlimited)


@dataclass
class Companies:
    all: dict[str, Company]

    def __getitem__(self, name: str) -> Company:
        return self.all[name]

    @property
    def certificates(self) -> dict[str, bytes]:
        return {name: company.identity.der for name, company in self.all.items()}

    def commitments(self, wanted: Release) -> dict[str, bytes]:
        return {name: company.reserve(wanted).commitment for name, company in self.all.items()}

    def receipts(self, wanted: Release) -> dict[str, Receipt]:
        commitments = self.commitments(wanted)
        return {name: company.ledger.sign(wanted.id, commitments) for name, company in self.all.items()}

    def run(self, wanted: Release) -> None:
        receipts = self.receipts(wanted)
        for company in self.all.values():
            company.ledger.hold(wanted.id, receipts, self.certificates)
        for company in self.all.values():
            company.ledger.settle(wanted.id)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory, where there is such a place: here processes are killed, never the machine, and syncs take their time."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def identities(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Identity]:
    folder = tmp_path_factory.mktemp("identities")
    return {name: create(folder / name, name) for name in NAMES}


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory, identities: dict[str, Identity]) -> Path:
    """A folder with a new ledger: to make one takes as many syncs as ten reservations."""
    folder = tmp_path_factory.mktemp("empty")
    Ledger(folder, "acme", identities["acme"]).close()
    return folder


@pytest.fixture
def companies(tmp_path: Path, identities: dict[str, Identity], empty: Path) -> Iterator[Companies]:
    made = {}
    for name, identity in identities.items():
        shutil.copytree(empty, tmp_path / name)
        made[name] = Company(name, tmp_path / name, identity, Ledger(tmp_path / name, name, identity))
    yield Companies(made)
    for company in made.values():
        company.ledger.close()


@pytest.fixture
def acme(companies: Companies) -> Company:
    return companies["acme"]


def spent(ledger: LedgerView) -> list[tuple[int, int]]:
    return [(balance.spent, balance.reserved) for balance in ledger.accounts(unlimited)]


def test_the_way_of_a_release(companies: Companies, acme: Company) -> None:
    wanted, ledger = release(), acme.ledger
    assert ledger.unsettled(wanted.plan_digest, wanted.spec_digest) is None
    first = acme.reserve(wanted)
    assert (first.inputs, first.is_retry, spent(ledger)) == (SECRET, False, [(0, 10)])
    assert ledger.unsettled(wanted.plan_digest, wanted.spec_digest) == wanted.id
    assert ledger.unsettled("cc" * 32, wanted.spec_digest) is None
    receipts = companies.receipts(wanted)
    assert (receipts["acme"].previous, receipts["acme"].sequence) == (NO_HEAD, 1)
    for company in companies.all.values():
        company.ledger.hold(wanted.id, receipts, companies.certificates)
        company.ledger.settle(wanted.id)
        company.ledger.settle(wanted.id)
        assert company.ledger.receipts(wanted.id) == receipts
    assert spent(ledger) == [(10, 0)]
    assert ledger.unsettled(wanted.plan_digest, wanted.spec_digest) is None
    (entry,) = ledger.entries()
    assert (entry.id, entry.query, entry.state, entry.charges) == (wanted.id, "totals", "settled", wanted.charges)


@pytest.mark.parametrize("settled", [False, True])
def test_a_retry_is_free_and_identical(companies: Companies, acme: Company, settled: bool) -> None:
    wanted = release()
    first, receipts = acme.reserve(wanted), companies.receipts(wanted)
    if settled:
        companies.run(wanted)
    acme.reopen()

    def never() -> bytes:
        raise AssertionError("inputs are made once")

    again = acme.ledger.reserve(wanted, never, lambda account: Cap(0))  # a cap that was lowered since
    assert again == replace(first, is_retry=True)
    assert companies.receipts(wanted) == receipts
    companies.run(wanted)
    assert spent(acme.ledger) == [(10, 0)]


@pytest.mark.parametrize(
    "other",
    [
        {"query": "means"}, {"plan_digest": "cc" * 32}, {"spec_digest": "cc" * 32}, {"members": ("acme", "birch")},
        {"receivers": ("acme", "birch")}, {"charges": (Charge(*ACCOUNT, 9, (10, 20)),)},
        {"charges": (Charge(*ACCOUNT, 10, (10, 21)),)}, {"charges": (Charge("pay", "row", 10, (10, 20)),)}, {"charges": ()},
    ],
)  # fmt: skip
def test_another_release_under_the_same_id_is_refused(acme: Company, other: dict) -> None:
    acme.reserve(release())
    with pytest.raises(LedgerError, match="an id of its own"):
        acme.reserve(replace(release(), **other))
    assert spent(acme.ledger) == [(0, 10)]


def test_a_budget_split_over_queries_fits_exactly(acme: Company) -> None:
    cap = Cap(30)
    for number in (1, 2, 3):
        acme.ledger.reserve(release(number), lambda: SECRET, lambda account: cap)
    with pytest.raises(BudgetExceeded, match=r"more than acme has left \(table pay, unit person\).* 1 micro-rho.*cap of 30 0 are left") as error:
        acme.ledger.reserve(release(4, price=1), lambda: SECRET, lambda account: cap)
    found = error.value
    assert (found.account, found.price, found.left, found.cap) == (ACCOUNT, 1, 0, cap)
    assert len(acme.ledger.entries()) == 3
    acme.ledger.reserve(release(5, price=0), lambda: SECRET, lambda account: cap)


def test_one_account_without_room_stops_the_release_on_all(acme: Company) -> None:
    wanted = replace(release(), charges=(Charge("pay", "person", 5), Charge("trips", "person", 11)))
    computed = []
    with pytest.raises(BudgetExceeded, match="table trips"):
        acme.ledger.reserve(wanted, lambda: computed.append(1) or SECRET, lambda account: Cap(10))
    assert (spent(acme.ledger), computed) == ([], [])


def test_inputs_that_cannot_be_made_leave_nothing(acme: Company) -> None:
    def fail() -> bytes:
        raise ComityError("acme cannot answer")

    with pytest.raises(ComityError, match="acme cannot answer"):
        acme.ledger.reserve(release(), fail, unlimited)
    assert acme.ledger.entries() == []


def test_the_cap_is_checked_again_after_inputs_were_made(acme: Company) -> None:
    def slow() -> bytes:
        acme.ledger.reserve(release(2), lambda: SECRET, lambda account: Cap(15))
        return SECRET

    with pytest.raises(BudgetExceeded):
        acme.ledger.reserve(release(1), slow, lambda account: Cap(15))
    assert spent(acme.ledger) == [(0, 10)]


def test_a_cap_is_that_of_a_table_whatever_its_unit_is_called(acme: Company) -> None:
    """Else a spec that says `person_id` instead of `person` would begin anew."""
    renamed = replace(release(2), charges=(Charge(ACCOUNT.table, "person_id", 10),))
    acme.reserve(release(1))
    with pytest.raises(BudgetExceeded):
        acme.ledger.reserve(renamed, lambda: SECRET, lambda account: Cap(15))
    acme.ledger.reserve(renamed, lambda: SECRET, lambda account: Cap(20))
    assert [balance.left for balance in acme.ledger.accounts(lambda account: Cap(25))] == [5, 5]
    acme.ledger.reserve(
        replace(release(3), charges=(Charge("another", ACCOUNT.unit, 10),)), lambda: SECRET, lambda account: Cap(15)
    )


def test_what_may_be_opened_once_is_not_asked_for_again_after_that(companies: Companies, acme: Company) -> None:
    wanted = release()
    receipts = companies.receipts(wanted)
    plan = (wanted.plan_digest, wanted.spec_digest)
    assert acme.ledger.state(wanted.id) == "signed"
    assert acme.ledger.unsettled(*plan, once=True) == acme.ledger.unsettled(*plan) == wanted.id
    acme.ledger.hold(wanted.id, receipts, companies.certificates)
    assert acme.ledger.state(wanted.id) == "held"
    assert (acme.ledger.unsettled(*plan, once=True), acme.ledger.unsettled(*plan)) == (None, wanted.id)
    acme.ledger.abandon(wanted.id)
    acme.ledger.settle(wanted.id)  # by a session that had opened it meanwhile
    assert acme.ledger.state(wanted.id) == "abandoned"
    assert acme.ledger.state(bytes(16)) is None


def test_threads_never_overspend_together(acme: Company) -> None:
    start, refused = threading.Barrier(8), []

    def spend(first: int) -> None:
        start.wait()
        for number in range(first, first + 5):
            try:
                acme.ledger.reserve(release(number, price=3), lambda: SECRET, lambda account: Cap(50))
            except BudgetExceeded:
                refused.append(number)

    threads = [threading.Thread(target=spend, args=(1 + 5 * i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (spent(acme.ledger), len(refused)) == ([(0, 48)], 40 - 16)


def test_threads_that_reserve_one_id_get_the_same_inputs(acme: Company) -> None:
    start, got = threading.Barrier(4), []

    def inputs() -> bytes:
        start.wait()  # all are past the first look
        return os.urandom(16)

    threads = [
        threading.Thread(target=lambda: got.append(acme.ledger.reserve(release(), inputs, unlimited))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({(one.inputs, one.commitment) for one in got}) == 1
    assert sorted(one.is_retry for one in got) == [False, True, True, True]
    assert spent(acme.ledger) == [(0, 10)]


# caps that renew


@pytest.mark.parametrize(
    ("renew", "before", "after"),
    [
        ("monthly", datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)),
        ("yearly", datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)),
        ("never", datetime(2026, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)),
    ],
)
def test_caps_renew(companies: Companies, acme: Company, renew: str, before: datetime, after: datetime) -> None:
    clock, cap = [before], Cap(10, renew)
    acme.ledger.close()
    acme.ledger = Ledger(acme.directory, "acme", acme.identity, lambda: clock[0])
    companies.run(release(1))
    with pytest.raises(BudgetExceeded):
        acme.ledger.reserve(release(2), lambda: SECRET, lambda account: cap)
    clock[0] = after
    if renew == "never":
        with pytest.raises(BudgetExceeded):
            acme.ledger.reserve(release(2), lambda: SECRET, lambda account: cap)
        return
    acme.ledger.reserve(release(2), lambda: SECRET, lambda account: cap)
    assert acme.ledger.accounts(lambda account: cap) == [(ACCOUNT, 0, 10, cap, 0, (10, 20))]
    assert acme.ledger.accounts(unlimited) == [(ACCOUNT, 10, 10, None, None, (20, 40))]
    clock[0] = before  # a clock that goes back frees nothing
    with pytest.raises(BudgetExceeded):
        acme.ledger.reserve(release(3), lambda: SECRET, lambda account: cap)


def test_a_reservation_that_is_retried_in_a_later_month_counts_there(companies: Companies, acme: Company) -> None:
    clock, cap = [datetime(2026, 1, 15, tzinfo=UTC)], Cap(10, "monthly")
    acme.ledger.close()
    acme.ledger = Ledger(acme.directory, "acme", acme.identity, lambda: clock[0])
    first = acme.ledger.reserve(release(1), lambda: SECRET, lambda account: cap)
    clock[0] = datetime(2026, 2, 15, tzinfo=UTC)
    acme.ledger.reserve(release(2), lambda: SECRET, lambda account: cap)
    with pytest.raises(BudgetExceeded, match="for this month"):
        acme.ledger.reserve(release(1), lambda: SECRET, lambda account: cap)
    clock[0] = datetime(2026, 3, 15, tzinfo=UTC)
    assert acme.ledger.reserve(release(1), lambda: SECRET, lambda account: cap) == replace(first, is_retry=True)
    with pytest.raises(BudgetExceeded):
        acme.ledger.reserve(release(3), lambda: SECRET, lambda account: cap)
    companies.run(release(1))
    clock[0] = datetime(2026, 4, 15, tzinfo=UTC)  # settled: it was revealed in March, and asking again reveals nothing new
    acme.ledger.reserve(release(1), lambda: SECRET, lambda account: cap)
    assert acme.ledger.accounts(lambda account: cap)[0].left == 10


# what peers sign


def test_another_commitment_of_a_peer_is_refused_by_name(companies: Companies, acme: Company) -> None:
    wanted = release()
    commitments = companies.commitments(wanted)
    first = acme.ledger.sign(wanted.id, commitments)
    acme.reopen()
    with pytest.raises(PeerRefused, match="birch changed what it shares") as error:
        acme.ledger.sign(wanted.id, {**commitments, "birch": bytes(32)})
    assert error.value.peer == "birch"
    assert acme.ledger.sign(wanted.id, commitments) == first
    with pytest.raises(PeerRefused, match="cedar sent for totals is no commitment"):
        acme.ledger.sign(wanted.id, {**commitments, "cedar": b"short"})
    with pytest.raises(LedgerError, match="not the commitment which acme reserved with"):
        acme.ledger.sign(wanted.id, {**commitments, "acme": bytes(32)})
    with pytest.raises(LedgerError, match="exactly acme, birch, cedar"):
        acme.ledger.sign(wanted.id, {"acme": commitments["acme"]})


def _flip(raw: bytes, place: int) -> bytes:
    return raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]


@pytest.mark.parametrize("place", [0, 31, 39, 40, 71, 72, 103])
def test_a_receipt_with_one_flipped_bit_is_refused(companies: Companies, acme: Company, place: int) -> None:
    receipts = companies.receipts(release())
    wrong = Receipt.from_bytes(_flip(receipts["birch"].to_bytes(), place))
    with pytest.raises(PeerRefused, match="birch for totals does not verify") as error:
        acme.ledger.hold(release().id, {**receipts, "birch": wrong}, companies.certificates)
    assert error.value.peer == "birch"
    assert [entry.state for entry in acme.ledger.entries()] == ["signed"]
    assert acme.ledger.seen(companies.certificates["cedar"]) == (0, NO_HEAD)
    with pytest.raises(LedgerError, match="not held"):
        acme.ledger.settle(release().id)


def test_receipts_of_others_or_of_something_else_do_not_verify(companies: Companies, acme: Company) -> None:
    first, second = companies.receipts(release(1)), companies.receipts(release(2))
    for wrong in (first["cedar"], second["birch"], Receipt(NO_HEAD, 1, bytes(64)), Receipt(NO_HEAD, 1, b""), Receipt(b"", 1, bytes(64))):
        with pytest.raises(PeerRefused, match="birch"):
            acme.ledger.hold(release(1).id, {**first, "birch": wrong}, companies.certificates)
    with pytest.raises(PeerRefused, match="receipt of birch for totals is missing"):
        acme.ledger.hold(release(1).id, {"acme": first["acme"], "cedar": first["cedar"]}, companies.certificates)
    with pytest.raises(PeerRefused, match="birch"):
        acme.ledger.hold(release(1).id, first, {**companies.certificates, "birch": companies.certificates["cedar"]})
    acme.ledger.hold(release(1).id, first, companies.certificates)


def test_a_receipt_over_other_commitments_does_not_verify(companies: Companies, acme: Company) -> None:
    """What an equivocating company would do: it tells two peers different commitments."""
    wanted = release()
    honest = companies.commitments(wanted)
    told_to_birch = {**honest, "cedar": bytes(32)}
    receipts = {"acme": acme.ledger.sign(wanted.id, honest), "birch": companies["birch"].ledger.sign(wanted.id, told_to_birch)}
    receipts["cedar"] = companies["cedar"].ledger.sign(wanted.id, honest)
    with pytest.raises(PeerRefused, match="birch"):
        acme.ledger.hold(wanted.id, receipts, companies.certificates)


def test_steps_out_of_order_are_refused(companies: Companies, acme: Company) -> None:
    with pytest.raises(LedgerError, match="nothing is reserved"):
        acme.ledger.sign(release().id, {})
    acme.reserve(release())
    with pytest.raises(LedgerError, match="not signed by this node yet"):
        acme.ledger.hold(release().id, {}, companies.certificates)
    with pytest.raises(LedgerError, match="not held"):
        acme.ledger.settle(release().id)
    with pytest.raises(LedgerError, match="acme is no member"):
        acme.reserve(replace(release(2), members=("birch", "cedar")))


def test_what_was_given_up_stays_charged_and_is_never_retried(companies: Companies, acme: Company) -> None:
    receipts = companies.receipts(release())
    acme.ledger.abandon(release().id)
    acme.ledger.abandon(release().id)
    assert spent(acme.ledger) == [(10, 0)]
    assert acme.ledger.unsettled(release().plan_digest, release().spec_digest) is None
    for step in (
        lambda: acme.reserve(release()),
        lambda: acme.ledger.hold(release().id, receipts, companies.certificates),
    ):
        with pytest.raises(LedgerError, match="given up"):
            step()
    companies["birch"].ledger.hold(release().id, receipts, companies.certificates)
    companies["birch"].ledger.settle(release().id)
    companies["birch"].ledger.abandon(release().id)  # too late: it stays settled
    assert companies["birch"].ledger.entries()[0].state == "settled"


def test_receipts_of_sessions_side_by_side_come_in_any_order(companies: Companies, acme: Company) -> None:
    receipts = {number: companies.receipts(release(number)) for number in (1, 2, 3, 4)}
    for number in (3, 1, 4, 2, 3):
        acme.ledger.hold(release(number).id, receipts[number], companies.certificates)
    assert acme.ledger.seen(companies.certificates["birch"])[0] == 4


# backups


def _copy(company: Company, to: Path) -> None:
    company.ledger.close()
    shutil.copytree(company.directory, to)
    company.ledger = Ledger(company.directory, company.name, company.identity)


def _put_back(company: Company, backup: Path) -> None:
    company.ledger.close()
    shutil.copy(backup / FILE, company.directory / FILE)
    company.ledger = Ledger(company.directory, company.name, company.identity)


def test_a_backup_that_was_put_back_is_found_when_nodes_meet(companies: Companies, acme: Company, tmp_path: Path) -> None:
    companies.run(release(1))
    _copy(acme, tmp_path / "backup")
    mine = acme.identity.der
    before = companies["birch"].ledger.seen(mine)
    companies.run(release(2))
    sequence, head = companies["birch"].ledger.seen(mine)
    assert (before[0], sequence) == (1, 2)
    acme.ledger.check("birch", 0, NO_HEAD)
    acme.ledger.check("birch", *before)
    acme.ledger.check("birch", sequence, head)
    _put_back(acme, tmp_path / "backup")
    acme.ledger.check("birch", *before)
    with pytest.raises(LedgerBehind, match=r"acme is not the one that birch countersigned: it has 1 entries.*put back its newest copy"):
        acme.ledger.check("birch", sequence, head)
    acme.ledger.sign(release(3).id, companies.commitments(release(3)))  # goes on all the same, to the same length
    with pytest.raises(LedgerBehind, match="at entry 2 another"):
        acme.ledger.check("birch", sequence, head)
    for beyond in (1 << 63, 1 << 64, -1):
        with pytest.raises(LedgerBehind):
            acme.ledger.check("birch", beyond, head)


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_peers_refuse_the_receipts_of_a_backup_that_was_put_back(
    companies: Companies, acme: Company, tmp_path: Path, lost: int
) -> None:
    _copy(acme, tmp_path / "backup")
    for number in range(lost):
        companies.run(release(1 + number))
    _put_back(acme, tmp_path / "backup")
    wanted = release(9)
    receipts = companies.receipts(wanted)
    with pytest.raises(PeerRefused, match="acme for totals goes back to its entry 1") as error:
        companies["birch"].ledger.hold(wanted.id, receipts, companies.certificates)
    assert error.value.peer == "acme"


def test_a_fork_is_refused_also_where_reservations_were_made_before(companies: Companies, acme: Company, tmp_path: Path) -> None:
    birch = companies["birch"]
    for number in (1, 2):
        companies.commitments(release(number))
    _copy(acme, tmp_path / "backup")
    receipts = companies.receipts(release(1))
    birch.ledger.hold(release(1).id, receipts, companies.certificates)
    _put_back(acme, tmp_path / "backup")
    forked = companies.receipts(release(2))
    assert forked["acme"].sequence == 1
    with pytest.raises(PeerRefused, match="contradicts its entry 1"):
        birch.ledger.hold(release(2).id, forked, companies.certificates)


def test_a_lost_entry_makes_other_inputs_which_peers_refuse(companies: Companies, acme: Company, tmp_path: Path) -> None:
    _copy(acme, tmp_path / "backup")
    companies.run(release(1))
    _put_back(acme, tmp_path / "backup")
    again = companies.commitments(release(1))
    with pytest.raises(PeerRefused, match="acme changed what it shares"):
        companies["birch"].ledger.sign(release(1).id, again)


def test_a_new_certificate_goes_on_with_the_same_ledger(companies: Companies, acme: Company, tmp_path: Path) -> None:
    companies.run(release(1))
    acme.identity = create(tmp_path / "renewed", "acme")
    acme.reopen()
    companies.run(release(2))
    assert companies["birch"].ledger.seen(acme.identity.der)[0] == 2


# files


def test_files_are_for_their_owner_alone(acme: Company) -> None:
    acme.reserve(release())
    files = sorted(acme.directory.iterdir())
    assert [file.name for file in files] == [KEY, LOCK, FILE, f"{FILE}-shm", f"{FILE}-wal"]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    for name in (FILE, KEY):
        acme.ledger.close()
        (acme.directory / name).chmod(0o640)
        with pytest.raises(LedgerError, match=f"chmod 600 .*{name}"):
            Ledger(acme.directory, "acme", acme.identity)
        (acme.directory / name).chmod(0o600)


def test_nothing_secret_is_printed_or_stored_in_the_clear(companies: Companies, acme: Company) -> None:
    reservation = acme.reserve(release())
    assert SECRET.decode() not in repr(reservation)
    acme.ledger.record(ExactRelease(bytes(16), "t", "SELECT", ("pay",), ("x",), "", bytes(32), SECRET.decode()))
    assert SECRET.decode() not in repr(acme.ledger.exact_releases("pay"))
    for file in acme.directory.iterdir():
        assert SECRET not in file.read_bytes()


def test_one_process_writes_and_others_read_meanwhile(acme: Company) -> None:
    acme.reserve(release(1))
    with pytest.raises(LedgerError, match="runs already, in another process"):
        Ledger(acme.directory, "acme", acme.identity)
    with LedgerView(acme.directory) as view:
        assert spent(view) == [(0, 10)]
        with acme.ledger._transaction():  # one that is under way does not show, and makes nobody wait
            acme.reserve(release(2))
            assert spent(view) == [(0, 10)]
        assert spent(view) == [(0, 20)]
        assert [entry.query for entry in view.entries()] == ["totals", "totals"]
        with pytest.raises(LedgerError):
            view._rows("DELETE FROM charges")
        with view._reading():  # sees one state, from its first read on
            for _ in range(2):
                assert len(view._rows("SELECT * FROM releases")) == 2
                acme.reserve(release(3))
    acme.ledger.close()
    with LedgerView(acme.directory) as view:
        assert spent(view) == [(0, 30)]


def test_reading_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="is missing"):
        LedgerView(tmp_path)
    assert (list(tmp_path.iterdir()), LedgerView.exists(tmp_path)) == ([], False)


@pytest.mark.parametrize("content", [b"", b"not a database", b"SQLite format 3\0" + bytes(100), None], ids=["empty", "text", "head", "foreign"])
def test_a_damaged_or_foreign_file_is_left_as_it_is(acme: Company, content: bytes | None) -> None:
    acme.ledger.close()
    file = acme.directory / FILE
    if content is None:
        file.unlink()
        with sqlite3.connect(file) as db:
            db.execute("CREATE TABLE releases (id)")
        db.close()
        file.chmod(0o600)
        content = file.read_bytes()
    file.write_bytes(content)
    for opened in (LedgerView, lambda directory: Ledger(directory, "acme", acme.identity)):
        with pytest.raises(LedgerError, match="left as it is"):
            opened(acme.directory)
    assert file.read_bytes() == content


def test_damaged_pages_are_found(companies: Companies, acme: Company) -> None:
    for number in range(1, 20):
        acme.reserve(release(number))
    acme.ledger.close()
    file = acme.directory / FILE
    whole = file.read_bytes()
    for page in range(1, len(whole) // 4096):
        file.write_bytes(whole[: page * 4096] + b"\xff" * 4096 + whole[(page + 1) * 4096 :])
        with pytest.raises(LedgerError, match="damaged"):
            Ledger(acme.directory, "acme", acme.identity)
    file.write_bytes(whole[:-4096])
    with pytest.raises(LedgerError, match="damaged"):
        Ledger(acme.directory, "acme", acme.identity)


@pytest.mark.parametrize("name", [FILE, KEY])
def test_a_missing_file_is_not_made_anew(acme: Company, name: str) -> None:
    acme.reserve(release())
    acme.ledger.close()
    (acme.directory / name).unlink()
    with pytest.raises(LedgerError, match=f"{name} is missing"):
        Ledger(acme.directory, "acme", acme.identity)
    assert not (acme.directory / name).exists()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE inputs SET sealed = (SELECT sealed FROM inputs i WHERE i.id != inputs.id) WHERE rowid = 1",
        "UPDATE inputs SET sealed = x'00'",
        "DELETE FROM inputs",
        "UPDATE releases SET commitment = x'00'",
    ],
)
def test_inputs_that_were_changed_are_refused(acme: Company, change: str) -> None:
    for number in (1, 2):
        acme.ledger.reserve(release(number), lambda: os.urandom(16), unlimited)
    acme.ledger.close()
    with sqlite3.connect(acme.directory / FILE) as db:
        db.execute(change)
    db.close()
    acme.reopen()
    with pytest.raises(LedgerError, match="is not what was written"):
        acme.reserve(release(1))


def test_another_key_is_refused(acme: Company) -> None:
    acme.reserve(release())
    (acme.directory / KEY).write_bytes(bytes(32))
    acme.reopen()
    with pytest.raises(LedgerError, match=r"ledger\.key is another"):
        acme.reserve(release())
    (acme.directory / KEY).write_bytes(bytes(31))
    with pytest.raises(LedgerError, match="no key of a ledger"):
        acme.reopen()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE charges SET micro_rho = 1 WHERE micro_rho = 20", "DELETE FROM charges WHERE micro_rho = 20",
        "UPDATE releases SET receivers = '[\"birch\"]' WHERE sequence = 2", "UPDATE releases SET head = x'00' WHERE sequence = 3",
        "UPDATE releases SET sequence = 7 WHERE sequence = 3", "UPDATE releases SET commitments = '{}' WHERE sequence = 1",
        "UPDATE releases SET commitments = 'x' WHERE sequence = 1", "UPDATE releases SET signer = 'birch' WHERE sequence = 1",
    ],
)  # fmt: skip
def test_entries_that_were_changed_are_refused(companies: Companies, acme: Company, change: str) -> None:
    for number in (1, 2, 3):
        companies.run(release(number, price=10 * number))
    acme.ledger.close()
    with sqlite3.connect(acme.directory / FILE) as db:
        assert db.execute(change).rowcount == 1
    db.close()
    with pytest.raises(LedgerError, match="is not what this node signed"):
        acme.reopen()


def test_a_full_disk_writes_nothing(acme: Company) -> None:
    (pages,) = acme.ledger._rows("PRAGMA page_count")[0]
    acme.ledger._rows(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(LedgerError, match="full"):
        acme.ledger.reserve(release(), lambda: bytes(100_000), unlimited)
    assert acme.ledger.entries() == []
    acme.ledger._rows("PRAGMA max_page_count = 100000")
    acme.ledger.reserve(release(), lambda: bytes(100_000), unlimited)


# exact releases


def test_exact_releases(acme: Company) -> None:
    first = ExactRelease(bytes(16), "delays", "SELECT 1", ("flights",), ("origin",), "x > 3", bytes(32))
    other = replace(first, id=b"1" * 16, tables=("flights", "planes"), cells="[1]")
    acme.ledger.record(first)
    acme.ledger.record(first)
    acme.ledger.record(other)
    assert acme.ledger.exact_releases("flights") == [first, other]
    assert acme.ledger.exact_releases("planes") == [other]
    answered = replace(first, cells="[[1, 2]]")
    acme.ledger.record(answered)
    acme.ledger.record(first)
    acme.reopen()
    assert acme.ledger.exact_releases("flights") == [answered, other]
    for another in (replace(first, cells="[]"), replace(first, predicate=""), replace(first, snapshot=b"1" * 32)):
        with pytest.raises(LedgerError, match="is recorded under that id"):
            acme.ledger.record(another)


# encodings


def test_a_release_reads_the_same_in_any_order() -> None:
    charges = (Charge("a", "person", 1), Charge("b", "person", 2))
    one = replace(release(), charges=charges, receivers=("acme", "birch"))
    other = replace(one, members=NAMES[::-1], receivers=("birch", "acme"), charges=charges[::-1])
    assert one.encoding() == other.encoding()


TEXT = st.text("ab", max_size=2)
CHARGES = st.lists(st.builds(Charge, TEXT, TEXT, st.integers(0, 2), st.lists(st.integers(0, 2), max_size=2).map(tuple)), max_size=2)
RELEASES = st.tuples(TEXT, TEXT, TEXT, st.frozensets(TEXT, max_size=2), st.frozensets(TEXT, max_size=2), CHARGES)


@given(RELEASES, RELEASES)
def test_no_two_releases_have_one_encoding(one: tuple, other: tuple) -> None:
    def encoded(parts: tuple) -> tuple[bytes, object]:
        *texts, members, receivers, charges = parts
        charges = {charge.account: charge for charge in charges}
        made = Release(bytes(16), *texts, tuple(members), tuple(receivers), tuple(charges.values()))
        return made.encoding(), (texts, members, receivers, charges)

    (left, meant), (right, too) = encoded(one), encoded(other)
    assert (left == right) == (meant == too)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: replace(release(), id=b"short"), lambda: replace(release(), members=("acme", "acme")),
        lambda: replace(release(), charges=release().charges * 2), lambda: Charge("pay", "person", -1),
        lambda: Charge("pay", "person", signed.LARGEST_PRICE + 1), lambda: Charge("pay", "person", 1, (-1,)),
        lambda: Receipt.from_bytes(bytes(103)),
    ],
)  # fmt: skip
def test_what_is_no_release_is_refused(wrong: object) -> None:
    with pytest.raises(LedgerError):
        wrong()


# node.toml, and `comity budget`


def _write_config(directory: Path, more: str = "") -> None:
    (directory / "node.toml").write_text(f'name = "acme"\nlisten = "localhost:7101"\n{more}\n')


def test_the_budget_in_node_toml(tmp_path: Path) -> None:
    _write_config(tmp_path)
    assert (read_config(tmp_path).cap, read_config(tmp_path).exact) == (None, False)
    _write_config(tmp_path, 'exact = true\nbudget = { epsilon = 3, delta = 1e-6, renew = "monthly" }')
    config = read_config(tmp_path)
    assert config.exact
    assert config.cap is not None
    assert (config.cap.renew, config.cap.delta) == ("monthly", 1e-6)
    assert epsilon(config.cap.micro_rho, 1e-6) <= 3 < epsilon(config.cap.micro_rho + 1, 1e-6)


@pytest.mark.parametrize(
    ("budget", "says"),
    [
        ("epsilon = 0, delta = 1e-6", "budget.epsilon: must be greater than 0"),
        ("epsilon = inf, delta = 1e-6", "budget.epsilon"),
        ("epsilon = nan, delta = 1e-6", "budget.epsilon"),
        ('epsilon = "3", delta = 1e-6', "budget.epsilon"),
        ("epsilon = true, delta = 1e-6", "budget.epsilon"),
        ("epsilon = 3, delta = 0.0", "budget.delta: must be greater than 0"),
        ("epsilon = 3, delta = 1", "budget.delta: must be less than 1"),
        ("epsilon = 3, delta = nan", "budget.delta"),
        ("epsilon = 3", "budget.delta: is missing"),
        ('epsilon = 3, delta = 1e-6, renew = "weekly"', "budget.renew: must be 'never', 'yearly' or 'monthly'"),
        ("epsilon = 3, delta = 1e-6, rho = 1", "budget.rho: unknown key"),
    ],
)
def test_a_budget_that_is_none_is_refused(tmp_path: Path, budget: str, says: str) -> None:
    _write_config(tmp_path, f"budget = {{ {budget} }}")
    with pytest.raises(ComityError, match=says):
        read_config(tmp_path)


def _budget(directory: Path, *more: str) -> str:
    done = CliRunner().invoke(cli, ["budget", "--node", str(directory), *more], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_comity_budget_before_anything_was_spent(tmp_path: Path) -> None:
    _write_config(tmp_path)
    assert "nothing was spent yet" in _budget(tmp_path)
    assert json.loads(_budget(tmp_path, "--format", "json"))["accounts"] == []
    assert [file.name for file in tmp_path.iterdir()] == ["node.toml"]


def test_comity_budget_reads_while_the_node_writes(companies: Companies, acme: Company) -> None:
    _write_config(acme.directory, "budget = { epsilon = 3, delta = 1e-6 }")
    companies.run(release(1, price=1000))
    acme.reserve(release(2, price=2000, query="means"))
    cap = read_config(acme.directory).cap
    assert cap is not None
    found = json.loads(_budget(acme.directory, "--format", "json"))
    assert found["budget"] == {"micro_rho": cap.micro_rho, "epsilon": epsilon(cap.micro_rho, 1e-6), "renew": "never"}
    (account,) = found["accounts"]
    assert (account["table"], account["unit"]) == ACCOUNT
    amounts = {name: account[name]["micro_rho"] for name in ("spent", "reserved", "left")}
    assert amounts == {"spent": 1000, "reserved": 2000, "left": cap.micro_rho - 3000}
    assert account["spent"]["epsilon"] == epsilon(1000, 1e-6)
    assert [(one["query"], one["state"], one["charges"][0]["price"]["micro_rho"]) for one in found["queries"]] == [
        ("totals", "settled", 1000), ("means", "reserved", 2000),
    ]  # fmt: skip
    shown = _budget(acme.directory)
    assert re.search(rf"pay\W+person\W+1,000 \({epsilon(1000, 1e-6):.4g}\)\W+2,000 \(", shown)
    assert re.search(r"means\W+reserved\W+pay\W+person\W+2,000 \(", shown)
    _write_config(acme.directory)
    assert re.search(r"none in node\.toml(.|\n)*no cap", _budget(acme.directory))


# crashes: this file, run as a program of its own, is killed between any two statements


def test_killed_at_every_step(tmp_path: Path, identities: dict[str, Identity]) -> None:
    for name, identity in identities.items():
        (tmp_path / f"{name}.json").write_text(json.dumps([identity.certificate.decode(), identity.key.decode()]))
    done = subprocess.run([sys.executable, __file__, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    reached = done.stdout.split()
    assert {"", "opened", "reserved", "signed", "held", "settled"} == {word.rpartition(":")[2] for word in reached}
    assert len(reached) > 50


class _Dying(sqlite3.Connection):
    """Kills the process before the statement whose turn it is, so after the one before; `left` counts over all connections."""

    left = -1

    def execute(self, *arguments):
        _Dying.left -= 1
        if _Dying.left == 0:
            os._exit(9)
        return super().execute(*arguments)

    def executescript(self, script):
        for one in script.split(";\n"):
            if one.strip():
                self.execute(one)


def _way(folder: Path, identities: dict[str, Identity], wanted: Release, say: Callable[..., None], die_at: int = 0) -> Ledger:
    """One release from opening to settling, as acme sees it; `say` hears of each step that returned."""
    peers = {name: Ledger(folder / name, name, identities[name]) for name in NAMES[1:]}
    commitments = {name: peer.reserve(wanted, lambda: SECRET, unlimited).commitment for name, peer in peers.items()}
    if die_at:
        connect, _Dying.left = sqlite3.connect, die_at
        sqlite3.connect = lambda *arguments, **options: connect(*arguments, **options, factory=_Dying)
    ledger = Ledger(folder / "acme", "acme", identities["acme"])
    say("opened")
    commitments["acme"] = ledger.reserve(wanted, lambda: os.urandom(16), lambda account: Cap(10)).commitment
    say("reserved", commitments["acme"].hex())
    receipts = {"acme": ledger.sign(wanted.id, commitments)}
    say("signed", receipts["acme"].to_bytes().hex())
    receipts |= {name: peer.sign(wanted.id, commitments) for name, peer in peers.items()}
    ledger.hold(wanted.id, receipts, {name: identity.der for name, identity in identities.items()})
    say("held")
    ledger.settle(wanted.id)
    say("settled")
    for peer in peers.values():
        peer.close()
    return ledger


def _crashes(folder: Path) -> None:
    identities = {}
    for name in NAMES:
        certificate, key = json.loads((folder / f"{name}.json").read_text())
        identities[name] = Identity(certificate.encode(), key.encode())
    (folder / "empty").mkdir()
    Ledger(folder / "empty", "birch", identities["birch"]).close()
    order = ("opened", "reserved", "signed", "held", "settled")
    step, code = 0, 9
    while code != 0:
        step += 1
        directory, wanted = folder / f"{step}", release(step)
        for name in NAMES[1:]:
            shutil.copytree(folder / "empty", directory / name)
        (directory / "acme").mkdir()
        said = directory / "said"
        said.touch()

        def say(*words: str, said: Path = said) -> None:
            with said.open("a") as file:
                file.write(" ".join(words) + "\n")

        if (child := os.fork()) == 0:
            _way(directory, identities, wanted, say, step)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, 9), f"step {step}: {code}"
        promised = [line.split() for line in said.read_text().splitlines()]
        words = [word for word, *_ in promised]

        # after the restart: all is as promised, and the same way again ends with one charge
        with Ledger(directory / "acme", "acme", identities["acme"]) as ledger:
            states = [entry.state for entry in ledger.entries()]
            used = sum(balance.spent + balance.reserved for balance in ledger.accounts(unlimited))
            assert used == 10 * len(states), f"step {step}: {used} for {states}"
            assert order.index((states or ["opened"])[0]) >= order.index((words or ["opened"])[-1]), f"step {step}: {states}, {words}"
        again: list[list[str]] = []
        with _way(directory, identities, wanted, lambda *said, again=again: again.append(list(said))) as ledger:
            assert again[: len(promised)] == promised, f"step {step}: another answer after the restart"
            assert spent(ledger) == [(10, 0)], f"step {step}"
        print(f"{step}:{words[-1] if words else ''}")


if __name__ == "__main__":
    _crashes(Path(sys.argv[1]))
