"""Whole queries between running nodes: how cost grows with rows, cells and companies; and what starting takes."""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from benchmarks.companies import LETTERS, companies, nodes, processes
from benchmarks.measure import Line, peak_mb
from benchmarks.peers.party import FACTOR, MODULUS
from mpc.cost import Cost
from mpc.errors import ComityError
from parties.cli.run import run_on_node

CELLS = (1, 100, 10_000)
ROWS = (10_000, 100_000, 1_000_000, 10_000_000)
PARTIES = (2, 3, 5, 7)
USUAL_ROWS, USUAL_CELLS, USUAL_PARTIES = 100_000, 100, 3
GROUPS = ("rows", "cells", "companies", "median", "rules", "start")

TABLES = """
[tables.t]
max_rows = 100_000_000
[tables.t.columns]
g = {{ type = "category", values = [{values}] }}
x = {{ type = "integer", lower = 0, upper = 1_000_000 }}
y = {{ type = "decimal", scale = 2, lower = "0.00", upper = "100000.00" }}
[queries.q]
sql = "{sql}"
receivers = [{receivers}]
{rules}
"""
USUAL = "SELECT g, COUNT(*), SUM(x), AVG(y) FROM t WHERE x > 10 GROUP BY g"
MEDIAN = "SELECT MEDIAN(x) FROM t"
MEANS = "SELECT g, AVG(x) FROM t GROUP BY g"
MINIMUM = "minimum_group = 10"


def lines(groups: Sequence[str], runs: int, quick: bool) -> Iterator[Line]:
    if "rows" in groups:
        for rows in ROWS[: 2 if quick else 4]:
            yield _query("rows", rows, USUAL_CELLS, USUAL_PARTIES, runs)
    if "cells" in groups:
        for cells in CELLS:
            yield _query("cells", USUAL_ROWS, cells, USUAL_PARTIES, runs)
    if "companies" in groups:
        for parties in PARTIES[: 2 if quick else 4]:
            yield _query("companies", USUAL_ROWS, USUAL_CELLS, parties, runs)
    if "median" in groups:
        for rows in ROWS[:1] if quick else (ROWS[0], ROWS[-1]):
            for scheme in ("additive", "replicated"):
                yield _query("median", rows, 1, 3, runs, MEDIAN, scheme=scheme)
    if "rules" in groups:
        for scheme in ("additive", "replicated"):
            for rules in (MINIMUM, ""):
                yield _query("rules", USUAL_ROWS, 100 if quick else 1_000, 3, runs, MEANS, rules, scheme)
    if "start" in groups:
        yield _help(runs)
        yield _start(runs)


def described(rows: int, cells: int, sql: str, rules: str, scheme: str) -> str:
    return f"{rows:,} rows, {cells:,} cells" + (f", {scheme}" if sql != USUAL else "") + (f", {rules}" if rules else "")


def _query(
    group: str, rows: int, cells: int, parties: int, runs: int, sql: str = USUAL, rules: str = "", scheme: str = "additive"
) -> Line:  # fmt: skip
    """From the request to the result. The floor: the same local queries in as many processes, started together."""
    values = ", ".join(f'"g{number}"' for number in range(cells))
    with TemporaryDirectory(prefix="comity-bench-") as folder:
        file = Path(folder) / "t.parquet"
        duckdb.sql(
            f"SELECT 'g' || (hash(i) % {cells}) AS g, (i * {FACTOR} % {MODULUS})::INTEGER AS x, "
            f"(hash(i + 2) % 10000000 / 100)::DECIMAL(9, 2) AS y FROM range({rows}) r(i)"
        ).write_parquet(str(file))
        data = f'\n[tables.t]\nsource = "{file}"\n'
        receivers = '"a", "b"' if sql == USUAL else ", ".join(f'"{letter}"' for letter in LETTERS[:parties])
        tables = TABLES.format(values=values, sql=sql, rules=rules, receivers=receivers)
        with companies(parties, scheme, tables=tables, data=data) as folders:
            with processes([[sys.executable, "-m", "benchmarks.local", str(own), "q"] for own in folders]) as homes:
                floor = [_together(homes) for _ in range(runs + 1)][1:]
            with nodes(folders) as started:
                seconds = []
                for _ in range(runs + 1):
                    start = time.perf_counter()
                    result = run_on_node("q", folders[0])
                    seconds.append(time.perf_counter() - start)
                memory = max(peak_mb(node.pid) for node in started)
    cost = result["cost"]
    return Line(
        group, described(rows, cells, sql, rules, scheme), parties, rows * parties, seconds[1:], "local queries", floor,
        Cost(**cost["declared"]), Cost(**cost["measured"]), memory,
    )  # fmt: skip


def _together(homes: Sequence[subprocess.Popen[str]]) -> float:
    """The slowest's seconds."""
    for home in homes:
        assert home.stdin is not None
        home.stdin.write("go\n")
        home.stdin.flush()
    return max(float(home.stdout.readline()) for home in homes if home.stdout is not None)


def _help(runs: int) -> Line:
    """The floor is an interpreter that does nothing."""

    def seconds(*arguments: str) -> list[float]:
        taken = []
        for _ in range(runs):
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            taken.append(time.perf_counter() - start)
        return taken

    return Line("start", "comity --help", 1, 1, seconds("-m", "parties.cli.main", "--help"), "python", seconds("-c", ""))


def _start(runs: int) -> Line:
    """From the start of a node's process to its first answer; its memory when it has nothing to do."""
    with companies(2, "additive") as folders:
        seconds, memory = [], []
        for _ in range(runs):
            start = time.perf_counter()
            with nodes(folders[:1]) as (node,):
                with suppress(ComityError):  # there is no such query, says the node
                    run_on_node("nothing", folders[0])
                seconds.append(time.perf_counter() - start)
                memory.append(peak_mb(node.pid))
    return Line("start", "a node", 1, 1, seconds, "", [], peak_mb=statistics.median(memory))
