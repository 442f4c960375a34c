"""The commands, each in a process of its own: what they print, write, refuse, and how they end."""

import csv
import hashlib
import importlib
import io
import json
import os
import pty
import re
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import cluster
import pytest
from cluster import COMITY, Cluster

from parties.cli.main import COMMANDS
from parties.wire.identity import create, der_of, one_line

NAMES = ("alpha", "beta", "gamma")

TABLES = """
[tables.sales]
max_rows = 1_000
[tables.sales.columns]
open = { type = "boolean", nullable = true }
region = { type = "category", values = ["north", "[/south]", ":east:"] }
item = { type = "integer", lower = 1, upper = 20 }
units = { type = "integer", lower = -10, upper = 1_000 }
amount = { type = "decimal", scale = 2, lower = "-100.00", upper = "10000.00", nullable = true }

[tables.prices]
owner = "gamma"
key = ["item"]
max_rows = 100
[tables.prices.columns]
item = { type = "integer", lower = 1, upper = 20 }
price = { type = "decimal", scale = 2, lower = "0.00", upper = "99.99" }
"""

QUERIES = '''
[queries.totals]
sql = """
  SELECT open, region, COUNT(*) AS n, SUM(units) AS units, SUM(amount) AS amount, AVG(amount) AS mean,
         VAR_SAMP(units) AS variance
  FROM sales GROUP BY open, region
"""
receivers = ["alpha", "beta"]

[queries.spread]
sql = "SELECT HISTOGRAM(units, 0, 10, 2) FROM sales"
receivers = ["alpha", "beta"]

[queries.worth]
sql = """
  SELECT SUM(amount * price) AS worth, COUNT(*) AS n
  FROM sales JOIN prices USING (item)
  WHERE price > 20 AND amount IS NOT NULL
"""
receivers = ["beta"]
'''

SALES = {
    "alpha": "(false, 'north', 1, 2, 1.50), (false, 'north', 2, 4, 2.25), (true, '[/south]', 3, 1, NULL)",
    "beta": "(CAST(NULL AS BOOLEAN), 'north', 1, 7, -0.25), (false, 'north', 2, 6, 0.00)",
    "gamma": "(true, 'north', 1, 700, 9.99)",
}


