"""Attacks on the wire: wrong certificates, replayed and altered messages, nonsense, floods."""

import ctypes
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.protobuf.message import DecodeError
from grpc._cython import cygrpc
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.channel import Tag
from mpc.errors import ComityError, PeerError
from parties.wire import endpoint
from parties.wire import stream as streams
from parties.wire.endpoint import LOOKING, Endpoint, Node, Unreachable, dial, ready
from parties.wire.frames import LARGEST_FRAME, Data, Frame, decode, encode
from parties.wire.identity import Identity, create, load, pem_of
from parties.wire.stream import PeerEnded, PeerStream, Session, SessionFailed, StreamChannel
from parties.wire.v1 import party_pb2 as pb
from parties.wire.v1 import party_pb2_grpc as rpc

# ---- certificates


class Handlers:
    """Accepts every session of a checked peer, and says who came."""

    def __init__(self, me: str, peers: dict[str, Node]) -> None:
        self.me, self._peers, self.accepted = me, peers, []

    def peers(self) -> dict[str, Node]:
        return self._peers

    def seen(self, peer: str) -> pb.Seen:
        return pb.Seen()

    def met(self, peer: str, seen: pb.Seen) -> None:
        pass

    def accept(self, peer: str, hello: pb.Hello) -> PeerStream:
        self.accepted.append(peer)
        session = Session(self.me, 1.0)
        stream = PeerStream(peer, session, hello)
        session.streams[peer] = stream
        session.finish()
        return stream

    def run(self, request: pb.RunRequest, cancelled: threading.Event) -> Iterator[pb.RunReply]:
        yield pb.RunReply(result="{}")


def certificate_authority(name: str) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """A pinned company's certificate, made by itself so that it may sign others."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key, _signed(name, key, name, key, authority=True)


def _signed(name, key, issuer, issuer_key, *, authority=False) -> x509.Certificate:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("comity")]), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _identity(key, *chain: x509.Certificate) -> Identity:
    pem = b"".join(c.public_bytes(serialization.Encoding.PEM) for c in chain)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Identity(pem, secret)


def _status(identity: Identity, node: Node, method: str = "Session") -> grpc.StatusCode | None:
    """How a call of `method` ends; None where it is served."""
    with dial(identity, node) as channel:
        stub = rpc.PartyStub(channel)
        try:
            if method == "Run":
                list(stub.Run(pb.RunRequest(query="q"), timeout=5))
            elif method == "Link":
                next(stub.Link(pb.LinkRequest(), timeout=1))
            else:
                list(stub.Session(iter([pb.Frame(hello=pb.Hello()), pb.Frame(end=pb.End())]), timeout=5))
        except grpc.RpcError as error:
            return error.code()
    return None


@pytest.fixture
def alpha(tmp_path: Path) -> Iterator[tuple[Endpoint, Node, Handlers, Identity, Identity]]:
    """A node alpha, whose spec pins beta, and gamma, whose certificate may sign others."""
    own, beta = create(tmp_path / "alpha", "alpha"), create(tmp_path / "beta", "beta")
    key, authority = certificate_authority("gamma")
    gamma = _identity(key, authority)
    handlers = Handlers("alpha", {n: Node(n, "localhost:1", i.der) for n, i in (("beta", beta), ("gamma", gamma))})
    endpoint = Endpoint(own, "127.0.0.1:0", handlers)
    yield endpoint, Node("alpha", endpoint.address, own.der), handlers, beta, gamma
    endpoint.close()


def test_pinned_peers_are_known_by_their_certificates(alpha) -> None:
    _, node, handlers, beta, gamma = alpha
    assert _status(beta, node) is None
    assert _status(gamma, node) is None
    assert handlers.accepted == ["beta", "gamma"]


def test_a_certificate_that_another_pinned_company_signed_in_betas_name_is_turned_away(alpha) -> None:
    _, node, handlers, _, gamma = alpha
    gamma_key = serialization.load_pem_private_key(gamma.key, None)
    gamma_certificate = x509.load_pem_x509_certificate(gamma.certificate)
    key = ec.generate_private_key(ec.SECP256R1())
    forged = _identity(key, _signed("beta", key, "gamma", gamma_key), gamma_certificate)
    assert _status(forged, node) == grpc.StatusCode.UNAUTHENTICATED  # TLS alone lets it pass
    assert _status(forged, node, "Link") == grpc.StatusCode.UNAUTHENTICATED
    assert _status(forged, node, "Run") == grpc.StatusCode.UNAUTHENTICATED
    assert handlers.accepted == []


def test_a_stranger_does_not_get_through_tls(alpha, tmp_path: Path) -> None:
    _, node, handlers, _, _ = alpha
    assert _status(create(tmp_path / "mallory", "beta"), node) == grpc.StatusCode.UNAVAILABLE
    assert handlers.accepted == []


def test_control_calls_are_accepted_from_the_nodes_own_certificate_alone(alpha, tmp_path: Path) -> None:
    _, node, _, beta, gamma = alpha
    assert _status(load(tmp_path / "alpha"), node, "Run") is None
    assert _status(beta, node, "Run") == grpc.StatusCode.UNAUTHENTICATED
    assert _status(gamma, node, "Run") == grpc.StatusCode.UNAUTHENTICATED
    assert _status(load(tmp_path / "alpha"), node) == grpc.StatusCode.UNAUTHENTICATED  # and for that alone


def test_an_answer_larger_than_a_frame_reaches_its_company(alpha, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 10,000 groups it has more than 1 MiB. (Of two options of one name, gRPC takes the first.)"""
    _, node, handlers, *_ = alpha
    large = pb.RunReply(result="x" * (2 * LARGEST_FRAME))
    monkeypatch.setattr(handlers, "run", lambda request, cancelled: iter([large]))
    with dial(load(tmp_path / "alpha"), node, 3 * LARGEST_FRAME) as channel:
        replies = [len(reply.result) for reply in rpc.PartyStub(channel).Run(pb.RunRequest(query="q"), timeout=20)]
    assert replies == [2 * LARGEST_FRAME]
    assert _status(load(tmp_path / "alpha"), node, "Run") == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_another_server_at_the_address_is_found_out_without_waiting_for_it_to_change(alpha, tmp_path: Path) -> None:
    _, node, _, beta, _ = alpha
    other, started = create(tmp_path / "other", "alpha"), time.monotonic()
    with dial(beta, Node("alpha", node.address, other.der)) as channel, pytest.raises(Unreachable, match="another certificate"):
        ready(channel, Node("alpha", node.address, other.der), "", 60)
    assert time.monotonic() - started < 50


