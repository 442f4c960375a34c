"""Many queries, one after the other and at once, at the same nodes: right answers, and nothing that grows."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import planted
import pytest
from cluster import Cluster

from parties.cli.run import run_on_node

PARTIES = ("alpha", "beta", "gamma")
SPEC = """
[tables.t]
max_rows = 100
[tables.t.columns]
n = { type = "integer", lower = 0, upper = 9_999_999 }
[tables.prices]
owner = "gamma"
key = ["n"]
max_rows = 100
[tables.prices.columns]
n = { type = "integer", lower = 1, upper = 50 }
price = { type = "integer", lower = 0, upper = 9 }
[tables.few]
max_rows = 100
[tables.few.columns]
n = { type = "integer", lower = 1, upper = 50 }
""" + "".join(
    f'[queries.{name}]\nsql = "{sql}"\nreceivers = ["alpha", "beta", "gamma"]\n'
    for name, sql in {"total": "SELECT SUM(n), COUNT(*) FROM t", "worth": "SELECT SUM(price) FROM few JOIN prices USING (n)"}.items()
)
ANSWERS = {"total": [[3 * planted.NUMBER + 3, 3]], "worth": [[sum(n % 10 for n in range(2, 51, 2)) * 3]]}

WARM, ALL = 40, 200


def use_of(process: int) -> dict[str, int]:
    """Memory (in KiB), open files and threads of a process."""
    proc = Path(f"/proc/{process}")
    pages = int((proc / "statm").read_text().split()[1])
    return {
        "memory": pages * os.sysconf("SC_PAGE_SIZE") >> 10,
        "files": len(list((proc / "fd").iterdir())),
        "threads": len(list((proc / "task").iterdir())),
    }


SLACK = {"memory": 4_096, "files": 3, "threads": 8}
"""How much more may be in use after the other 160 queries. Memory settles within 3 MB, and as many sessions that are
kept take more than twice that; gRPC's threads come and go."""


def grown(before: dict[str, dict[str, int]], after: dict[str, dict[str, int]]) -> list[str]:
    """What is in use beyond the slack, by node."""
    return [
        f"{name}: {what} {before[name][what]} -> {after[name][what]}"
        for name in before
        for what, slack in SLACK.items()
        if after[name][what] > before[name][what] + slack
    ]


def soak(folder: Path) -> list[str]:
    """What has grown."""
    with Cluster(folder, PARTIES, triples="dealer", tables=SPEC) as companies:
        for seed, name in enumerate(PARTIES):
            companies.hold(name, "t", f"SELECT {planted.NUMBER + seed} AS n")
            companies.hold(name, "few", "SELECT CAST(2 * i AS INTEGER) AS n FROM range(1, 26) t(i)")
        companies.hold("gamma", "prices", "SELECT CAST(i AS INTEGER) AS n, CAST(i % 10 AS INTEGER) AS price FROM range(1, 51) t(i)")
        companies.approve()
        companies.start(environment={"MALLOC_ARENA_MAX": "2"})  # else memory depends on which thread met which other

        def ask(number: int) -> None:
            query = ("total", "worth")[number % 2]
            assert run_on_node(query, companies[PARTIES[number % 3]])["rows"] == ANSWERS[query]

        def in_use() -> dict[str, dict[str, int]]:
            return {name: use_of(process.pid) for name, process in companies.processes.items()}

        for name in companies.everybody:
            companies.wait_for_log(name, "approved spec", 120)
        for number in range(WARM):
            ask(number)
        before = in_use()
        for number in range(WARM, ALL):
            ask(number)
        after = in_use()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, range(8)))
        for name in companies.everybody:
            assert "failed" not in companies.log(name)
        return grown(before, after)


@pytest.mark.slow
def test_200_queries_in_a_row_and_8_at_once_leave_nothing_behind(tmp_path: Path) -> None:
    assert soak(tmp_path) == []
