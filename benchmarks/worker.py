"""One party of a benchmark, a process of its own: `python -m benchmarks.worker FOLDER JOB`. Prints one JSON object.

Each run starts at a barrier. After the runs, the same bytes go through raw TLS sockets between the same processes, in both
directions at once, as many times: that is the floor.
"""

import json
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

import parties
from benchmarks.cases import cases
from benchmarks.measure import peak_mb
from mpc.channel import Channel, Payload, Tag
from mpc.context import Context
from mpc.correlations import Kind, Row
from mpc.cost import Cost
from mpc.schemes import PartyId, Scheme
from mpc.share import Share
from mpc.triples.ot import ObliviousTriples
from protocols.gadgets import reveal, share

PIECE = 256 << 10
WARM_UPS = 2


class Preloaded:
    """What one run took from the session's source, handed out to each run after it in the same order."""

    def __init__(self, ctx: Context, run: Callable[[], object]) -> None:
        assert ctx.triples is not None
        self.name, self._source = ctx.triples.name, ctx.triples
        self._taken: list[tuple[Share, ...]] = []
        self._next = -1
        ctx.triples = self
        run()
        self._next = 0

    def request(self, ctx: Context, kind: Row) -> None:
        if self._next < 0:
            self._source.request(ctx, kind)

    def take(self, ctx: Context, kind: Kind) -> tuple[Share, ...]:
        if self._next < 0:
            self._taken.append(self._source.take(ctx, kind))
            return self._taken[-1]
        self._next += 1
        return self._taken[(self._next - 1) % len(self._taken)]

    def cost(self, scheme: Scheme, me: PartyId, kind: Kind) -> Cost:
        return Cost()


class Counting:
    """A channel that counts the bytes to each peer."""

    def __init__(self, inner: Channel) -> None:
        self.sent: Counter[PartyId] = Counter()
        self._inner = inner

    def send(self, to: PartyId, tag: Tag, payload: Payload) -> None:
        self.sent[to] += len(payload)
        self._inner.send(to, tag, payload)

    def receive(self, sender: PartyId, tag: Tag, size: int) -> Payload:
        return self._inner.receive(sender, tag, size)


class Sockets:
    """A raw TLS connection to each peer for each direction, with the nodes' own keys."""

    def __init__(self, folder: Path, ctx: Context, ports: list[int]) -> None:
        server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        server.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE  # it carries zeros
        self.to: dict[PartyId, ssl.SSLSocket] = {}
        self.of: dict[PartyId, ssl.SSLSocket] = {}
        others = [i for i in range(ctx.parties) if i != ctx.me]
        with socket.create_server(("127.0.0.1", ports[ctx.me])) as listening:
            reveal(ctx, share(ctx, 0)[0])  # all listen
            accepting = threading.Thread(target=self._accept, args=(listening, server, len(others)))
            accepting.start()
            for peer in others:
                plain = socket.create_connection(("127.0.0.1", ports[peer]))
                self.to[peer] = client.wrap_socket(plain)
                self.to[peer].sendall(bytes([ctx.me]))
            accepting.join()

    def _accept(self, listening: socket.socket, server: ssl.SSLContext, count: int) -> None:
        for _ in range(count):
            tls = server.wrap_socket(listening.accept()[0], server_side=True)
            self.of[tls.recv(1)[0]] = tls

    def exchange(self, sent: Mapping[PartyId, int]) -> None:
        """Sends each peer as many bytes as it is due, and receives what they send."""
        work = [threading.Thread(target=_send, args=(tls, sent.get(peer, 0))) for peer, tls in self.to.items()]
        work += [threading.Thread(target=_receive, args=(tls,)) for tls in self.of.values()]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()


def _send(tls: ssl.SSLSocket, count: int) -> None:
    tls.sendall(count.to_bytes(8, "big"))
    zeros = memoryview(bytes(PIECE))
    for start in range(0, count, PIECE):
        tls.sendall(zeros[: min(PIECE, count - start)])


def _receive(tls: ssl.SSLSocket) -> None:
    into = bytearray(PIECE)
    left = int.from_bytes(tls.recv(8), "big")
    while left:
        left -= tls.recv_into(into, min(left, PIECE))


def main() -> None:
    folder, job = Path(sys.argv[1]), json.loads(sys.argv[2])
    case = cases(job["quick"])[job["case"]]
    with parties.join(folder, session="benchmark", algebra=case.sharing.algebra.name) as ctx:
        channel = ctx._channel = Counting(ctx._channel)
        if case.triples == "ot":
            ctx.triples = ObliviousTriples()
            ctx.triples.link(ctx)
        elif case.triples is None:
            ctx.triples = None
        ready = case.prepare(ctx, np.arange(case.elements) - case.elements // 2)
        if case.triples == "preloaded":
            Preloaded(ctx, lambda: case.run(ctx, ready))
        barrier = share(ctx, [0])[0]

        def timed(work: Callable[[], object]) -> list[float]:
            seconds = []
            for _ in range(WARM_UPS + job["runs"]):
                reveal(ctx, barrier)
                start = time.perf_counter()
                work()
                seconds.append(time.perf_counter() - start)
            return seconds[WARM_UPS:]

        seconds = timed(lambda: case.run(ctx, ready))
        memory, before = peak_mb(), ctx.measured
        channel.sent.clear()
        case.run(ctx, ready)
        after, sent = ctx.measured, dict(channel.sent)
        measured = Cost(after.rounds - before.rounds, after.bytes - before.bytes, after.triples - before.triples)
        sockets = Sockets(folder, ctx, job["ports"])
        floor = timed(lambda: sockets.exchange(sent))
        declared = case.cost(case.sharing, ctx.me, case.elements, ctx.triples)
    print(json.dumps({
        "seconds": seconds, "floor": floor, "declared": asdict(declared), "measured": asdict(measured), "peak_mb": memory,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
