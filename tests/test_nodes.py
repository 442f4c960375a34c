"""Companies as separate processes over mutual TLS, each under a PYTHONHASHSEED of its own."""

import json
import signal
import socket
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import duckdb
import planted
import pytest
from cluster import Cluster, comity

NAMES = ("alpha", "beta", "gamma")

TABLES = """
[tables.sales]
max_rows = 1_000
holders = ["alpha", "beta", "gamma"]
[tables.sales.columns]
region = { type = "category", values = ["north", "south"], nullable = true }
item = { type = "integer", lower = 1, upper = 20, outside = "drop" }
amount = { type = "decimal", scale = 2, lower = "-100.00", upper = "10000.00", nullable = true }
units = { type = "integer", lower = 0, upper = 9, outside = "clamp" }

[tables.prices]
owner = "gamma"
key = ["item"]
max_rows = 100
[tables.prices.columns]
item = { type = "integer", lower = 1, upper = 20 }
dear = { type = "boolean" }
price = { type = "decimal", scale = 2, lower = "0.00", upper = "99.99" }
"""

QUERIES = {
    "totals": "SELECT region, COUNT(*) AS n, SUM(amount) AS total, AVG(amount) AS mean FROM sales GROUP BY region",
    "lots": "SELECT SUM(units) AS units FROM sales",
    "spread": "SELECT VAR_SAMP(amount) AS variance, STDDEV_POP(amount) AS deviation FROM sales WHERE item < 15",
    "worth": """
      SELECT dear, region, SUM(amount * price) AS worth, COUNT(*) AS n FROM sales JOIN prices USING (item) WHERE price > 20
      GROUP BY region, dear
    """,
    "wide": "SELECT SUM(amount * amount * amount * amount) AS moment FROM sales",
}


def queries(*without: str) -> str:
    return "".join(
        f"[queries.{name}]\nsql = '''{sql}'''\nreceivers = [\"alpha\", \"gamma\"]\n"
        for name, sql in QUERIES.items()
        if name not in without
    )


def rows(seed: int) -> str:
    return f"""
      SELECT CASE (i * {seed}) % 3 WHEN 0 THEN 'north' WHEN 1 THEN 'south' END AS region,
             CAST(i * {seed} % 21 + 1 AS INTEGER) AS item,
             CAST(i * {seed} % 13 AS INTEGER) AS units,
             CAST(CASE WHEN i % 7 = 0 THEN NULL ELSE (i * 7919 * {seed}) % 10000 - 100 + i / 100 END AS DECIMAL(9, 2)) AS amount
      FROM range({100 * seed}) t(i)
    """


PRICES = "SELECT CAST(i AS INTEGER) AS item, i > 9 AS dear, CAST(i * 5 - 0.25 AS DECIMAL(4, 2)) AS price FROM range(1, 18) t(i)"


def trading(folder: Path, deadline: float = 20, **options: object) -> Cluster:
    multiplies = options.get("scheme") in ("shamir", "replicated") or options.get("triples")
    allowed = queries() if multiplies else queries("worth")
    cluster = Cluster(folder, NAMES, tables=TABLES, queries=allowed, deadline=deadline, **options)
    for seed, name in enumerate(NAMES, 1):
        cluster.hold(name, "sales", rows(seed))
    cluster.hold("gamma", "prices", PRICES)
    return cluster


def pooled(sql: str) -> list[tuple]:
    held = " UNION ALL ".join(f"({rows(seed)})" for seed in (1, 2, 3))
    sales = "SELECT region, item, amount, CASE WHEN units > 9 THEN 9 ELSE units END AS units FROM held WHERE item <= 20"
    return duckdb.sql(f"WITH held AS ({held}), sales AS ({sales}), prices AS ({PRICES}) {sql}").fetchall()


