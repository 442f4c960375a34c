"""The stock: every index is used at most once, ever, whatever breaks, comes back older, runs beside, or lies."""

import os
import shutil
import sqlite3
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance import wrong

from mpc.algebra import Array
from mpc.channel import Channel, Payload, Tag
from mpc.correlations import ROWS, Bits, Row, Triples
from mpc.errors import ComityError
from mpc.ot.base import BaseKeys
from mpc.schemes import PartyId
from mpc.schemes.named import schemes
from mpc.simulate import simulate
from mpc.triples import ot, stocked
from mpc.triples.ot import ObliviousTriples
from mpc.triples.stocked import LOTS, Mark, Range, StockedTriples, draw
from parties.governance import stock as keeping
from parties.governance.stock import Group, Shelf, Stock, StockError, StockFull
from parties.governance.stock import stocked as entries
from parties.node.preparing import asked, prepare

NAMES = ("acme", "birch", "cedar")
ADDITIVE = schemes("additive", 3, 2)[0]
SHAMIR = schemes("shamir", 3, 1)[0]


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory, where there is such a place: syncs take their time."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ot, "BATCH", 8)


def shares_of(lot: bytes, me: PartyId, start: int, stop: int) -> list[Array]:
    """Triples of which every share is known, so that a test sees what was given out: a index + 1, b = 1."""
    index = np.arange(start, stop, dtype=np.uint64)
    a = index + np.uint64(1) + np.uint64(1000) * np.uint64(lot[0]) if me == 0 else np.zeros(stop - start, np.uint64)
    b = np.full(stop - start, me == 0, np.uint64)
    return [a, b, a * b]


class Known:
    """In the stead of transfers."""

    name = "ot"

    def __init__(self, lot: bytes) -> None:
        self._lot = lot

    def made(self, ctx: Any, kind: Row) -> Iterator[list[Array]]:
        for start in range(0, kind.count, ot.BATCH):
            yield shares_of(self._lot, ctx.me, start, min(start + ot.BATCH, kind.count))


class Crash(BaseException):
    pass


@dataclass
class Companies:
    """Three companies with a stock each."""

    folder: Path
    limit: int = 1 << 30
    scheme: Any = ADDITIVE
    stocks: list[Stock] = field(default_factory=list)
    given: Counter[tuple[PartyId, bytes, int]] = field(default_factory=Counter)
    lots: int = 0

    def __post_init__(self) -> None:
        for name in NAMES:
            (self.folder / name).mkdir()
            self.stocks.append(Stock(self.folder / name, self.limit))

    def shelf(self, me: PartyId, kind: type[Row] = Triples) -> Shelf:
        return self.stocks[me].shelf(Group(NAMES, tuple(name.encode() for name in NAMES), me, self.scheme), kind)

    def close(self) -> None:
        for stock in self.stocks:
            stock.close()

    def reopen(self, *who: PartyId) -> None:
        for me in who or range(3):
            self.stocks[me].close()
            self.stocks[me] = Stock(self.folder / NAMES[me], self.limit)

    def prepare(self, wanted: int, maker: Callable[[bytes], Any] = Known, kind: type[Row] = Triples, **options: Any) -> int:
        self.lots += 1
        lot = bytes([self.lots]) * 32
        made = simulate(
            lambda ctx, _: prepare(ctx, self.shelf(ctx.me, kind), maker(lot), lot, kind(wanted), lambda *_: None), range(3), self.scheme,
            triples=None, **options,
        )  # fmt: skip
        assert len(set(made)) == 1
        return made[0]

    def draw(self, count: int, **options: Any) -> list[int]:
        """What was given out, by the first party's a; at all parties of the same indices."""

        def use(ctx: Any, _: Any) -> list[list[Array]]:
            return draw(ctx, self.noted(ctx.me), count)

        given = simulate(use, range(3), self.scheme, triples=None, **options)
        for batches in given[1:]:
            assert [x[0].size for x in batches] == [x[0].size for x in given[0]]
        return [int(a) for batch in given[0] for a in batch[0]]

    def noted(self, me: PartyId) -> "Noted":
        return Noted(self.shelf(me), me, self.given)

    def left(self) -> list[int]:
        return [sum(lot.left for lot in entries(self.folder / name)) for name in NAMES]


