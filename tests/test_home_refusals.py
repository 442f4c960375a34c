"""Data that break the agreement, files and views that fail, and the locked engine: clear words, and never a value."""

import duckdb
import pytest
from home_files import MARKER, N, X, column, parquet, references, refused, table, task_of, text_file, view

from parties.data.home import DataError, TableSource, check_source, compute
from parties.data.source import connect
from protocols.expression import Comparison, Number
from protocols.statistics.base import Measure


def test_values_that_break_the_agreement(tmp_path):
    of = table(
        column("n", "integer", 1, 12),
        column("d", "decimal", 0, 1000, scale=2),
        column("e", "decimal", -10**30, 10**30, scale=18),
        column("c", "category", values=("x",)),
        column("b", "boolean"),
        max_rows=4,
    )
    source = view(tmp_path, f"""
        SELECT * FROM (VALUES
            (1, 0.25::DECIMAL(38,4), 1::HUGEINT, 'x', true),
            ({MARKER}, {MARKER}::DECIMAL(38,4), 170141183460469231731687303715884105727, 'm{MARKER}', NULL),
            (NULL, 0.2551::DECIMAL(38,4), NULL, 'X', NULL),
            (0, 10.01::DECIMAL(38,4), -{MARKER}000000000000, NULL, false),
            (13, -0.01::DECIMAL(38,4), 2, 'x ', NULL)
        ) AS v(n, d, e, c, b)
    """)
    message = refused(task_of(of), source)
    for part in (
        "5 rows, more than tables.t.max_rows = 4",
        "column n: in 1 row it is NULL, and the column is not nullable",
        "column n: in 3 rows it is outside 1 to 12",
        "column d: in 1 row it has more than 2 digits after the point",
        "column d: in 3 rows it is outside 0.00 to 10.00",
        "column e: in 1 row it is NULL",
        "column e: in 2 rows it is outside -1000000000000.000000000000000000 to 1000000000000.000000000000000000",
        "column c: in 1 row it is NULL",
        "column c: in 3 rows it is not a declared value",
        "column b: in 3 rows it is NULL",
        "leave such rows out in this company's own view",
    ):
        assert part in message


def test_floats_dates_and_timestamps_that_break_the_agreement(tmp_path):
    of = table(
        column("f", "float", -1000, 1000, scale=2, step=25),
        column("day", "date", 0, 15_706),
        column("moment", "timestamp", 0, 10**15),
        max_rows=20,
    )
    where = "column {}: in {} it is outside {} to {}".format
    too_far = [
        where("f", "5 rows", "-10.00", "10.00"),
        where("day", "3 rows", "1970-01-01", "2013-01-01"),
        where("moment", "2 rows", "1970-01-01 00:00:00", "2001-09-09 01:46:40"),
    ]
    rows = """(VALUES (10.1, DATE '1970-01-01', TIMESTAMP '1970-01-01'), (10.2, DATE '2013-01-02', TIMESTAMP '2020-01-01'),
        ('nan', DATE '1969-12-31', TIMESTAMP 'infinity'), ('inf', DATE 'infinity', TIMESTAMP '2000-01-01'),
        (1e300, DATE '2000-01-01', TIMESTAMP '2000-01-01'), (-48151623.0, DATE '2000-01-01', TIMESTAMP '2000-01-01')
    ) AS v(f, day, moment)"""
    message = refused(task_of(of), view(tmp_path, f"SELECT f::DOUBLE AS f, day, moment FROM {rows}"))
    assert all(part in message for part in too_far), message

    finer = view(tmp_path, "SELECT 1.0 AS f, DATE '2000-01-01' AS day, TIMESTAMP_NS '2000-01-01 00:00:00.000000001' AS moment")
    assert "column moment: in 1 row it is finer than a microsecond" in refused(task_of(of), finer)
    zoned = view(tmp_path, "SELECT 'x' AS f, TIMESTAMP '2000-01-01' AS day, TIMESTAMPTZ '2000-01-01' AS moment")
    message = refused(task_of(of), zoned)
    assert "column f is VARCHAR, and float needs a number" in message
    assert "column day is TIMESTAMP, and date needs DATE" in message
    assert "column moment is TIMESTAMP WITH TIME ZONE, and timestamp needs TIMESTAMP without a time zone" in message

    csv = f"f,day,moment\n1,2000-1-01,2000-01-01\nx{MARKER},2000-02-30,2000-01-01T00:00:00.1234567\n1,2000-02-29,2000-01-01 12:00\n"
    message = refused(task_of(of), text_file(tmp_path, "t.csv", csv))
    assert "column f: in 1 row it is no number" in message
    assert "column day: in 2 rows it is no date of the form 2013-01-31" in message
    assert "column moment: in 1 row it is no timestamp of the form 2013-01-31 23:59:00" in message


