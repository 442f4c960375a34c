"""Companies for a benchmark, in a folder of their own: identities, an approved spec, nodes and workers as processes."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO

from mpc.errors import ComityError
from parties.cli.local import free_ports
from parties.governance.approval import approve
from parties.node.config import read_config, starting_config
from parties.wire import identity

LETTERS = "abcdefghij"
LONGEST = 900  # seconds: what hangs does not hang the benchmark


@contextmanager
def companies(
    parties: int, scheme: str, *, dealer: bool = False, tables: str = "", data: str = ""
) -> Iterator[Sequence[Path]]:
    """The parties' folders, and the dealer's last; each has approved a spec with `tables`. `data` goes into every
    party's node.toml. The dealer's node runs."""
    with TemporaryDirectory(prefix="comity-bench-") as root:
        names = [*LETTERS[:parties], *(["dealer"] if dealer else [])]
        folders = [Path(root) / name for name in names]
        colluding = parties - 1 if scheme == "additive" else (parties - 1) // 2
        spec = f'version = 1\nname = "benchmark"\n[security]\nscheme = "{scheme}"\ncolluding = {colluding}\n'
        spec += 'triples = "dealer"\n' if dealer else ""
        for name, folder, port in zip(names, folders, free_ports(len(names)), strict=True):
            der = identity.create(folder, name).der
            listen = f"127.0.0.1:{port}"
            (folder / "node.toml").write_text(starting_config(name, listen) + (data if name != "dealer" else ""))
            head = "dealer" if name == "dealer" else f"parties.{name}"
            spec += f'[{head}]\naddress = "{listen}"\ncertificate = "{identity.one_line(der)}"\n'
        file = Path(root) / "comity.toml"
        file.write_text(spec + tables)
        for folder in folders:
            approve(file, folder, read_config(folder).name, identity.load(folder))
        with nodes(folders[-1:] if dealer else []):
            yield folders


@contextmanager
def nodes(folders: Sequence[Path]) -> Iterator[list[subprocess.Popen[str]]]:
    """Nodes as processes, until the block ends. They are up once they answer."""
    with processes([[sys.executable, "-m", "parties.cli.main", "node", str(folder)] for folder in folders]) as started:
        yield started


def outputs(commands: Sequence[Sequence[str]], folder: Path | None = None) -> list[str]:
    """What each printed, run side by side in `folder`. Where one fails, the others are ended."""
    with TemporaryFile("w+") as errors, processes(commands, errors=errors, folder=folder) as started:
        deadline = time.monotonic() + LONGEST
        while None in (codes := [process.poll() for process in started]) and not any(codes):
            if time.monotonic() > deadline:
                raise ComityError(f"not done after {LONGEST} s")
            time.sleep(0.05)
        if any(codes):
            errors.seek(0)
            raise ComityError(next((text.strip() for text in reversed(errors.readlines()) if text.strip()), "it failed"))
        return [process.communicate()[0] for process in started]


@contextmanager
def processes(
    commands: Sequence[Sequence[str]], *, errors: int | IO[str] = subprocess.DEVNULL, folder: Path | None = None
) -> Iterator[list[subprocess.Popen[str]]]:
    """Side by side in `folder`; none is left at the end."""
    started: list[subprocess.Popen[str]] = []
    try:
        for command in commands:
            started.append(subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=folder
            ))  # fmt: skip
        yield started
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.communicate()