class Noted:
    """A shelf, with a count of how often it let each index be used."""

    def __init__(self, shelf: Shelf, me: PartyId, given: Counter[tuple[PartyId, bytes, int]]) -> None:
        self._shelf, self._me, self._given = shelf, me, given
        self.marks, self.compare, self.take = shelf.marks, shelf.compare, shelf.take

    def confirm(self, ranges: Sequence[Range]) -> None:
        self._shelf.confirm(ranges)
        for lot, start, stop in ranges:
            for index in range(start, stop):
                self._given[self._me, lot, index] += 1
                assert self._given[self._me, lot, index] == 1, f"{NAMES[self._me]} uses {index} of {lot[0]} again"


@pytest.fixture
def companies(tmp_path: Path) -> Iterator[Companies]:
    made = Companies(tmp_path)
    yield made
    made.close()


def of(lot: int, *indices: int) -> list[int]:
    return [1000 * lot + index + 1 for index in indices]


def test_indices_are_given_out_in_order_each_once(companies: Companies) -> None:
    assert companies.prepare(20) == 20
    assert companies.left() == [20] * 3
    assert companies.draw(5) == of(1, *range(5))
    companies.reopen()
    assert companies.draw(10) == of(1, *range(5, 15))
    assert companies.left() == [5] * 3
    assert len(list((companies.folder / "acme" / "stock").glob("*-0*"))) == 2  # what was used up is gone
    assert companies.draw(9) == of(1, *range(15, 20))
    assert companies.draw(9) == []
    assert entries(companies.folder / "acme") == []
    assert not list((companies.folder / "acme" / "stock").glob("*-0*"))


def test_prepare_makes_what_is_missing_alone(companies: Companies) -> None:
    assert companies.prepare(20) == 20
    assert companies.prepare(20) == 0
    companies.draw(3)
    assert companies.prepare(20) == 3
    assert companies.draw(20) == of(3, *range(3)) + of(1, *range(3, 20))  # the smallest lot first