def comity(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    done = cluster.comity(*arguments, **options)
    assert "Traceback" not in done.stdout + done.stderr
    return done


def succeeds(*arguments: object, **options: object) -> str:
    """What stdout says."""
    done = comity(*arguments, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fails(status: int, *arguments: object, **options: object) -> str:
    """What stderr says; stdout says nothing."""
    done = comity(*arguments, **options)
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    return done.stderr


def company(folder: Path) -> Cluster:
    """Companies that have approved a spec; none of their nodes is up, and none has data."""
    companies = Cluster(folder, NAMES, triples="dealer", tables=TABLES, queries=QUERIES)
    companies.approve()
    return companies


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def companies(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """For commands that need no node and change nothing."""
    return company(tmp_path_factory.mktemp("companies"))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(
        tmp_path_factory.mktemp("running"), NAMES, triples="dealer", tables=TABLES, queries=QUERIES
    ) as companies:
        for name, rows in SALES.items():
            more = " LIMIT 0" if name == "gamma" else ""
            companies.hold(name, "sales", f"SELECT * FROM (VALUES {rows}) t(open, region, item, units, amount){more}")
        companies.hold("gamma", "prices", "SELECT * FROM (VALUES (1, 25.00), (2, 10.00)) t(item, price)")
        companies.approve()
        companies.start()
        yield companies


# ---- comity


def test_help_lists_the_commands_and_imports_none_of_what_they_need() -> None:
    heavy = ("grpc", "numpy", "duckdb", "sqlglot", "pandas", "matplotlib")
    script = (
        "import sys\nfrom parties.cli.main import main\nsys.argv = ['comity', '--help']\ntry:\n    main()\nfinally:\n"
        f"    print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    *said, imported = done.stdout.splitlines()
    assert imported == "[]"
    listed = [line.split()[0] for line in said[said.index("Commands:") + 1 :] if line.startswith("  ") and line[2] != " "]
    assert listed == ["init", "check", "explain", "schema", "approve", "node", "rehearse", "run", "prepare", "status", "budget", "demo", "audit-privacy", "bench"]


def test_a_command_that_opens_no_table_and_reads_no_spec_waits_for_no_engine_and_no_parser() -> None:
    heavy = ("duckdb", "sqlglot", "numba", "pandas", "pyarrow", "matplotlib")
    script = (
        "import sys\nimport parties.cli.budget, parties.cli.init, parties.cli.prepare, parties.cli.run\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_schemas_for_editors() -> None:
    assert {"parties", "tables", "queries"} <= json.loads(succeeds("schema"))["properties"].keys()
    assert {"listen", "tables", "engine"} <= json.loads(succeeds("schema", "--node-file"))["properties"].keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_said_of_a_command_is_how_its_own_help_begins(name: str) -> None:
    module, says = COMMANDS[name]
    own = " ".join(getattr(importlib.import_module(module), name.replace("-", "_")).help.split())
    assert own.startswith(says.removesuffix("."))


def test_the_version_is_that_of_the_package() -> None:
    assert succeeds("--version") == "comity, version 0.1.0\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Usage: comity"),
        (["explian"], "No such command 'explian'"),
        (["--nonsense"], "No such option"),
        (["check"], "Missing argument 'SPEC'"),
        (["approve", "comity.toml"], "Missing option '--node'"),
        (["run", "totals", "--node", "united", "--format", "xml"], "'xml' is not one of 'table', 'json', 'csv'"),
        (["run", "totals", "--node", "united", "--plot", "nowhere/totals.png"], "there is no folder nowhere"),
        (["node", __file__], "is a file"),
        (["init", "united", "--name", "united"], "Missing option '--address'"),
        (["demo", "much"], "unexpected extra argument"),
    ],
)
def test_wrong_usage_is_status_2(arguments: list[str], says: str, tmp_path: Path) -> None:
    assert says in fails(2, *arguments, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_goes_away_or_a_full_disk_is_no_crash(companies: Cluster) -> None:
    script = '"$@" | true; echo "${PIPESTATUS[0]}"; "$@" > /dev/full; echo "$?"'
    command = [*COMITY, "explain", str(companies.spec), "totals"]
    done = subprocess.run(["bash", "-c", script, "bash", *command], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["1", "1"]
    assert done.stderr == "error: No space left on device\n"


# ---- comity init


def test_init_prints_the_stanza_and_nothing_else_and_makes_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "nodes" / "united"
    done = comity("init", folder, "--name", "united", "--address", "localhost:7101")
    assert done.returncode == 0, done.stderr
    certificate = one_line(der_of((folder / "certificate.pem").read_bytes()))
    assert done.stdout == f'[parties.united]\naddress = "localhost:7101"\ncertificate = "{certificate}"\n'
    assert tomllib.loads(done.stdout) == {
        "parties": {"united": {"address": "localhost:7101", "certificate": certificate}}
    }
    assert "keep it secret" in done.stderr
    key = (folder / "key.pem").read_text()
    assert "PRIVATE KEY" in key
    assert key.splitlines()[1] not in done.stdout + done.stderr

    assert sorted(files(folder)) == ["certificate.pem", "key.pem", "node.toml"]
    config = (folder / "node.toml").read_text()
    assert tomllib.loads(config) == {"name": "united", "listen": "127.0.0.1:7101"}
    appended = tomllib.loads(config + '[tables.flights]\nsource = "united.parquet"\n')
    assert appended["tables"] == {"flights": {"source": "united.parquet"}}


@pytest.mark.parametrize(
    ("address", "listen"),
    [
        ("127.0.0.1:7102", "127.0.0.1:7102"),
        ("[::1]:7103", "[::1]:7103"),
        ("node.united.example:443", "0.0.0.0:443"),
        ("192.0.2.7:65535", "0.0.0.0:65535"),
    ],
)
def test_a_node_listens_at_home_where_its_address_is_there_and_else_everywhere(
    address: str, listen: str, tmp_path: Path
) -> None:
    stanza = tomllib.loads(succeeds("init", tmp_path / "united", "--name", "united", "--address", address))
    assert stanza["parties"]["united"]["address"] == address
    assert tomllib.loads((tmp_path / "united/node.toml").read_text())["listen"] == listen


def test_a_dealer_prints_the_dealers_stanza(tmp_path: Path) -> None:
    said = succeeds("init", tmp_path / "d", "--name", "notary", "--address", "localhost:7100", "--role", "dealer")
    assert list(tomllib.loads(said)) == ["dealer"]
    assert sorted(tomllib.loads(said)["dealer"]) == ["address", "certificate"]
    assert tomllib.loads((tmp_path / "d/node.toml").read_text())["name"] == "notary"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_the_company_reads_the_key_whatever_the_umask(umask: int, tmp_path: Path) -> None:
    succeeds("init", tmp_path / "united", "--name", "united", "--address", "localhost:7101", umask=umask)
    assert stat.S_IMODE((tmp_path / "united/key.pem").stat().st_mode) == 0o600


@pytest.mark.parametrize("kept", [["key.pem", "certificate.pem", "node.toml"], ["key.pem"], ["node.toml"]])
def test_init_never_replaces_a_nodes_folder(kept: list[str], tmp_path: Path, companies: Cluster) -> None:
    folder = tmp_path / "united"
    folder.mkdir()
    for name in kept:
        shutil.copy(companies["alpha"] / name, folder / name)
    before = files(folder)
    said = fails(1, "init", folder, "--name", "united", "--address", "localhost:7101")
    assert "exists already" in said
    assert "choose another" in said
    assert files(folder) == before


def test_init_says_where_no_folder_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = fails(1, "init", tmp_path / "file" / "united", "--name", "united", "--address", "localhost:7101")
    assert said == f"error: {tmp_path}/file/united: Not a directory\n"


@pytest.mark.parametrize("name", ["United", "united_air", "7united", "ünited", "united\n", "", "u" * 65, "dealer"])
def test_init_refuses_names_that_no_spec_can_have(name: str, tmp_path: Path) -> None:
    said = fails(2, "init", tmp_path / "united", "--name", name, "--address", "localhost:7101")
    assert ("no party may be named dealer" if name == "dealer" else "[a-z][a-z0-9-]*") in said
    assert not (tmp_path / "united").exists()


@pytest.mark.parametrize(
    "address", ["localhost", "localhost:", "localhost:0", "localhost:65536", ":7101", "https://united:7101", "::1:7101", "a b:7101"]
)
def test_init_refuses_addresses_that_are_not_host_and_port(address: str, tmp_path: Path) -> None:
    said = fails(2, "init", tmp_path / "united", "--name", "united", "--address", address)
    assert "is not HOST:PORT, such as localhost:7101" in said
    assert not (tmp_path / "united").exists()


# ---- comity check


def test_check_says_what_a_valid_spec_has(companies: Cluster) -> None:
    assert succeeds("check", companies.spec) == (
        f"{companies.spec} is valid: 3 parties (alpha, beta, gamma), queries totals, spread, worth\n"
    )


def test_check_lists_every_problem_of_form_with_its_key_path(companies: Cluster, tmp_path: Path) -> None:
    spec = tmp_path / "comity.toml"
    text = companies.spec.read_text()
    text = text.replace("max_rows = 100\n", "max_row = 100\n")
    text = text.replace('type = "boolean"', 'type = "bool"')
    text = text.replace('scheme = "additive"', 'scheme = "adaptive"')
    spec.write_text(text)
    said = fails(1, "check", spec).removeprefix("error: ").splitlines()
    assert sorted(line.split(": ")[0] for line in said) == [
        "security.scheme", "tables.prices.max_row", "tables.prices.max_rows", "tables.sales.columns.open.type"
    ]  # fmt: skip
    assert "tables.prices.max_row: unknown key: did you mean max_rows?" in said
    assert "tables.prices.max_rows: is missing" in said


def test_check_lists_every_problem_of_content_with_its_place_within_sql_too(companies: Cluster, tmp_path: Path) -> None:
    spec = tmp_path / "comity.toml"
    text = companies.spec.read_text()
    text = text.replace("lower = -10, upper = 1_000", "lower = 10, upper = 1")
    text = text.replace('receivers = ["beta"]', 'receivers = ["betta"]')
    text = text.replace("price > 20 AND amount IS NOT NULL", "prise > 20")
    text = text.replace('certificate = "', 'certificate = "A', 1)
    spec.write_text(text)
    said = fails(1, "check", spec).removeprefix("error: ").splitlines()
    assert [line.split(": ")[0] for line in said] == [
        "parties.alpha.certificate", "tables.sales.columns.units.lower", "queries.worth.receivers.0",
        "queries.worth.sql, line 3, column 9",
    ]  # fmt: skip
    assert said[2].endswith("there is no party betta: did you mean beta?")
    assert said[3].endswith("there is no column prise: did you mean price?")


def test_check_says_which_file_cannot_be_read(tmp_path: Path) -> None:
    assert fails(1, "check", tmp_path / "comity.toml") == f"error: {tmp_path}/comity.toml: No such file or directory\n"
    assert fails(1, "check", tmp_path) == f"error: {tmp_path}: Is a directory\n"


def test_check_says_where_a_file_is_no_toml(tmp_path: Path) -> None:
    spec = tmp_path / "comity.toml"
    spec.write_text('version = 1\nname = "unfinished\n')
    assert "line 2" in fails(1, "check", spec)
    spec.write_bytes(b"name = '\xff'\n")
    assert "not UTF-8 at byte 8" in fails(1, "check", spec)


# ---- comity explain


def sections(text: str) -> dict[str, list[str]]:
    """The lines below each heading."""
    parts = re.split(r"\n\n(?=[A-Z])", text)
    return {part.splitlines()[0]: [line.strip() for line in part.splitlines()[1:]] for part in parts}


def test_explain_says_what_happens_where_and_what_it_discloses(companies: Cluster) -> None:
    said = succeeds("explain", companies.spec, "totals")
    assert "    FROM sales GROUP BY open, region\n" in said
    parts = sections(said)
    [home] = parts["At home, each company by itself"]
    assert home.startswith("alpha, beta, gamma: COUNT(*), SUM(units), SUM(amount), COUNT(amount), ")
    assert home.endswith("for each open, region over sales (45 numbers each)")
    share, add, opened = parts["Among the companies"]
    assert share.startswith("1. share: 135 numbers in all as additive shares over Z_2^64")
    assert add.startswith("2. add: ")
    assert opened == "3. open: 45 numbers, to alpha, beta"
    disclosed = parts["Disclosed"]
    assert "opened: SUM(amount) by open, region: 9 values, to alpha, beta" in disclosed
    assert "opened: COUNT(amount) by open, region: 9 values, to alpha, beta" in disclosed
    assert (
        "implied: the same values for beta and gamma together, by taking away alpha's own: 45 values, to alpha"
        in disclosed
    )
    assert "mean: AVG(amount) gives the receivers the sum and the count, not only their ratio" in disclosed
    [ranges] = [lines for heading, lines in parts.items() if heading.startswith("Proven ranges")]
    assert "SUM(units) over sales (3 x 1,000 rows): 3,000,000" in ranges
    cost = parts["Cost (payload a party hands to its channels)"]
    assert cost[0] == f"alpha: 1 round, {45 * 8} bytes, 0 triples"
    assert [line.split(":")[0] for line in cost] == ["alpha", "beta", "gamma"]
    assumed = parts["Trust assumptions"]
    assert any("no 2 companies together (of 3)" in line for line in assumed)
    assert not any("dealer" in line for line in assumed)


def test_explain_says_what_a_join_multiplies_and_whom_it_trusts(companies: Cluster) -> None:
    parts = sections(succeeds("explain", companies.spec, "worth"))
    assert parts["At home, each company by itself"] == [
        "alpha, beta, gamma: SUM(amount), COUNT(*) for each item over sales where amount IS NOT NULL (40 numbers each)",
        "gamma: SUM(price), COUNT(*) for each item over prices where price > 20 (40 numbers each)",
    ]
    assert parts["Among the companies"][1].startswith("2. multiply: 40 products of one company's secrets with the others'")
    assert parts["Among the companies"][1].endswith("Beaver triples from the dealer; the products are added up on shares")
    assert "opened: SUM(amount * price) over sales joined with prices: 1 value, to beta" in parts["Disclosed"]
    assert all(line.endswith(" 40 triples") for line in parts["Cost (payload a party hands to its channels)"])
    assert any(line.startswith("- the dealer colludes with no company") for line in parts["Trust assumptions"])


def test_explain_knows_the_nearest_query_and_an_invalid_spec(companies: Cluster, tmp_path: Path) -> None:
    assert fails(1, "explain", companies.spec, "total") == (
        f"error: {companies.spec} has no query 'total': did you mean totals?\n"
    )
    assert fails(1, "explain", companies.spec, "x").endswith("there is totals, spread, worth\n")
    spec = tmp_path / "comity.toml"
    spec.write_text(companies.spec.read_text().replace("max_rows = 100\n", ""))
    assert fails(1, "explain", spec, "totals") == "error: tables.prices.max_rows: is missing\n"


# ---- comity approve


def test_approve_copies_the_exact_bytes_and_their_digest_without_a_terminal(tmp_path: Path) -> None:
    companies = company(tmp_path)
    raw = companies.spec.read_bytes().replace(b"\n", b"\r\n") + "# each byte counts: ü \t\r\n\r\n".encode()
    companies.spec.write_bytes(raw)
    done = comity(
        "approve", companies.spec, "--node", companies["alpha"], stdin=subprocess.DEVNULL, start_new_session=True
    )
    assert done.returncode == 0, done.stderr
    digest = hashlib.sha256(raw).hexdigest()
    assert (companies["alpha"] / "approved.toml").read_bytes() == raw
    assert (companies["alpha"] / "approved.sha256").read_text() == f"{digest}\n"
    assert f"SHA-256 {digest}\n" in done.stdout
    assert done.stdout.startswith(f"alpha approves {companies.spec}: 3 parties")
    assert "note: alpha holds part of sales: say where in" in done.stderr

    dealer = succeeds("approve", companies.spec, "--node", companies["dealer"])
    assert dealer.startswith(f"dealer approves {companies.spec}: ")
    assert (companies["dealer"] / "approved.toml").read_bytes() == raw


def break_spec(companies: Cluster) -> None:
    companies.spec.write_text(companies.spec.read_text().replace("max_rows = 100\n", ""))


def leave_out(companies: Cluster) -> None:
    companies.spec.write_text(companies.spec.read_text().replace("alpha", "omega"))


def put_in_another_certificate(companies: Cluster) -> None:
    another = companies.stanza("gamma").split('certificate = "')[1]
    own = companies.stanza("alpha").split('certificate = "')[1]
    text = companies.spec.read_text().replace(another, "swap").replace(own, another).replace("swap", own)
    companies.spec.write_text(text)


def remove_spec(companies: Cluster) -> None:
    companies.spec.unlink()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (break_spec, "tables.prices.max_rows: is missing"),
        (leave_out, "the spec names no party 'alpha' (beta, gamma, omega)"),
        (put_in_another_certificate, "parties.alpha.certificate is not this node's certificate"),
        (remove_spec, "No such file or directory"),
    ],
)
def test_approve_refuses_what_is_not_for_this_node_and_the_earlier_approval_stays(
    change: Callable[[Cluster], None], says: str, tmp_path: Path
) -> None:
    companies = company(tmp_path)
    before = files(companies["alpha"])
    change(companies)
    assert says in fails(1, "approve", companies.spec, "--node", companies["alpha"])
    assert files(companies["alpha"]) == before


# ---- comity node: each of these ends it at its start, with a message


def change_config(old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = folder / "node.toml"
        text, count = re.subn(old, new, config.read_text(), count=1)
        assert count == 1
        config.write_text(text)

    return change


def append_config(text: str) -> Callable[[Path], None]:
    return change_config(r"\Z", text)


def loosen(mode: int) -> Callable[[Path], None]:
    return lambda folder: (folder / "key.pem").chmod(mode)


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def remove(*names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return change


def tamper(folder: Path) -> None:
    with (folder / "approved.toml").open("ab") as file:
        file.write(b"\n# and one query more\n")


def make_a_new_identity(folder: Path) -> None:
    remove("key.pem", "certificate.pem")(folder)
    create(folder, "alpha")


REFUSED = {
    "no approval": (remove("approved.toml", "approved.sha256"), r"has approved no spec yet: run `comity approve SPEC --node "),
    "an approval of which the digest is lost": (remove("approved.sha256"), r"has approved no spec yet"),
    "another file than was approved": (tamper, r"approved\.toml is not what was approved .*: run `comity approve` again"),
    "a damaged digest": (write("approved.sha256", b"\xff\xfe"), r"approved\.toml is not what was approved"),
    "a new identity": (make_a_new_identity, r"parties\.alpha\.certificate is not this node's certificate"),
    "a key that the group may read": (loosen(0o640), r"key\.pem can be read by others \(mode 640\): run `chmod 600 "),
    "a key that everybody may read": (loosen(0o604), r"key\.pem can be read by others \(mode 604\): run `chmod 600 "),
    "no key": (remove("key.pem"), r"key\.pem is missing: `comity init "),
    "no certificate": (write("certificate.pem", b"certificate"), r"certificate\.pem is not a PEM certificate"),
    "no node.toml": (remove("node.toml"), r"node\.toml is missing: `comity init .* makes a node's folder"),
    "wrong TOML": (append_config("tables = ]\n"), r"node\.toml: .*line \d+, column \d+"),
    "not UTF-8": (write("node.toml", b"name = '\xff'"), r"node\.toml: .*utf-8.*"),
    "an unknown key": (append_config("deadlin = 3\n"), r"node\.toml: deadlin: unknown key: did you mean deadline\?"),
    "an unknown key of a table": (
        append_config('[tables.sales]\nsource = "a.csv"\nsq = ""\n'), r"node\.toml: tables\.sales\.sq: unknown key: did you mean sql\?"
    ),
    "a table without a source": (append_config("[tables.sales]\n"), r"node\.toml: tables\.sales\.source: is missing"),
    "a deadline that is none": (change_config(r"deadline = .*", 'deadline = "soon"'), r"node\.toml: deadline: "),
    "a deadline of nothing": (change_config(r"deadline = .*", "deadline = 0"), r"node\.toml: deadline: must be greater"),
    "a port that is none": (change_config(r"listen = .*", 'listen = "127.0.0.1:65536"'), r"listen: a port is at most 65535"),
    "no port": (change_config(r"listen = .*", 'listen = "localhost"'), r'node\.toml: listen: must be "host:port"'),
    "a host that is not here": (change_config(r"listen = .*", 'listen = "192.0.2.1:7101"'), r"cannot listen on 192\.0\.2\.1:7101: "),
    "a bad name": (change_config(r"name = .*", 'name = "Alpha"'), r"node\.toml: name: must be of the form \[a-z\]"),
    "another company's name": (change_config(r"name = .*", 'name = "beta"'), r"parties\.beta\.certificate is not this node's"),
    "a path that is none": (
        append_config('[tables.sales]\nsource = "a\\\\u0000.csv"\n'), r"node\.toml: tables\.sales\.source: is no path"
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_node_does_not_start_with(what: str, companies: Cluster, tmp_path: Path) -> None:
    change, says = REFUSED[what]
    folder = shutil.copytree(companies["alpha"], tmp_path / "alpha")
    change(folder)
    said = fails(1, "node", folder)
    assert re.search(says, said), said
    assert all(line.startswith(("error: ", str(folder))) for line in said.splitlines()), said


def test_a_node_does_not_start_on_a_port_in_use(tmp_path: Path) -> None:
    companies = company(tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", companies.ports["alpha"]))
        other.listen()
        said = fails(1, "node", companies["alpha"])
    assert f"cannot listen on 127.0.0.1:{companies.ports['alpha']}: Address already in use" in said
    assert "`listen` in node.toml names the port" in said


def test_a_node_says_at_its_start_what_is_wrong_with_its_data_and_serves_what_else_there_is(tmp_path: Path) -> None:
    columns = "[tables.{}]\nmax_rows = 10\n[tables.{}.columns]\nn = {{ type = 'integer', lower = 0, upper = 1 }}\n"
    names = ("absent", "lacking", "mistyped", "nowhere", "sound", "stored", "unnamed")
    tables = "".join(columns.format(name, name) for name in names)
    query = '[queries.{}]\nsql = "SELECT SUM(n) AS s FROM {}"\nreceivers = ["alpha"]\n'
    queries = "".join(query.format(f"of_{name}", name) for name in names)
    with Cluster(tmp_path, ("alpha", "beta"), tables=tables, queries=queries) as companies:
        for name in companies.parties:
            companies.hold(name, "sound", "SELECT 1 AS n")
            companies.hold(name, "absent", "SELECT 1 AS n")
            companies.hold(name, "lacking", "SELECT 1 AS m")
            companies.hold(name, "mistyped", "SELECT 'one' AS n")
        for name in ("nowhere", "stored"):
            companies.hold("alpha", name, "SELECT 1 AS n")
            with (companies["beta"] / "node.toml").open("a") as config:
                config.write(f'[tables.{name}]\nsource = "sqlite://{name}.sqlite"\ntable = "{name}"\n')
        with closing(sqlite3.connect(companies["beta"] / "stored.sqlite")) as database, database:
            database.execute("CREATE TABLE stored AS SELECT 1 AS n")
        left = companies["beta"] / "snapshots/left.parquet"
        left.parent.mkdir()
        left.touch()
        (companies["beta"] / "absent.parquet").unlink()
        companies.approve()
        companies.start()
        companies.wait_for_log("beta", "over unnamed will be refused")
        log = companies.log("beta")
        folder = companies["beta"]
        assert f"queries over absent will be refused: {folder}/absent.parquet: no such file" in log
        assert f"queries over lacking will be refused: {folder}/lacking.parquet: column n is missing (there are: m)" in log
        assert f"queries over mistyped will be refused: {folder}/mistyped.parquet: column n is VARCHAR, and integer needs" in log
        assert f"queries over unnamed will be refused: {folder}/node.toml has no [tables.unnamed]" in log
        assert f"queries over nowhere will be refused: sqlite://nowhere.sqlite, table nowhere: there is no file {folder}/nowhere" in log
        assert "over sound" not in log
        assert "over stored" not in log
        assert companies.result("of_sound", "alpha")["rows"] == [[2]]
        assert companies.result("of_stored", "alpha")["rows"] == [[2]]
        assert not [*left.parent.iterdir()]
        assert "beta cannot answer: its own log says why" in fails(1, "run", "of_absent", "--node", companies["alpha"])
        assert companies.stop() == {"alpha": 0, "beta": 0}
        assert "Traceback" not in companies.log("alpha") + companies.log("beta")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_node_logs_json_a_line_and_ends_with_status_0_when_told_to(number: int, companies: Cluster) -> None:
    node = subprocess.Popen(
        [*COMITY, "node", str(companies["beta"]), "--log-format", "json"], stderr=subprocess.PIPE, text=True
    )
    assert node.stderr is not None
    try:
        first = json.loads(node.stderr.readline())
        node.send_signal(number)
        rest = [json.loads(line) for line in node.stderr]
        assert node.wait(60) == 0
    finally:
        node.kill()
        node.wait()
    assert (first["message"], first["level"], first["name"]) == ("listening", "info", "beta")
    assert first["address"] == f"127.0.0.1:{companies.ports['beta']}"
    assert rest[-1]["message"] == "stopped"


def test_a_running_node_takes_part_in_nothing_while_its_approval_is_not_what_it_approved(tmp_path: Path) -> None:
    with company(tmp_path) as companies:
        companies.start("alpha")
        companies.wait_for_log("alpha", "approved spec")
        tamper(companies["alpha"])
        said = fails(1, "run", "totals", "--node", companies["alpha"])
        assert "approved.toml is not what was approved" in said
        assert companies.stop() == {"alpha": 0}
        assert "Traceback" not in companies.log("alpha")


# ---- comity run


def test_run_says_how_to_start_a_node_that_is_not_up(companies: Cluster) -> None:
    said = fails(1, "run", "totals", "--node", companies["gamma"])
    port = companies.ports["gamma"]
    assert f"cannot reach the node of gamma at 127.0.0.1:{port} (Connection refused; tried for 10 s)" in said
    assert f"start it with `comity node {companies['gamma']}`" in said


def test_run_refuses_unknown_queries_and_companies_that_do_not_receive(running: Cluster) -> None:
    assert fails(1, "run", "total", "--node", running["alpha"]) == (
        "error: the approved spec has no query 'total': did you mean totals?\n"
    )
    assert "there is totals, spread, worth" in fails(1, "run", "x", "--node", running["alpha"])
    said = fails(1, "run", "worth", "--node", running["alpha"])
    assert "alpha does not receive the answer of worth" in said
    assert "the receivers are beta" in said
    assert "the dealer runs no queries" in fails(1, "run", "totals", "--node", running["dealer"])


GROUPS = [(is_open, region) for is_open in (False, True, None) for region in ("north", "[/south]", ":east:")]
ROWS = [
    [
        *group,
        *{
            (False, "north"): [3, 12, "3.75", 1.25, 4.0],
            (True, "[/south]"): [1, 1, "0.00", None, None],
            (None, "north"): [1, 7, "-0.25", -0.25, None],
        }.get(group, [0, 0, "0.00", None, None]),
    ]
    for group in GROUPS
]


def test_the_json_object_is_as_agreed(running: Cluster) -> None:
    said = succeeds("run", "totals", "--node", running["alpha"], "--format", "json")
    assert said.count("\n") == 1
    result = json.loads(said)
    assert sorted(result) == sorted([
        "query", "digest", "columns", "group_by", "rows", "error_bound", "adjusted", "disclosed", "cost", "parties", "scheme", "algebra",
        "assumptions", "privacy", "withheld", "released_totals",
    ])  # fmt: skip
    assert result["privacy"] is None  # nobody in the table is declared to be protected
    assert result["query"] == "totals"
    assert result["digest"] == hashlib.sha256(running.spec.read_bytes()).hexdigest()
    assert result["columns"] == ["open", "region", "n", "units", "amount", "mean", "variance"]
    assert result["group_by"] == ["open", "region"]
    assert [[type(value) for value in row[:5]] for row in result["rows"]] == [[type(value) for value in row[:5]] for row in ROWS]
    assert [row[:5] for row in result["rows"]] == [row[:5] for row in ROWS]
    exact, approximate = result["error_bound"][:5], result["error_bound"][5:]
    assert exact == [0] * 5
    assert all(0 < bound < 1e-9 for bound in approximate)
    for row, expected in zip(result["rows"], ROWS, strict=True):
        for value, wanted, bound in zip(row[5:], expected[5:], approximate, strict=True):
            assert (value is None) == (wanted is None)
            assert value is None or (type(value) is float and abs(value - wanted) <= bound)
    assert result["disclosed"][2] == {
        "what": "SUM(amount) by open, region", "cells": 9, "to": ["alpha", "beta"], "implied": False
    }  # fmt: skip
    assert any(item["implied"] and item["to"] == ["alpha"] for item in result["disclosed"])
    assert sorted(result["cost"]) == ["declared", "from_stock", "measured", "seconds"]
    assert result["cost"]["declared"] == result["cost"]["measured"] == {"rounds": 1, "bytes": 45 * 8, "triples": 0}
    assert list(result["cost"]["seconds"]) == ["triples", "local", "share", "compute", "open"]
    assert all(type(seconds) is float for seconds in result["cost"]["seconds"].values())
    assert result["parties"] == ["alpha", "beta", "gamma"]
    assert (result["scheme"], result["algebra"]) == ("additive", "Z_2^64")
    assert all(type(line) is str for line in result["assumptions"])


def test_a_histogram_has_a_row_a_bin_and_one_for_what_lies_below_and_above(running: Cluster) -> None:
    result = running.result("spread", "beta")
    assert result["columns"] == ["bin_lower", "bin_upper", "count"]
    assert result["rows"] == [[None, 0, 0], [0, 5, 3], [5, 10, 2], [10, None, 0]]
    assert result["error_bound"] == [0, 0, 0]
    assert result["group_by"] == []


def test_a_table_shows_the_answer_what_it_disclosed_and_what_it_cost(running: Cluster) -> None:
    said = succeeds("run", "worth", "--node", running["beta"])
    assert re.search(r"│\s*31\.2500\s*│\s*2\s*│", said)
    assert "opened: SUM(amount * price) over sales joined with prices (1 value), to beta\n" in said
    assert re.search(r"cost: 3 rounds, [\d,]+ bytes sent, 40 triples; seconds: triples [\d.]+, local [\d.]+, share", said)
    assert "additive over Z_2^64; parties alpha, beta, gamma; spec " in said
    assert "assumes: the dealer colludes with no company" in said


def test_texts_of_the_spec_are_printed_as_they_are(running: Cluster) -> None:
    lines = succeeds("run", "totals", "--node", running["alpha"], "--format", "table").splitlines()
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    shown = {False: "false", True: "true", None: "NULL"}
    assert [row[:2] for row in cells] == [[shown[is_open], region] for is_open, region in GROUPS]
    assert cells[0][2:5] == ["3", "12", "3.75"]
    assert cells[1][2:] == ["0", "0", "0.00", "NULL", "NULL"]


def test_csv_has_the_columns_and_the_rows_and_nothing_for_null(running: Cluster) -> None:
    said = succeeds("run", "totals", "--node", running["alpha"], "--format", "csv")
    header, *rows = csv.reader(io.StringIO(said))
    assert header == ["open", "region", "n", "units", "amount", "mean", "variance"]
    shown = {False: "false", True: "true", None: ""}
    assert [row[:5] for row in rows] == [[shown[row[0]], *map(str, row[1:5])] for row in ROWS]
    assert rows[1][5:] == ["", ""]
    assert float(rows[0][5]) == pytest.approx(1.25, rel=1e-9)


def test_a_plot_is_a_png(running: Cluster, tmp_path: Path) -> None:
    for query in ("totals", "spread"):
        picture = tmp_path / f"{query}.png"
        answer = json.loads(
            succeeds("run", query, "--node", running["alpha"], "--format", "json", "--plot", picture)
        )
        assert answer["query"] == query
        assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_an_answer_is_not_lost_where_it_cannot_be_drawn(running: Cluster, tmp_path: Path) -> None:
    picture = tmp_path / "spread.nonsense"
    done = comity("run", "spread", "--node", running["alpha"], "--format", "json", "--plot", picture)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: cannot write {picture}: ")
    assert json.loads(done.stdout)["rows"][1] == [0, 5, 3]


def plain_environment() -> dict[str, str]:
    """Without what tells rich to take anything for a terminal, or a terminal for none."""
    told = ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "CLICOLOR_FORCE")
    return {name: value for name, value in os.environ.items() if name not in told} | {"TERM": "xterm"}


def test_progress_is_shown_where_stderr_is_a_terminal(running: Cluster) -> None:
    ours, theirs = pty.openpty()
    command = [*COMITY, "run", "totals", "--node", str(running["alpha"]), "--format", "json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, text=True, env=plain_environment())
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # how a terminal ends
        while piece := os.read(ours, 4096):
            shown += piece
    os.close(ours)
    answer, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "opening the answer" in shown.decode()
    assert json.loads(answer)["query"] == "totals"


def test_progress_is_not_shown_where_stderr_is_no_terminal(running: Cluster) -> None:
    for format_ in ("json", "table"):
        done = comity(
            "run", "spread", "--node", running["alpha"], "--format", format_, env=plain_environment()
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "\x1b" not in done.stdout


def test_run_needs_a_nodes_folder_that_only_the_company_can_use(companies: Cluster, tmp_path: Path) -> None:
    assert f"{tmp_path}/node.toml is missing" in fails(1, "run", "totals", "--node", tmp_path)
    folder = shutil.copytree(companies["alpha"], tmp_path / "alpha")
    (folder / "key.pem").chmod(0o644)
    assert "chmod 600" in fails(1, "run", "totals", "--node", folder)


def test_another_certificate_at_the_nodes_port_is_not_asked(running: Cluster, tmp_path: Path) -> None:
    folder = shutil.copytree(running["alpha"], tmp_path / "alpha")
    make_a_new_identity(folder)
    change_config(r"listen = .*", f'listen = "127.0.0.1:{running.ports["beta"]}"')(folder)
    assert "presents another certificate" in fails(1, "run", "totals", "--node", folder)
