"""Approval: a company agrees to exactly one spec file. Its node reads that copy and nothing else."""

import hashlib
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mpc.errors import ComityError
from parties.spec.load import Spec, load, loads
from parties.wire.endpoint import Node
from parties.wire.identity import Identity, fingerprint

COPY, DIGEST = "approved.toml", "approved.sha256"
DEALER_NAME = "dealer"


@dataclass(frozen=True)
class Membership:
    """A node's place in an approved spec: its name there (the dealer's is "dealer"), and all other nodes by name."""

    spec: Spec
    me: str
    peers: Mapping[str, Node]

    @property
    def is_dealer(self) -> bool:
        return self.me == DEALER_NAME


def membership(spec: Spec, name: str, identity: Identity) -> Membership:
    """ComityError where the spec does not name this node, or with another certificate."""
    nodes = {peer.name: Node(peer.name, peer.address, peer.certificate) for peer in spec.parties.values()}
    if spec.dealer is not None:
        nodes[DEALER_NAME] = Node(DEALER_NAME, spec.dealer.address, spec.dealer.certificate)
    me = name
    if spec.dealer is not None and spec.dealer.certificate == identity.der:
        me = DEALER_NAME
    elif name not in spec.parties:
        raise ComityError(
            f"the spec names no party {name!r} ({', '.join(sorted(spec.parties))}), and this node is not its dealer"
        )
    elif spec.parties[name].certificate != identity.der:
        raise ComityError(
            f"parties.{name}.certificate is not this node's certificate (SHA-256 "
            f"{fingerprint(spec.parties[name].certificate)[:16]}..., here {fingerprint(identity.der)[:16]}...): "
            "put the stanza into the spec that `comity init` printed"
        )
    return Membership(spec, me, {other: node for other, node in nodes.items() if other != me})


def approve(file: Path, directory: Path, name: str, identity: Identity) -> Spec:
    """This company agrees to exactly `file`: a checked copy and its SHA-256 go into `directory`."""
    load(file)  # for messages that name the file
    raw = file.read_bytes()
    spec = loads(raw)
    membership(spec, name, identity)
    for target, content in ((COPY, raw), (DIGEST, f"{spec.digest}\n".encode())):
        draft = directory / f".{target}.{os.getpid()}"
        draft.write_bytes(content)
        draft.replace(directory / target)
    return spec


class Approval:
    """The membership that follows from what is approved now; a new approval shows at the next call."""

    def __init__(self, directory: Path, name: str, identity: Identity) -> None:
        self._directory, self._name, self._identity = directory, name, identity
        self._lock = threading.Lock()
        self._seen: object = None
        self._current: Membership | None = None
        self._refused: object = None

    def current(self) -> Membership:
        copy, digest = self._directory / COPY, self._directory / DIGEST
        with self._lock:
            if not copy.is_file() or not digest.is_file():
                raise ComityError(
                    f"{self._directory} has approved no spec yet: run `comity approve SPEC --node {self._directory}`"
                )
            seen = [(status.st_mtime_ns, status.st_size, status.st_ino) for status in (copy.stat(), digest.stat())]
            if self._current is None or seen != self._seen:
                raw = self._read(copy, digest, seen)
                self._current = membership(loads(raw), self._name, self._identity)
                self._seen = seen
            return self._current

    def _read(self, copy: Path, digest: Path, seen: object) -> bytes:
        for _ in range(20 if seen != self._refused else 1):
            raw = copy.read_bytes()
            if hashlib.sha256(raw).hexdigest().encode() == digest.read_bytes().strip():
                return raw
            time.sleep(0.05)  # between the two files of an approval that is being written
        self._refused = seen  # the next calls, handshakes among them, do not wait as long
        raise ComityError(f"{copy} is not what was approved (see {digest}): run `comity approve` again")