@pytest.mark.parametrize(
    ("scheme", "colluding", "triples"),
    [("additive", 2, "dealer"), ("additive", 1, "dealer"), ("shamir", 1, None), ("shamir", 1, "dealer"), ("replicated", 1, None)],
)
def test_every_answer_is_that_of_the_pooled_data(tmp_path: Path, scheme: str, colluding: int, triples: str | None) -> None:
    with trading(tmp_path, scheme=scheme, colluding=colluding, triples=triples) as cluster:
        cluster.approve()
        cluster.start()
        totals = cluster.result("totals", "alpha")
        expected = pooled("""
          SELECT region, COUNT(*), CAST(SUM(amount) AS VARCHAR), SUM(amount * 100)::HUGEINT, COUNT(amount)
          FROM sales GROUP BY region ORDER BY region NULLS LAST
        """)
        for row, (region, n, total, cents, count) in zip(totals["rows"], expected, strict=True):
            assert row[:3] == [region, n, total]
            assert abs(Fraction(row[3]) - Fraction(cents, 100 * count)) <= Fraction(totals["error_bound"][3])
        lots = cluster.result("lots", "alpha")
        [(dropped, clamped)] = pooled("SELECT COUNT(*) FILTER (item > 20), COUNT(*) FILTER (item <= 20 AND units > 9) FROM held")
        assert min(dropped, clamped) > 10
        assert lots["rows"] == [list(row) for row in pooled("SELECT SUM(units) FROM sales")]
        said = ["rows of sales left out because item was outside its bounds", "values of units in sales clamped to its bounds"]
        assert [(item["what"], item["count"]) for item in lots["adjusted"]] == list(zip(said, (dropped, clamped), strict=True))
        opened = [item["what"] for item in lots["disclosed"] if not item["implied"]]
        assert opened[-2:] == [f"the number of {what}" for what in said]
        assert totals["adjusted"] == lots["adjusted"][:1]
        worth = cluster.result("worth", "gamma")
        assert worth["adjusted"] == totals["adjusted"]
        expected = pooled("""
          SELECT dear, region, CAST(SUM(amount * price) AS VARCHAR), COUNT(*)
          FROM sales JOIN prices USING (item) WHERE price > 20 GROUP BY region, dear ORDER BY region NULLS LAST, dear
        """)
        assert len(expected) == 6
        assert worth["rows"] == [list(row) for row in expected]
        wide = cluster.result("wide", "alpha")
        assert wide["algebra"] == {"additive": "Z_2^128", "shamir": "GF(2^127-1)", "replicated": "Z_2^128"}[scheme]
        exact = sum(Fraction(int(a)) ** 4 for (a,) in pooled("SELECT amount * 100 FROM sales WHERE amount IS NOT NULL"))
        assert Fraction(wide["rows"][0][0]) == exact / 10**8

        for result in (totals, worth, wide):
            assert result["cost"]["declared"] == result["cost"]["measured"]
        assert (worth["cost"]["measured"]["triples"] > 0) == (triples == "dealer")

        # the other receiver holds the same object; the third company holds nothing
        written = [json.loads(file.read_text()) for file in (cluster["gamma"] / "results").glob("totals-*.json")]
        assert [other["rows"] for other in written] == [totals["rows"]]
        assert {stat.S_IMODE(file.stat().st_mode) for file in (cluster["gamma"] / "results").iterdir()} == {0o600}
        assert not (cluster["beta"] / "results").exists()
        assert set(cluster.stop().values()) == {0}


def test_who_may_run_what(tmp_path: Path) -> None:
    with trading(tmp_path, triples="dealer") as cluster:
        cluster.approve()
        cluster.start()
        refused = cluster.run("totals", "beta")
        assert refused.returncode == 1
        assert "the receivers are alpha, gamma" in refused.stderr
        assert "did you mean totals?" in cluster.run("total", "alpha").stderr
        assert "the dealer runs no queries" in cluster.run("totals", "dealer").stderr


def test_a_node_that_has_approved_another_file_shares_nothing(tmp_path: Path) -> None:
    with trading(tmp_path) as cluster:
        cluster.write_spec(TABLES.replace("1_000", "999"), queries("worth"))
        cluster.approve("beta")
        old = (cluster["beta"] / "approved.sha256").read_text().strip()
        cluster.write_spec(TABLES, queries("worth", "wide"))
        cluster.approve("alpha", "gamma")
        new = (cluster["alpha"] / "approved.sha256").read_text().strip()
        cluster.start()
        refused = cluster.run("totals", "alpha")
        assert refused.returncode == 1
        assert f"alpha, gamma: {new}" in refused.stderr
        assert f"beta: {old}" in refused.stderr
        for name in ("beta", "gamma"):
            cluster.wait_for_log(name, "approved different specs")
        cluster.approve("beta")  # taken up without a restart
        cluster.wait_for_log("beta", new)
        assert len(cluster.result("totals", "alpha")["rows"]) == 3


def test_a_peer_that_is_not_up_is_tried_and_named(tmp_path: Path) -> None:
    with trading(tmp_path) as cluster:
        cluster.approve()
        cluster.start("alpha", "gamma")
        refused = cluster.run("totals", "alpha")
        assert refused.returncode == 1
        assert "beta" in refused.stderr
        assert "comity node" in refused.stderr
        cluster.start("beta")
        assert cluster.result("totals", "gamma")["query"] == "totals"


@pytest.mark.slow
def test_a_node_that_is_to_dial_and_stalls_or_dies_is_named_and_the_query_runs_again(tmp_path: Path) -> None:
    with trading(tmp_path, deadline=3) as cluster:
        cluster.approve()
        cluster.start()
        cluster.result("totals", "alpha")
        cluster.signal("gamma", signal.SIGSTOP)
        started = time.monotonic()
        stalled = cluster.run("totals", "alpha")
        assert stalled.returncode == 1
        assert "gamma" in stalled.stderr
        assert time.monotonic() - started < 25  # the deadline, with room for a slow machine
        cluster.signal("gamma", signal.SIGCONT)
        cluster.result("totals", "alpha")
        cluster.signal("gamma", signal.SIGKILL)
        cluster.processes.pop("gamma").wait()
        assert "gamma" in cluster.run("totals", "alpha").stderr
        cluster.start("gamma")
        cluster.result("totals", "alpha")


