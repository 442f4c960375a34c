"""Whatever a pinned peer sends, and whatever stands in a file that others wrote: no crash, no hang, no growth of memory,
no answer.

Each test states how many inputs it takes in `make test` (20,700 in all) and in `make test-slow` (1,017,000). Hypothesis
takes longer to make an example than most of these take to be tried, so an example is a seed, from which `BATCH` inputs
come; the one that fails is shown whole.
"""

import base64
import random
import threading
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from cluster import ONE_TABLE, Cluster
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from test_hostile import eventually
from test_spec import QUERIES, TABLES
from test_sql import broken_queries, is_refused_or_read
from test_wire import same

from mpc.algebra.field import FIELD
from mpc.algebra.ring import RING
from mpc.algebra.wide import FIELD127, RING128
from mpc.channel import SessionEnded, Tag
from mpc.errors import ComityError, PeerError
from parties.governance.approval import Approval
from parties.node import agreement, serve
from parties.node.agreement import Terms
from parties.node.config import FILE, read_config, starting_config
from parties.node.serve import ServingNode
from parties.spec.load import SpecError, loads
from parties.wire import endpoint, identity, stream
from parties.wire.endpoint import Node, dial
from parties.wire.frames import Data, Frame, decode, encode
from parties.wire.stream import FRAME_OVERHEAD, PeerStream, Session, SessionFailed, as_failure, told
from parties.wire.v1 import party_pb2 as pb

BATCH = 50
QUICK: list[int] = []
SLOW: list[int] = []


def inputs(quick: int, slow: int) -> pytest.MarkDecorator:
    """How many inputs the test takes in `make test`, and how many in `make test-slow`."""
    QUICK.append(quick)
    SLOW.append(slow)
    return pytest.mark.parametrize("count", [quick, pytest.param(slow, marks=pytest.mark.slow)])


def try_all(count: int, strategy: st.SearchStrategy, check: Callable[..., object], **more: Any) -> None:
    """`check` on `count` examples of `strategy`."""
    settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck), **more)(given(strategy)(check))()


