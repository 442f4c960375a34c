"""What a node keeps of what the offline phase makes: its shares of random triples and bits, each for one use, and base transfers' keys.

What one session made is a *lot*: its shares lie in chunks, encrypted (AES-256-GCM) with `stock.key`, which is bound to
the chunk's place. Lots are kept by kind and by `Group`: exactly these parties, in this order, under this scheme. Of each lot the
database says how far it is used; that moves forward alone, durably (SQLite, WAL, full sync), and before anything of the range
is read. How parties agree on what to use is in mpc/triples/stocked.py; this class is the `Supply` of it.

Nothing here is worth a backup: what is lost is made anew. What comes from one is found out by what the peers have seen, and
destroyed.

Files in the node's folder: `stock.key` (mode 600), `stock/` (mode 700) with `stock.sqlite` and the chunks.
"""

import fcntl
import hashlib
import json
import logging
import os
import secrets
import shutil
import sqlite3
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mpc.algebra import Array
from mpc.correlations import Row
from mpc.errors import ComityError
from mpc.ot.base import COUNT, ID_BYTES, KEY_BYTES, BaseKeys
from mpc.schemes import PartyId, Scheme
from mpc.triples.stocked import LOTS, Mark, Marks, Range
from parties.governance.files import publish, write_new
from parties.governance.release import frame

FOLDER, FILE, LOCK, KEY = "stock", "stock.sqlite", "stock.lock", "stock.key"
NONCE_BYTES, TAG_BYTES = 12, 16

log = logging.getLogger("comity")

_APPLICATION, _VERSION = 0x436D5374, 1
_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE lots (
  number INTEGER PRIMARY KEY AUTOINCREMENT, lot BLOB NOT NULL UNIQUE, circle BLOB NOT NULL, kind TEXT NOT NULL,
  parties TEXT NOT NULL, scheme TEXT NOT NULL, made INTEGER NOT NULL, is_open INTEGER NOT NULL, planned INTEGER NOT NULL,
  next INTEGER NOT NULL, confirmed INTEGER NOT NULL, end INTEGER NOT NULL
);
CREATE TABLE chunks (
  lot BLOB NOT NULL REFERENCES lots (lot), start INTEGER NOT NULL, stop INTEGER NOT NULL, bytes INTEGER NOT NULL,
  PRIMARY KEY (lot, start)
);
CREATE TABLE base_keys (peer BLOB PRIMARY KEY, sealed BLOB NOT NULL);
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
COMMIT;
"""


class StockError(ComityError):
    """The stock cannot be used."""


class StockFull(StockError):
    """There is no room for more; the message may be told to peers."""


@dataclass(frozen=True)
class Group:
    """With whom something is made: all parties in their order, by name and certificate (DER), and the scheme."""

    parties: tuple[str, ...]
    certificates: tuple[bytes, ...]
    me: PartyId
    scheme: Scheme

    @property
    def id(self) -> bytes:
        """Of no spec: a new one with the same parties and scheme goes on with what there is."""
        scheme = self.scheme
        return hashlib.sha256(
            frame("comity group 1", scheme.name, str(scheme.privacy_threshold), scheme.algebra.name, *self.certificates)
        ).digest()


class Stocked(NamedTuple):
    """One lot, as `comity status` shows it."""

    kind: str
    group: bytes
    parties: tuple[str, ...]
    scheme: str
    made: datetime
    is_open: bool
    left: int
    """At this node; another may have less. Bits are counted in words of 64."""
    end: int
    bytes: int


def stocked(directory: Path) -> list[Stocked]:
    """What is in stock in a node's folder, the oldest first; also while the node runs. StockError where it is damaged."""
    if not (directory / FOLDER / FILE).exists():
        return []
    db = _connect(directory / FOLDER / FILE, "ro")
    try:
        rows = db.execute(
            "SELECT *, (SELECT coalesce(sum(bytes), 0) FROM chunks WHERE chunks.lot = lots.lot) AS bytes FROM lots ORDER BY number"
        ).fetchall()
    except sqlite3.Error as error:
        raise _broken(directory / FOLDER / FILE, error) from None
    finally:
        db.close()
    return [
        Stocked(
            row["kind"], row["circle"], tuple(json.loads(row["parties"])), row["scheme"], datetime.fromtimestamp(row["made"], UTC),
            bool(row["is_open"]), row["end"] - row["next"], row["end"], row["bytes"],
        )
        for row in rows
    ]  # fmt: skip


