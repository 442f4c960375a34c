"""The privacy budget ledger of one node: what was promised, countersigned, revealed, and what of its caps is left.

A query that reveals something charged goes through these steps, each durable when its function returns (SQLite, WAL,
full sync); a node that is killed in between goes on where it was:

1. `reserve` charges the accounts and keeps what this company will share, which is drawn once;
2. `sign` countersigns the query with everybody's commitments and appends that to this node's hash chain;
3. `hold` verifies and keeps the receipts of all peers. Only after it may anything be opened;
4. `settle` says that it was opened.

A reservation counts as spent. There are no refunds: the charge of a query that was aborted stays, and asking for it
again is a retry, which costs nothing and shares the same inputs. That is simpler than refunds, which need everybody's
word that nothing was opened, and what is spent is never below what was revealed. A retry that some peer refuses for
ever is given up by `abandon`; its charge stays too.

Fresh noise on a retry could be averaged away. So inputs are kept, and what each company commits to is countersigned:
`sign` refuses another commitment under the same id, and `hold` refuses a peer's receipt that does not follow what is
known of that peer's chain. Peers are known by their certificates, so a company that lost its ledger comes back only
under a new identity, in a spec that all companies approve.

A cap that renews counts what was reserved in the current calendar month or year, UTC. The retry of a reservation that
was made in an earlier one and is not settled moves the charge into the current one, where it has to fit: only now is it
revealed.

Files in the node's folder, mode 600: `ledger.sqlite` (with -wal and -shm while it is open), `ledger.key` (the key of
what is kept encrypted: inputs, their salts, released cells), `ledger.lock` (one process writes).
"""

import fcntl
import hashlib
import json
import os
import secrets
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from parties.governance.files import publish, write_new
from parties.governance.release import (
    HASH_BYTES,
    NO_HEAD,
    Account,
    Charge,
    LedgerError,
    PeerRefused,
    Receipt,
    Release,
    frame,
    head_after,
    sign,
    statement,
    verify,
)  # fmt: skip
from parties.wire.identity import Identity

FILE, KEY, LOCK = "ledger.sqlite", "ledger.key", "ledger.lock"
SALT_BYTES, NONCE_BYTES = 32, 12

Renew = Literal["never", "yearly", "monthly"]
State = Literal["reserved", "signed", "held", "settled", "abandoned"]
"""An abandoned release is as spent as a settled one."""

_APPLICATION, _VERSION = 0x436D4C67, 1
_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE releases (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE, query TEXT NOT NULL, spec_digest TEXT NOT NULL,
  plan_digest TEXT NOT NULL, members TEXT NOT NULL, receivers TEXT NOT NULL, state TEXT NOT NULL,
  made INTEGER NOT NULL, counted INTEGER NOT NULL, floor INTEGER NOT NULL, commitment BLOB NOT NULL,
  signer TEXT, commitments TEXT, sequence INTEGER UNIQUE, previous BLOB, signature BLOB, head BLOB
);
CREATE INDEX releases_by_plan ON releases (plan_digest, spec_digest);
CREATE TABLE charges (
  id BLOB NOT NULL REFERENCES releases (id), holder TEXT NOT NULL, unit TEXT NOT NULL, micro_rho INTEGER NOT NULL,
  rdp TEXT NOT NULL, PRIMARY KEY (id, holder, unit)
);
CREATE INDEX charges_by_account ON charges (holder, unit);
CREATE TABLE inputs (id BLOB PRIMARY KEY REFERENCES releases (id), sealed BLOB NOT NULL);
CREATE TABLE receipts (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL REFERENCES releases (id), member TEXT NOT NULL,
  certificate BLOB NOT NULL, sequence INTEGER NOT NULL, previous BLOB NOT NULL, signature BLOB NOT NULL,
  head BLOB NOT NULL, UNIQUE (id, member), UNIQUE (certificate, sequence)
);
CREATE TABLE exact (
  id BLOB PRIMARY KEY, made INTEGER NOT NULL, query TEXT NOT NULL, statement TEXT NOT NULL, tables TEXT NOT NULL,
  columns TEXT NOT NULL, predicate TEXT NOT NULL, snapshot BLOB NOT NULL, sealed BLOB
);
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
COMMIT;
"""


class LedgerBehind(LedgerError):
    """This node's ledger is older than what a peer countersigned, or differs from it."""


