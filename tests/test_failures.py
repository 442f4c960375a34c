"""What is stopped in the middle of a query ends cleanly, and everybody else is told who it was."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from cluster import COMITY, Cluster

NAMES = ("alpha", "beta", "gamma")

SPEC = """
[tables.t]
max_rows = 10
[tables.t.columns]
n = { type = "integer", lower = 0, upper = 10 }
[queries.total]
sql = "SELECT SUM(n) AS total FROM t"
receivers = ["alpha", "beta"]

[tables.u]
max_rows = 10
[tables.u.columns]
n = { type = "integer", lower = 0, upper = 10 }
[queries.other]
sql = "SELECT SUM(n) AS total FROM u"
receivers = ["alpha", "beta"]
"""

ENDLESS = "SELECT n FROM source WHERE (SELECT SUM(a.range * b.range) FROM range(1000000) a, range(1000000) b) > 0"


@contextmanager
def in_the_middle(folder: Path) -> Iterator[tuple[Cluster, subprocess.Popen[str]]]:
    """Nodes that have agreed on a query, and the `comity run` that asks for it: gamma computes at home, and would for
    hours; the others wait for its shares."""
    with Cluster(folder, NAMES, tables=SPEC) as companies:
        for name in NAMES:
            companies.hold(name, "t", "SELECT 3 AS n", ENDLESS if name == "gamma" else "")
            companies.hold(name, "u", "SELECT 3 AS n")
        companies.approve()
        companies.start()
        for name in NAMES:
            companies.wait_for_log(name, "listening")
        command = [*COMITY, "run", "total", "--node", str(companies["alpha"])]
        asking = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # ignored where the tests run in the background
        )  # fmt: skip
        try:
            for name in NAMES:
                companies.wait_for_log(name, "agreed")
            yield companies, asking
        finally:
            asking.kill()
            print(asking.communicate()[1])  # shown where the test fails


def without_traceback(companies: Cluster) -> bool:
    return not any("Traceback" in companies.log(name) for name in NAMES)


@pytest.mark.parametrize("victim", ["beta", "gamma"])
def test_a_node_that_is_stopped_in_the_middle_ends_with_status_0_and_its_peers_name_it(victim: str, tmp_path: Path) -> None:
    with in_the_middle(tmp_path) as (companies, asking):
        assert companies.stop(victim) == {victim: 0}
        answer, said = asking.communicate(timeout=60)
        assert (asking.returncode, answer) == (1, "")
        assert said.startswith("error: ")
        assert victim in said
        companies.wait_for_log("alpha", f"total failed: {said.removeprefix('error: ').strip()}")
        assert companies.log(victim).splitlines()[-1].endswith("stopped")
        assert set(companies.stop().values()) == {0}
        assert without_traceback(companies)


def test_a_node_that_is_stopped_while_its_own_company_asks_says_so(tmp_path: Path) -> None:
    with in_the_middle(tmp_path) as (companies, asking):
        assert companies.stop("alpha") == {"alpha": 0}
        assert asking.communicate(timeout=60) == ("", "error: alpha was stopped\n")
        assert asking.returncode == 1
        companies.wait_for_log("beta", "total failed: ")
        assert "alpha" in companies.log("beta").split("total failed: ")[1].splitlines()[0]
        assert set(companies.stop().values()) == {0}
        assert without_traceback(companies)


def test_ctrl_c_while_a_query_runs_ends_it_everywhere_and_the_nodes_serve_on(tmp_path: Path) -> None:
    with in_the_middle(tmp_path) as (companies, asking):
        asking.send_signal(signal.SIGINT)
        answer, said = asking.communicate(timeout=60)
        assert (asking.returncode, answer, said.strip()) == (130, "", "interrupted")
        companies.wait_for_log("alpha", "total failed: the run was cancelled")
        companies.wait_for_log("beta", "total failed: alpha refuses")
        assert companies.result("other", "beta")["rows"] == [[9]]
        assert without_traceback(companies)


def test_two_signals_at_once_end_a_node_as_one_does(tmp_path: Path) -> None:
    with Cluster(tmp_path, NAMES, tables=SPEC) as companies:
        companies.approve()
        companies.start("alpha")
        companies.wait_for_log("alpha", "listening")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            companies.signal("alpha", number)
        assert companies.processes.pop("alpha").wait(60) == 0
