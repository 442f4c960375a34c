"""Companies on this machine alone: a folder and a node of its own for each, as processes that are gone at the end."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mpc.errors import ComityError
from parties.governance.approval import approve
from parties.node.config import FILE, read_config, starting_config
from parties.wire import identity

COMITY = (sys.executable, "-m", "parties.cli.main")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LONGEST_START = 60  # seconds


def companies(root: Path, names: Sequence[str], spec: str, configs: Mapping[str, str]) -> list[Path]:
    """The folder of each: an identity, a node.toml with `configs[name]` in it, and its approval of `spec`, to which all
    addresses and certificates are added."""
    folders = [root / name for name in names]
    stanzas = []
    for name, folder, port in zip(names, folders, free_ports(len(names)), strict=True):
        certificate = identity.one_line(identity.create(folder, name).der)
        listen = f"127.0.0.1:{port}"
        (folder / FILE).write_text(starting_config(name, listen) + configs[name])
        stanzas.append(f'[parties.{name}]\naddress = "{listen}"\ncertificate = "{certificate}"\n')
    file = root / "comity.toml"
    file.write_text(spec + "\n".join(stanzas))
    for name, folder in zip(names, folders, strict=True):
        approve(file, folder, name, identity.load(folder))
    return folders


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


@contextmanager
def nodes(folders: Sequence[Path], command: Callable[[Path], Sequence[str]]) -> Iterator[Callable[[Path], None]]:
    """The nodes as processes of their own, gone at the end in any case; `command(folder)` is what runs. Gives what starts one
    again. To be used after `make_interruptible`."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(folder: Path) -> None:
        with (folder / "node.log").open("ab") as log, _held_back():
            processes.append(subprocess.Popen(command(folder), stderr=log))

    try:
        for folder in folders:
            start(folder)
        yield start
    finally:
        try:
            _ignore_signals()
        finally:  # a signal that came just before
            _stop(processes)
    make_interruptible()


def wait_for(folders: Sequence[Path]) -> None:
    """Until their nodes listen. Where machines are busy, that takes a while."""
    until = time.monotonic() + LONGEST_START
    for folder in folders:
        host, _, port = read_config(folder).listen.rpartition(":")
        while True:
            try:
                socket.create_connection((host, int(port)), timeout=5).close()
                break
            except OSError:
                if time.monotonic() > until:
                    log = (folder / "node.log").read_text().strip().splitlines()
                    raise ComityError(f"the node in {folder} did not start: {log[-1] if log else 'it said nothing'}") from None
                time.sleep(0.1)


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def make_interruptible() -> None:
    """Signals that would end this process become a KeyboardInterrupt."""
    for number in SIGNALS:
        signal.signal(number, _interrupt)


def _interrupt(number: int, frame: object) -> None:
    _ignore_signals()
    raise KeyboardInterrupt


def _ignore_signals() -> None:
    """A second Ctrl-C must not leave a node behind. (A handler of our own would not last: Python takes it away while it
    shuts down, and the signal would kill this process then.)"""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _held_back() -> Iterator[None]:
    """Signals wait: within, a process is started, and nobody knows of it yet."""
    waiting: list[int] = []
    for number in SIGNALS:
        signal.signal(number, lambda number, _: waiting.append(number))
    try:
        yield
    finally:
        make_interruptible()
    if waiting:
        _interrupt(waiting[0], None)