BAD_DATA = {
    "beyond a bound": f"SELECT 'north' AS region, 1 AS item, 1 AS units, CAST({planted.NUMBER}.47 AS DECIMAL(9, 2)) AS amount",
    "value": f"SELECT '{planted.TEXT}' AS region, 1 AS item, 1 AS units, CAST({planted.NUMBER}.47 AS DECIMAL(9, 2)) AS amount",
    "NULL": "SELECT 'north' AS region, CAST(NULL AS INTEGER) AS item, 1 AS units, CAST(1 AS DECIMAL(9, 2)) AS amount",
    "rows": "SELECT 'north' AS region, 1 AS item, 1 AS units, CAST(1 AS DECIMAL(9, 2)) AS amount FROM range(1001)",
    "type": f"SELECT 'north' AS region, '{planted.TEXT}' AS item, 1 AS units, CAST(1 AS DECIMAL(9, 2)) AS amount",
    "column": "SELECT 'north' AS region, CAST(1 AS DECIMAL(9, 2)) AS amount",
}


def test_bad_data_are_told_to_their_company_alone(tmp_path: Path) -> None:
    with trading(tmp_path) as cluster:
        cluster.approve()
        cluster.start()
        for what, select in BAD_DATA.items():
            duckdb.sql(select).write_parquet(str(cluster["beta"] / "sales.parquet"))
            before = len(cluster.log("beta"))
            refused = cluster.run("totals", "alpha")
            assert refused.returncode == 1, what
            said = "error: beta cannot answer: its own log says why"
            assert refused.stderr.strip() in (said, f"{said} (so says gamma)"), what
            cluster.wait_for_log("beta", "beta cannot answer: ")
            assert "sales" in cluster.log("beta")[before:]  # and no value: see planted.py
        (cluster["beta"] / "sales.parquet").unlink()
        assert "beta cannot answer" in cluster.run("totals", "alpha").stderr
        duckdb.sql(rows(2)).write_parquet(str(cluster["beta"] / "sales.parquet"))
        cluster.result("totals", "alpha")
        # one's own data: the company's own terminal may say what is wrong
        (cluster["alpha"] / "sales.parquet").unlink()
        assert "sales.parquet" in cluster.run("totals", "alpha").stderr


def test_a_holder_without_the_table_refuses(tmp_path: Path) -> None:
    with trading(tmp_path) as cluster:
        config = cluster["beta"] / "node.toml"
        config.write_text(config.read_text().split("[tables.sales]")[0])
        cluster.approve()
        cluster.start()
        cluster.wait_for_log("beta", "has no [tables.sales]")
        assert "beta cannot answer" in cluster.run("totals", "alpha").stderr


def test_many_queries_at_once(tmp_path: Path) -> None:
    with trading(tmp_path, triples="dealer") as cluster:
        cluster.approve()
        cluster.start()
        with ThreadPoolExecutor(6) as pool:
            jobs = [(name, at) for name in ("totals", "worth", "spread") for at in ("alpha", "gamma")]
            results = list(pool.map(lambda job: cluster.result(*job), jobs))
        for name in ("totals", "worth", "spread"):
            of_name = [result["rows"] for result in results if result["query"] == name]
            assert of_name[0] == of_name[1]


def test_a_table_is_printed_and_csv_and_a_plot(tmp_path: Path) -> None:
    with trading(tmp_path) as cluster:
        cluster.approve()
        cluster.start()
        picture = tmp_path / "totals.png"
        table = cluster.run("totals", "alpha", "--plot", str(picture))
        assert table.returncode == 0, table.stderr
        assert "north" in table.stdout
        assert "opened: SUM(amount) by region (3 values), to alpha, gamma" in table.stdout.replace("\n", " ")
        assert picture.read_bytes().startswith(b"\x89PNG")
        csv = cluster.run("totals", "alpha", "--format", "csv")
        assert csv.stdout.splitlines()[0] == "region,n,total,mean"
        assert csv.stdout.splitlines()[3].startswith(",")  # NULL


def test_a_port_in_use_and_a_node_without_approval(tmp_path: Path) -> None:
    with trading(tmp_path) as cluster:
        none = comity("node", cluster["alpha"])
        assert none.returncode == 1
        assert "has approved no spec yet" in none.stderr
        cluster.approve()
        cluster.start("alpha")
        cluster.wait_for_log("alpha", "listening")
        second = comity("node", cluster["alpha"])
        assert second.returncode == 1
        assert "this node runs already, in another process" in second.stderr
        with socket.create_server(("127.0.0.1", cluster.ports["beta"])):
            third = comity("node", cluster["beta"])
        assert third.returncode == 1
        assert "Address already in use" in third.stderr
        assert "Traceback" not in second.stderr + third.stderr
