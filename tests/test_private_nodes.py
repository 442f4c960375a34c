"""Queries with noise between nodes of their own: what is charged, countersigned, opened; and what cannot be undone."""

import json
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
"""


def rows(seed: int) -> str:
    """2,000 people with one row each."""
    return (
        f"SELECT 'p' || i AS person, CASE WHEN i % 3 = 0 THEN 'north' ELSE 'south' END AS region, (i * {seed} * 37) % 1001 AS pay "
        "FROM range(2000) t(i)"
    )


def staff(folder: Path, node: str = "", deadline: float = 20) -> Cluster:
    """`node` are further lines of each node.toml, before its tables."""
    cluster = Cluster(folder, NAMES, tables=TABLES, queries=QUERIES, deadline=deadline)
    for seed, name in enumerate(NAMES, 1):
        with (cluster[name] / "node.toml").open("a") as config:
            config.write(node)
        cluster.hold(name, "people", rows(seed))
    cluster.approve()
    return cluster


def spent(cluster: Cluster, name: str) -> dict:
    done = comity("budget", "--node", cluster[name], "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_answer_with_noise(tmp_path: Path) -> None:
    with staff(tmp_path) as cluster:
        cluster.start()
        result = cluster.result("heads", "alpha")
        print(json.dumps(result, indent=1))
        errors = result["privacy"]["standard_error"]
        for row, exact, error in zip(result["rows"], (3 * 667, 3 * 1333), errors, strict=True):
            assert abs(float(row[1]) - exact) < 6 * error[1]
            assert abs(row[2] - 500) < 50
        again = cluster.result("heads", "beta")
        assert again["rows"] != result["rows"]
        assert cluster.result("pure", "alpha")["privacy"]["mechanism"] == "laplace"
        refused = cluster.run("exact", "alpha")
        assert refused.returncode == 1
        print(refused.stderr)
