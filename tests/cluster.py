"""Companies with a node's folder each, a spec, data, and nodes as processes of their own."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
from proxy import Proxy
from warm import Started

from parties.cli.local import COMITY, free_ports
from parties.governance.approval import approve
from parties.node.config import read_config, starting_config
from parties.wire import identity

ONE_TABLE = """
[tables.t]
max_rows = 100
[tables.t.columns]
n = { type = "integer", lower = 0, upper = 100 }
[queries.total]
sql = "SELECT SUM(n) FROM t"
receivers = ["alpha", "beta"]
"""
"""A table and a query over it, for nodes of which gamma is no receiver."""


said: list[Callable[[Sequence[str], str, str], object]] = []
"""What wants to hear what commands said: their arguments, stdout and stderr."""


def comity(*arguments: object, cwd: Path | None = None, **options: object) -> subprocess.CompletedProcess[str]:
    """Of a warm start, but for `options` of `subprocess.run`."""
    words = list(map(str, arguments))
    if options:
        return subprocess.run([*COMITY, *words], cwd=cwd, capture_output=True, text=True, timeout=60, check=False, **options)  # type: ignore[call-overload]
    with TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        status = Started(words, out=out, err=err, cwd=cwd, seconds=60).wait()
        done = subprocess.CompletedProcess([*COMITY, *words], status, read(out), read(err))
    for hear in said:
        hear(words, done.stdout, done.stderr)
    return done


def read(file: Path) -> str:
    return file.read_text(encoding="utf-8")


class Cluster:
    """`names` are the parties; where `triples` is "dealer" there is a dealer as well. Nothing is approved yet. Others
    reach the nodes in `proxied` through `proxies[name]` alone."""

    def __init__(
        self,
        folder: Path,
        names: Iterable[str],
        *,
        scheme: str = "additive",
        colluding: int | None = None,
        triples: str | None = None,
        tables: str = "",
        queries: str = "",
        deadline: float = 20,
        proxied: Sequence[str] = (),
    ) -> None:
        self.folder, self.parties = folder, sorted(names)
        self.scheme, self.triples = scheme, triples
        n = len(self.parties)
        self.colluding = colluding or (n - 1 if scheme == "additive" else (n - 1) // 2)
        self.everybody = [*self.parties, *(["dealer"] if triples == "dealer" else [])]
        ports = iter(free_ports(len(self.everybody) + len(proxied)))
        self.ports = dict(zip(self.everybody, ports, strict=False))
        listen = {**self.ports, **dict(zip(proxied, ports, strict=True))}
        self.proxies = {name: Proxy(self.ports[name], listen[name]) for name in proxied}
        self.processes: dict[str, subprocess.Popen[bytes] | Started] = {}
        for name in self.everybody:
            identity.create(self[name], name)
            config = starting_config(name, f"127.0.0.1:{listen[name]}") + f"deadline = {deadline}\n"
            (self[name] / "node.toml").write_text(config)
        self.spec = folder / "comity.toml"
        self.write_spec(tables, queries)

    def __getitem__(self, name: str) -> Path:
        return self.folder / name

    def stanza(self, name: str) -> str:
        head = "[dealer]" if name == "dealer" else f"[parties.{name}]"
        certificate = identity.one_line(identity.der_of((self[name] / "certificate.pem").read_bytes()))
        return f'{head}\naddress = "localhost:{self.ports[name]}"\ncertificate = "{certificate}"\n'

    def write_spec(self, tables: str, queries: str) -> None:
        triples = f'triples = "{self.triples}"\n' if self.triples else ""
        self.spec.write_text(
            'version = 1\nname = "test"\n'
            f'[security]\nscheme = "{self.scheme}"\ncolluding = {self.colluding}\n{triples}\n'
            + "\n".join(map(self.stanza, self.everybody)) + tables + queries
        )  # fmt: skip

    def hold(self, name: str, table: str, select: str, view: str = "") -> None:
        """Company `name` holds the rows of the DuckDB query `select`."""
        file = self[name] / f"{table}.parquet"
        duckdb.sql(select).write_parquet(str(file))
        with (self[name] / "node.toml").open("a") as config:
            config.write(f'[tables.{table}]\nsource = "{table}.parquet"\n' + (f"sql = '''{view}'''\n" if view else ""))

    def approve(self, *names: str) -> None:
        for name in names or self.everybody:
            config = read_config(self[name])
            approve(self.spec, self[name], config.name, identity.load(self[name]))

    def start(self, *names: str, environment: Mapping[str, str] | None = None) -> None:
        """Every node under another PYTHONHASHSEED: an order taken from a set would differ between them. With an `environment`
        they start as people start them, else warm."""
        for number, name in enumerate(names or self.everybody, 1):
            command, log = ["node", str(self[name])], self[name] / "log"
            log.touch()
            if environment is None:
                self.processes[name] = Started(command, out=Path(os.devnull), err=log, seed=str(number))
            else:
                with log.open("ab") as err:
                    self.processes[name] = subprocess.Popen(
                        [*COMITY, *command], stderr=err, env={**os.environ, "PYTHONHASHSEED": str(number), **environment}
                    )

    def log(self, name: str) -> str:
        return (self[name] / "log").read_text()

    def logs(self) -> str:
        return "\n".join(f"--- {name}\n{self.log(name)}" for name in self.processes)

    def wait_for_log(self, name: str, text: str, seconds: float = 30) -> None:
        until = time.monotonic() + seconds
        while text not in self.log(name):
            assert time.monotonic() < until, f"{name} never logged {text!r}:\n{self.logs()}"
            time.sleep(0.05)

    def run(self, query: str, at: str, *more: str) -> subprocess.CompletedProcess[str]:
        return comity("run", query, "--node", self[at], *(more or ("--format", "json")))

    def result(self, query: str, at: str) -> dict:
        done = self.run(query, at)
        assert done.returncode == 0, done.stderr + self.logs()
        return json.loads(done.stdout)

    def signal(self, name: str, number: int) -> None:
        self.processes[name].send_signal(number)

    def stop(self, *names: str) -> dict[str, int]:
        """The exit status of each."""
        for name in names or list(self.processes):
            self.processes[name].send_signal(signal.SIGCONT)
            self.processes[name].terminate()
        status = {}
        for name in names or list(self.processes):
            try:
                status[name] = self.processes.pop(name).wait(15)
            except subprocess.TimeoutExpired:
                status[name] = -1
        return status

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        for proxy in self.proxies.values():
            proxy.close()