class BudgetExceeded(LedgerError):
    """A price does not fit under the cap of an account. In micro-rho."""

    def __init__(self, me: str, query: str, account: Account, price: int, left: int, cap: "Cap") -> None:
        period = {"never": "", "yearly": " for this year (UTC)", "monthly": " for this month (UTC)"}[cap.renew]
        super().__init__(
            f"{query} costs more than {me} has left ({account}): its price is {price:,} micro-rho, and of a cap of "
            f"{cap.micro_rho:,}{period} {left:,} are left. Ask with less rho or epsilon, or have {me} raise `budget` in its "
            "node.toml"
        )
        self.account, self.price, self.left, self.cap = account, price, left, cap


@dataclass(frozen=True)
class Cap:
    """The most that may be spent of one account, in micro-rho; `delta` is what the node's officer reads epsilon at."""

    micro_rho: int
    renew: Renew = "never"
    delta: float = 1e-6

    def since(self, now: datetime) -> int:
        """The start of the current period, in seconds of POSIX time; charges before it count no more."""
        if self.renew == "never":
            return 0
        today = now.astimezone(UTC)
        month = 1 if self.renew == "yearly" else today.month
        return int(datetime(today.year, month, 1, tzinfo=UTC).timestamp())


Caps = Callable[[Account], Cap | None]
"""The cap of each account; None where it has none."""


@dataclass(frozen=True)
class Reservation:
    """`inputs` is what this company shares, `commitment` what it tells its peers first; `made` is when they were, also for
    a retry, whose answer is that of the data then."""

    id: bytes
    inputs: bytes = field(repr=False)
    commitment: bytes
    is_retry: bool
    made: datetime


class Balance(NamedTuple):
    """Of one account, in micro-rho, in the current period of its cap. `left` is what the cap leaves for
    the table, None without one; `rdp` empty where a
    charge has none."""

    account: Account
    spent: int
    reserved: int
    cap: Cap | None
    left: int | None
    rdp: tuple[int, ...]


class Entry(NamedTuple):
    """One release, as it stands in the ledger."""

    id: bytes
    made: datetime
    query: str
    state: State
    charges: tuple[Charge, ...]


@dataclass(frozen=True)
class ExactRelease:
    """What was revealed without noise. `cells` is JSON, None at a company that does not receive them."""

    id: bytes
    query: str
    sql: str
    tables: tuple[str, ...]
    columns: tuple[str, ...]
    predicate: str
    snapshot: bytes
    """The commitment to the data it was computed of."""
    cells: str | None = field(default=None, repr=False)

    def _bound(self) -> bytes:
        return frame(
            "comity exact 1", self.id, self.query, self.sql, frame(*self.tables), frame(*self.columns), self.predicate,
            self.snapshot,
        )  # fmt: skip


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


