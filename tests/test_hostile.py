"""A pinned company that does not keep to the protocol: it must not make a query run that nobody asked for, keep others
out, use up a node's memory or threads, or write into its log what it likes."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from cluster import ONE_TABLE, Cluster

from parties.node import serve
from parties.node.agreement import Terms, _hear, agree
from parties.node.serve import SESSIONS, ServingNode
from parties.wire import endpoint, identity, stream
from parties.wire.endpoint import Node, dial
from parties.wire.frames import Data, decode, encode
from parties.wire.v1 import party_pb2 as pb
from parties.wire.v1 import party_pb2_grpc as rpc


class Hostile:
    """Gamma's certificate, and what it does with it to alpha, which serves."""

    def __init__(self, cluster: Cluster, node: ServingNode) -> None:
        self.cluster, self.node = cluster, node
        own = identity.load(cluster["gamma"])
        alpha = Node("alpha", node.endpoint.address, node.identity.der)
        self.channel = dial(own, alpha)
        self.digest = bytes.fromhex(node.approval.current().spec.digest)
        self._silent = threading.Event()

    def hello(self, **changes: object) -> pb.Frame:
        fields = {
            "proposal": bytes(16), "purpose": "query", "name": "total", "initiator": "beta", "spec_digest": self.digest,
            "nonce": bytes(32), "seed": bytes(32), **changes,
        }  # fmt: skip
        return pb.Frame(hello=pb.Hello(**fields))

    def session(self, *frames: pb.Frame | Data) -> grpc.Call:
        """A stream that says `frames`, and then nothing more, but does not end."""

        def say() -> Iterator[pb.Frame | Data]:
            yield from frames
            self._silent.wait(60)

        return self.channel.stream_stream(f"/{endpoint.SERVICE}/Session", encode, decode)(say())

    def close(self) -> None:
        self._silent.set()
        self.channel.close()


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[Hostile]:
    cluster = Cluster(tmp_path, ["alpha", "beta", "gamma"], tables=ONE_TABLE, deadline=1)
    cluster.approve()
    node = ServingNode(cluster["alpha"])
    attacker = Hostile(cluster, node)
    yield attacker
    attacker.close()
    node.close()


def eventually(holds: Callable[[], bool], seconds: float = 20) -> bool:
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def answer(call: grpc.Call) -> pb.Abort:
    """The reason that the node gives."""
    for frame in call:
        if isinstance(frame, pb.Frame) and frame.HasField("abort"):
            return frame.abort
    raise AssertionError("the node gave no reason")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"initiator": "alpha"}, "alpha has not proposed this session"),  # in this node's own name
        ({"initiator": "gamma"}, "no receiver"),
        ({"initiator": ""}, "no receiver"),
        ({"name": "nothing"}, "no such query"),
        ({"purpose": "protocol"}, "serves queries alone"),
        ({"proposal": bytes(15)}, "no meaning"),
        ({"proposal": bytes(1000)}, "no meaning"),
    ],
)
def test_what_a_peer_may_not_propose_is_refused_at_once(hostile: Hostile, changes, why) -> None:
    abort = answer(hostile.session(hostile.hello(**changes)))
    assert (abort.reason, abort.culprit) == (pb.Abort.REFUSED, "alpha")
    assert why in abort.where
    assert not hostile.node._opened_by


def test_a_peer_opens_no_more_than_its_share_of_sessions(hostile: Hostile) -> None:
    share = SESSIONS // 3
    calls = [hostile.session(hostile.hello(proposal=i.to_bytes(16, "big"))) for i in range(share)]
    assert eventually(lambda: len(hostile.node._opened_by) == share)
    assert "that gamma opened are in progress" in answer(hostile.session(hostile.hello(proposal=b"x" * 16))).where
    # the node's own company finds a place
    replies = hostile.node.run(pb.RunRequest(query="nothing"), threading.Event())
    assert "no query 'nothing'" in next(replies).error
    for call in calls:
        call.cancel()
    assert eventually(lambda: not hostile.node._opened_by)