class Stock:
    """The stock in a node's folder, made where there is none, of at most `limit` bytes. One process holds it at a time; its
    threads may share it."""

    def __init__(self, directory: Path, limit: int) -> None:
        self._directory, self._limit, self._lock = directory / FOLDER, limit, threading.RLock()
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self._file = self._directory / FILE
        self._exclusive = os.open(self._directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(self._exclusive, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise StockError(f"{self._directory} is in use: this node runs already, in another process") from None
            if not self._file.exists():
                _make(self._file)
            self._db = _connect(self._file, "rw")
            try:
                for setting in ("journal_mode = WAL", "synchronous = FULL", "fullfsync = ON", "foreign_keys = ON"):
                    self._rows(f"PRAGMA {setting}")
                self._seal = AESGCM(self._key(directory / KEY))
                self._tidy()
            except BaseException:
                self._db.close()
                raise
        except BaseException:
            os.close(self._exclusive)
            raise

    def __repr__(self) -> str:
        return f"<stock in {self._directory}>"

    def close(self) -> None:
        with self._lock:
            if self._exclusive >= 0:
                self._db.close()
                os.close(self._exclusive)
                self._exclusive = -1

    def shelf(self, group: Group, kind: type[Row]) -> "Shelf":
        return Shelf(self, group, kind)

    # base transfers' keys

    def base_keys(self, certificate: bytes) -> BaseKeys | None:
        """Those with the peer that has this certificate (DER), if there are any."""
        peer = hashlib.sha256(certificate).digest()
        rows = self._rows("SELECT sealed FROM base_keys WHERE peer = ?", peer)
        if not rows:
            return None
        try:
            return _from_bytes(self._unsealed(rows[0]["sealed"], frame("comity base keys 1", peer)))
        except (InvalidTag, ValueError):
            log.error("%s: kept keys of base transfers are not what was written; new ones are made", self._file)
            self._rows("DELETE FROM base_keys WHERE peer = ?", peer)
            return None

    def keep_base_keys(self, certificate: bytes, keys: BaseKeys) -> None:
        peer = hashlib.sha256(certificate).digest()
        sealed = self._sealed(b"".join(x.tobytes() for x in (keys.sent, keys.choices, keys.chosen)) + keys.id, frame("comity base keys 1", peer))
        self._rows("INSERT OR REPLACE INTO base_keys (peer, sealed) VALUES (?, ?)", peer, sealed)

    # within

    def _key(self, file: Path) -> bytes:
        if not file.exists():
            self._rows("DELETE FROM base_keys")  # whatever there is, nobody can read it any more
            for row in self._rows("SELECT lot FROM lots"):
                self._destroy(row["lot"], f"{file} is missing, with which it was encrypted")
            publish(file, lambda draft: write_new(draft, secrets.token_bytes(32)))
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise StockError(f"{file} can be read by others (mode {stat.S_IMODE(file.stat().st_mode):o}): run `chmod 600 {file}`")
        key = file.read_bytes()
        if len(key) != 32:
            raise StockError(f"{file} is no key of a stock (32 bytes): remove it, and what is in stock is made anew")
        return key

    def _tidy(self) -> None:
        """After a crash: lots that nobody goes on with are closed, empty ones and what was used up removed, and files of
        which the database knows nothing."""
        with self._transaction():
            self._rows("UPDATE lots SET is_open = 0")
            self._rows("DELETE FROM chunks WHERE stop <= (SELECT next FROM lots WHERE lots.lot = chunks.lot)")
            self._rows("DELETE FROM lots WHERE end = 0")
        known = {_place(row["lot"], row["start"]) for row in self._rows("SELECT lot, start FROM chunks")}
        for file in self._directory.iterdir():
            if not file.name.startswith("stock.") and file.name not in known:
                file.unlink()

    def _destroy(self, lot: bytes, why: str = "") -> None:
        """Forgets a lot, and removes its chunks; `why` is said where that is more than a used-up one."""
        with self._transaction():
            rows = self._rows("SELECT * FROM lots WHERE lot = ?", lot)
            chunks = self._rows("SELECT start FROM chunks WHERE lot = ?", lot)
            self._rows("DELETE FROM chunks WHERE lot = ?", lot)
            self._rows("DELETE FROM lots WHERE lot = ?", lot)
        for chunk in chunks:
            (self._directory / _place(lot, chunk["start"])).unlink(missing_ok=True)
        if why and rows:
            log.warning("destroyed %s in stock, %d of them unused: %s", rows[0]["kind"], rows[0]["end"] - rows[0]["next"], why)

    def _held(self) -> int:
        """Bytes that are kept, or promised to a lot that is being made."""
        rows = self._rows(
            "SELECT is_open, planned, (SELECT coalesce(sum(bytes), 0) FROM chunks WHERE chunks.lot = lots.lot) AS bytes FROM lots"
        )
        return sum(max(row["planned"] if row["is_open"] else 0, row["bytes"]) for row in rows)

    def _sealed(self, content: bytes, bound: bytes) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._seal.encrypt(nonce, content, bound)

    def _unsealed(self, sealed: bytes, bound: bytes) -> bytes:
        return self._seal.decrypt(sealed[:NONCE_BYTES], memoryview(sealed)[NONCE_BYTES:], bound)

    def _rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        with self._lock:
            try:
                return self._db.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise _broken(self._file, error) from None

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


class Shelf:
    """What is in stock of one kind with one group."""

    def __init__(self, stock: Stock, group: Group, kind: type[Row]) -> None:
        self._stock, self._group, self._kind, self._each = stock, group, kind(1).name, kind.EACH
        self._columns = [(part.scheme.algebra, part.shape[1:]) for part in kind(1).parts(group.scheme)]
        self._bytes = sum(prod(shape) * algebra.element_bytes for algebra, shape in self._columns)

    def __repr__(self) -> str:
        return f"<{self._kind} in {self._stock}>"

    # made

    def begin(self, lot: bytes, count: int) -> None:
        """A lot of `count` is about to be made. StockFull where there is no room for it."""
        stock, size, more = self._stock, count * self._bytes, f"{count * self._each:,} more {self._kind}"
        with stock._transaction():
            held = stock._held()
            if held + size > stock._limit:
                raise StockFull(
                    f"{more} take {megabytes(size)} on disk, beside {megabytes(held)} that are there, and `stock` in its "
                    f"node.toml allows {megabytes(stock._limit)}"
                )
            free = shutil.disk_usage(stock._directory).free
            if size > free:
                raise StockFull(f"{more} take {megabytes(size)} on disk, and {megabytes(free)} are free")
            if len(self.marks()) >= LOTS:
                raise StockFull(f"it keeps {LOTS} lots of {self._kind} with the same companies, and no more")
            stock._rows(
                "INSERT INTO lots (lot, circle, kind, parties, scheme, made, is_open, planned, next, confirmed, end) "
                "VALUES (?, ?, ?, ?, ?, ?, 1, ?, 0, 0, 0)",
                lot, self._group.id, self._kind, json.dumps(self._group.parties),
                f"{self._group.scheme.name} over {self._group.scheme.algebra.name}", int(datetime.now(UTC).timestamp()), size,
            )  # fmt: skip

    def add(self, lot: bytes, batch: Sequence[Array]) -> None:
        """The next chunk of a lot that was begun; durable on return."""
        stock, size = self._stock, len(batch[0])
        rows = stock._rows("SELECT end FROM lots WHERE lot = ? AND is_open", lot)
        if not rows:
            raise StockError(f"the {self._kind} that were being made were destroyed meanwhile")
        start = rows[0]["end"]
        columns = zip(self._columns, batch, strict=True)
        raw = b"".join(bytes(algebra.to_bytes(np.ascontiguousarray(column))) for (algebra, _), column in columns)
        sealed = stock._sealed(raw, self._bound(lot, start, start + size))
        publish(stock._directory / _place(lot, start), lambda draft: write_new(draft, sealed))
        with stock._transaction():
            stock._rows("INSERT INTO chunks (lot, start, stop, bytes) VALUES (?, ?, ?, ?)", lot, start, start + size, len(sealed))
            stock._rows("UPDATE lots SET end = ? WHERE lot = ?", start + size, lot)

    def finish(self, lot: bytes) -> None:
        """Nothing more is added to the lot."""
        with self._stock._transaction():
            self._stock._rows("UPDATE lots SET is_open = 0 WHERE lot = ?", lot)
            self._stock._rows("DELETE FROM lots WHERE lot = ? AND end = 0", lot)

    def destroy(self, lot: bytes, why: str) -> None:
        self._stock._destroy(lot, why)

    # used: what mpc/triples/stocked.py asks for

    def marks(self) -> list[Mark]:
        rows = self._stock._rows(
            "SELECT lot, next, confirmed, end FROM lots WHERE circle = ? AND kind = ? ORDER BY number", self._group.id, self._kind
        )
        return [Mark(*row) for row in rows][:LOTS]

    def compare(self, told: Marks) -> None:
        """Destroys lots that were used up, that a peer has no more, and those of which a peer saw more used than this node
        knows: it was put back to an older state. A lot that is being made is let be."""
        stock, me = self._stock, self._group.me
        for lot in told[me]:
            rows = stock._rows("SELECT next FROM lots WHERE lot = ? AND NOT is_open", lot)
            if not rows:
                continue
            why = self._objection(lot, rows[0]["next"], told)
            if why is not None:
                stock._destroy(lot, why)

    def _objection(self, lot: bytes, at: int, told: Marks) -> str | None:
        """Why nothing more of the lot, which is used up to `at` here, can be used; empty where it was used up, None where
        some can."""
        for party, marks in told.items():
            if party == self._group.me:
                continue
            if lot not in marks:
                return f"{self._group.parties[party]} has its part no more"
            # `at` is read after the peer told: where nothing was put back, it cannot be behind
            if marks[lot].confirmed > at:
                return (
                    f"this node's own state is older than what {self._group.parties[party]} saw ({at:,} used, and {marks[lot].confirmed:,}), "
                    "as after a backup was put back"
                )
        of = [marks[lot] for marks in told.values()]
        return "" if min(mark.end for mark in of) <= max(at, *(mark.next for mark in of)) else None

    def take(self, ranges: Sequence[Range]) -> list[list[Array]] | None:
        stock = self._stock
        with stock._lock:  # a chunk is removed by who uses its last, after all before have read it
            try:
                if not self._reserve(ranges):
                    return None
            except StockError as error:
                log.error("the stock is not used: %s", error)
                return None
            batches = []
            for lot, start, stop in ranges:
                try:
                    batches.append(self._read(lot, start, stop))
                except (OSError, InvalidTag, ValueError) as error:
                    what = "is missing or cannot be read" if isinstance(error, OSError) else "is not what this node wrote"
                    stock._destroy(lot, f"a chunk in {stock._directory} {what}")
                    return None
            for lot, _, stop in ranges:
                used = stock._rows("SELECT start FROM chunks WHERE lot = ? AND stop <= ?", lot, stop)
                for chunk in used:
                    (stock._directory / _place(lot, chunk["start"])).unlink(missing_ok=True)
                if used:
                    stock._rows("DELETE FROM chunks WHERE lot = ? AND stop <= ?", lot, stop)
        return batches

    def _reserve(self, ranges: Sequence[Range]) -> bool:
        """False where another session was first; nothing was written then."""
        stock = self._stock
        with stock._transaction():
            for lot, start, stop in ranges:
                if not stock._rows(
                    "SELECT 1 FROM lots WHERE lot = ? AND circle = ? AND kind = ? AND next <= ? AND ? <= end",
                    lot, self._group.id, self._kind, start, stop,
                ):  # fmt: skip
                    return False
            for lot, _, stop in ranges:
                stock._rows("UPDATE lots SET next = ? WHERE lot = ?", stop, lot)
        return True

    def confirm(self, ranges: Sequence[Range]) -> None:
        with self._stock._transaction():
            for lot, _, stop in ranges:
                self._stock._rows("UPDATE lots SET confirmed = max(confirmed, ?) WHERE lot = ?", stop, lot)

    def _read(self, lot: bytes, start: int, stop: int) -> list[Array]:
        """ValueError where a chunk is missing in the database."""
        stock, parts, reached = self._stock, list[list[Array]](), start
        for chunk in stock._rows("SELECT start, stop FROM chunks WHERE lot = ? AND stop > ? AND start < ? ORDER BY start", lot, start, stop):
            first, last = chunk["start"], chunk["stop"]
            if first > reached:
                raise ValueError("a chunk is missing")
            sealed = (stock._directory / _place(lot, first)).read_bytes()
            raw = stock._unsealed(sealed, self._bound(lot, first, last))
            parts.append([column[reached - first : stop - first].copy() for column in self._read_columns(raw, last - first)])
            reached = last  # the copies let go of the rest
        if reached < stop:
            raise ValueError("a chunk is missing")
        return [np.concatenate(columns) for columns in zip(*parts, strict=True)]

    def _read_columns(self, raw: bytes, size: int) -> Iterator[Array]:
        if len(raw) != size * self._bytes:
            raise ValueError("a chunk of another size")
        at = 0
        for algebra, shape in self._columns:
            length = size * prod(shape) * algebra.element_bytes
            yield algebra.from_bytes(raw[at : at + length], (size, *shape))
            at += length

    def _bound(self, lot: bytes, start: int, stop: int) -> bytes:
        return frame("comity stock 1", lot, self._group.id, self._kind, str(start), str(stop))


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


def _place(lot: bytes, start: int) -> str:
    return f"{lot.hex()}-{start:012}"


def _from_bytes(raw: bytes) -> BaseKeys:
    pairs, chosen = 2 * COUNT * KEY_BYTES, COUNT * KEY_BYTES
    if len(raw) != pairs + COUNT + chosen + ID_BYTES:
        raise ValueError("no base keys")
    read = np.frombuffer(raw, np.uint8)
    return BaseKeys(
        read[:pairs].reshape(COUNT, 2, KEY_BYTES), read[pairs : pairs + COUNT],
        read[pairs + COUNT : -ID_BYTES].reshape(COUNT, KEY_BYTES), raw[-ID_BYTES:],
    )  # fmt: skip


def _make(file: Path) -> None:
    def fill(draft: Path) -> None:
        write_new(draft, b"")
        db = sqlite3.connect(draft, isolation_level=None)
        try:
            db.executescript(_SCHEMA)
        finally:
            db.close()

    publish(file, fill)


def _connect(file: Path, mode: str) -> sqlite3.Connection:
    db: sqlite3.Connection | None = None
    try:
        db = sqlite3.connect(f"{file.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False)
        db.row_factory = sqlite3.Row
        found = tuple(db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    except sqlite3.Error as error:
        if db is not None:
            db.close()
        raise _broken(file, error) from None
    if found != (_APPLICATION, _VERSION):
        db.close()
        raise StockError(f"{file} is no stock of this version of Comity: {ANEW.format(file.parent)}")
    return db


ANEW = "stop the node and remove {}, and `comity prepare` makes what was in it anew"


def _broken(file: Path, error: sqlite3.Error) -> StockError:
    if isinstance(error, sqlite3.OperationalError | sqlite3.ProgrammingError):  # a full disk, say, or no rights
        return StockError(f"{file}: {error}. Nothing was written")
    return StockError(f"{file} is damaged ({error}): {ANEW.format(file.parent)}")
