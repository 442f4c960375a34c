"""Queries with noise between nodes of their own: what is charged, countersigned, opened; and what cannot be undone."""

import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path

from cluster import Cluster, comity

NAMES = ("alpha", "beta", "gamma")
TABLES = """
[tables.people]
max_rows = 10_000
unit = { key = "person", rows = 2, groups = 1 }
[tables.people.columns]
region = { type = "category", values = ["north", "south"] }
pay = { type = "integer", lower = 0, upper = 1000 }
"""
QUERIES = """
[queries.heads]
sql = "SELECT region, COUNT(*) AS heads, AVG(pay) AS pay FROM people GROUP BY region"
receivers = ["alpha", "beta"]
privacy = { epsilon = 1, delta = 1e-6 }

[queries.pure]
sql = "SELECT COUNT(*) AS heads FROM people"
receivers = ["alpha"]
privacy = { mechanism = "laplace", epsilon = 0.5 }

[queries.exact]
sql = "SELECT COUNT(*) AS heads FROM people"
receivers = ["alpha"]

[queries.north]
sql = "SELECT COUNT(*) AS heads FROM people WHERE region = 'north'"
receivers = ["alpha"]
"""
PROTECTED = "each person, with all rows of it in people, of which at most 2 rows in each of 1 group at one company count"

DIES = """
import os, sys
from mpc.context import Context
tell = Context.tell
def die(self, operation, message):
    if operation == "{step}":
        os._exit(9)
    return tell(self, operation, message)
Context.tell = die
from parties.cli.main import main
sys.argv = ["comity", "node", "{folder}"]
main()
"""
"""A node that is gone, like one killed, when it comes to a step."""


def rows(seed: int) -> str:
    """2,000 people with one row each."""
    return (
        f"SELECT 'p' || i AS person, CASE WHEN i % 3 = 0 THEN 'north' ELSE 'south' END AS region, (i * {seed} * 37) % 1001 AS pay "
        "FROM range(2000) t(i)"
    )

def staff(folder: Path, node: str = "", deadline: float = 20, **one: str) -> Cluster:
    """`node` are further lines of each node.toml, before its tables; those of a company in `one` are its own."""
    cluster = Cluster(folder, NAMES, tables=TABLES, queries=QUERIES, deadline=deadline)
    for seed, name in enumerate(NAMES, 1):
        with (cluster[name] / "node.toml").open("a") as config:
            config.write(one.get(name, node))
        cluster.hold(name, "people", rows(seed))
    cluster.approve()
    cluster.start()
    return cluster


