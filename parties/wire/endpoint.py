"""One node's port and its connections to the others: who calls is checked here, certificate by certificate."""

import logging
import queue
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, cast

import grpc
from google.protobuf.message import DecodeError

from mpc.errors import ComityError
from parties.wire.frames import LARGEST_FRAME, Frame, decode, encode
from parties.wire.identity import Identity, caller, client_credentials, fingerprint, server_credentials
from parties.wire.memory import keep_freed_memory
from parties.wire.stream import PeerStream, Session
from parties.wire.v1 import party_pb2 as pb
from parties.wire.v1 import party_pb2_grpc as rpc

log = logging.getLogger("comity")

PATIENCE = 10.0
"""Seconds for which a node that is not up is tried."""

SOON = 1.0
"""Seconds until it is looked whether another one is there."""

LOOKING = 0.3
"""Seconds for which gRPC goes on looking at a channel that was found ready. Closed meanwhile, a thread of its ends with a traceback."""

CALLS = 512
"""Calls served at once. Each peer may have its share of them, which is a standing link and some tens of sessions."""

OWN_CALLS = 32
"""Of these, kept for the node's own company."""

SERVICE = pb.DESCRIPTOR.services_by_name["Party"].full_name

_COMMON = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.http2.lookahead_bytes", 8 << 20),  # what may be under way unread: wide links, long arrays
]
_SERVER = [
    *_COMMON,
    ("grpc.max_receive_message_length", LARGEST_FRAME),
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.server_handshake_timeout_ms", 10_000),
]
_CLIENT = [
    *_COMMON,
    ("grpc.ssl_target_name_override", "comity"),  # the name in every certificate; the certificate is what counts
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5_000),  # how long one attempt may take: a handshake is several round trips
    ("grpc.max_reconnect_backoff_ms", 1_000),
]


@dataclass(frozen=True)
class Node:
    """Where a node is, and the one certificate (DER) it has."""

    name: str
    address: str
    certificate: bytes


class Unreachable(ComityError):
    """A node that does not answer, or is another than expected."""


class Handlers(Protocol):
    """What a node does with calls whose caller has been checked."""

    def peers(self) -> Mapping[str, Node]:
        """All other nodes of the approved spec, the dealer among them, by name."""
        ...

    def accept(self, peer: str, hello: pb.Hello) -> PeerStream:
        """Called when `peer` opens a stream. Where it is refused, the stream's session has failed, and says why."""
        ...

    def seen(self, peer: str) -> pb.Seen:
        """How far this node knows the ledger of `peer`."""
        ...

    def met(self, peer: str, seen: pb.Seen) -> None:
        """Called when a link to or from `peer` stands, with how far it knows this node's ledger."""
        ...

    def run(self, request: pb.RunRequest, cancelled: threading.Event) -> Iterator[pb.RunReply]: ...


def dial(identity: Identity, node: Node, largest: int = LARGEST_FRAME) -> grpc.Channel:
    options = [*_CLIENT, ("grpc.max_receive_message_length", largest)]
    return grpc.secure_channel(node.address, client_credentials(identity, node.certificate), options)


def ready(channel: grpc.Channel, node: Node, start: str, patience: float = PATIENCE) -> None:
    """Waits until `node` answers; Unreachable says what is there instead, and how to `start` it. Waiting does not make another
    node this one: that is said soon."""
    for seconds in (min(SOON, patience), max(patience - SOON, 0)):
        if _is_ready(channel, seconds):
            return
        what, is_another = _diagnosis(node, start, patience)
        if is_another:
            raise Unreachable(what)
    if not what and not _is_ready(channel, PATIENCE):  # it may have come up between the two
        what = f"{node.name} at {node.address} refuses this node's certificate: has it approved a spec with it?"
    if what:
        raise Unreachable(what)


def _is_ready(channel: grpc.Channel, patience: float) -> bool:
    future = grpc.channel_ready_future(channel)
    try:
        future.result(timeout=patience)
    except grpc.FutureTimeoutError:
        future.cancel()  # else gRPC goes on looking
        return False
    return True