class LedgerView:
    """Reads a node's ledger, also while the node writes it; needs no lock, and changes nothing.

    LedgerError where there is none, or where it is damaged or not a ledger."""

    _mode: Literal["ro", "rw"] = "ro"

    def __init__(self, directory: Path, now: Callable[[], datetime] = _utc_now) -> None:
        self._file, self._now, self._lock = directory / FILE, now, threading.RLock()
        self._db = self._connect()

    @staticmethod
    def exists(directory: Path) -> bool:
        """Whether a node has ever had one in this folder."""
        return any((directory / name).exists() for name in (FILE, f"{FILE}-wal", KEY))

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def accounts(self, caps: Caps) -> list[Balance]:
        """All accounts with a charge, by name."""
        with self._reading():
            known = self._rows("SELECT DISTINCT holder, unit FROM charges ORDER BY holder, unit")
            return [self._balance(Account(*row), caps) for row in known]

    def entries(self) -> list[Entry]:
        """All releases, the oldest first."""
        with self._reading():
            return [
                Entry(row["id"], _time(row["made"]), row["query"], row["state"], self._charges(row["id"]))
                for row in self._rows("SELECT id, made, query, state FROM releases ORDER BY number")
            ]

    def _balance(self, account: Account, caps: Caps) -> Balance:
        cap = caps(account)
        rows = self._rows(
            "SELECT micro_rho, rdp, state FROM charges JOIN releases USING (id) WHERE holder = ? AND unit = ? AND counted >= ?",
            *account, cap.since(self._now()) if cap else 0,
        )  # fmt: skip
        total = sum(row["micro_rho"] for row in rows)
        (used,) = self._rows(
            "SELECT coalesce(sum(micro_rho), 0) FROM charges JOIN releases USING (id) WHERE holder = ? AND counted >= ?",
            account.table, cap.since(self._now()) if cap else 0,
        )[0]  # fmt: skip
        spent = sum(row["micro_rho"] for row in rows if row["state"] in ("settled", "abandoned"))
        vectors = [json.loads(row["rdp"]) for row in rows]
        rdp = tuple(map(sum, zip(*vectors, strict=True))) if len(set(map(len, vectors))) == 1 else ()
        return Balance(account, spent, total - spent, cap, max(0, cap.micro_rho - used) if cap else None, rdp)

    def _charges(self, id: bytes) -> tuple[Charge, ...]:  # noqa: A002
        rows = self._rows("SELECT * FROM charges WHERE id = ? ORDER BY holder, unit", id)
        return tuple(Charge(row["holder"], row["unit"], row["micro_rho"], tuple(json.loads(row["rdp"]))) for row in rows)

    def _connect(self) -> sqlite3.Connection:
        """Touches nothing of what is no ledger."""
        if not self._file.exists():
            raise LedgerError(f"{self._file} is missing: a node makes it when it starts")
        for file in (self._file, self._file.with_name(KEY)):
            if file.exists() and stat.S_IMODE(file.stat().st_mode) & 0o077:
                raise LedgerError(f"{file} can be read by others (mode {stat.S_IMODE(file.stat().st_mode):o}): run `chmod 600 {file}`")
        db: sqlite3.Connection | None = None
        try:
            db = sqlite3.connect(
                f"{self._file.absolute().as_uri()}?mode={self._mode}", uri=True, isolation_level=None, check_same_thread=False
            )
            db.row_factory = sqlite3.Row
            (application,), (version,) = (
                db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
            )
            if application != _APPLICATION:
                raise LedgerError(f"{self._file} is not a ledger of Comity, and was left as it is: {RESTORE}")
            if version != _VERSION:
                raise LedgerError(f"{self._file} was made by another version of Comity (format {version}, here {_VERSION})")
        except (sqlite3.Error, LedgerError) as error:
            if db is not None:
                db.close()
            raise error if isinstance(error, LedgerError) else self._broken(error) from None
        return db

    def _rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        with self._lock:
            try:
                return self._db.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise self._broken(error) from None

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """One state of the ledger for all reads in it."""
        with self._lock:
            self._rows("BEGIN")
            try:
                yield
            finally:
                self._rows("COMMIT")

    def _broken(self, error: sqlite3.Error) -> LedgerError:
        if isinstance(error, sqlite3.OperationalError | sqlite3.ProgrammingError):  # a full disk, say, or no rights
            return LedgerError(f"{self._file}: {error}. Nothing was written")
        return LedgerError(f"{self._file} is damaged ({error}), and was left as it is: {RESTORE}")


RESTORE = (
    "put back its newest copy. Where that is lost, so is what this node has spent: it goes on under a new identity (`comity init` "
    "in a new folder), once all companies approve a spec with it"
)