def test_without_a_client_certificate_there_is_no_connection(alpha) -> None:
    _, node, *_ = alpha
    credentials = grpc.ssl_channel_credentials(pem_of(node.certificate))
    options = [("grpc.ssl_target_name_override", "comity")]
    with grpc.secure_channel(node.address, credentials, options) as channel, pytest.raises(grpc.RpcError) as raised:
        list(rpc.PartyStub(channel).Run(pb.RunRequest(), timeout=5))
    assert raised.value.code() == grpc.StatusCode.UNAVAILABLE


def test_a_node_that_closes_when_it_has_just_dialled_leaves_no_thread_that_fails(alpha, monkeypatch: pytest.MonkeyPatch) -> None:
    _, node, _, beta, _ = alpha
    failed: list[object] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    for _ in range(5):
        dialling = Endpoint(beta, "127.0.0.1:0", Handlers("beta", {"alpha": node}))
        for _ in range(3):
            dialling.open(node, Session("beta", 1.0))
        dialling.close(0)
    time.sleep(2 * LOOKING)
    assert failed == []


def _far_away(address: str, seconds: float) -> socket.socket:
    """Listens in the stead of `address`, and passes on what comes `seconds` later, in both directions."""
    host, _, port = address.rpartition(":")
    listener = socket.create_server(("127.0.0.1", 0))

    def pass_on(source: socket.socket, target: socket.socket) -> None:
        try:
            while some := source.recv(1 << 16):
                time.sleep(seconds)
                target.sendall(some)
        except OSError:
            pass

    def listen() -> None:
        try:
            while True:
                near, far = listener.accept()[0], socket.create_connection((host, int(port)))
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=pass_on, args=ends, daemon=True).start()
        except OSError:
            pass

    threading.Thread(target=listen, daemon=True).start()
    return listener