def _diagnosis(node: Node, start: str, patience: float) -> tuple[str, bool]:
    """What is there instead of `node`, empty where it is there; and whether that is another node."""
    host, _, port = node.address.rpartition(":")
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # only to say whose certificate is there; nothing is sent
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=2) as plain:
            try:
                with unverified.wrap_socket(plain) as tls:
                    found = tls.getpeercert(binary_form=True) or b""
            except OSError as error:
                does = "does not answer" if isinstance(error, TimeoutError) else "does not speak TLS"
                return f"what listens at {node.address} {does}: is it {node.name}?", False
    except (OSError, UnicodeError) as error:  # UnicodeError: no host has such a name
        reason = getattr(error, "strerror", None) or str(error) or "no answer"
        return f"cannot reach {node.name} at {node.address} ({reason}; tried for {patience:g} s): {start}", False
    if found != node.certificate:
        return (
            f"{node.address} presents another certificate than {node.name} has in the spec "
            f"(SHA-256 {fingerprint(found)[:16]}..., expected {fingerprint(node.certificate)[:16]}...)"
        ), True
    return "", False


class Endpoint:
    """Serves one port. `address` is the one it got (a port of 0 is replaced by a free one)."""

    def __init__(self, identity: Identity, listen: str, handlers: Handlers) -> None:
        keep_freed_memory()
        self._identity, self._handlers = identity, handlers
        self._channels: dict[tuple[str, bytes], grpc.Channel] = {}
        self._calls: Counter[str] = Counter()
        self._links: dict[str, queue.SimpleQueue[pb.Invitation | None]] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._looked = 0.0  # when a channel was last found ready, or not
        self._server = grpc.server(
            ThreadPoolExecutor(CALLS, "call"), options=_SERVER, maximum_concurrent_rpcs=CALLS
        )
        # Requests of all three come as iterators: for a single one gRPC would wait in a thread, however long, before
        # this node has looked at who calls.
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {
            "Link": grpc.stream_stream_rpc_method_handler(self.Link, None, pb.Invitation.SerializeToString),
            "Session": grpc.stream_stream_rpc_method_handler(self.Session, decode, encode),
            "Run": grpc.stream_stream_rpc_method_handler(self.Run, None, pb.RunReply.SerializeToString),
        }),))  # fmt: skip
        self._accepted = self._certificates()
        # typed by the stubs as never None
        reconfigured = cast("Callable[[], grpc.ServerCertificateConfiguration]", self._reconfigured)
        credentials = grpc.dynamic_ssl_server_credentials(
            server_credentials(identity, self._accepted), reconfigured, require_client_authentication=True
        )
        _check_free(listen)
        try:
            port = self._server.add_secure_port(listen, credentials)
        except RuntimeError:
            port = 0
        if not port:
            raise ComityError(f"cannot listen on {listen}: is the port in use? Change `listen` in node.toml")
        self.address = f"{listen.rpartition(':')[0]}:{port}"
        self._server.start()

    def close(self, grace: float = 1.0) -> None:
        """Ends all calls, those in progress after `grace` seconds."""
        self._closed.set()
        with self._lock:
            for waiting in self._links.values():
                waiting.put(None)
        self._server.stop(grace).wait()
        time.sleep(max(0.0, self._looked + LOOKING - time.monotonic()))
        with self._lock:
            for channel in self._channels.values():
                channel.close()

    def _certificates(self) -> frozenset[bytes]:
        return frozenset((self._identity.der, *(peer.certificate for peer in self._handlers.peers().values())))

    def _reconfigured(self) -> grpc.ServerCertificateConfiguration | None:
        """Asked at each handshake, so that a new approval needs no restart. None: as before. A new configuration at
        every handshake would crash gRPC: it replaces the old one while another handshake takes it up (seen in 1.85)."""
        certificates = self._certificates()
        with self._lock:
            if certificates == self._accepted:
                return None
            self._accepted = certificates
        return server_credentials(self._identity, certificates)

    # ---- towards others

    def channel(self, peer: Node) -> grpc.Channel:
        key = (peer.address, peer.certificate)
        with self._lock:
            if key not in self._channels:
                self._channels[key] = dial(self._identity, peer)
            return self._channels[key]

    def open(self, peer: Node, session: Session, patience: float = PATIENCE) -> PeerStream:
        """Dials `peer` for a session."""
        try:
            ready(self.channel(peer), peer, f"start it there with `comity node` ({peer.name}'s folder)", patience)
        finally:
            self._looked = time.monotonic()
        stream = PeerStream(peer.name, session)
        dialled = self.channel(peer).stream_stream(f"/{SERVICE}/Session", encode, decode)
        call = dialled(stream.frames())

        stream.hang_up = call.cancel

        def read() -> None:
            stream.read(call)
            call.cancel()

        threading.Thread(target=read, name=f"read {peer.name}", daemon=True).start()
        return stream

    def invite(self, peer: str, invitation: pb.Invitation) -> bool:
        """Sends `invitation` through the link that `peer` holds open; False where there is none."""
        with self._lock:
            waiting = self._links.get(peer)
            if waiting is None:
                return False
            waiting.put(invitation)
            return True

    def link(self, peer: Node, invited: Callable[[str, pb.Invitation], None]) -> Callable[[], None]:
        """Keeps a link to `peer` open, through which its invitations come; the function returned ends it."""
        ended = threading.Event()
        calls: list[grpc.RpcContext] = []

        def hold() -> None:
            while not ended.is_set() and not self._closed.is_set():
                try:
                    call = rpc.PartyStub(self.channel(peer)).Link(
                        pb.LinkRequest(seen=self._handlers.seen(peer.name)), wait_for_ready=True
                    )
                    calls[:] = [call]
                    for invitation in call:
                        if invitation.HasField("seen"):
                            self._handlers.met(peer.name, invitation.seen)
                        else:
                            invited(peer.name, invitation)
                except (grpc.RpcError, ValueError):  # ValueError: the channel has been closed
                    pass
                except Exception:
                    if not ended.is_set() and not self._closed.is_set():
                        raise
                    # the ledger that is asked what it has seen is closed
                ended.wait(0.2)

        def end() -> None:
            ended.set()
            for call in calls:
                call.cancel()

        threading.Thread(target=hold, name=f"link {peer.name}", daemon=True).start()
        return end

    # ---- from others

    @contextmanager
    def _peer(self, context: grpc.ServicerContext) -> Iterator[str]:
        """The name of the peer whose certificate, byte for byte, the caller has; else the call ends here. So it does
        where the peer has used up its share of calls: it cannot keep others out."""
        certificate, peers = caller(context), self._handlers.peers()
        name = next((name for name, peer in peers.items() if certificate == peer.certificate), None)
        if name is None:
            name = self.turn_away(context, "a caller whose certificate is none of the approved spec's")
        with self._lock:
            self._calls[name] += 1
            too_many = self._calls[name] > (CALLS - OWN_CALLS) // len(peers)
        try:
            if too_many:
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls at once")
            yield name
        finally:
            with self._lock:
                self._calls[name] -= 1

    def turn_away(self, context: grpc.ServicerContext, why: str) -> str:
        log.warning("turned away %s", why)
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "not a party of the approved spec")
        raise AssertionError("abort raises")

    def Link(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[pb.Invitation]:
        with self._peer(context) as peer:
            waiting: queue.SimpleQueue[pb.Invitation | None] = queue.SimpleQueue()
            context.add_callback(lambda: waiting.put(None))
            with self._lock:
                replaced = self._links.get(peer)
                if replaced is not None:
                    replaced.put(None)
                self._links[peer] = waiting
            try:
                request = _link_request(next(requests, b""))
                if request is None:
                    context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no request for a link")
                    raise AssertionError("abort raises")
                self._handlers.met(peer, request.seen)
                yield pb.Invitation(seen=self._handlers.seen(peer))
                while not self._closed.is_set() and (invitation := waiting.get()) is not None:
                    yield invitation
            finally:
                with self._lock:
                    if self._links.get(peer) is waiting:
                        del self._links[peer]

    def Session(self, request_iterator: Iterator[Frame], context: grpc.ServicerContext) -> Iterator[Frame]:
        with self._peer(context) as peer:
            silence = threading.Timer(PATIENCE, context.cancel)  # a caller that says nothing holds no place
            silence.daemon = True
            silence.start()
            try:
                first = next(request_iterator, None)
            finally:
                silence.cancel()
            if not isinstance(first, pb.Frame) or not first.HasField("hello"):
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, "a session starts with a greeting")
            stream = self._handlers.accept(peer, first.hello)
            stream.hang_up = context.cancel
            reader = threading.Thread(target=stream.read, args=(request_iterator,), name=f"read {peer}", daemon=True)
            reader.start()
            yield from stream.frames()
            reader.join(stream.session.deadline)

    def Run(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[pb.RunReply]:
        if caller(context) != self._identity.der:
            self.turn_away(context, "a control call with another certificate than this node's own")
        cancelled = threading.Event()
        context.add_callback(cancelled.set)
        yield from self._handlers.run(pb.RunRequest.FromString(next(requests, b"")), cancelled)


def _link_request(raw: bytes) -> pb.LinkRequest | None:
    try:
        return pb.LinkRequest.FromString(raw)
    except DecodeError:
        return None


def _check_free(listen: str) -> None:
    """gRPC logs a traceback of its own where a port is in use; so it is tried first."""
    host, _, port = listen.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), int(port)))
        except OSError as error:
            raise ComityError(
                f"cannot listen on {listen}: {error.strerror or error}. Is another node running? "
                "`listen` in node.toml names the port"
            ) from None
