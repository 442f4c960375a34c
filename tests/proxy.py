"""A TCP proxy before a node's port: it holds bytes back, flips bits and cuts connections, at a byte that the test names."""

import socket
import threading
import time
from contextlib import suppress
from typing import Literal

Way = Literal["out", "in"]
"""Out of the node behind the proxy, or into it."""


class _Link:
    """One connection: `dialled` came in, `node` goes on to the node."""

    def __init__(self, dialled: socket.socket, node: socket.socket) -> None:
        self.dialled, self.node = dialled, node
        self.passed: dict[Way, int] = {"out": 0, "in": 0}
        self.held: set[Way] = set()
        self.to_flip: set[Way] = set()
        self.is_spoilt = False  # a bit was flipped
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True
        for end in (self.dialled, self.node):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class Proxy:

    def __init__(self, listen: int, node: int) -> None:
        self._node = node
        self._changed = threading.Condition()
        self._links: list[_Link] = []
        self._gates: dict[Way, int] = {}
        self._is_cut = False
        self._server = socket.create_server(("127.0.0.1", listen), backlog=64)
        threading.Thread(target=self._serve, daemon=True).start()

    # ---- what tests say

    def wait_until_quiet(self) -> None:
        """Until what belongs to an earlier query has passed."""
        before, now = None, self._passed()
        while now != before:
            time.sleep(0.15)
            before, now = now, self._passed()

    def hold(self, way: Way, at: int) -> None:
        """Lets no connection pass more than `at` bytes from now on, until `heal`."""
        with self._changed:
            self._gates[way] = at
            for link in self._links:
                link.passed[way] = 0

    def flip_next(self, way: Way) -> None:
        """Flips a bit of the next byte on each connection there is, and holds it no more."""
        with self._changed:
            self._gates.pop(way, None)
            for link in self._links:
                link.to_flip.add(way)
            self._changed.notify_all()

    def held(self, way: Way) -> int:
        """How many connections have more to send than may pass."""
        with self._changed:
            return sum(way in link.held for link in self._links)

    def wait_until_held(self, way: Way, links: int) -> None:
        with self._changed:
            held = self._changed.wait_for(lambda: self.held(way) >= links, 60)
            assert held, f"{[link.passed for link in self._links]} bytes passed, {self._gates}"

    def cut(self) -> None:
        """Closes all connections, with what is held of them, and refuses others, until `heal`."""
        with self._changed:
            self._is_cut = True
            for link in self._links:
                link.close()
            self._changed.notify_all()

    def heal(self) -> None:
        """What passes from now on passes unharmed; spoilt connections are gone, for TLS must end them."""
        with self._changed:
            self._gates.clear()
            self._is_cut = False
            for link in self._links:
                link.to_flip.clear()
            self._changed.notify_all()
            ended = self._changed.wait_for(lambda: not any(link.is_spoilt for link in self._links), 60)
            assert ended, "a flipped bit ended no connection"

    def close(self) -> None:
        self.cut()
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    # ---- what it does

    def _passed(self) -> list[dict[Way, int]]:
        with self._changed:
            return [dict(link.passed) for link in self._links]

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                dialled, _ = self._server.accept()
                try:
                    node = socket.create_connection(("127.0.0.1", self._node), timeout=10)
                except OSError:
                    dialled.close()
                    continue
                node.settimeout(None)
                link = _Link(dialled, node)
                with self._changed:
                    self._links.append(link)
                    if self._is_cut:
                        link.close()
                for way in ("out", "in"):
                    threading.Thread(target=self._pump, args=(link, way), daemon=True).start()

    def _pump(self, link: _Link, way: Way) -> None:
        source, sink = (link.node, link.dialled) if way == "out" else (link.dialled, link.node)
        with suppress(OSError):
            while data := source.recv(1 << 16):
                while data:
                    part = self._admitted(link, way, data)
                    sink.sendall(part)
                    data = data[len(part) :]
        with self._changed:
            link.close()
            if link in self._links:
                self._links.remove(link)
            self._changed.notify_all()

    def _admitted(self, link: _Link, way: Way, data: bytes) -> bytes:
        """As much of `data` as may pass now; waits until some may."""

        def room() -> int:
            return min(len(data), self._gates[way] - link.passed[way]) if way in self._gates else len(data)

        with self._changed:
            if room() <= 0:
                link.held.add(way)
                self._changed.notify_all()
                self._changed.wait_for(lambda: room() > 0 or link.is_closed)
                link.held.discard(way)
            if link.is_closed:
                raise OSError("cut")
            part = bytearray(data[: room()])
            link.passed[way] += len(part)
            if way in link.to_flip:
                link.to_flip.discard(way)
                part[0] ^= 1
                link.is_spoilt = True
            return bytes(part)