def test_one_proposal_again_and_again_counts_each_time(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    held = threading.Event()
    monkeypatch.setattr(serve, "agree", lambda *_, **__: held.wait(30))  # what it began goes on although it is over

    def slowly(*arguments: Any) -> stream.PeerStream:  # each greeting arrives while the one before is taken in
        time.sleep(0.02)
        return stream.PeerStream(*arguments)

    monkeypatch.setattr(serve, "PeerStream", slowly)
    calls = [hostile.session(hostile.hello()) for _ in range(SESSIONS // 3)]
    assert eventually(lambda: len(hostile.node._opened_by) == SESSIONS // 3)
    assert len(calls) > len(hostile.node._attempts) == 1
    assert "in progress" in answer(hostile.session(hostile.hello())).where
    held.set()


def test_a_peer_that_only_beats_does_not_hold_the_agreement() -> None:
    session = stream.Session("gamma", 0.2)
    peer = session.streams["alpha"] = stream.PeerStream("alpha", session)

    def beat() -> Iterator[pb.Frame]:
        while not session.over:
            time.sleep(0.01)
            yield pb.Frame(beat=pb.Beat())

    threading.Thread(target=peer.read, args=(beat(),), daemon=True).start()
    terms = Terms("query", "total", "alpha", "", "00", "00")
    with pytest.raises(stream.SessionFailed, match="alpha did not say what it agrees to") as raised:
        _hear(session, session.streams, "gamma", terms, 0.2)
    session.fail(raised.value)


def test_a_stream_that_never_ends_holds_no_thread(hostile: Hostile) -> None:
    def reading() -> int:
        return sum(thread.name == "read gamma" for thread in threading.enumerate())

    calls = [hostile.session(hostile.hello(proposal=i.to_bytes(16, "big"))) for i in range(10)]
    assert eventually(lambda: reading() == 10)
    for attempt in list(hostile.node._opened_by):
        attempt.session.fail(stream.SessionFailed("over", pb.Abort.FAILED, "alpha"))
    assert eventually(lambda: reading() == 0 and not hostile.node._opened_by)
    del calls  # until now they were held open


def test_a_greeting_that_is_replayed_meets_fresh_randomness(tmp_path: Path) -> None:
    """The session's id hashes the dealer's nonce as well, and a pair's key its seed: it never serves an id twice."""
    cluster = Cluster(tmp_path, ["alpha", "gamma"], triples="dealer", tables=ONE_TABLE.replace("beta", "gamma"), deadline=1)
    cluster.approve()
    node = ServingNode(cluster["dealer"])
    attacker = Hostile(cluster, node)
    try:
        greetings = []
        for _ in range(3):
            call = attacker.session(attacker.hello(purpose="protocol", name="lesson", initiator=""))
            greetings.append(next(frame.hello for frame in call if isinstance(frame, pb.Frame) and frame.HasField("hello")))
        assert len({bytes(greeting.proposal) for greeting in greetings}) == 1
        assert len({bytes(greeting.nonce) for greeting in greetings}) == 3
        assert len({bytes(greeting.seed) for greeting in greetings}) == 3
        assert {len(greeting.nonce) for greeting in greetings} == {len(greeting.seed) for greeting in greetings} == {32}
    finally:
        attacker.close()
        node.close()


def test_a_caller_that_says_nothing_is_hung_up_on(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "PATIENCE", 0.2)
    with pytest.raises(grpc.RpcError) as raised:
        list(hostile.session())
    assert raised.value.code() == grpc.StatusCode.CANCELLED
    assert eventually(lambda: not hostile.node.endpoint._calls["gamma"])


@pytest.fixture
def short_handshakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that starts now waits a second for a handshake, not ten."""
    name = "grpc.server_handshake_timeout_ms"
    assert dict(endpoint._SERVER)[name] == 10_000
    monkeypatch.setattr(endpoint, "_SERVER", [*((n, v) for n, v in endpoint._SERVER if n != name), (name, 1_000)])


def test_connections_that_never_finish_their_handshake_are_closed_and_keep_nobody_out(
    short_handshakes: None, hostile: Hostile
) -> None:
    host, _, port = hostile.node.endpoint.address.rpartition(":")
    greeting = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"  # how TLS begins
    slow = [socket.create_connection((host, int(port)), timeout=20) for _ in range(100)]
    try:
        for number, connection in enumerate(slow):
            connection.send(greeting[: number % (len(greeting) + 1)])
        assert "no receiver" in answer(hostile.session(hostile.hello(initiator="gamma"))).where
        assert all(hung_up(connection) for connection in slow)
    finally:
        for connection in slow:
            connection.close()


def hung_up(connection: socket.socket) -> bool:
    """Whether the other end closes it before the time-out; it may say something before."""
    try:
        while connection.recv(1_000):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


@pytest.fixture
def few_calls(monkeypatch: pytest.MonkeyPatch) -> int:
    """A node that starts now has these places, a quarter of them for each of two peers."""
    monkeypatch.setattr(endpoint, "CALLS", 2 * endpoint.OWN_CALLS)
    return endpoint.CALLS


@pytest.mark.parametrize("method", ["Link", "Run"])
def test_a_call_without_its_request_holds_no_place_of_others(few_calls: int, hostile: Hostile, method: str) -> None:
    silent = hostile.channel.stream_stream(f"/{endpoint.SERVICE}/{method}", encode, decode)
    calls = [silent(iter(hostile._silent.wait, True)) for _ in range(few_calls + 8)]
    assert eventually(lambda: sum(call.done() for call in calls) >= len(calls) - few_calls // 4)
    own = Node("alpha", hostile.node.endpoint.address, hostile.node.identity.der)
    with dial(hostile.node.identity, own) as channel:
        (reply,) = rpc.PartyStub(channel).Run(pb.RunRequest(query="nothing"), timeout=20, wait_for_ready=True)
    assert "no query 'nothing'" in reply.error
    for call in calls:
        call.cancel()
    assert eventually(lambda: not hostile.node.endpoint._calls["gamma"])


def test_a_call_that_is_cancelled_at_once_leaves_no_thread_behind(hostile: Hostile) -> None:
    for _ in range(50):
        call = hostile.session()
        assert eventually(lambda: hostile.node.endpoint._calls["gamma"] > 0)
        call.cancel()
        assert eventually(lambda: not hostile.node.endpoint._calls["gamma"])
    assert eventually(lambda: not any(isinstance(thread, threading.Timer) for thread in threading.enumerate()), 5)


def test_a_caller_has_no_more_than_its_share_of_calls(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "CALLS", endpoint.OWN_CALLS + 8)  # four for each of two peers
    calls = [hostile.session() for _ in range(4)]
    assert eventually(lambda: hostile.node.endpoint._calls["gamma"] == 4)
    with pytest.raises(grpc.RpcError) as raised:
        list(hostile.session(hostile.hello()))
    assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    for call in calls:
        call.cancel()
    assert eventually(lambda: not hostile.node.endpoint._calls["gamma"])


def test_a_name_writes_nothing_into_the_log_but_itself(
    hostile: Hostile, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "agree", partial(agree, patience=0.2))
    forged = "x\n2026-01-01 00:00:00Z info    approved spec\x1b[2J" + "y" * 100_000
    answer(hostile.session(hostile.hello(name=forged, spec_digest=bytes(32))))
    assert eventually(lambda: "failed" in caplog.text)
    for record in caplog.records:
        assert "\n" not in record.getMessage()
        assert "\x1b" not in record.getMessage()
        assert len(record.getMessage()) < 1_000


def test_bytes_that_are_no_payload_count_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAILBOX", 10_000)
    session = stream.Session("alpha", 5)
    peer = session.streams["gamma"] = stream.PeerStream("gamma", session, pb.Hello())
    raw = encode(Data(bytes(32), 1, "o" * 1_000, b"", last=False))
    taken = 0

    def flood() -> Iterator[Data]:
        nonlocal taken
        for _ in range(1_000):
            taken += 1
            yield decode(raw)

    reading = threading.Thread(target=peer.read, args=(flood(),), daemon=True)
    reading.start()
    assert eventually(lambda: taken >= 5)
    time.sleep(0.2)
    assert taken < 8
    session.finish()
    reading.join(10)