def test_all_rows_are_checked_not_only_those_of_the_query(tmp_path):
    source = parquet(tmp_path, "SELECT unnest([1, 2, 101]) AS n")
    message = refused(task_of(N, where=[Comparison("<", X, Number(2))]), source)
    assert "column n: in 1 row it is outside -100 to 100" in message


def test_bounds_and_fine_decimals_for_an_integer(tmp_path):
    assert "in 1 row it is no whole number" in refused(
        task_of(N), parquet(tmp_path, "SELECT unnest([1.0, 2.5])::DECIMAL(18,1) AS n")
    )
    limit = 2**128 - 1
    assert "in 1 row it is outside" in refused(task_of(N), view(tmp_path, f"SELECT {limit}::UHUGEINT AS n"))


def test_duplicate_keys(tmp_path):
    of = table(
        column("k", "integer", 0, 9, nullable=True),
        column("d", "decimal", -10**20, 10**20, scale=18),
        owner="a",
        key=("k", "d"),
    )
    rows = "(VALUES (1, 0.5), (1, 0.5), (1, 0.5), (2, 0.5), (NULL, 0.5), (NULL, 0.5), (2, 1.5)) AS v(k, d)"
    message = refused(task_of(of), parquet(tmp_path, f"SELECT * FROM {rows}"))
    assert "in 2 rows the key (k, d) is that of another row" in message
    assert compute(task_of(of), parquet(tmp_path, f"SELECT DISTINCT * FROM {rows}")).tolist() == [4]
    huge = "(VALUES (1, 10::HUGEINT), (1, 170141183460469231731687303715884105727)) AS v(k, d)"
    assert "in 1 row it is outside" in refused(task_of(of), view(tmp_path, f"SELECT * FROM {huge}"))


def test_files_that_are_not_there_or_not_readable(tmp_path):
    task = task_of(N)
    assert "no such file" in refused(task, TableSource(tmp_path / "t.parquet"))
    assert "must end in .parquet, .csv" in refused(task, text_file(tmp_path, "t.xlsx", "n"))
    (tmp_path / "folder.csv").mkdir()
    assert "is no file" in refused(task, TableSource(tmp_path / "folder.csv"))
    assert "for patterns" in refused(task, text_file(tmp_path, "t[1].csv", "n\n1\n"))
    assert "cannot be read as parquet" in refused(task, text_file(tmp_path, "t.parquet", f"{MARKER}" * 10))
    assert "cannot be read as json" in refused(task, text_file(tmp_path, "t.json", '{"n": 48151623'))
    latin = text_file(tmp_path, "t.csv", f"n,c\n1,{MARKER}ü\n".encode("latin-1"))
    assert "its encoding (UTF-8)" in refused(task, latin)


def test_a_damaged_parquet(tmp_path):
    source = parquet(tmp_path, f"SELECT {MARKER} + range AS n FROM range(5000)")
    content = bytearray(source.path.read_bytes())
    content[40:2000] = bytes(x ^ 0x5A for x in content[40:2000])
    source.path.write_bytes(content)
    assert "damaged" in refused(task_of(N), source)


def test_columns_that_are_missing_or_of_another_type(tmp_path):
    of = table(
        column("n", "integer", 0, 5), column("d", "decimal", 0, 5, scale=1), column("c", "category", values=("x",)),
        column("b", "boolean"), column("z", "integer", 0, 5),
    )  # fmt: skip
    source = parquet(tmp_path, f"SELECT '{MARKER}' AS n, 0.5::DOUBLE AS d, {MARKER} AS c, 1 AS b, 2 AS other")
    for call in (lambda: refused(task_of(of), source), lambda: check(of, source)):
        message = call()
        assert "column n is VARCHAR, and integer needs an integer or DECIMAL type: CAST it in" in message
        assert "column d is DOUBLE, and decimal needs a DECIMAL or integer type" in message
        assert "column c is INTEGER, and category needs VARCHAR" in message
        assert "column b is INTEGER, and boolean needs BOOLEAN" in message
        assert "column z is missing (there are: n, d, c, b, other)" in message


