"""comity rehearse: errors before anything is spent, by the code of a query, with no node running and no ledger touched.

Each statistical test says with which probability it fails on sound code."""

import io
import json
import math
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from click.testing import CliRunner
from cluster import Cluster
from rich.console import Console

from mpc.errors import ComityError
from parties.cli.rehearse import NOTHING_SPENT, _print
from parties.cli.rehearse import rehearse as command
from parties.data.home import DataError, TableSource, compute
from parties.data.place import Part
from parties.data.pooled import pooled_answer
from parties.data.synthetic import NULLS, write_synthetic
from parties.node import rehearsal as node_rehearsal
from parties.spec.load import load
from protocols.planning import rehearsal
from protocols.planning.task import HomeTask
from protocols.statistics.base import Measure
from protocols.tables import Column, Table, Unit

NAMES = ("alpha", "beta", "gamma")
TABLES = """
[tables.people]
max_rows = 50_000
unit = { key = "person" }
[tables.people.columns]
region = { type = "category", values = ["north", "south", "east", "west"] }
year = { type = "integer", lower = 2000, upper = 2024 }
pay = { type = "integer", lower = 0, upper = 1000, nullable = true }

[tables.visits]
max_rows = 1_000
unit = { key = "person", companies = 3 }
holders = ["beta", "gamma"]
[tables.visits.columns]
day = { type = "date", lower = 2026-01-01, upper = 2026-12-31 }

[tables.polls]
max_rows = 1_000
unit = { key = "person" }
neighbours = "replace"
[tables.polls.columns]
reply = { type = "category", values = ["yes", "no", "none"] }

[tables.parts]
max_rows = 1_000
[tables.parts.columns]
weight = { type = "integer", lower = 0, upper = 9 }

[tables.rates]
owner = "gamma"
key = ["year"]
max_rows = 100
[tables.rates.columns]
year = { type = "integer", lower = 2000, upper = 2024 }
rate = { type = "integer", lower = 1, upper = 9 }
"""
QUERIES = """
[queries.heads]
sql = "SELECT region, year, COUNT(*) AS heads, AVG(pay) AS pay FROM people GROUP BY region, year"
receivers = ["alpha", "beta"]
privacy = { epsilon = 1, delta = 1e-6, split = { pay = 3 } }

[queries.counts]
sql = "SELECT region, year, COUNT(*) AS heads FROM people GROUP BY region, year"
receivers = ["beta"]

[queries.pure]
sql = "SELECT HISTOGRAM(pay, 0, 1000, 50) FROM people"
receivers = ["alpha"]
privacy = { mechanism = "laplace", epsilon = 0.5 }

[queries.by_rho]
sql = "SELECT COUNT(*) AS visits FROM visits"
receivers = ["alpha"]
privacy = { rho = 0.1 }

[queries.rated]
sql = "SELECT region, SUM(pay * rate) AS worth FROM people JOIN rates USING (year) GROUP BY region"
receivers = ["alpha"]
privacy = { epsilon = 3, delta = 1e-6 }

[queries.answered]
sql = "SELECT reply, COUNT(*) AS heads FROM polls GROUP BY reply"
receivers = ["alpha"]
privacy = { mechanism = "randomised-response", epsilon = 1 }

[queries.loads]
sql = "SELECT SUM(weight) AS weight FROM parts"
receivers = ["alpha"]
"""
ROWS = 30_000


@pytest.fixture(scope="module")
def companies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """None of the nodes runs. One person, one row; by year and region their numbers differ."""
    with Cluster(tmp_path_factory.mktemp("rehearse"), NAMES, tables=TABLES, queries=QUERIES, scheme="shamir", colluding=1) as made:
        made.hold(
            "alpha", "people",
            f"SELECT 'p' || i AS person, ['north', 'south', 'east', 'west'][1 + (sqrt(i) * 7)::INT % 4] AS region, 2000 + (sqrt(i))::INT % 25 AS year, "
            f"(i * 37) % 1001 AS pay FROM range({ROWS}) t(i)",
        )  # fmt: skip
        made.approve()
        yield made


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a rehearsal opens no socket")

    monkeypatch.setattr(socket, "socket", refused)
    monkeypatch.setattr("parties.wire.endpoint.dial", refused)
    monkeypatch.setattr("grpc.secure_channel", refused)