class Ledger(LedgerView):
    """The ledger of the node `me` in `directory`, made where there is none. One process holds it at a time; its threads
    may share it.

    LedgerError where another process has it, where a file of it is missing, damaged, foreign or open to others, and
    where what it says is not what was signed."""

    _mode = "rw"

    def __init__(self, directory: Path, me: str, identity: Identity, now: Callable[[], datetime] = _utc_now) -> None:
        self._me = me
        key = serialization.load_pem_private_key(identity.key, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._signing = key
        self._exclusive = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(self._exclusive, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise LedgerError(f"{directory / FILE} is in use: this node runs already, in another process") from None
            if not self.exists(directory):
                _make(directory)
            super().__init__(directory, now)
            try:
                self._prepare()
                self._seal = AESGCM(self._key(directory / KEY))
            except BaseException:
                self._db.close()
                raise
        except BaseException:
            os.close(self._exclusive)
            raise

    def close(self) -> None:
        with self._lock:
            if self._exclusive >= 0:
                super().close()
                os.close(self._exclusive)
                self._exclusive = -1

    # the four steps

    def unsettled(self, plan_digest: str, spec_digest: str, *, once: bool = False) -> bytes | None:
        """The id of the newest reservation for that plan that is neither settled nor abandoned: asking is a retry of it.
        `once`: nor held, after which it may have been opened."""
        over = ("settled", "abandoned", *(("held",) if once else ()))
        rows = self._rows(
            "SELECT id, state FROM releases WHERE plan_digest = ? AND spec_digest = ? ORDER BY number DESC", plan_digest, spec_digest
        )
        return next((bytes(row["id"]) for row in rows if row["state"] not in over), None)

    def state(self, id: bytes) -> State | None:  # noqa: A002
        """Of the release under that id; None where there is none."""
        rows = self._rows("SELECT state FROM releases WHERE id = ?", id)
        return rows[0]["state"] if rows else None

    def reserve(self, release: Release, make_inputs: Callable[[], bytes], caps: Caps) -> Reservation:
        """Charges `release` and keeps the inputs, in one transaction, durable on return.

        Under an id that is there already the same release is a retry: it gives what was kept, without another charge
        and without calling `make_inputs`, also after it was settled. `make_inputs` may take long; two threads that
        reserve one id at once may both call it, and get the same inputs. BudgetExceeded where a cap would be exceeded;
        LedgerError where the id is another release's or abandoned, or where what was kept was changed since. Nothing is
        written then, and an error of `make_inputs` leaves nothing either.
        """
        if self._me not in release.members:
            raise LedgerError(f"{self._me} is no member of {release.query}")
        known = self._retry(release, caps)
        if known is not None:
            return known
        self._check_caps(release, caps)  # before anything is computed; again below, since others reserve meanwhile
        inputs = bytes(make_inputs())
        salt = secrets.token_bytes(SALT_BYTES)
        commitment = _commitment(salt, inputs)
        sealed = self._sealed(salt + inputs, release.encoding())
        with self._transaction():
            known = self._retry(release, caps)
            if known is not None:
                return known
            self._check_caps(release, caps)
            now = self._seconds()
            (floor,) = self._rows("SELECT coalesce(max(number), 0) FROM receipts")[0]
            self._rows(
                "INSERT INTO releases (id, query, spec_digest, plan_digest, members, receivers, state, made, counted, floor, "
                "commitment) VALUES (?, ?, ?, ?, ?, ?, 'reserved', ?, ?, ?, ?)",
                release.id, release.query, release.spec_digest, release.plan_digest, json.dumps(release.members),
                json.dumps(release.receivers), now, now, floor, commitment,
            )  # fmt: skip
            for charge in release.charges:
                self._rows(
                    "INSERT INTO charges (id, holder, unit, micro_rho, rdp) VALUES (?, ?, ?, ?, ?)",
                    release.id, *charge.account, charge.micro_rho, json.dumps(charge.rdp),
                )  # fmt: skip
            self._rows("INSERT INTO inputs (id, sealed) VALUES (?, ?)", release.id, sealed)
        return Reservation(release.id, inputs, commitment, is_retry=False, made=_time(now))

    def sign(self, id: bytes, commitments: Mapping[str, bytes]) -> Receipt:  # noqa: A002
        """This node's receipt over the release and the commitments of all its members; durable on return.

        Asked again with the same commitments it is the same receipt. PeerRefused, naming the company, where one of them
        is no commitment, or another than was signed before.
        """
        with self._transaction():
            row = self._release_row(id)
            release = self._release(row)
            if set(commitments) != set(release.members):
                raise LedgerError(f"{release.query} needs the commitments of exactly {', '.join(sorted(release.members))}")
            for name in sorted(commitments):
                if len(commitments[name]) != HASH_BYTES:
                    raise PeerRefused(name, f"what {name} sent for {release.query} is no commitment")
            if commitments.get(self._me) != row["commitment"]:
                raise LedgerError(f"{release.query}: that is not the commitment which {self._me} reserved with")
            if row["signature"] is not None:
                signed = _commitments(row)
                for name in sorted(commitments):
                    if commitments[name] != signed[name]:
                        raise PeerRefused(
                            name, f"{name} changed what it shares for {release.query} under the same id, from which noise could "
                            "be averaged away. Its ledger may be an older copy. Ask for the query anew, under a new charge",
                        )  # fmt: skip
                return Receipt(row["previous"], row["sequence"], row["signature"])
            sequence, previous = self._newest()
            text = statement(release, commitments, self._me, sequence + 1, previous)
            receipt = Receipt(previous, sequence + 1, sign(self._signing, text))
            self._rows(
                "UPDATE releases SET state = 'signed', signer = ?, commitments = ?, sequence = ?, previous = ?, signature = ?, "
                "head = ? WHERE id = ?",
                self._me, json.dumps({name: commitments[name].hex() for name in sorted(commitments)}), receipt.sequence,
                receipt.previous, receipt.signature, head_after(text), id,
            )  # fmt: skip
        return receipt

    def hold(self, id: bytes, receipts: Mapping[str, Receipt], certificates: Mapping[str, bytes]) -> None:  # noqa: A002
        """Verifies the receipts of all other members against their certificates (DER), and keeps them; durable on return.
        Only then may anything be opened. Own ones are passed over.

        PeerRefused, naming the company, where one does not verify, is older than what this node held of that company
        when it reserved, or contradicts its chain as far as this node knows it; nothing is kept then.
        """
        with self._transaction():
            row = self._release_row(id)
            release = self._release(row)
            if row["signature"] is None:
                raise LedgerError(f"{release.query} is not signed by this node yet")
            commitments = _commitments(row)
            for name in sorted(set(release.members) - {self._me}):
                if name not in receipts:
                    raise PeerRefused(name, f"the receipt of {name} for {release.query} is missing")
                head = verify(release, commitments, name, receipts[name], certificates[name])
                self._keep(row, name, receipts[name], head, hashlib.sha256(certificates[name]).digest())
            self._rows("UPDATE releases SET state = 'held' WHERE id = ? AND state = 'signed'", id)

    def settle(self, id: bytes) -> None:  # noqa: A002
        """It was opened; durable on return. Again is no error, nor where another session has given it up meanwhile: it is as
        spent."""
        with self._transaction():
            if self.state(id) == "abandoned":
                return
            row = self._release_row(id)
            if row["state"] not in ("held", "settled"):
                raise LedgerError(f"{row['query']} cannot be settled: the receipts of its members are not held")
            self._rows("UPDATE releases SET state = 'settled' WHERE id = ?", id)

    def abandon(self, id: bytes) -> None:  # noqa: A002
        """Gives up a release that is not settled, for instance since a peer's ledger is gone: it is never signed, held or
        retried again, and its charge stays; durable on return. Again is no error."""
        with self._transaction():
            self._rows("UPDATE releases SET state = 'abandoned' WHERE id = ? AND state != 'settled'", id)

    def receipts(self, id: bytes) -> dict[str, Receipt]:  # noqa: A002
        """All that are kept for a release, by company, this node's own among them."""
        with self._reading():
            rows = self._rows("SELECT member, previous, sequence, signature FROM receipts WHERE id = ?", id)
            rows += self._rows(
                "SELECT signer, previous, sequence, signature FROM releases WHERE id = ? AND signature IS NOT NULL", id
            )
        return {name: Receipt(*rest) for name, *rest in sorted(map(tuple, rows))}

    # what nodes compare when they meet

    def seen(self, certificate: bytes) -> tuple[int, bytes]:
        """The newest entry that this node holds of the peer with that certificate (DER): for its `check`."""
        rows = self._rows(
            "SELECT sequence, head FROM receipts WHERE certificate = ? ORDER BY sequence DESC LIMIT 1",
            hashlib.sha256(certificate).digest(),
        )
        return (rows[0]["sequence"], rows[0]["head"]) if rows else (0, NO_HEAD)

    def check(self, peer: str, sequence: int, head: bytes) -> None:
        """LedgerBehind where `peer` holds an entry of this node's chain, the `sequence`th, that is not in it."""
        if sequence == 0:
            return
        rows = self._rows("SELECT head FROM releases WHERE sequence = ?", sequence) if 0 < sequence < 1 << 63 else []
        if rows and rows[0]["head"] == head:
            return
        length, _ = self._newest()
        what = f"has {length:,} entries, and" if not rows else f"differs from it: at entry {sequence:,} another is there than"
        raise LedgerBehind(
            f"the ledger of {self._me} is not the one that {peer} countersigned: it {what} {peer} holds entry {sequence:,} of it, "
            f"as after a backup was put back. What was spent since is not in it, so {self._me} serves no private query with it: "
            f"{RESTORE}"
        )

    # exact releases, for the differencing guard

    def record(self, release: ExactRelease) -> None:
        """Keeps what is released without noise; durable on return. Again under the same id it may add the cells, once;
        LedgerError where it is anything else."""
        bound = release._bound()
        with self._transaction():
            known = list(self._exact("WHERE id = ?", release.id))
            if not known:
                self._rows(
                    "INSERT INTO exact (id, made, query, statement, tables, columns, predicate, snapshot) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    release.id, self._seconds(), release.query, release.sql, json.dumps(release.tables),
                    json.dumps(release.columns), release.predicate, release.snapshot,
                )  # fmt: skip
            elif known[0]._bound() != bound or (None not in (known[0].cells, release.cells) and known[0].cells != release.cells):
                raise LedgerError(f"another release of {release.query} is recorded under that id")
            if release.cells is not None and not (known and known[0].cells is not None):
                sealed = self._sealed(release.cells.encode(), bound)
                self._rows("UPDATE exact SET sealed = ? WHERE id = ?", sealed, release.id)

    def exact_releases(self, table: str) -> list[ExactRelease]:
        """All that were recorded of that table, the oldest first."""
        with self._reading():
            return [release for release in self._exact() if table in release.tables]

    def _exact(self, where: str = "", *values: object) -> Iterator[ExactRelease]:
        for row in self._rows(f"SELECT * FROM exact {where} ORDER BY rowid", *values):
            release = ExactRelease(
                row["id"], row["query"], row["statement"], tuple(json.loads(row["tables"])),
                tuple(json.loads(row["columns"])), row["predicate"], row["snapshot"],
            )  # fmt: skip
            if row["sealed"] is not None:
                cells = self._unsealed(row["sealed"], release._bound(), release.query).decode()
                release = replace(release, cells=cells)
            yield release

    # within

    def _prepare(self) -> None:
        """Settings of the connection, and that all in the file is as it was written: LedgerError else."""
        (found,) = self._rows("PRAGMA quick_check(1)")[0]
        if found != "ok":
            raise LedgerError(f"{self._file} is damaged ({found}), and was left as it is: {RESTORE}")
        head = NO_HEAD
        signed = self._rows("SELECT * FROM releases WHERE sequence IS NOT NULL ORDER BY sequence")
        for sequence, row in enumerate(signed, 1):
            try:
                after = head_after(statement(self._release(row), _commitments(row), row["signer"], sequence, head))
            except (ValueError, TypeError, AttributeError, LedgerError):  # what was written there is of another kind
                after = NO_HEAD
            if (row["sequence"], row["previous"], row["head"]) != (sequence, head, after):
                raise LedgerError(
                    f"{self._file}: entry {sequence:,} ({row['query']}) is not what this node signed: it was changed since. {RESTORE}"
                )
            head = after
        (mode,) = self._rows("PRAGMA journal_mode = WAL")[0]
        if mode != "wal":
            raise LedgerError(f"{self._file} cannot be written ahead (WAL): the node's folder must be on a local disk")
        for setting in ("synchronous = FULL", "fullfsync = ON", "foreign_keys = ON", "trusted_schema = OFF"):
            self._rows(f"PRAGMA {setting}")

    def _key(self, file: Path) -> bytes:
        if not file.exists():
            if self._rows("SELECT 1 FROM releases UNION SELECT 1 FROM exact"):
                raise LedgerError(f"{file} is missing, with which {FILE} was encrypted: put back its copy")
            publish(file, lambda draft: write_new(draft, secrets.token_bytes(32)))
        key = file.read_bytes()
        if len(key) != 32:
            raise LedgerError(f"{file} is no key of a ledger (32 bytes): put back its copy")
        return key

    def _retry(self, release: Release, caps: Caps) -> Reservation | None:
        """The reservation under that id, if there is one; moved into the current period where its own is over."""
        with self._transaction():
            rows = self._rows("SELECT * FROM releases WHERE id = ?", release.id)
            if not rows:
                return None
            row = rows[0]
            encoding = release.encoding()
            if self._release(row).encoding() != encoding:
                raise LedgerError(
                    f"{release.query} comes under the id of another release ({row['query']}, or other members, receivers, price): "
                    "it needs an id of its own"
                )
            if row["state"] == "abandoned":
                raise LedgerError(f"{release.query} was given up under that id: it needs a new one, and a new charge")
            sealed = self._rows("SELECT sealed FROM inputs WHERE id = ?", release.id)
            kept = self._unsealed(sealed[0]["sealed"], encoding, release.query) if sealed else b""
            salt, inputs = kept[:SALT_BYTES], kept[SALT_BYTES:]
            if not sealed or _commitment(salt, inputs) != row["commitment"]:
                raise self._changed(release.query)
            if row["state"] != "settled":
                now, known = self._now(), map(caps, (charge.account for charge in release.charges))
                if any(cap is not None and cap.since(now) > row["counted"] for cap in known):
                    self._check_caps(release, caps)
                    self._rows("UPDATE releases SET counted = ? WHERE id = ?", self._seconds(), release.id)
            return Reservation(release.id, inputs, row["commitment"], is_retry=True, made=_time(row["made"]))

    def _check_caps(self, release: Release, caps: Caps) -> None:
        """Without what the release itself has reserved before. All charges on a table count, whatever the unit was called:
        its rows are of the same people."""
        for charge in release.charges:
            cap = caps(charge.account)
            if cap is None:
                continue
            (used,) = self._rows(
                "SELECT coalesce(sum(micro_rho), 0) FROM charges JOIN releases USING (id) "
                "WHERE holder = ? AND counted >= ? AND id != ?",
                charge.table, cap.since(self._now()), release.id,
            )[0]  # fmt: skip
            if used + charge.micro_rho > cap.micro_rho:
                left = max(0, cap.micro_rho - used)
                raise BudgetExceeded(self._me, release.query, charge.account, charge.micro_rho, left, cap)

    def _keep(self, row: sqlite3.Row, name: str, receipt: Receipt, head: bytes, certificate: bytes) -> None:
        """A verified receipt, where it fits what is known of that peer's chain.

        Sessions run side by side, so a peer's receipts may come in another order than it signed them. But it cannot have
        signed this one before it knew the commitment of this node, which is made with the reservation: so its place is
        after all that were held by then.
        """
        def refuse(why: str) -> PeerRefused:
            return PeerRefused(
                name, f"the receipt of {name} for {row['query']} {why}: its ledger is an older copy than the one it signed with "
                f"before. Nothing was opened; {name} must put back its newest ledger",
            )  # fmt: skip

        same = self._rows("SELECT sequence, head FROM receipts WHERE id = ? AND member = ?", row["id"], name)
        if same:
            if tuple(same[0]) != (receipt.sequence, head):
                raise refuse("is another than the one held already")
            return
        (floor,) = self._rows(
            "SELECT coalesce(max(sequence), 0) FROM receipts WHERE certificate = ? AND number <= ?", certificate, row["floor"]
        )[0]
        if receipt.sequence <= floor:
            raise refuse(f"goes back to its entry {receipt.sequence:,}, after entry {floor:,} was held")
        for near in self._rows(
            "SELECT sequence, previous, head FROM receipts WHERE certificate = ? AND sequence BETWEEN ? AND ?",
            certificate, receipt.sequence - 1, min(receipt.sequence + 1, (1 << 63) - 1),
        ):  # fmt: skip
            step = near["sequence"] - receipt.sequence
            if step == 0 or (near["head"] != receipt.previous if step < 0 else near["previous"] != head):
                raise refuse(f"contradicts its entry {near['sequence']:,}, which is held")
        self._rows(
            "INSERT INTO receipts (id, member, certificate, sequence, previous, signature, head) VALUES (?, ?, ?, ?, ?, ?, ?)",
            row["id"], name, certificate, receipt.sequence, receipt.previous, receipt.signature, head,
        )  # fmt: skip

    def _newest(self) -> tuple[int, bytes]:
        rows = self._rows("SELECT sequence, head FROM releases WHERE sequence IS NOT NULL ORDER BY sequence DESC LIMIT 1")
        return (rows[0]["sequence"], rows[0]["head"]) if rows else (0, NO_HEAD)

    def _release_row(self, id: bytes) -> sqlite3.Row:  # noqa: A002
        rows = self._rows("SELECT * FROM releases WHERE id = ?", id)
        if not rows:
            raise LedgerError("nothing is reserved under that id")
        if rows[0]["state"] == "abandoned":
            raise LedgerError(f"{rows[0]['query']} was given up under that id")
        return rows[0]

    def _release(self, row: sqlite3.Row) -> Release:
        return Release(
            row["id"], row["query"], row["spec_digest"], row["plan_digest"], tuple(json.loads(row["members"])),
            tuple(json.loads(row["receivers"])), self._charges(row["id"]),
        )  # fmt: skip

    def _sealed(self, content: bytes, bound: bytes) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._seal.encrypt(nonce, content, bound)

    def _unsealed(self, sealed: bytes, bound: bytes, query: str) -> bytes:
        try:
            return self._seal.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)
        except (InvalidTag, ValueError):
            raise self._changed(query) from None

    def _changed(self, query: str) -> LedgerError:
        return LedgerError(f"what {self._file} keeps of {query} is not what was written, or {KEY} is another: {RESTORE}")

    def _seconds(self) -> int:
        return int(self._now().timestamp())

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, durable at its end. One within another is part of it."""
        with self._lock:
            within_another = self._db.in_transaction
            if within_another:
                yield
                return
            try:
                self._rows("BEGIN IMMEDIATE")
                yield
                self._rows("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._rows("ROLLBACK")
                raise


def _commitment(salt: bytes, inputs: bytes) -> bytes:
    return hashlib.sha256(b"comity inputs 1" + salt + inputs).digest()


def _commitments(row: sqlite3.Row) -> dict[str, bytes]:
    return {name: bytes.fromhex(value) for name, value in json.loads(row["commitments"]).items()}


def _make(directory: Path) -> None:
    """An empty ledger: whole, or not there. An empty file is therefore a damaged one, never a new one."""

    def fill(draft: Path) -> None:
        write_new(draft, b"")
        db = sqlite3.connect(draft, isolation_level=None)
        try:
            db.executescript(_SCHEMA)
        finally:
            db.close()

    publish(directory / FILE, fill)