@pytest.mark.parametrize("kind", ROWS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("scheme", [ADDITIVE, SHAMIR, schemes("additive", 3, 2)[1]], ids=lambda scheme: f"{scheme.name}-{scheme.algebra.name}")
def test_what_comes_from_the_stock_is_right(tmp_path: Path, scheme: Any, kind: type[Row]) -> None:
    companies = Companies(tmp_path, scheme=scheme)
    assert companies.prepare(20, lambda lot: ObliviousTriples(), kind) == 20

    def use(ctx: Any, count: int) -> tuple[list[Array], int]:
        source = StockedTriples(lambda kind: companies.shelf(ctx.me, type(kind)), ObliviousTriples())
        taken = [share.data for share in source.take(ctx, kind(count))]
        found = source.from_stock[kind(1).name]
        assert ctx.measured.bytes == source.cost(scheme, ctx.me, kind(count - found)).bytes
        return taken, found

    for count, from_stock in ((12, 12), (12, 8), (3, 0)):
        used = simulate(use, [count] * 3, scheme, triples=None)
        assert [x[1] for x in used] == [from_stock] * 3
        parts = [part.scheme.combine({i: x[0][k] for i, x in enumerate(used)}) for k, part in enumerate(kind(count).parts(scheme))]
        assert not wrong(kind(count), scheme.algebra.modulus, parts)
        assert len(np.unique(parts[0])) >= count
    companies.close()


def test_another_scheme_or_other_companies_have_a_stock_of_their_own(companies: Companies) -> None:
    companies.prepare(20)
    one = companies.shelf(0)
    for group in (
        Group(NAMES, (b"another", b"birch", b"cedar"), 0, ADDITIVE), Group(NAMES, (b"birch", b"acme", b"cedar"), 0, ADDITIVE),
        Group(NAMES, (b"acme", b"birch", b"cedar"), 0, schemes("additive", 3, 2)[1]),
    ):  # fmt: skip
        assert companies.stocks[0].shelf(group, Triples).marks() == []
        assert companies.stocks[0].shelf(group, Triples).take([Range(one.marks()[0].lot, 0, 5)]) is None
    assert one.marks()[0].next == 0


# crashes


def _fails_at(stock: Stock, turn: int) -> Callable[[], int]:
    """The statement (or the writing of a file) whose turn it is is not reached: the process has died before it. Gives how
    many came."""
    seen = [0]
    rows, publish = stock._rows, keeping.publish

    def one(*arguments: Any) -> Any:
        seen[0] += 1
        if seen[0] >= turn:
            raise Crash
        return rows(*arguments)

    stock._rows = one  # type: ignore[method-assign]

    def dead(target: Path, fill: Callable[[Path], None]) -> None:
        if target.parent == stock._directory:
            seen[0] += 1
            if seen[0] >= turn:
                fill(target.with_name(f".{target.name}.draft"))
                raise Crash
        publish(target, fill)

    keeping.publish = dead
    return lambda: seen[0]


@pytest.mark.parametrize("dying", range(3))
def test_a_party_dies_before_any_statement(tmp_path: Path, dying: PartyId, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "publish", keeping.publish)  # put back at the end
    publish, turn, has_ended = keeping.publish, 0, False
    while not has_ended:
        turn += 1
        folder = tmp_path / str(turn)
        folder.mkdir()
        companies = Companies(folder)
        companies.prepare(12)
        _fails_at(companies.stocks[dying], turn)
        try:
            companies.prepare(30)
            companies.draw(5)
            companies.draw(10)
            has_ended = True
        except (Crash, ComityError):
            pass
        keeping.publish = publish
        db = companies.stocks[dying]._db
        if db.in_transaction:
            db.execute("ROLLBACK")  # as SQLite does with what a dead process began
        companies.reopen(dying)
        for me in {0, 1, 2} - {dying}:  # the others live on
            assert not any(row["is_open"] for row in companies.stocks[me]._rows("SELECT is_open FROM lots"))
        for count in (3, 20, 5):
            companies.draw(count)
        companies.prepare(10)
        assert len(companies.draw(10)) == 10
        companies.close()
        shutil.rmtree(folder)
    assert turn > 50


def test_a_backup_that_was_put_back_is_found_out(companies: Companies, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    companies.prepare(30)
    companies.draw(2)
    companies.stocks[1].close()
    shutil.copytree(tmp_path / "birch", tmp_path / "backup")
    companies.stocks[1] = Stock(tmp_path / "birch", companies.limit)
    used = companies.draw(7)
    companies.stocks[1].close()
    shutil.rmtree(tmp_path / "birch")
    shutil.copytree(tmp_path / "backup", tmp_path / "birch")
    companies.stocks[1] = Stock(tmp_path / "birch", companies.limit)
    assert companies.left() == [21, 28, 21]
    assert companies.draw(5) == []
    assert companies.left() == [0] * 3
    assert "older than what acme saw (2 used, and 9), as after a backup was put back" in caplog.text
    assert "birch has its part no more" in caplog.text
    assert companies.prepare(5) == 5
    assert not set(companies.draw(5)) & set(used)


def test_without_its_word_an_older_state_gives_nothing_twice(companies: Companies) -> None:
    """Also where nobody had known that all had taken it: the range begins where the furthest of them is."""
    companies.prepare(30)
    lot = companies.shelf(0).marks()[0].lot
    assert companies.shelf(2).take([Range(lot, 0, 11)]) is not None
    assert companies.draw(5) == of(1, *range(11, 16))


def test_a_lot_that_a_peer_lost_is_destroyed(companies: Companies, tmp_path: Path) -> None:
    companies.prepare(10)
    companies.prepare(30)
    companies.stocks[2]._destroy(companies.shelf(2).marks()[0].lot)
    assert companies.draw(15) == of(2, *range(15))
    assert companies.left() == [5] * 3


@pytest.mark.parametrize("spoil", ["flip", "cut", "remove", "swap", "key"])
def test_a_chunk_that_was_changed_is_not_used(companies: Companies, spoil: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    companies.prepare(30)
    first, second = sorted((tmp_path / "birch" / "stock").glob("*-0*"))[:2]
    raw = bytearray(first.read_bytes())
    if spoil == "flip":
        raw[40] ^= 1
        first.write_bytes(raw)
    elif spoil == "cut":
        first.write_bytes(raw[:5])
    elif spoil == "swap":
        first.write_bytes(second.read_bytes())
    elif spoil == "remove":
        first.unlink()
    else:
        companies.stocks[1].close()
        (tmp_path / "birch" / "stock.key").write_bytes(bytes(32))
        companies.stocks[1] = Stock(tmp_path / "birch", companies.limit)
    assert companies.draw(5) == []
    assert "birch has its part no more" in caplog.text
    assert ("is missing or cannot be read" if spoil == "remove" else "is not what this node wrote") in caplog.text
    assert companies.left() == [0] * 3
    assert companies.prepare(5) == 5


def test_a_stock_whose_key_is_lost_is_destroyed(companies: Companies, tmp_path: Path) -> None:
    companies.prepare(30)
    companies.stocks[1].close()
    (tmp_path / "birch" / "stock.key").unlink()
    companies.stocks[1] = Stock(tmp_path / "birch", companies.limit)
    assert companies.left() == [30, 0, 30]
    assert companies.draw(5) == []


def test_nothing_in_the_files_is_readable(companies: Companies, tmp_path: Path) -> None:
    companies.prepare(30)
    for file in (tmp_path / "acme" / "stock").iterdir():
        assert file.stat().st_mode & 0o077 == 0
        assert np.arange(1001, 1009, dtype="<u8").tobytes() not in file.read_bytes()
    assert "1001" not in repr(companies.stocks[0]) + repr(companies.shelf(0))


# at the same time


def test_sessions_at_once_never_share_an_index(companies: Companies) -> None:
    companies.prepare(400)
    failed: list[BaseException] = []

    def session() -> None:
        try:
            for _ in range(6):
                companies.draw(7)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=session) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed  # `Noted` counts
    by_party = [{key[1:] for key in companies.given if key[0] == me} for me in range(3)]
    assert by_party[0] == by_party[1] == by_party[2]


@pytest.mark.parametrize("first", range(3))
def test_only_one_of_two_that_are_after_the_same_gets_it(companies: Companies, first: PartyId) -> None:
    """A whole session comes between what another has heard and what it writes down, at one party or another."""
    companies.prepare(400)
    between: list[int] = []

    class Late(Noted):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.take = self.late  # type: ignore[method-assign]

        def late(self, ranges: Sequence[Range]) -> list[list[Array]] | None:
            if self._me == first and not between:
                between.extend(companies.draw(7))
            return self._shelf.take(ranges)

    found = simulate(lambda ctx, _: draw(ctx, Late(companies.shelf(ctx.me), ctx.me, companies.given), 7), range(3), triples=None)
    mine = [int(a) for batch in found[0] for a in batch[0]]
    assert len(between) == len(mine) == 7
    assert not set(between) & set(mine)


# peers that lie, and bounds


class Lying:
    """Says other marks than its own."""

    def __init__(self, me: PartyId, inner: Channel, change: Callable[[list[Mark]], list[Mark]]) -> None:
        self._inner, self._change = inner, change
        self.receive = inner.receive

    def send(self, to: PartyId, tag: Tag, payload: Payload) -> None:
        if tag.operation == "stock":
            marks = [Mark._make(x) for x in stocked._MARK.iter_unpack(bytes(payload))]
            payload = b"".join(stocked._MARK.pack(*mark) for mark in self._change(marks))
        self._inner.send(to, tag, payload)


HUGE = (1 << 64) - 1


@pytest.mark.parametrize(
    ("change", "gets"),
    [
        (lambda marks: [mark._replace(next=HUGE) for mark in marks], 0),
        (lambda marks: [mark._replace(confirmed=HUGE) for mark in marks], 0),
        (lambda marks: [mark._replace(end=HUGE) for mark in marks], 8),
        (lambda marks: [mark._replace(end=0) for mark in marks], 0),
        (lambda marks: [Mark(os.urandom(16), 0, 0, HUGE) for _ in marks], 0),
        (lambda marks: [marks[0]] * LOTS, 8),
        (lambda marks: [marks[0]._replace(next=16), *marks[1:]], 8),
    ],
)
def test_a_peer_that_lies_wastes_no_more_than_there_is(companies: Companies, change: Any, gets: int) -> None:
    companies.prepare(40)
    companies.draw(4)

    def wrap(me: PartyId, channel: Channel) -> Channel:
        return Lying(me, channel, change) if me == 2 else channel

    heard: dict[PartyId, int | str] = {}

    def use(ctx: Any, _: Any) -> None:
        try:
            heard[ctx.me] = sum(batch[0].size for batch in draw(ctx, companies.noted(ctx.me), 8))
        except ComityError as error:
            heard[ctx.me] = str(error)

    simulate(use, range(3), triples=None, wrap=wrap, deadline=1)
    # the honest two do the same: they get as much, or the session ends with an error
    assert heard[0] in (gets, 0) or "step" in str(heard[0]) or "ended" in str(heard[0])
    assert heard[0] == heard[1] or isinstance(heard[0], str) or isinstance(heard[1], str)
    for stock in companies.stocks[:2]:
        for row in stock._rows("SELECT next, end FROM lots"):
            assert row["next"] <= row["end"]
    companies.draw(8)  # and again, honestly: `Noted` counts


def test_bounds(companies: Companies, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, LOTS + 3):
        companies.prepare(2 * number)
    assert len(companies.shelf(0).marks()) == LOTS
    shelf = companies.shelf(0)
    with pytest.raises(StockFull, match=f"keeps {LOTS} lots"):
        shelf.begin(b"x" * 16, 1)
    companies.stocks[0]._limit = 100
    with pytest.raises(StockFull, match=r"50,000 more triples take 1 MB on disk, beside 0 MB that are there, and `stock` in its node.toml allows 0 MB"):
        shelf.begin(b"x" * 16, 50_000)
    assert asked("50 triples") == Triples(50)
    assert asked("65 bits") == Bits(2)
    for name in ("", "triples", "0 triples", "-1 triples", "1 matrices", "9999999999 triples", "1e3 triples", "٣ triples", "1  triples"):
        assert asked(name) is None


def test_room_is_promised_while_something_is_made(companies: Companies) -> None:
    companies.stocks[0]._limit = 1000
    companies.shelf(0).begin(b"x" * 16, 30)
    with pytest.raises(StockFull):
        companies.shelf(0).begin(b"y" * 16, 30)
    companies.shelf(0).finish(b"x" * 16)
    companies.shelf(0).begin(b"y" * 16, 30)


def test_what_is_damaged_or_foreign_is_said(companies: Companies, tmp_path: Path) -> None:
    with pytest.raises(StockError, match="in use: this node runs already"):
        Stock(tmp_path / "acme", 1)
    companies.close()
    (tmp_path / "acme" / "stock.key").chmod(0o644)
    with pytest.raises(StockError, match="chmod 600"):
        Stock(tmp_path / "acme", 1)
    (tmp_path / "birch" / "stock.key").write_bytes(b"short")
    (tmp_path / "birch" / "stock.key").chmod(0o600)
    with pytest.raises(StockError, match="no key of a stock"):
        Stock(tmp_path / "birch", 1)
    file = tmp_path / "cedar" / "stock" / "stock.sqlite"
    file.write_bytes(b"no database, but long enough for its header to be looked at" * 20)
    for opening in (lambda: Stock(tmp_path / "cedar", 1), lambda: entries(tmp_path / "cedar")):
        with pytest.raises(StockError, match=r"stop the node and remove .*stock, and `comity prepare`"):
            opening()
    file.unlink()
    sqlite3.connect(file).close()
    with pytest.raises(StockError, match="is no stock of this version"):
        entries(tmp_path / "cedar")


# base transfers


def _keys(companies: Companies, kept: dict[PartyId, dict[PartyId, BaseKeys]]) -> tuple[list[dict[PartyId, BaseKeys]], list[Array], list[int]]:
    sent = [0] * 3

    class Counting:
        def __init__(self, me: PartyId, inner: Channel) -> None:
            self._me, self._inner, self.receive = me, inner, inner.receive

        def send(self, to: PartyId, tag: Tag, payload: Payload) -> None:
            sent[self._me] += tag.operation == "base transfers"
            self._inner.send(to, tag, payload)

    def work(ctx: Any, _: Any) -> tuple[dict[PartyId, BaseKeys], list[Array]]:
        source = ObliviousTriples(kept.get(ctx.me, {}))
        (batch,) = source.made(ctx, Triples(8))
        return source.keys, batch

    found = simulate(work, range(3), ADDITIVE, triples=None, wrap=Counting)
    a, b, c = (sum(x[1][k] for x in found) for k in range(3))
    assert (a * b == c).all()
    return [x[0] for x in found], [x[1][0] for x in found], sent


def test_base_transfers_are_made_once_and_never_give_a_pad_again(companies: Companies) -> None:
    keys, first, sent = _keys(companies, {})
    assert sent == [4] * 3
    assert keys[0][1].id == keys[1][0].id != keys[0][2].id
    for peer, mine in keys[0].items():
        certificate = NAMES[peer].encode()
        companies.stocks[0].keep_base_keys(certificate, mine)
        back = companies.stocks[0].base_keys(certificate)
        assert back is not None
        assert back.id == mine.id
        for name in ("sent", "choices", "chosen"):
            assert (getattr(back, name) == getattr(mine, name)).all()
    assert companies.stocks[0].base_keys(b"nobody") is None
    again, second, sent = _keys(companies, dict(enumerate(keys)))
    assert sent == [0] * 3
    assert again[0][1].id == keys[0][1].id
    # acme comes back with an older state: its keys are others than those of its peers, or are the same in a new epoch
    older, third, sent = _keys(companies, {1: again[1], 2: again[2]})
    assert sent == [4, 2, 2]
    assert older[1][2].id == keys[1][2].id != older[0][1].id
    for other in (second, third):
        assert all((x != y).any() for x, y in zip(first, other, strict=True))


def test_the_same_keys_in_two_sessions_send_other_bytes_for_the_same_secrets(companies: Companies, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state from a backup: the same base keys, the same choices, the same a and b. What travels has nothing in common."""
    keys, _, _ = _keys(companies, {})
    sent: list[list[bytes]] = []

    class Hearing:
        def __init__(self, me: PartyId, inner: Channel) -> None:
            self._me, self._inner, self.receive = me, inner, inner.receive

        def send(self, to: PartyId, tag: Tag, payload: Payload) -> None:
            if (self._me, to) == (0, 1) and tag.operation in ("trees", "triples"):
                sent[-1].append(bytes(payload))
            self._inner.send(to, tag, payload)

    def work(ctx: Any, _: Any) -> None:
        source = ObliviousTriples(keys[ctx.me])
        source._stream = ot.Stream(bytes([ctx.me]) * 32)
        list(source.made(ctx, Triples(8)))

    for _ in range(2):
        sent.append([])
        simulate(work, range(3), ADDITIVE, triples=None, wrap=Hearing)
    assert len(sent[0]) == len(sent[1]) == 3
    for one, other in zip(*sent, strict=True):
        equal = np.frombuffer(one, np.uint8) == np.frombuffer(other, np.uint8)
        assert equal.mean() < 0.05


def test_spoilt_base_keys_are_made_anew(companies: Companies) -> None:
    keys, _, _ = _keys(companies, {})
    stock = companies.stocks[0]
    stock.keep_base_keys(b"birch", keys[0][1])
    stock._rows("UPDATE base_keys SET sealed = substr(sealed, 1, 100)")
    assert stock.base_keys(b"birch") is None
    assert stock._rows("SELECT * FROM base_keys") == []
    # nor are those of one peer another's
    stock.keep_base_keys(b"birch", keys[0][1])
    stock._rows("UPDATE base_keys SET peer = ?", keeping.hashlib.sha256(b"cedar").digest())
    assert stock.base_keys(b"cedar") is None
