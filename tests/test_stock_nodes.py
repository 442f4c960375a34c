"""The stock of nodes that are processes of their own: made at a quiet hour, used by queries, over crashes and old backups."""

import json
import shutil
import signal
import sqlite3
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cluster import COMITY, Cluster, comity

from parties.cli.status import read_status

NAMES = ("alpha", "beta", "gamma")

TABLES = """
[tables.sales]
max_rows = 100
holders = ["alpha", "beta", "gamma"]
[tables.sales.columns]
item = { type = "integer", lower = 1, upper = 20 }
amount = { type = "integer", lower = 0, upper = 100 }

[tables.prices]
owner = "gamma"
key = ["item"]
max_rows = 100
[tables.prices.columns]
item = { type = "integer", lower = 1, upper = 20 }
price = { type = "integer", lower = 0, upper = 99 }
"""
QUERIES = """
[queries.worth]
sql = "SELECT SUM(amount * price) AS worth FROM sales JOIN prices USING (item)"
receivers = ["alpha", "beta"]
"""
WORTH = 3 * sum(i * 2 * i for i in range(1, 21))


def trading(folder: Path) -> Cluster:
    cluster = Cluster(folder, NAMES, tables=TABLES, queries=QUERIES)
    for name in NAMES:
        cluster.hold(name, "sales", "SELECT CAST(i AS INTEGER) AS item, CAST(i AS INTEGER) AS amount FROM range(1, 21) t(i)")
    cluster.hold("gamma", "prices", "SELECT CAST(i AS INTEGER) AS item, CAST(2 * i AS INTEGER) AS price FROM range(1, 21) t(i)")
    cluster.approve()
    return cluster


def prepare(cluster: Cluster, count: int | str, at: str = "alpha") -> subprocess.CompletedProcess[str]:
    return comity("prepare", "--node", cluster[at], "--with", "all", "--triples", count)


def left(cluster: Cluster, name: str) -> list[int]:
    return [lot["left"] for lot in read_status(cluster[name])["stock"]]


def worth(cluster: Cluster, at: str = "alpha") -> dict:
    result = cluster.result("worth", at)
    assert result["rows"] == [[WORTH]]
    return result["cost"]


def test_triples_are_made_ahead_and_used(tmp_path: Path) -> None:
    with trading(tmp_path) as cluster:
        cluster.start()
        cost = worth(cluster)
        needed = cost["measured"]["triples"]
        assert cost["from_stock"] == 0
        assert cost["declared"] == cost["measured"]
        made = prepare(cluster, needed + 10)
        assert made.returncode == 0, made.stderr + cluster.logs()
        assert f"made {needed + 10} triples" in made.stdout
        assert f"{needed + 10} of {needed + 10} triples" in made.stderr
        assert [left(cluster, name) for name in NAMES] == [[needed + 10]] * 3
        with sqlite3.connect(cluster["alpha"] / "stock" / "stock.sqlite") as db:
            assert db.execute("SELECT count(*) FROM base_keys").fetchone() == (2,)
        shown = comity("status", "--node", cluster["beta"]).stdout
        assert "alpha, gamma" in shown
        explained = comity("explain", cluster.spec, "worth", "--node", cluster["gamma"]).stdout
        assert f"{needed} of the {needed} triples would come from the stock of gamma" in explained
        assert f"of the {needed} triples, those that are in stock" in comity("explain", cluster.spec, "worth").stdout
        again = prepare(cluster, needed + 10, "beta")
        assert "no triples were missing" in again.stdout, again.stderr
        both = comity("prepare", "--node", cluster["beta"], "--triples", str(needed + 10), "--bits", "200")
        assert "no triples were missing" in both.stdout, both.stderr
        assert "made 256 bits; 256 or more are in stock with alpha, gamma" in both.stdout
        shown = json.loads(comity("status", "--node", cluster["gamma"], "--format", "json").stdout)["stock"]
        assert [(lot["kind"], lot["left"], lot["of"]) for lot in shown] == [("triples", needed + 10, needed + 10), ("bits", 256, 256)]
        assert "say how many of what" in comity("prepare", "--node", cluster["beta"]).stderr
        said = cluster.run("worth", "beta", "--format", "table")
        assert f"({needed} of {needed} from the stock)" in said.stdout, said.stderr
        assert [left(cluster, name) for name in NAMES] == [[10, 256]] * 3
        cost = worth(cluster)
        assert cost["from_stock"] == 10
        assert cost["measured"]["bytes"] < cost["declared"]["bytes"]
        assert cost["measured"]["triples"] == needed
        for name in NAMES:
            assert (cluster[name] / "stock.key").stat().st_mode & 0o077 == 0