def test_a_csv_without_a_header_and_an_enumeration_show_no_values(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(f"{MARKER},x\n5,y\n")
    of = table(column("n", "integer", 0, 5), column("c", "category", values=("x",)))
    assert "column n is missing (there are: 2 others)" in refused(task_of(of), TableSource(path))
    source = view(tmp_path, f"SELECT 'x{MARKER}'::ENUM('x{MARKER}') AS n, 'x' AS c")
    assert "column n is ENUM, and integer needs" in refused(task_of(of), source)


def test_a_column_beside_the_declared_ones_takes_no_ones_place(tmp_path):
    """`n#` is the engine's name for n on its way to an integer."""
    of = table(column("n", "integer", 0, 100))
    query = task_of(of, Measure("sum", *references(of)))
    inside = parquet(tmp_path, 'SELECT 50 AS n, 7 AS "n#", 8 AS "#cell", 9 AS "#zero"')
    assert compute(query, inside).tolist() == [50]
    outside = parquet(tmp_path, 'SELECT 5000 AS n, 7 AS "n#"')
    assert "is outside 0 to 100" in refused(query, outside)


def check(of, source):
    with pytest.raises(DataError) as caught:
        check_source(of, source)
    return str(caught.value)


@pytest.mark.parametrize(
    ("sql", "part"),
    [
        ("SELEC n FROM source", "is not valid: Parser Error: syntax error at or near"),
        ("SELECT m AS n FROM source", 'is not valid: Binder Error: Referenced column "m" not found'),
        ("SELECT n FROM sources", "is not valid: Catalog Error: Table with name sources does not exist"),
        ("SELECT 1 AS n; DROP VIEW source", "must be one SELECT"),
        ("COPY source TO '/tmp/x.csv'", "must be one SELECT"),
        ("", "must be one SELECT"),
        ("SELECT 1 AS n FROM read_csv('/etc/passwd')", "it may read `source` and nothing else"),
        ("SELECT 1 AS n FROM '/etc/passwd'", "is not valid: Catalog Error"),
        ("SELECT CAST(t AS INTEGER) AS n FROM source", "gives a value that cannot be converted"),
        ("SELECT CAST(n AS TINYINT) AS n FROM source", "gives a value that cannot be converted"),
        ("SELECT error(t) AS n FROM source", "fails on one of its rows"),
    ],
)
def test_views_that_fail(tmp_path, sql, part):
    source = parquet(tmp_path, f"SELECT {MARKER} AS n, 'x{MARKER}' AS t")
    assert part in refused(task_of(N), TableSource(source.path, sql))


def test_a_file_that_changes_while_it_is_read(tmp_path, monkeypatch):
    source = parquet(tmp_path, "SELECT 1 AS n")
    stamps = iter([(1, 1, 1), (1, 1, 2)])
    monkeypatch.setattr("parties.data.home.stamp", lambda source: next(stamps))
    assert "changed while it was read" in refused(task_of(N), source)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/*')",
        "COPY (SELECT 1) TO '/tmp/comity-test.csv'",
        "ATTACH '/tmp/comity-test.db'",
        "EXPORT DATABASE '/tmp/comity-test'",
        "SET threads = 1",
        "SET enable_external_access = true",
        "SET allowed_paths = ['/etc/passwd']",
        "SET temp_directory = '/tmp/comity-test'",
        "RESET lock_configuration",
        "INSTALL httpfs",
        "LOAD httpfs",
        "CREATE PERSISTENT SECRET s (TYPE s3)",
        "SELECT * FROM read_parquet('https://example.com/x.parquet')",
        "SELECT getenv('HOME')",
        "SELECT * FROM python_variable",
    ],
)
def test_the_engine_is_locked(tmp_path, statement):
    python_variable = duckdb.sql("SELECT 1")
    assert python_variable is not None
    source = parquet(tmp_path, "SELECT 1 AS n")
    connection = connect([source.path])
    assert connection.execute(f"SELECT * FROM read_parquet('{source.path}')").fetchall() == [(1,)]
    with pytest.raises(duckdb.Error):
        connection.execute(statement).fetchall()