def ledger(cluster: Cluster, name: str) -> dict:
    """What `comity budget` says, while the node runs."""
    done = comity("budget", "--node", cluster[name], "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def charges(cluster: Cluster, name: str) -> list[tuple[str, str, str]]:
    return [(entry["id"], entry["query"], entry["state"]) for entry in ledger(cluster, name)["queries"]]


def refusal(cluster: Cluster, query: str, at: str) -> str:
    done = cluster.run(query, at)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr


def test_answers_with_noise_are_charged_alike_everywhere(tmp_path: Path) -> None:
    """Errors are within 6 standard errors (false alarms: 1e-8)."""
    with staff(tmp_path) as cluster:
        heads = cluster.result("heads", "alpha")
        for row, exact, error in zip(heads["rows"], (3 * 667, 3 * 1333), heads["privacy"]["standard_error"], strict=True):
            assert error[0] is None
            assert 0 < abs(float(row[1]) - exact) < 6 * error[1] or float(row[1]) == exact
            assert abs(row[2] - 500) < 6 * error[2] + 20
            low, high = heads["privacy"]["interval"][0][1]
            assert low < float(heads["rows"][0][1]) < high
        said = "\n".join(heads["privacy"]["guarantee"])
        assert "each person, with all rows of it in people" in said
        assert "epsilon = 1 at delta = 1e-06" in said
        assert "alpha has no `budget` in its node.toml" in said
        assert heads["adjusted"] == []
        assert heads["cost"]["declared"] == heads["cost"]["measured"]
        again = cluster.result("heads", "beta")
        assert again["rows"] != heads["rows"]
        pure = cluster.result("pure", "alpha")
        assert pure["privacy"]["mechanism"] == "laplace"
        assert abs(float(pure["rows"][0][0]) - 6000) < 60 * pure["privacy"]["standard_error"][0][0]

        entries = charges(cluster, "alpha")
        assert [(query, state) for _, query, state in entries] == [("heads", "settled")] * 2 + [("pure", "settled")]
        assert charges(cluster, "beta") == charges(cluster, "gamma") == entries
        # the other receiver was given the same values
        (written,) = (json.loads(file.read_text()) for file in (cluster["beta"] / "results").glob("heads-*.json"))
        assert written["rows"] == heads["rows"]
        assert stat.S_IMODE((cluster["gamma"] / "ledger.sqlite").stat().st_mode) == 0o600
        text = cluster.run("heads", "alpha", "--format", "table").stdout
        assert " ± " in text
        assert "privacy: against: whoever sees the answer" in text
        csv = cluster.run("heads", "alpha", "--format", "csv").stdout.splitlines()
        assert csv[0] == "region,heads,pay,heads_standard_error,pay_standard_error"
        assert set(cluster.stop().values()) == {0}


def test_any_companys_cap_stops_a_query_everywhere_and_nobody_is_charged(tmp_path: Path) -> None:
    budget = "budget = { epsilon = 1, delta = 1e-6 }\n"
    with staff(tmp_path, beta=budget) as cluster:
        assert "budget" not in "".join(cluster.result("heads", "beta")["privacy"]["guarantee"])
        told = refusal(cluster, "heads", "alpha")
        assert "beta refuses" in told
        assert "24,355 micro-rho" in told
        assert " 0 are left" in told
        assert "0 are left" in cluster.log("beta")
        entries = charges(cluster, "alpha")
        assert [(query, state) for _, query, state in entries] == [("heads", "settled")]
        assert charges(cluster, "beta") == charges(cluster, "gamma") == entries
        (account,) = ledger(cluster, "beta")["accounts"]
        assert (account["table"], account["unit"]) == ("people", "person")
        assert (account["spent"]["micro_rho"], account["left"]["micro_rho"]) == (24_355, 0)


def test_exact_answers_over_people_need_everybodys_leave_and_are_guarded(tmp_path: Path) -> None:
    with staff(tmp_path, "exact = true\n", gamma="") as cluster:
        assert "gamma refuses: it gives no exact answers over people" in refusal(cluster, "exact", "alpha")
    with staff(tmp_path / "all", "exact = true\n", gamma='exact = true\ndiffering = ["north"]\n') as cluster:
        exact = cluster.result("exact", "alpha")
        assert exact["rows"] == [[6000]]
        assert exact["privacy"]["guarantee"] == ["the answer is exact: no differential privacy holds for " + PROTECTED]
        assert cluster.result("exact", "alpha")["rows"] == [[6000]]
        told = refusal(cluster, "north", "alpha")  # gamma allows it, alpha and beta do not
        assert "the filter of north differs from that of exact, released before" in told
        assert "differing" in told
        assert ledger(cluster, "alpha")["queries"] == []


def test_a_retry_after_a_killed_node_is_the_same_answer_at_one_charge(tmp_path: Path) -> None:
    """Gamma, which receives nothing, dies where all receipts are about to be exchanged; alpha cannot open, and asks again."""
    with staff(tmp_path, deadline=5) as cluster:
        cluster.stop("gamma")
        with (cluster["gamma"] / "log").open("ab") as log:
            dying = DIES.format(step="receipts", folder=cluster["gamma"])
            cluster.processes["gamma"] = subprocess.Popen([sys.executable, "-c", dying], stderr=log)
        told = refusal(cluster, "heads", "alpha")
        assert "gamma" in told
        (entry,) = charges(cluster, "alpha")
        assert entry[2] in ("reserved", "signed")
        cluster.processes.pop("gamma").wait(10)
        cluster.start("gamma")
        first = cluster.result("heads", "beta")
        assert charges(cluster, "alpha") == charges(cluster, "gamma") == [(entry[0], "heads", "settled")]
        assert cluster.result("heads", "beta")["rows"] != first["rows"]


def test_a_restored_backup_is_refused_by_its_own_node(tmp_path: Path) -> None:
    with staff(tmp_path) as cluster:
        cluster.result("heads", "alpha")
        cluster.stop("gamma")
        for file in cluster["gamma"].glob("ledger.sqlite*"):
            shutil.copy(file, tmp_path / file.name)
        cluster.start("gamma")
        cluster.result("heads", "alpha")
        cluster.stop("gamma")
        for file in cluster["gamma"].glob("ledger.sqlite*"):
            file.unlink()
        for file in tmp_path.glob("ledger.sqlite*"):
            shutil.copy(file, cluster["gamma"] / file.name)
        cluster.start("gamma")
        # alpha and beta, which are up, say so before anybody asks
        cluster.wait_for_log("gamma", "no query is served: the ledger of gamma is not the one that")
        told = refusal(cluster, "heads", "alpha")
        assert "gamma refuses: the ledger of gamma is not the one that" in told
        assert [state for _, _, state in charges(cluster, "alpha")] == ["settled", "settled"]