def test_a_node_that_is_far_away_is_reached(alpha) -> None:
    _, node, _, beta, _ = alpha
    with _far_away(node.address, 0.4) as relay:  # farther than any place on earth, so that a handshake takes seconds
        far = Node("alpha", f"127.0.0.1:{relay.getsockname()[1]}", node.certificate)
        with dial(beta, far) as channel:
            ready(channel, far, "", 20)


def _handshake(identity: Identity, address: str, folder: Path, configure: Callable[[ssl.SSLContext], object]) -> str | None:
    """The TLS version of a connection with `identity`'s certificate, None where there is none."""
    (folder / "both.pem").write_bytes(identity.key + identity.certificate)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.load_cert_chain(folder / "both.pem")
    client.set_alpn_protocols(["h2"])
    configure(client)
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port))) as plain, client.wrap_socket(plain) as tls:
            return tls.version()
    except OSError:
        return None


@pytest.mark.parametrize(
    ("version", "ciphers", "agreed"),
    [
        (ssl.TLSVersion.TLSv1_3, None, "TLSv1.3"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-GCM-SHA256", "TLSv1.2"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384", None),  # no AEAD
        (ssl.TLSVersion.TLSv1_2, "AES128-GCM-SHA256:AES256-GCM-SHA384", None),  # no forward secrecy
        (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0", None),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_connections_are_of_forward_secrecy_and_aead(alpha, tmp_path, version, ciphers, agreed) -> None:
    _, node, _, beta, _ = alpha

    def configure(client: ssl.SSLContext) -> None:
        client.set_ciphers(ciphers or "DEFAULT")
        client.minimum_version = client.maximum_version = version

    assert _handshake(beta, node.address, tmp_path, configure) == agreed


def test_a_client_that_could_do_less_gets_tls_1_3(alpha, tmp_path) -> None:
    _, node, _, beta, _ = alpha
    assert _handshake(beta, node.address, tmp_path, lambda client: None) == "TLSv1.3"


def test_a_new_approval_counts_from_the_next_handshake_on(alpha, tmp_path: Path) -> None:
    _, node, handlers, beta, _ = alpha
    renewed = create(tmp_path / "renewed", "beta")
    assert _status(renewed, node) == grpc.StatusCode.UNAVAILABLE
    handlers._peers["beta"] = Node("beta", "localhost:1", renewed.der)
    assert _status(renewed, node) is None
    assert _status(beta, node) == grpc.StatusCode.UNAVAILABLE
    assert handlers.accepted == ["beta"]


MANY_HANDSHAKES = """
import sys, threading
from pathlib import Path
import grpc
from parties.wire.endpoint import LOOKING, Endpoint, Node, dial
from parties.wire.identity import create

identities = [create(Path(sys.argv[1]) / str(i), f"p{i}") for i in range(4)]

class Handlers:
    def peers(self):
        return {f"p{i}": Node(f"p{i}", "localhost:1", identities[i].der) for i in (1, 2, 3)}

endpoint = Endpoint(identities[0], "127.0.0.1:0", Handlers())
node = Node("p0", endpoint.address, identities[0].der)

def connect(identity):
    for _ in range(20):
        with dial(identity, node) as channel:
            grpc.channel_ready_future(channel).result(timeout=30)

threads = [threading.Thread(target=connect, args=(identities[1 + i % 3],)) for i in range(12)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
endpoint.close()
print("served all")
"""


def test_many_handshakes_at_once_do_not_crash_the_node(tmp_path: Path) -> None:
    """In a process of its own: a new configuration at each handshake made gRPC read memory that it had freed."""
    done = subprocess.run([sys.executable, "-c", MANY_HANDSHAKES, tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "served all\n"), done.stderr[-2000:]


def test_a_frame_beyond_the_limit_is_not_received(alpha) -> None:
    _, node, _, beta, _ = alpha
    flood = pb.Frame(hello=pb.Hello(name="x" * (2 << 20)))
    with dial(beta, node) as channel, pytest.raises(grpc.RpcError) as raised:
        list(rpc.PartyStub(channel).Session(iter([flood]), timeout=5))
    assert raised.value.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED)


def test_every_option_is_one_that_grpc_knows() -> None:
    """It says nothing of one that it does not know: its pings once ended every call that was quiet for 40 s."""
    library = Path(cygrpc.__file__).read_bytes()
    options = {name for name, _ in (*endpoint._SERVER, *endpoint._CLIENT)}
    assert {name for name in options if name.encode() not in library} == set()


def test_a_key_open_to_others_is_refused(tmp_path: Path) -> None:
    create(tmp_path, "alpha")
    (tmp_path / "key.pem").chmod(0o644)
    with pytest.raises(ComityError, match="chmod 600"):
        load(tmp_path)


def test_a_key_is_never_replaced_and_never_printed(tmp_path: Path) -> None:
    identity = create(tmp_path, "alpha")
    with pytest.raises(ComityError, match="never replaced"):
        create(tmp_path, "alpha")
    assert "PRIVATE" not in repr(identity)


# ---- messages of one session


ID, TAG = bytes(32), Tag(3, "reveal")


def data(payload: bytes, *, tag: Tag = TAG, session: bytes = ID, last: bool = True) -> Data:
    return Data(session, tag.step, tag.operation, payload, last, tag.block, size=len(payload))


def received(*frames: Frame, size: int = 4, deadline: float = 0.3):
    session = Session("alpha", deadline)
    stream = session.streams["beta"] = PeerStream("beta", session, pb.Hello())
    stream.read(iter(frames))
    return bytes(StreamChannel(ID, {1: stream}).receive(1, TAG, size))


END = pb.Frame(end=pb.End())


def test_a_message_arrives_whole_and_in_parts() -> None:
    assert received(data(b"abcd"), END) == b"abcd"
    assert received(data(b"ab", last=False), data(b"cd"), END) == b"abcd"


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (data(b"abcd", session=bytes(31) + b"\1"), "out of step"),  # replayed from another session
        (data(b"abcd", tag=Tag(2, "reveal")), "beta is at step 2"),
        (data(b"abcd", tag=Tag(3, "multiply")), "multiply"),
        (data(b"abcd", tag=Tag(3, "reveal", 2)), "block 2"),
        (data(b"abc"), "wrong size"),
        (data(b"abcde"), "wrong size"),
        (data(b"abcde", last=False), "wrong size"),
        (pb.Frame(), "no meaning"),
    ],
)
def test_what_does_not_belong_is_refused_and_the_peer_named(frame: pb.Frame, says: str) -> None:
    with pytest.raises((PeerError, SessionFailed), match=says) as raised:
        received(frame, END)
    assert "beta" in str(raised.value)


def test_silence_ends_at_the_deadline_and_beats_do_not_count_as_silence() -> None:
    session = Session("alpha", 0.5)
    stream = session.streams["beta"] = PeerStream("beta", session, pb.Hello())

    def beating() -> Iterator[pb.Frame]:
        for _ in range(8):
            time.sleep(0.2)
            yield pb.Frame(beat=pb.Beat())
        yield data(b"abcd")
        time.sleep(5)

    threading.Thread(target=stream.read, args=(beating(),), daemon=True).start()
    channel = StreamChannel(ID, {1: stream})
    assert bytes(channel.receive(1, TAG, 4)) == b"abcd"
    with pytest.raises(SessionFailed, match=r"beta sent nothing for 0.5 s at step 3 \(reveal\)"):
        channel.receive(1, TAG, 4)


def test_two_nodes_that_wait_for_each_other_are_out_of_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "BEAT", 0.1)
    session = Session("alpha", 0.5)
    stream = session.streams["beta"] = PeerStream("beta", session, pb.Hello())

    def waiting() -> Iterator[pb.Frame]:
        while not session.over:
            time.sleep(0.1)
            yield pb.Frame(beat=pb.Beat(waiting_for="alpha"))

    threading.Thread(target=stream.read, args=(waiting(),), daemon=True).start()
    with pytest.raises(SessionFailed, match="out of step"):
        StreamChannel(ID, {1: stream}).receive(1, TAG, 4)