def run(companies: Cluster, query: str, *more: str, at: str = "alpha") -> str:
    done = CliRunner().invoke(command, [query, "--node", str(companies[at]), *more], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def result(companies: Cluster, query: str, *more: str, at: str = "alpha") -> Any:
    return json.loads(run(companies, query, "--format", "json", *more, at=at))


def curve(found: Any, output: str, way: str) -> list[float]:
    return [line["outputs"][output][way]["absolute"] for line in found["errors"]]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", ["own", "synthetic"])
def test_errors_are_those_of_the_theory_and_nothing_is_written(rows: str, companies: Cluster) -> None:
    """Of 500 counts a root mean square is known to 3.2 %: it is within 18 % of the theory (5.6 deviations); and the mean over four
    epsilons, known to 1.6 %, within 10 % (6 deviations). Ours is between the others, 22 % and 41 % from them, more than
    6 deviations (false alarms: 1e-6 in all). A third of the noise less is 18 % less error: 5 deviations below those 10 %."""
    before = files(companies.folder)
    more = ("--count", "20000") if rows == "synthetic" else ()
    found = result(companies, "counts", "--rows", rows, *more)
    assert files(companies.folder) == before  # no ledger, no result, no copy of a table
    assert found["spent"] == 0
    assert found["own_epsilon"] is None
    assert (found["mechanism"], found["delta"]) == ("gaussian", 1e-6)
    assert (found["cells"], found["repetitions"]) == (100, 5)
    (used,) = found["rows"]
    counts = used["rows"]
    assert (used["table"], used["kind"], sum(counts.values())) == ("people", rows, ROWS if rows == "own" else 60_000)
    assert all(abs(count - 10_000) < 600 for count in counts.values()) or rows == "synthetic"
    assert [line["epsilon"] for line in found["errors"]] == [0.1, 0.3, 1, 3]
    ratios: dict[str, list[float]] = {"ours": [], "central": [], "local": []}
    for line in found["errors"]:
        errors = line["outputs"]["heads"]
        central = math.sqrt(1 / (2 * line["rho"]))
        for way, variance in (("ours", 3 / 2), ("central", 1), ("local", 3)):
            ratios[way].append(errors[way]["absolute"] / (central * math.sqrt(variance)))
            assert ratios[way][-1] == pytest.approx(1, abs=0.18)
            assert errors[way]["relative"] == pytest.approx(errors[way]["absolute"] / size(companies, rows, found), rel=1e-6)
            assert errors[way]["missing"] == 0
    for way in ratios:
        assert np.mean(ratios[way]) == pytest.approx(1, abs=0.1)
        assert curve(found, "heads", way) == sorted(curve(found, "heads", way), reverse=True)
    assert len(set(curve(found, "heads", "alone"))) == 1
    assert sum(curve(found, "heads", "central")) < sum(curve(found, "heads", "ours")) < sum(curve(found, "heads", "local"))
    assert found["bounding"]["heads"] == {"absolute": 0, "relative": 0, "missing": 0}


def size(companies: Cluster, rows: str, found: Any) -> float:
    """The root mean square of the exact counts."""
    if rows == "synthetic":
        line = found["errors"][0]["outputs"]["heads"]["alone"]
        return line["absolute"] / line["relative"]
    table = duckdb.sql(f"SELECT count(*) FROM '{companies['alpha']}/people.parquet' GROUP BY region, year").fetchall()
    return math.sqrt(sum(count**2 for (count,) in table) / 100)


def test_one_company_alone_is_off_by_what_parts_differ(companies: Cluster) -> None:
    """Thrice the third of a count: off by sqrt(2) times its root, of multinomial parts. Of 300 values known to 4 %, so a quarter is
    6 deviations (the rows and their parts are always the same, so this does not fail by chance)."""
    found = result(companies, "counts", "--epsilons", "1")
    mean_count = ROWS / 100
    assert curve(found, "heads", "alone")[0] == pytest.approx(math.sqrt(2 * mean_count), rel=0.25)


def test_a_query_with_privacy_keeps_its_budget_and_its_split(companies: Cluster) -> None:
    found = result(companies, "heads", "--epsilons", "0.5, 2")
    assert [(line["epsilon"], line["is_own"]) for line in found["errors"]] == [(0.5, False), (1, True), (2, False)]
    assert found["own_epsilon"] == 1
    plan = load(companies.spec).plans["heads"]
    own = found["errors"][1]
    assert own["rho"] == plan.query.privacy.micro_rho / 1e6
    # COUNT(*) has a seventh of it, AVG's two totals three each; 18 % is 5.6 deviations (false alarms: 1e-7)
    assert own["outputs"]["heads"]["ours"]["absolute"] == pytest.approx(plan.noise[0].deviation, rel=0.18)
    assert all(a > b for a, b in zip(curve(found, "pay", "ours"), curve(found, "pay", "ours")[1:], strict=False))
    assert own["outputs"]["pay"]["alone"]["absolute"] < 100
    assert found["bounding"]["pay"]["absolute"] < 1e-9


def test_laplace_noise_stays_laplace(companies: Cluster) -> None:
    """Of 8 x 52 counts, whose fourth moment is at most 6 times their variance's square. A root mean square 45 % too small has a chance
    of exp(-416 (1 - 0.55^2)^2 / (2 * 6)) = 5e-8; one as much too large is 10 deviations off."""
    found = result(companies, "pure", "--epsilons", "0.2")
    assert (found["mechanism"], found["delta"], found["own_epsilon"]) == ("laplace", 0, 0.5)
    for line in found["errors"]:
        central = math.sqrt(2) / line["epsilon"]
        for way, variance in (("ours", 3 / 2), ("central", 1), ("local", 3)):
            assert line["outputs"]["count"][way]["absolute"] == pytest.approx(central * math.sqrt(variance), rel=0.45)


def test_units_at_several_companies(companies: Cluster) -> None:
    """A unit that is at both holders: ours and local noise are no larger than central. Of 100 values a root mean square is known
    to 7 %, so half is 7 deviations (false alarms: 1e-9)."""
    found = result(companies, "by_rho", "--epsilons", "1")
    assert found["rows"][0]["rows"] == {"beta": 1_000, "gamma": 1_000}
    assert found["own_epsilon"] == pytest.approx(2.1, abs=0.3)
    own = found["errors"][-1]
    assert own["is_own"]
    assert own["rho"] == 0.1
    central = math.sqrt(2**2 / (2 * 0.1))
    for way in ("ours", "central", "local"):
        assert own["outputs"]["visits"][way]["absolute"] == pytest.approx(central, rel=0.5)


def test_a_join_with_own_and_synthetic_rows(companies: Cluster) -> None:
    """Rows of the table that another company owns are synthetic. Of 400 sums the root mean square is known to 3.5 %: 40 % is more than 8
    deviations (false alarms: 1e-12)."""
    found = result(companies, "rated", "--epsilons", "1")
    assert [(used["table"], used["kind"]) for used in found["rows"]] == [("people", "own"), ("rates", "synthetic")]
    assert found["rows"][1]["rows"] == {"gamma": 25}
    for errors in (line["outputs"]["worth"] for line in found["errors"]):
        assert 0 < errors["central"]["absolute"] < 1.5 * errors["ours"]["absolute"]
        assert errors["local"] is None
    plan = load(companies.spec).plans["rated"]
    assert found["errors"][-1]["outputs"]["worth"]["ours"]["absolute"] == pytest.approx(plan.noise[0].deviation, rel=0.4)


@pytest.mark.parametrize("is_refused", [False, True])
def test_what_a_units_bounds_leave_out_is_told(is_refused: bool, companies: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """At home every other row is one too many of its unit, here; where an exact query would be refused, too."""

    def halved(task: HomeTask, source: TableSource) -> Any:
        if task.unit is None and is_refused:
            raise DataError("a.parquet: column pay: in 3 rows it is outside 0 to 1000")
        vector = compute(replace(task, unit=None), source)
        return vector // 2 if task.unit is not None and task.unit.rows == 1 else vector

    monkeypatch.setattr(node_rehearsal, "compute", halved)
    found = result(companies, "counts", "--epsilons", "10")
    assert found["bounding"]["heads"]["relative"] == pytest.approx(0.5, abs=0.01)
    assert found["errors"][0]["outputs"]["heads"]["ours"]["relative"] == pytest.approx(0.5, abs=0.02)
    assert found["errors"][0]["outputs"]["heads"]["alone"]["relative"] < 0.2
    assert (found["note"] is not None) == is_refused
    screen = Console(record=True, width=500, file=io.StringIO())
    _print(found, screen)
    said = screen.export_text()
    assert "without any noise, heads is off by " in said
    assert ("an exact query would be refused. In one of the parts: a.parquet" in said) == is_refused


def test_a_planted_bug_is_found(companies: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test of the theory fails where one company's noise is lost (but for a chance of 1e-7)."""
    draw = rehearsal.draw_noise
    monkeypatch.setattr(rehearsal, "draw_noise", lambda plan, me, stream: draw(plan, me, stream) * (me != "beta"))
    with pytest.raises(AssertionError):
        test_errors_are_those_of_the_theory_and_nothing_is_written("own", companies)


def test_errors_by_hand() -> None:
    made = rehearsal._error(0, [(10,), (0,), (None,)], [[(13,), (4,), (None,)], [(10,), (None,), (7.5,)]])
    assert made == rehearsal.Error(math.sqrt(25 / 3), math.sqrt(25 / 3) / math.sqrt(200 / 3), 1 / 3)
    assert rehearsal._error(0, [(None,)], [[(1,)]]) == rehearsal.Error(None, None, 1)
    assert rehearsal._error(0, [(0,)], [[(2,)]]) == rehearsal.Error(2, None, 0)


# --- rows -------------------------------------------------------------------------------------------------------------

KINDS = {
    column.name: column
    for column in (
        Column("whole", "integer", -5, 1000, nullable=True),
        Column("fine", "decimal", -(2**61), 2**61, scale=18),
        Column("money", "decimal", -500, 99_999, scale=2, nullable=True),
        Column("measured", "float", -300, 1002, scale=3, step=3),
        Column("kind", "category", 0, 2, values=("x", "y'", "z")),
        Column("is_open", "boolean", 0, 1, nullable=True),
        Column("day", "date", 15_000, 15_400),
        Column("moment", "timestamp", -(10**15), 10**15),
    )
}


def counted(table: Table, source: TableSource) -> int:
    return int(compute(HomeTask(table, (), (), (Measure("count", None),)), source)[0])


@pytest.mark.parametrize("key", ["person", None, "whole"])
def test_synthetic_rows_are_as_declared_and_their_parts_make_the_whole(key: str | None, tmp_path: Path) -> None:
    table = Table("t", KINDS, 2_000, NAMES, unit=Unit(key))
    file, again, other = tmp_path / "a.parquet", tmp_path / "b.parquet", tmp_path / "c.parquet"
    for target, company in ((file, "alpha"), (again, "alpha"), (other, "beta")):
        assert write_synthetic(table, 2_000, company, target) == 2_000
    assert counted(table, TableSource(file)) == 2_000  # which checks every value
    columns = duckdb.sql(f"SELECT * FROM '{file}'").fetchnumpy()
    assert list(columns) == [*KINDS, *(["person"] if key == "person" else [])]
    same, differ = (duckdb.sql(f"FROM '{file}' EXCEPT ALL FROM '{to}'").fetchall() for to in (again, other))
    assert same == []
    assert len(differ) > 1_990
    missing = np.ma.getmaskarray(np.ma.asarray(columns["money"])).mean()
    assert missing == pytest.approx(1 / NULLS, abs=0.02)
    whole = np.ma.asarray(columns["whole"]).compressed()
    assert (whole.min(), whole.max()) != (whole.mean(), whole.mean())
    assert np.mean(whole) == pytest.approx(497.5, abs=40)
    parts = [counted(table, TableSource(file, part=Part(number, 3, key))) for number in range(3)]
    assert sum(parts) == 2_000
    assert all(abs(part - 667) < 150 for part in parts)


def test_an_owned_tables_keys_differ(tmp_path: Path) -> None:
    columns = {"kind": KINDS["kind"], "hour": Column("hour", "integer", 5, 104), "rain": Column("rain", "integer", 0, 9)}
    table = Table("t", columns, 10_000, ("alpha",), owner="alpha", key=("kind", "hour"))
    for asked, there in ((10_000, 300), (300, 300), (77, 77)):
        assert write_synthetic(table, asked, "alpha", tmp_path / f"{asked}.parquet") == there
        assert counted(table, TableSource(tmp_path / f"{asked}.parquet")) == there  # which checks the key


def test_a_units_rows_stay_together(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    duckdb.sql("SELECT i % 40 AS person, i % 9 AS n FROM range(400) t(i)").write_csv(str(file))
    parts = []
    for number in range(3):
        source = TableSource(file, part=Part(number, 3, "person"))
        with node_rehearsal.opened(source, Table("t", {}, 1, NAMES)) as (connection, _, _):
            parts.append(connection.execute("SELECT person, count(*) FROM agreed GROUP BY person").fetchall())
    found = [row for part in parts for row in part]
    assert sorted(int(person) for person, _ in found) == list(range(40))
    assert {count for _, count in found} == {10}


def test_the_exact_answer_is_that_of_the_pooled_rows(companies: Cluster) -> None:
    plan = load(companies.spec).plans["heads"]
    source = TableSource(companies["alpha"] / "people.parquet")
    tables = [{name: TableSource(source.path, part=Part(k, 3, "person")) for k, name in enumerate(NAMES)}]
    exact = rehearsal.exact(plan)
    truth, _ = node_rehearsal._exactly(exact, node_rehearsal._home(exact, tables), 3, [0, 1, 2])
    pooled = pooled_answer(plan.query, {"alpha": {"people": source}})
    assert [row[:3] for row in truth] == [row[:3] for row in pooled]
    assert [row[3] for row in truth] == pytest.approx([float(row[3]) for row in pooled])


# --- what is said -----------------------------------------------------------------------------------------------------


def test_the_table_and_the_plot(companies: Cluster, tmp_path: Path) -> None:
    picture = tmp_path / "heads.png"
    said = run(companies, "heads", "--epsilons", "10", "--plot", str(picture))
    assert "heads: root-mean-square error (gaussian noise, delta 1e-06)" in said
    assert "*1 " in said
    assert f"this company's own {ROWS:,}, split at random: " in said
    assert NOTHING_SPENT in said
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "no budget is charged" in " ".join(CliRunner().invoke(command, ["--help"]).output.split())
    said = run(companies, "pure", "--epsilons", "1", "--rows", "synthetic", "--count", "500", "--plot", str(picture), at="beta")
    assert "1,500 synthetic ones" in said
    assert "laplace noise)" in said


@pytest.mark.parametrize(
    ("query", "more", "says"),
    [
        ("head", (), "no query 'head': did you mean heads"),
        ("loads", (), "nobody says whom: add unit to tables.parts"),
        ("answered", (), "randomised response is not rehearsed"),
        ("by_rho", ("--rows", "own"), r"no rows of visits: say where in node.toml.*--rows synthetic"),
        ("heads", ("--delta", "1e-5"), "has delta = 1e-06: leave --delta out"),
        ("pure", ("--delta", "1e-5"), "laplace noise, which has no delta"),
        ("counts", ("--rows", "synthetic", "--count", "50001"), "max_rows is 50000"),
        ("counts", ("--epsilons", "0.000001", "--delta", "1e-30"), "at epsilon 1e-06: is too small a budget"),
    ],
)
def test_what_cannot_be_rehearsed(query: str, more: tuple[str, ...], says: str, companies: Cluster) -> None:
    with pytest.raises(ComityError, match=says):
        run(companies, query, *more)


@pytest.mark.parametrize(
    "more",
    [
        *(("--epsilons", text) for text in ("", "one", "0", "-1", "1,,2", "nan", "inf", "1e9", ",".join(map(str, range(1, 30))))),
        *(("--delta", text) for text in ("0", "1", "x", "nan")),
        ("--count", "0"), ("--plot", "nowhere/at-all.png"),
    ],
)  # fmt: skip
def test_wrong_usage(more: tuple[str, ...], companies: Cluster) -> None:
    done = CliRunner().invoke(command, ["heads", "--node", str(companies["alpha"]), *more])
    assert done.exit_code == 2
    assert more[0] in done.output


def test_a_table_without_the_units_key_is_refused(companies: Cluster) -> None:
    """beta's, made here and taken away again."""
    config = companies["beta"] / "node.toml"
    before = config.read_text()
    companies.hold("beta", "people", "SELECT 1 AS persona, 'north' AS region, 2000 AS year, 5 AS pay")
    try:
        with pytest.raises(ComityError, match="column person is missing, which says whose a row is"):
            run(companies, "heads", at="beta")
    finally:
        config.write_text(before)
        (companies["beta"] / "people.parquet").unlink()
