"""Processes of `comity` that start at once: each is forked from one that has imported what the commands need, which takes half a
second of every start. As people start them they are started by test_documents.py, test_demo.py, and where a test asks for it."""

import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from parties.cli.main import COMMANDS, main

_RARE = ("parties.cli.demo", "parties.cli.audit", "parties.cli.bench")
_idle: dict[str, list["_Starter"]] = defaultdict(list)
"""By PYTHONHASHSEED. Each runs one process at a time: many threads may start some at once."""


class Started:
    """What tests use of a `subprocess.Popen`."""

    def __init__(self, arguments: Sequence[str], *, out: Path, err: Path, cwd: Path | None = None, seed: str = "random", seconds: int = 0) -> None:
        """`seed` is its PYTHONHASHSEED. After `seconds`, if any, it is ended."""
        self.returncode: int | None = None
        self._seed = seed
        try:
            self._starter = _idle[seed].pop()
        except IndexError:
            self._starter = _Starter(seed)
        self.pid = self._starter.start({
            "arguments": list(arguments), "files": [os.devnull, str(out), str(err)], "cwd": str(cwd or Path.cwd()),
            "environment": dict(os.environ), "seconds": seconds,
        })  # fmt: skip

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self.returncode = self._starter.status(timeout)
            _idle[self._seed].append(self._starter)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Starter:
    """A process that has imported the commands, and runs one at a time, in a process forked from it."""

    def __init__(self, seed: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )  # fmt: skip

    def start(self, job: dict[str, object]) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job).encode() + b"\n")
        return self._number()

    def status(self, timeout: float | None) -> int:
        if not select.select([self._process.stdout], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("comity", timeout or 0)
        return self._number()

    def _number(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


def _run(job: dict) -> None:
    """Ends the process."""
    for descriptor, file in enumerate(job["files"]):
        os.dup2(os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND), descriptor)
    os.chdir(job["cwd"])
    os.environ.update(job["environment"])
    sys.argv = ["comity", *job["arguments"]]
    signal.alarm(job["seconds"])
    try:
        main()
    except SystemExit as ended:
        sys.stdout.flush()
        os._exit(ended.code or 0)  # gRPC, which was imported before the fork, would crash at an exit in the usual way


if __name__ == "__main__":
    for module in {module for module, _ in COMMANDS.values()}.difference(_RARE):
        importlib.import_module(module)
    gc.freeze()  # a child need not look through, and so copy, all of it
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _run(json.loads(line))
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