def test_the_end_of_a_peer_is_not_waited_for() -> None:
    with pytest.raises(PeerEnded, match="beta ended the session"):
        received(END, deadline=60)


def test_what_a_peer_says_is_cut_to_plain_text() -> None:
    nasty = pb.Frame(abort=pb.Abort(reason=pb.Abort.REFUSED, culprit="beta", where="\x1b[2J\u202e" + "x" * 10_000))
    with pytest.raises(SessionFailed) as raised:
        received(nasty)
    assert "\x1b" not in str(raised.value)
    assert "\u202e" not in str(raised.value)
    assert len(str(raised.value)) < 450


def test_a_flood_of_frames_is_not_read_beyond_the_mailbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAILBOX", 10_000)
    session = Session("alpha", 5)
    stream = session.streams["beta"] = PeerStream("beta", session, pb.Hello())
    taken = 0

    def flood() -> Iterator[pb.Frame]:
        nonlocal taken
        for _ in range(1_000):  # without an end, it would be read for as long as the tests run
            taken += 1
            yield data(bytes(1000), last=False)

    reading = threading.Thread(target=stream.read, args=(flood(),), daemon=True)
    reading.start()
    time.sleep(0.3)
    assert taken < 12
    session.fail(SessionFailed("enough", pb.Abort.FAILED, "alpha"))
    reading.join(10)
    assert taken == 1_000