def test_what_a_node_refuses_to_keep_is_said(tmp_path: Path) -> None:
    with trading(tmp_path) as cluster:
        config = cluster["gamma"] / "node.toml"
        config.write_text('stock = "1 MB"\n' + config.read_text())
        cluster.start()
        refused = prepare(cluster, "50k")
        assert refused.returncode == 1
        assert "gamma refuses: 50,000 more triples take 1 MB on disk" in refused.stderr
        assert "`stock` in its node.toml allows 1 MB" in refused.stderr
        assert [left(cluster, name) for name in NAMES] == [[]] * 3
        assert prepare(cluster, 1000).returncode == 0
        assert "no count, such as 500000, 500k or 50M" in prepare(cluster, "50 M").stderr
        assert "1 to 1,073,741,824 of a kind in stock: triples, ands, squares, bits, masks" in prepare(cluster, "2G").stderr


def test_a_restored_backup_of_one_node_uses_nothing_twice(tmp_path: Path) -> None:
    with trading(tmp_path) as cluster:
        cluster.start()
        assert prepare(cluster, 1000).returncode == 0
        cluster.stop("beta")
        backup = tmp_path / "backup"
        shutil.copytree(cluster["beta"], backup)
        cluster.start("beta")
        needed = worth(cluster)["from_stock"]
        assert needed > 0
        cluster.stop("beta")
        for what in ("stock", "stock.key"):
            target = cluster["beta"] / what
            shutil.rmtree(target) if target.is_dir() else target.unlink()
            copy = shutil.copytree if (backup / what).is_dir() else shutil.copy2
            copy(backup / what, target)
        assert left(cluster, "beta") == [1000]  # so it believes
        cluster.start("beta")
        cost = worth(cluster)
        assert cost["from_stock"] == 0
        assert "this node's own state is older than what alpha saw" in cluster.log("beta")
        assert [left(cluster, name) for name in NAMES] == [[]] * 3
        assert prepare(cluster, 1000).returncode == 0  # made anew
        assert worth(cluster)["from_stock"] == needed


@pytest.mark.slow
def test_kill_in_a_preparation_leaves_what_all_have(tmp_path: Path) -> None:
    with trading(tmp_path) as cluster:
        cluster.start()
        making = subprocess.Popen(
            [*COMITY, "prepare", "--node", str(cluster["alpha"]), "--triples", "40M"], stderr=subprocess.PIPE, text=True
        )
        cluster.wait_for_log("beta", "preparing")
        while not left(cluster, "gamma") or not left(cluster, "gamma")[0]:
            assert making.poll() is None
        cluster.signal("beta", signal.SIGKILL)
        _, said = making.communicate(timeout=60)
        assert making.returncode == 1
        assert "beta" in said
        cluster.processes.pop("beta").wait()
        cluster.start("beta")
        had = min(sum(left(cluster, name)) for name in NAMES)
        assert had > 0
        cost = worth(cluster)
        assert cost["from_stock"] == cost["measured"]["triples"]
        done = prepare(cluster, had + 1000)
        assert done.returncode == 0, done.stderr
        assert min(sum(left(cluster, name)) for name in NAMES) >= had + 1000


def test_kill_in_a_query_and_two_at_once(tmp_path: Path) -> None:
    with trading(tmp_path) as cluster:
        cluster.start()
        assert prepare(cluster, 10_000).returncode == 0
        for name in NAMES:
            with sqlite3.connect(cluster[name] / "stock" / "stock.sqlite") as db:
                assert db.execute("SELECT next FROM lots").fetchall() == [(0,)]
        asking = subprocess.Popen([*COMITY, "run", "worth", "--node", str(cluster["alpha"])], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while left(cluster, "beta") == [10_000] and asking.poll() is None:
            pass
        cluster.signal("beta", signal.SIGKILL)
        asking.communicate(timeout=60)
        cluster.processes.pop("beta").wait()
        cluster.start("beta")
        with ThreadPoolExecutor(4) as pool:
            costs = list(pool.map(lambda at: worth(cluster, at), ["alpha", "beta"] * 2))
        used = sum(cost["from_stock"] for cost in costs)
        assert max(sum(left(cluster, name)) for name in NAMES) <= 10_000 - used


@pytest.mark.slow
def test_ctrl_c_stops_and_the_same_command_goes_on(tmp_path: Path) -> None:
    with trading(tmp_path) as cluster:
        cluster.start()
        making = subprocess.Popen([*COMITY, "prepare", "--node", str(cluster["alpha"]), "--triples", "40M"], stderr=subprocess.DEVNULL)
        while not left(cluster, "gamma") or not left(cluster, "gamma")[0]:
            assert making.poll() is None
        refused = prepare(cluster, 1000, "beta")
        assert "being made for its stock already" in refused.stderr
        making.send_signal(signal.SIGINT)
        assert making.wait(30) == 130
        cluster.wait_for_log("gamma", "cancelled there")
        had = min(sum(left(cluster, name)) for name in NAMES)
        assert had >= 1 << 18
        assert "no triples were missing" in prepare(cluster, had).stdout
