"""Tables in a PostgreSQL server that runs here."""

from collections.abc import Iterator
from dataclasses import replace

import postgres
import pytest
import source_files
from home_files import COUNT, MARKER, N, column, references, table, task_of
from source_files import OF, TASK, VIEW, no

from parties.data import home
from parties.data.database import _without_secrets
from parties.data.home import DatabaseSource, DataError, check_source, compute
from parties.data.source import opened
from protocols.statistics.base import Measure
from protocols.tables import Unit

STATEMENTS = """
CREATE SCHEMA s;
CREATE TABLE s.t (
  n INTEGER, d NUMERIC(38, 18), c TEXT, b BOOLEAN NOT NULL, f DOUBLE PRECISION, day DATE, moment TIMESTAMP, beside TSVECTOR
);
CREATE TABLE many (n INTEGER, x NUMERIC, w NUMERIC(50, 2), f DOUBLE PRECISION, secret TEXT, u UUID);
INSERT INTO many VALUES (5, 1.5, 1.5, 1.5, 'x{MARKER}', gen_random_uuid());
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE TABLE "Odd; name" (m mood, "N" SMALLINT);
INSERT INTO "Odd; name" VALUES ('sad', 3), (NULL, 4);
CREATE TABLE changing AS SELECT 1 AS n FROM generate_series(1, 3);
"""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with postgres.server() as port, postgres.connect(port) as connection:
        for statement in STATEMENTS.replace("{MARKER}", str(MARKER)).split(";\n"):
            connection.execute(statement)
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO s.t VALUES (%s, %s, %s, %s, %s, %s, %s)", source_files.rows())
        yield port


@pytest.fixture
def at(port, tmp_path, monkeypatch):
    """A table of the server, as a source."""
    monkeypatch.setenv("COMITY_TEST_PASSWORD", postgres.PASSWORD)

    def at(name, own=None, password="${COMITY_TEST_PASSWORD}", more=""):
        url = f"postgres://{postgres.USER}:{password}@127.0.0.1:{port}/postgres{more}"
        return DatabaseSource(url, name, tmp_path, own)

    return at


def test_a_table_and_a_view_of_it_give_what_a_file_gives(at):
    for source, has_view in ((at("s.t"), False), (at("S.T"), False), (at("s.t", VIEW), True)):
        check_source(OF, source)
        assert compute(TASK, source).tolist() == source_files.expected(has_view)
    # as on a server that can only be read
    replica = at("s.t", VIEW, more="?options=-c%20default_transaction_read_only%3Don")
    assert compute(TASK, replica).tolist() == source_files.expected(has_view=True)


def test_names_and_types_of_its_own(at):
    of = table(column("m", "category", values=("glad", "sad"), nullable=True), column("n", "integer", 0, 9))
    m, n = references(of)
    total = task_of(of, Measure("sum", n), Measure("count", m))
    assert compute(total, at('public."Odd; name"')).tolist() == [7, 1]
    own = "SELECT CAST(m AS text) AS m, \"N\" % 4 AS n FROM source WHERE m::text LIKE 's%' -- as agreed"
    assert compute(total, at('"Odd; name"', own)).tolist() == [3, 1]
    both = "SELECT CAST(m AS text) AS m, 1 AS n, 2 AS \"N\" FROM source"
    assert compute(total, at('"Odd; name"', both)).tolist() == [2, 1]
    assert "column m is of a type that only this database has: CAST it" in no(total, at('"Odd; name"', "SELECT * FROM source"))
    uuids = task_of(table(column("u", "category", values=("x",))))
    assert "a column has values that its type in the database does not say: CAST it" in no(uuids, at("many"))


def test_a_unit_that_is_not_declared_and_of_a_type_that_files_do_not_have(at):
    of = table(column("n", "integer", 0, 9), unit=Unit("u", rows=2))
    private = replace(task_of(of, COUNT, Measure("sum", references(of)[0])), unit=of.unit)
    source = at("many", "SELECT generate_series(77, 90) AS n, u FROM source")
    check_source(of, source)
    assert compute(private, source).tolist() == [2, 18]