def try_batches(count: int, make: Callable[[random.Random], object], check: Callable[..., object]) -> None:
    """`check` on `count` inputs that `make` makes, `BATCH` from each seed."""

    def batch(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(BATCH):
            made = make(rng)
            try:
                check(made)
            except BaseException as error:
                error.add_note(f"the input was {made!r}")
                raise

    phases = (Phase.reuse, Phase.generate)  # a smaller seed makes no smaller input
    try_all(count // BATCH, st.integers(0, 2**64 - 1), batch, phases=phases)


def outcome(kind: type[Exception], action: Callable[[], Any]) -> Any:
    """What `action` gives, or the error of this kind, and of no other, that it raises."""
    try:
        return action()
    except kind as error:
        return error


# ---- bytes


VARINTS = [
    b"\0", b"\x01", b"\x7f", b"\x80\x01", b"\x80\0", b"\x81\x80\x80\x80\0", b"\xff\xff\xff\xff\x07", b"\xff\xff\xff\xff\x0f",
    b"\x80" * 9 + b"\x01", b"\xff" * 9 + b"\x01", b"\x80" * 9 + b"\x02", b"\xff" * 10, b"\x80" * 12 + b"\0", b"\x83" + b"\x80" * 8 + b"\0",
]  # fmt: skip
"""Small ones, ones that are longer than need be, the largest, and ones that are none."""

DATA, PAYLOAD = pb.Frame.DATA_FIELD_NUMBER << 3 | 2, pb.Data.PAYLOAD_FIELD_NUMBER << 3 | 2
"""How a frame of data, and the payload in it, begin."""


def varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def altered(rng: random.Random, raw: bytes) -> bytes:
    """With one to four changes: bits, bytes and varints in and out, parts doubled, moved and cut off."""
    out = bytearray(raw)
    for _ in range(rng.randint(1, 4)):
        place, length = rng.randrange(len(out) + 1), rng.choice((0, 1, 1, 2, 4, 16))
        what = rng.randrange(6)
        if what == 0 and place < len(out):
            out[place] ^= 1 << rng.randrange(8)
        elif what == 1:
            out[place : place + length] = rng.randbytes(rng.randrange(4))
        elif what == 2:
            out[place : place + length] = rng.choice(VARINTS)
        elif what == 3:
            start = rng.randrange(len(out) + 1)
            out[place:place] = out[start : start + rng.randrange(40)]
        elif what == 4:
            del out[place : place + rng.randrange(8)]
        elif rng.randrange(4) == 0:
            del out[place:]
    return bytes(out)


def some_field(rng: random.Random, depth: int = 0) -> bytes:
    """A field as protobuf writes it: known and unknown numbers, right and wrong types, nested, with lengths that lie."""
    number = rng.choice((1, 2, 3, 4, 5, 6, 6, 7, 15, 16, 0, 2**29 - 1))
    kind = rng.choice((0, 2, 2, 2, 2, 1, 5, 3, 4, 7))
    key = varint(number << 3 | kind)
    if kind == 0:
        return key + rng.choice(VARINTS)
    if kind != 2:
        return key + bytes(rng.choices([*range(7), PAYLOAD, PAYLOAD, PAYLOAD], k={1: 8, 5: 4}.get(kind, 0)))  # like a payload
    if depth < 3 and rng.randrange(2):
        body = b"".join(some_field(rng, depth + 1) for _ in range(rng.randrange(5)))
    else:
        body = rng.choice((b"", b"x", b"reveal", bytes(32), b"\xff\xfe", "\u202e\U0001f600".encode(), rng.randbytes(40)))
    length = varint(len(body)) if rng.randrange(12) else rng.choice(VARINTS)
    return key + length + body


def some_frame(rng: random.Random) -> bytes:
    what = rng.randrange(4)
    if what == 0:
        return rng.randbytes(rng.randrange(60))
    if what == 1:
        return b"".join(some_field(rng) for _ in range(rng.randrange(1, 4)))
    if what == 2:  # one data message, in another order, twice over, or with more in it than the contract knows
        body = b"".join(some_field(rng, 2) for _ in range(rng.randrange(6)))
        return bytes([DATA]) + varint(len(body)) + body
    return altered(rng, rng.choice(SOUND))


HELLO = pb.Hello(
    proposal=bytes(16), purpose="query", name="total", initiator="beta", algebra="Z_2^64", spec_digest=bytes(32),
    plan_digest=bytes(32), nonce=bytes(32), seed=bytes(32),
)  # fmt: skip
ABORT = pb.Abort(reason=pb.Abort.SPEC_DIFFERS, culprit="beta", where="step 1", digests={"beta": "00", "gamma": "01"})
SOUND = [
    encode(Data(bytes(32), 3, "reveal", b"12345678")),
    encode(Data(bytes(32), 2**32 - 1, "", b"", last=False)),
    *(pb.Frame(**{kind: value}).SerializeToString() for kind, value in (
        ("hello", HELLO), ("abort", ABORT), ("beat", pb.Beat(waiting_for="alpha")), ("end", pb.End())
    )),
]  # fmt: skip


@inputs(11_000, 600_000)
def test_a_frame_is_read_as_protobuf_reads_it_or_is_none(count: int) -> None:
    def check(raw: bytes) -> None:
        try:
            expected = pb.Frame.FromString(raw)
        except DecodeError:
            expected = pb.Frame()
        assert same(decode(raw), expected)

    try_batches(count, some_frame, check)


@inputs(2_000, 100_000)
@pytest.mark.parametrize("algebra", [RING, FIELD, RING128, FIELD127], ids=lambda algebra: algebra.name)
def test_a_payload_is_that_many_residues_or_is_refused(algebra, count: int) -> None:
    width = algebra.element_bytes
    edges = [0, 1, algebra.modulus - 1, min(algebra.modulus, 256**width - 1), 256**width - 1, 256**width // 2]

    def make(rng: random.Random) -> tuple[bytes, int]:
        size = rng.randrange(4)
        raw = b"".join(rng.choice((rng.choice(edges).to_bytes(width, "little"), rng.randbytes(width))) for _ in range(size))
        return (raw if rng.randrange(3) else altered(rng, raw)), size

    def check(made: tuple[bytes, int]) -> None:
        raw, size = made
        elements = [int.from_bytes(raw[i : i + width], "little") for i in range(0, len(raw), width)]
        sound = len(raw) == size * width and all(element < algebra.modulus for element in elements)
        try:
            read = algebra.from_bytes(raw, (size,))
        except ValueError:
            assert not sound
        else:
            assert sound
            assert [int(element) for element in read] == elements

    try_batches(count // 4, make, check)


# ---- what a peer says of itself and of others


TEXTS = ["", "alpha", "beta", "gamma", "total", "query", "protocol", "Z_2^64", "\x1b[2J\n", "\u202e", "x" * 5_000]


def some_greeting(rng: random.Random) -> pb.Hello:
    """The sound one, but for a few of its fields."""
    hello = pb.Hello()
    hello.CopyFrom(HELLO)
    for field in rng.sample(list(pb.Hello.DESCRIPTOR.fields), rng.choice((0, 1, 1, 2, 5))):
        of_type: dict[type, list] = {
            str: TEXTS, bytes: [b"", bytes(16), bytes(31), bytes(32), bytes(5_000)], int: [0, 1, 2**63 - 1, 2**63, 2**64 - 1]
        }  # fmt: skip
        setattr(hello, field.name, rng.choice(of_type[type(getattr(hello, field.name))]))
    return hello


def some_reason(rng: random.Random) -> pb.Abort:
    digests = {rng.choice(TEXTS): rng.choice(TEXTS) for _ in range(rng.randrange(4))}
    if rng.randrange(10) == 0:
        digests |= {str(number): "x" * 500 for number in range(200)}
    reason = rng.choice((*range(7), -1, 2**31 - 1, -(2**31)))
    return pb.Abort(reason=reason, culprit=rng.choice(TEXTS), where=rng.choice(TEXTS), digests=digests)


@inputs(500, 20_000)
def test_a_reason_that_a_peer_gives_is_short_and_plain_and_can_be_passed_on(count: int) -> None:
    def check(abort: pb.Abort) -> None:
        failure = told("beta", abort)
        assert all(c.isprintable() and c.isascii() for c in str(failure))
        assert len(str(failure)) < 64 * 2 * 300 + 1_000
        session = Session("alpha", 1.0)
        other = session.streams["gamma"] = PeerStream("gamma", session, pb.Hello())
        session.fail(failure)
        (passed_on,) = other.frames()
        assert passed_on.abort.reason == abort.reason
        assert len(encode(passed_on)) < 32_000

    try_batches(count, some_reason, check)


@inputs(500, 20_000)
def test_a_greeting_is_agreed_to_only_where_all_of_its_terms_are_the_same(count: int) -> None:
    terms = Terms("query", "total", "beta", "Z_2^64", bytes(32).hex(), bytes(32).hex())

    def check(hello: pb.Hello) -> None:
        session = Session("alpha", 1.0)
        session.streams["gamma"] = PeerStream("gamma", session, hello)
        changed = pb.Hello()
        changed.CopyFrom(hello)
        changed.proposal = HELLO.proposal  # by which it was found
        changed.ledger_length, changed.ledger_head = 0, b""  # what it says of its ledger is no term
        changed.release = b"" if len(hello.release) in (0, 16) else hello.release
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(session, "wait", lambda what, timeout: what())
            try:
                agreement._hear(session, session.streams, "alpha", terms, 0)
                agreement._checked("gamma", hello, terms)
            except SessionFailed:
                assert changed != HELLO
            else:
                assert changed == HELLO

    try_batches(count, some_greeting, check)


# ---- one session, and whatever comes in it


ID, TAG = bytes(32), Tag(3, "reveal")
RAW = [
    encode(Data(ID, 3, "reveal", b"abcd")),
    encode(Data(ID, 3, "reveal", b"ab", last=False)),
    encode(Data(ID, 3, "reveal", b"cd")),
    encode(Data(ID, 3, "reveal", b"", last=False)),
    encode(Data(ID, 3, "reveal", b"")),
    encode(Data(ID, 3, "reveal", b"abcde")),  # oversized
    encode(Data(ID, 3, "reveal", bytes(3_000), last=False)),
    encode(Data(ID, 2, "reveal", b"abcd")),  # another step, another operation, another session
    encode(Data(ID, 3, "multiply", b"abcd")),
    encode(Data(ID, 3, "reveal", b"abcd", block=1)),
    encode(Data(ID, 3, "rev\u0435al", b"abcd")),
    encode(Data(bytes(31) + b"\1", 3, "reveal", b"abcd")),
    encode(Data(b"", 3, "o" * 2_000, b"abcd")),
    encode(Data(bytes(2_000), 3, "reveal", b"abcd")),
    pb.Frame(hello=HELLO).SerializeToString(),
    pb.Frame(hello=pb.Hello()).SerializeToString(),
    pb.Frame(beat=pb.Beat()).SerializeToString(),
    pb.Frame(beat=pb.Beat(waiting_for="alpha")).SerializeToString(),
    pb.Frame(beat=pb.Beat(waiting_for="x" * 3_000)).SerializeToString(),
    pb.Frame(end=pb.End()).SerializeToString(),
    pb.Frame(abort=ABORT).SerializeToString(),
    pb.Frame(abort=pb.Abort(reason=77)).SerializeToString(),
    b"",
    b"\xff\xff",
]
WHOLE, FIRST, SECOND = RAW[:3]
HI, BEATING, END = (encode(pb.Frame(**{kind: value})) for kind, value in (("hello", HELLO), ("beat", pb.Beat()), ("end", pb.End())))


def some_sequence(rng: random.Random) -> tuple[bool, list[bytes]]:
    """Whether the peer's greeting has come already (it dialled), and the frames that it sends: sense with nonsense in it."""
    greeted = rng.randrange(2) == 0
    sense = [] if greeted else [HI]
    for _ in range(rng.randrange(5)):
        sense += rng.choice(([WHOLE], [FIRST, SECOND], [BEATING]))
    if rng.randrange(4):
        sense.append(END)
    for _ in range(rng.choice((0, 0, 1, 1, 2, 5))):
        place = rng.randrange(len(sense) + 1)
        what = rng.randrange(4)
        if what == 0:
            sense[place : place + 1] = []
        elif what == 1:
            sense[place:place] = sense[place : place + 2]
        else:
            frame = rng.choice(RAW)
            sense[place:place] = [altered(rng, frame) if rng.randrange(5) == 0 else frame] * rng.choice((1, 1, 1, 30))
    return greeted, sense


def expected(greeted: bool, frames: list[bytes]) -> tuple[type[ComityError], list[bytes]]:
    """Straight from the contract: the messages of this step, four bytes each, that come before anything else, and what
    comes then: a failure of the whole session, which gives none of them, a wrong message, or the end."""
    survives, data = _heard(greeted, frames)
    last: type[ComityError] = SessionEnded if survives else SessionFailed
    messages, part = [], b""
    for one in data:
        part += one.payload
        fits = len(part) == 4 if one.last else one.payload and len(part) <= 4
        if (one.session, one.step, one.operation, one.block) != (ID, *TAG) or not fits:
            last = PeerError if survives else last
            break
        if one.last:
            messages.append(part)
            part = b""
    return last, messages


def _heard(greeted: bool, frames: list[bytes]) -> tuple[bool, list[pb.Data]]:
    """Whether the session survives what is read, and what comes in it before it does not."""
    ended, data = False, []
    for raw in frames:
        try:
            frame = pb.Frame.FromString(raw)
        except DecodeError:
            frame = pb.Frame()
        kind = frame.WhichOneof("kind")
        if ended or kind in (None, "abort") or ((kind == "hello") == greeted and kind in ("hello", "data")):
            return False, data
        greeted, ended = greeted or kind == "hello", kind == "end"
        if kind == "data":
            data.append(frame.data)
    return ended, data


class Watched(Iterator[Frame]):
    """The frames, as gRPC gives them; looks into the mailbox each time one is asked for."""

    def __init__(self, frames: list[bytes], peer: PeerStream, limit: int) -> None:
        self._frames, self._peer, self._limit = iter(frames), peer, limit

    def __next__(self) -> Frame:
        peer = self._peer
        with peer.session.changed:
            assert peer._held == sum(frame.size + FRAME_OVERHEAD for frame in peer._mailbox)
            assert peer._held <= self._limit
        return decode(next(self._frames))


def take_all(peer: PeerStream) -> tuple[list[bytes], ComityError]:
    """What a worker gets of a peer that is to send `abcd` over and over, and what ends it."""
    taken: list[bytes] = []
    while True:
        try:
            taken.append(bytes(peer.receive(ID, 1, TAG, 4)))
        except (PeerError, SessionFailed, SessionEnded) as error:
            return taken, error


@inputs(4_000, 200_000)
def test_a_session_takes_what_the_contract_allows_and_nothing_else(count: int) -> None:
    def check(made: tuple[bool, list[bytes]]) -> None:
        greeted, frames = made
        session = Session("alpha", 0.001)
        peer = session.streams["gamma"] = PeerStream("gamma", session, HELLO if greeted else None)
        peer.read(Watched(frames, peer, stream.MAILBOX))
        assert peer.is_closed
        last, messages = expected(greeted, frames)
        assert (session.failure is not None) == (last is SessionFailed)
        taken, error = take_all(peer)
        assert taken == (messages if last is not SessionFailed else [])
        assert isinstance(error, last)
        before = session.failure or as_failure(error, session, {1: "gamma"})
        session.fail(before)
        assert session.failure is before
        session.finish()
        session.part()
        assert [frame.WhichOneof("kind") for frame in peer.frames()] == ["abort"]
        assert take_all(peer) == ([], before)

    try_batches(count, some_sequence, check)


@inputs(1_000, 30_000)
def test_a_session_in_its_threads_ends_whatever_comes_and_holds_no_more_than_its_mailbox(count: int) -> None:
    def check(made: tuple[bool, list[bytes]]) -> None:
        greeted, frames = made
        session = Session("alpha", 20)
        peer = session.streams["gamma"] = PeerStream("gamma", session, HELLO if greeted else None)
        limit = stream.MAILBOX + FRAME_OVERHEAD + 2 * max(map(len, frames), default=0)
        broken: list[BaseException] = []

        def read() -> None:
            try:
                peer.read(Watched(frames, peer, limit))
            except BaseException as error:
                broken.append(error)

        reading = threading.Thread(target=read, daemon=True)
        reading.start()
        taken, error = take_all(peer)
        session.fail(as_failure(error, session, {1: "gamma"}))
        reading.join(20)
        assert not reading.is_alive()
        assert not broken
        _, messages = expected(greeted, frames)
        assert taken == messages[: len(taken)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "MAILBOX", 4_000)
        try_batches(count, some_sequence, check)


@pytest.mark.parametrize(
    "flood",
    [
        Data(ID, 3, "reveal", b"x"),
        Data(ID, 3, "reveal", bytes(100_000), last=False),
        Data(ID, 3, "x" * 10_000 + "\U0001f600", b"x"),  # Python keeps four bytes for each of its characters
        Data(bytes(10_000), 3, "reveal", b"x"),
        pb.Frame(beat=pb.Beat(waiting_for="x" * 100_000 + "\U0001f600")),
    ],
    ids=["small", "large", "operation", "session", "beats"],
)
@pytest.mark.parametrize("over", [False, True], ids=["goes on", "is over"])
def test_a_flood_takes_no_more_memory_than_a_mailbox(monkeypatch: pytest.MonkeyPatch, flood: Frame, over: bool) -> None:
    monkeypatch.setattr(stream, "MAILBOX", 1 << 20)
    session = Session("alpha", 20)
    peer = session.streams["gamma"] = PeerStream("gamma", session, pb.Hello())
    raw = encode(flood)
    if over:
        session.fail(SessionFailed("over", pb.Abort.FAILED, "alpha"))
    floods = range(3_000 if len(raw) < 1_000 else 500)  # several mailboxes' worth

    def frames() -> Iterator[Frame]:
        for _ in floods:
            if peer._held >= stream.MAILBOX:  # here it would wait
                return
            yield decode(bytes(bytearray(raw)))

    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        peer.read(frames())
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < (64 << 10 if over or isinstance(flood, pb.Frame) else stream.MAILBOX + 2 * len(raw) + (64 << 10))
    assert peak - before < stream.MAILBOX + 8 * len(raw) + (64 << 10)


# ---- files that others wrote


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    folder = tmp_path_factory.mktemp("study")
    cluster = Cluster(folder, ["agency", "corner", "market"], triples="dealer", tables=TABLES, queries=QUERIES)
    cluster.approve()
    return cluster


@inputs(200, 6_000)
def test_an_altered_spec_is_refused_or_read(study: Cluster, count: int) -> None:
    sound = study.spec.read_bytes()

    def check(raw: bytes) -> None:
        read = outcome(SpecError, lambda: loads(raw))
        if isinstance(read, SpecError):
            assert raw != sound
            assert read.problems
            assert all(line.isprintable() for line in str(read).split("\n"))

    try_batches(count, lambda rng: altered(rng, sound), check)


@inputs(100, 8_000)
def test_an_altered_query_is_refused_or_read(count: int) -> None:
    try_all(count, broken_queries(), is_refused_or_read)


@inputs(300, 10_000)
def test_a_certificate_that_says_anything_is_refused_or_read(study: Cluster, count: int) -> None:
    """What it says is altered and then signed, so that it is looked at as a sound one is."""
    sound = study.spec.read_text()
    own = identity.load(study["corner"])
    key = serialization.load_pem_private_key(own.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    says = x509.load_der_x509_certificate(own.der).tbs_certificate_bytes
    doubled = says.replace(bytes.fromhex("551d13"), bytes.fromhex("551d11"))  # an extension that is there already
    sha256 = bytes.fromhex("300a06082a8648ce3d040302")

    def der(tag: int, body: bytes) -> bytes:
        size = len(body).to_bytes(2, "big").lstrip(b"\0")
        return bytes([tag]) + (size if size[0] < 0x80 and len(size) == 1 else bytes([0x80 | len(size)]) + size) + body

    def signed(body: bytes) -> bytes:
        return der(0x30, body + sha256 + der(3, b"\0" + key.sign(body, ec.ECDSA(hashes.SHA256()))))

    def make(rng: random.Random) -> bytes:
        if rng.randrange(20) == 0:
            return rng.choice((says, doubled))
        out = bytearray(says)
        for _ in range(rng.randint(1, 2)):
            place, start, length = rng.randrange(len(out)), rng.randrange(len(out)), rng.randint(1, 12)
            if rng.randrange(3):
                out[place] = rng.choice((out[place] ^ 1 << rng.randrange(8), rng.randrange(256)))
            else:
                part = out[start : start + length]
                out[place : place + len(part)] = part
        return bytes(out[: len(says)])

    head = sound[: sound.index("[tables")]
    line = identity.one_line(own.der)

    def check(body: bytes) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read = outcome(SpecError, lambda: loads(head.replace(line, base64.b64encode(signed(body)).decode()).encode()))
        if isinstance(read, SpecError):
            assert body != says
            assert {problem.place for problem in read.problems} == {"parties.corner.certificate"}

    try_batches(count, make, check)


@inputs(200, 10_000)
def test_altered_files_of_a_node_are_refused_or_read(study: Cluster, tmp_path: Path, count: int) -> None:
    """node.toml and the identity."""
    own = identity.load(study["corner"])
    config = (starting_config("corner", "127.0.0.1:7000") + 'deadline = 5\n[tables.t]\nsource = "a.csv"\n').encode()
    deep = [b"x = " + b"1" * 5_000, b"x = " + b"[" * 5_000, b"deadline = nan", b"\xff"]
    files = {FILE: config, "key.pem": own.key, "certificate.pem": own.certificate}

    def make(rng: random.Random) -> tuple[str, bytes]:
        file = rng.choice(list(files))
        return file, altered(rng, files[file])

    def check(made: tuple[str, bytes]) -> None:
        for file, content in (files | dict([made])).items():
            (tmp_path / file).write_bytes(content)
            (tmp_path / file).chmod(0o600)
        outcome(ComityError, lambda: read_config(tmp_path))
        loaded = outcome(ComityError, lambda: identity.load(tmp_path))
        if isinstance(loaded, ComityError):
            assert made[0] != FILE
            assert "PRIVATE" not in str(loaded)
        else:
            assert loaded.der == own.der or made[0] == "certificate.pem"

    for line in deep:
        check((FILE, config + line))
    try_batches(count, make, check)


@inputs(100, 5_000)
def test_an_approval_counts_for_the_very_bytes_alone(
    study: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr("parties.governance.approval.time.sleep", lambda _: None)
    own = identity.load(study["corner"])
    files = {file: (study["corner"] / file).read_bytes() for file in ("approved.toml", "approved.sha256")}

    def make(rng: random.Random) -> tuple[str, bytes]:
        file = rng.choice(list(files))
        return file, altered(rng, files[file])

    def check(made: tuple[str, bytes]) -> None:
        for file, content in (files | dict([made])).items():
            (tmp_path / file).write_bytes(content)
        file, content = made
        same_bytes = content == files[file] if file == "approved.toml" else content.strip() == files[file].strip()
        approval = Approval(tmp_path, "corner", own)
        assert isinstance(outcome(ComityError, approval.current), ComityError) == (not same_bytes)

    try_batches(count, make, check)


# ---- a node, and whatever a peer does to it


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[dict[str, ServingNode]]:
    """Alpha, beta and gamma serve; gamma's certificate is the hostile peer's, and `total` is not for gamma."""
    cluster = Cluster(tmp_path, ["alpha", "beta", "gamma"], tables=ONE_TABLE)
    for name in cluster.parties:
        cluster.hold(name, "t", "SELECT 7 AS n")
    cluster.approve()
    serving = {name: ServingNode(cluster[name]) for name in cluster.parties}
    yield serving
    for node in serving.values():
        node.close()


@contextmanager
def impatient() -> Iterator[None]:
    """Beta, which gamma did not ask, is not waited for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serve, "agree", lambda *given, **more: agreement.agree(*given[:6], 0.2, **more))
        yield


def answers(node: ServingNode) -> bool:
    *_, last = node.run(pb.RunRequest(query="total"), threading.Event())
    assert '"rows": [[21]]' in last.result, last
    return True


def some_session(node: ServingNode, rng: random.Random) -> tuple[pb.Hello, list[bytes]]:
    """How gamma greets alpha, and what it sends after."""
    hello = some_greeting(rng)
    hello.proposal = rng.choice((hello.proposal, bytes([rng.randrange(3)]) * 16))
    if rng.randrange(4):
        hello.spec_digest = bytes.fromhex(node.approval.current().spec.digest)
    if rng.randrange(4) == 0:
        hello.plan_digest = bytes.fromhex(node.approval.current().spec.plans["total"].digest)
    return hello, some_sequence(rng)[1]


@inputs(500, 5_000)
def test_no_session_of_a_peer_makes_a_node_answer_or_fail_inside(
    nodes: dict[str, ServingNode], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """The node's own handlers, without the network between."""
    node, ran = nodes["alpha"], []
    run_query = serve.run_query
    monkeypatch.setattr(serve, "run_query", lambda *given: ran.append(given) or run_query(*given))
    before = threading.active_count()

    def check(made: tuple[pb.Hello, list[bytes]]) -> None:
        hello, frames = made
        peer = node.accept("gamma", hello)
        peer.read(map(decode, frames))
        assert peer.is_closed
        assert len(node._opened_by) <= serve.SESSIONS // 3
        assert "failed inside" not in caplog.text
        caplog.clear()

    with impatient():
        try_batches(count, lambda rng: some_session(node, rng), check)
        assert eventually(lambda: not node._opened_by and not node._attempts)
    assert not ran
    assert eventually(lambda: threading.active_count() <= before + 3)
    assert answers(node)
    assert len(ran) == 3  # the node, beta and gamma
    assert not (node.directory / "results").exists()


ENDS = (
    grpc.StatusCode.OK, grpc.StatusCode.CANCELLED, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNIMPLEMENTED,
)  # fmt: skip
"""How calls may end: not as UNKNOWN or INTERNAL, which stand for an exception in the node."""


@inputs(300, 3_000)
def test_no_bytes_of_a_peer_make_a_node_answer_or_fail_inside(
    nodes: dict[str, ServingNode], caplog: pytest.LogCaptureFixture, count: int
) -> None:
    """Over one connection with a pinned certificate, with bytes that need be no frames, to all methods and none."""
    node = nodes["alpha"]
    channel = dial(nodes["gamma"].identity, Node("alpha", node.endpoint.address, node.identity.der))

    def make(rng: random.Random) -> tuple[str, list[bytes]]:
        hello, frames = some_session(node, rng)
        if rng.randrange(4):
            frames = [pb.Frame(hello=hello).SerializeToString(), *frames]
        if rng.randrange(8) == 0:
            frames.append(bytes(2 << 20))
        return rng.choice(("Session",) * 12 + ("Link", "Run", "Nothing")), [*frames, some_frame(rng)]

    def check(made: tuple[str, list[bytes]]) -> None:
        method, frames = made
        call = channel.stream_stream(f"/{endpoint.SERVICE}/{method}")(iter(frames), timeout=0.1 if method == "Link" else 20)
        heard = outcome(grpc.RpcError, lambda: [decode(raw) for raw in call])
        refused = {"Run": [grpc.StatusCode.UNAUTHENTICATED], "Link": [*ENDS, grpc.StatusCode.INVALID_ARGUMENT]}
        assert call.code() in refused.get(method, ENDS)
        assert isinstance(heard, grpc.RpcError) or not any(isinstance(frame, Data) for frame in heard)
        assert "failed inside" not in caplog.text
        caplog.clear()

    with channel, impatient():
        try_batches(count, make, check)
        assert eventually(lambda: not node._opened_by and node.endpoint._calls["gamma"] <= 1)  # gamma's own node holds a link
    assert answers(node)
    assert not (node.directory / "results").exists()


def test_the_inputs_are_as_many_as_they_are_said_to_be() -> None:
    assert (sum(QUICK), sum(SLOW)) == (20_700, 1_017_000)