def test_long_messages_are_cut_into_frames_below_the_limit() -> None:
    session = Session("alpha", 5)
    stream = session.streams["beta"] = PeerStream("beta", session, pb.Hello())
    StreamChannel(ID, {1: stream}).send(1, TAG, bytes(3 << 20))
    session.finish()
    frames = list(stream.frames())
    assert max(len(encode(frame)) for frame in frames) < LARGEST_FRAME
    pieces = [frame for frame in frames if isinstance(frame, Data)]
    assert sum(len(piece.payload) for piece in pieces) == 3 << 20
    assert [piece.last for piece in pieces] == [False] * 5 + [True]


# ---- frames as bytes: protobuf is the oracle


payloads = st.builds(
    pb.Data, session=st.binary(max_size=40), step=st.integers(0, 2**32 - 1), operation=st.text(max_size=20),
    block=st.integers(0, 2**32 - 1), last=st.booleans(), payload=st.binary(max_size=300),
)  # fmt: skip


def same(frame: Frame, expected: pb.Frame) -> bool:
    if not isinstance(frame, Data):
        return frame == expected
    data = expected.data  # fields that nobody knows may be there, and are not looked at
    return (frame.session, frame.step, frame.operation, frame.block, bytes(frame.payload), frame.last) == (
        data.session, data.step, data.operation, data.block, data.payload, data.last
    )  # fmt: skip


@given(payloads)
def test_data_frames_are_those_of_the_contract(message: pb.Data) -> None:
    frame = pb.Frame(data=message)
    raw = frame.SerializeToString()
    assert same(decode(raw), frame)
    written = Data(
        message.session, message.step, message.operation, memoryview(message.payload), message.last, message.block
    )
    assert encode(written) == raw


@given(st.data())
def test_any_bytes_are_read_as_protobuf_reads_them(drawn: st.DataObject) -> None:
    raw = bytearray(pb.Frame(data=drawn.draw(payloads)).SerializeToString())
    for _ in range(drawn.draw(st.integers(0, 4))):
        place = drawn.draw(st.integers(0, len(raw)))
        raw[place : place + drawn.draw(st.integers(0, 3))] = drawn.draw(st.binary(max_size=3))
    try:
        expected = pb.Frame.FromString(bytes(raw))
    except DecodeError:
        expected = pb.Frame()
    assert same(decode(bytes(raw)), expected)


@pytest.mark.slow
def test_very_many_bytes_are_read_as_protobuf_reads_them() -> None:
    settings(max_examples=200_000)(test_any_bytes_are_read_as_protobuf_reads_them)()


def test_a_data_frame_prints_no_payload() -> None:
    assert "secret" not in repr(data(b"secret"))


FAULTS = """
import resource
from parties.wire.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        del [bytearray(512 << 10) for _ in range(100)][:]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

usual = faults()
keep_freed_memory()
faults()
print(usual, faults())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library than glibc")
def test_the_memory_of_large_messages_is_used_again() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    usual, kept = map(int, done.stdout.split())
    assert kept < 1000 < usual