def test_decimals_are_exact_or_refused(at):
    of = table(column("x", "decimal", 0, 10**30, scale=4))
    total = task_of(of, Measure("sum", references(of)[0]))
    assert "column x is NUMERIC without a number of digits: CAST it to NUMERIC(precision, scale)" in no(total, at("many"))
    assert "column x is NUMERIC without" in no(total, at("many", "SELECT w * 2 AS x FROM source"))
    assert "column x is NUMERIC of 50 digits: CAST it to one of at most 38" in no(total, at("many", "SELECT w AS x FROM source"))
    assert "column x is DOUBLE, and decimal needs" in no(total, at("many", "SELECT f AS x FROM source"))
    nan = "SELECT 'NaN'::NUMERIC(5, 2) AS x FROM source"
    assert "a column has values that its type in the database does not say" in no(total, at("many", nan))
    exact = "SELECT 12345678901234567890123.4567::NUMERIC(38, 4) AS x FROM source"
    assert compute(total, at("many", exact)).tolist() == [123456789012345678901234567]


def test_what_is_wrong_is_said_without_values(at):
    task = task_of(N)
    assert "there is no such table (there are: Odd; name, changing, many)" in no(task, at("flights"))
    assert "there is no such table (there are: t)" in no(task, at("s.flights"))
    assert "column n is missing (there are: m, n2)" in no(task, at("many", "SELECT n AS m, n AS n2 FROM source"))
    for own, part in (
        ("SELECT nn AS n FROM source", 'is not valid: column "nn" does not exist'),
        ("SELECT n FROM source; DROP TABLE many", "is not valid: it must be one SELECT"),
        ("DELETE FROM many", "is not valid: it must be one SELECT"),
        ("SELECT FROM WHERE (", "is not valid"),
        ("SELECT secret::int AS n FROM source", "the database fails (InvalidTextRepresentation, 22P02)"),
        (f"SELECT n + {MARKER} AS n FROM source", "column n: in 1 row it is outside -100 to 100"),
    ):
        assert part in no(task, at("many", own)), own


def test_a_login_that_is_refused_does_not_show_the_password(at):
    refusal = 'cannot be connected to: connection failed: connection to server at "127.0.0.1"'
    for password, more in (("hunter22", ""), ("hunter%32%32", ""), ("right", "?password=hunter22")):
        message = no(task_of(N), at("many", password=password, more=more))
        assert refusal in message
        assert "password authentication failed" in message
        assert "hunter" not in message


def test_what_a_driver_says_is_freed_of_secrets():
    url = "postgres://u:hunter%32+2@h/d?sslpassword=hunter3&options=x"
    said = _without_secrets(f"no {url}: hunter%32+2\nhunter2+2, hunter2 2; hunter3", url)
    assert said == "no postgres://h/d: *** ***, ***; ***"


def test_all_passes_see_the_rows_of_one_moment(at, port, monkeypatch):
    source = at("changing")

    def check(*arguments):
        with postgres.connect(port) as connection:
            connection.execute("INSERT INTO changing VALUES (2)")
        check_rows(*arguments)

    check_rows = home.check_rows
    monkeypatch.setattr(home, "check_rows", check)
    assert compute(task_of(N), source).tolist() == [3]
    assert compute(task_of(N), source).tolist() == [4]


def test_a_check_reads_no_row(at):
    with opened(at("s.t"), OF, is_preview=True) as (connection, _, _):
        assert connection.execute("SELECT COUNT(*) FROM agreed").fetchall() == [(0,)]
    with pytest.raises(DataError, match="column c is missing"):
        check_source(OF, at("many", "SELECT n, x AS d FROM source"))


def test_nobody_at_the_address(tmp_path):
    source = DatabaseSource("postgres://u:hunter22@127.0.0.1:1/x", "t", tmp_path)
    assert "Connection refused" in no(task_of(N), source)
