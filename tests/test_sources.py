"""Where a company's table may be, beside a plain file: Arrow, a DuckDB file, a database. PostgreSQL: `test_postgres.py`."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import source_files
from home_files import MARKER, N, column, parquet, refused, table, task_of, text_file
from hypothesis import given, settings
from hypothesis import strategies as st
from source_files import OF, TASK, VIEW, no
from test_home_data import SLOW, TYPES, T, rows_of, tasks, write_parquet
from test_home_data import expected as totals

from mpc.errors import ComityError
from parties.data.home import DatabaseSource, DataError, TableSource, check_source, compute
from parties.data.place import EngineSettings, shown
from parties.data.source import connect, opened, remove_snapshots
from parties.node.config import read_config


def arrow(path, rows, kind, **options):
    new = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
    with new(path, rows.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(rows, max_chunksize=500)
    return TableSource(path)


def duckdb_file(tmp_path, *statements, name="data.duckdb"):
    with duckdb.connect(tmp_path / name) as connection:
        for statement in statements:
            connection.execute(statement)
    return tmp_path / name


def sqlite_file(tmp_path, *statements, table="t", own=None):
    with closing(sqlite3.connect(tmp_path / "t.sqlite")) as connection, connection:
        for statement in statements:
            connection.execute(statement)
    return DatabaseSource("sqlite://t.sqlite", table, tmp_path, own)


def files(tmp_path):
    """The table in each kind of source."""
    (tmp_path / "node").mkdir()
    with duckdb.connect(tmp_path / "data.duckdb") as connection:
        connection.execute("CREATE SCHEMA s")
        connection.register("rows", source_files.arrow_table())
        connection.execute("CREATE TABLE s.t AS FROM rows")
        connection.execute("CREATE VIEW v AS SELECT * FROM data.s.t")
        connection.execute(f"COPY s.t TO '{tmp_path / 't.parquet'}' (FORMAT parquet)")
    rows = source_files.arrow_table()
    coded = rows.set_column(2, "c", rows["c"].dictionary_encode())
    texts = {Decimal: "{:f}".format, date: str, datetime: str}
    values = [[texts.get(type(value), lambda same: same)(value) for value in row] for row in source_files.rows()]
    with closing(sqlite3.connect(tmp_path / "t.sqlite")) as connection, connection:
        connection.execute("CREATE TABLE t (N INTEGER, d TEXT, c TEXT, b BOOLEAN, f REAL, day TEXT, moment TEXT)")
        connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?)", values)
    return [
        TableSource(tmp_path / "t.parquet"),
        arrow(tmp_path / "file.arrow", rows, "file", compression="lz4"),
        arrow(tmp_path / "coded.feather", coded, "file", unify_dictionaries=True),
        arrow(tmp_path / "stream.arrow", rows, "stream"),
        arrow(tmp_path / "coded.ipc", coded, "stream", compression="zstd"),
        TableSource(tmp_path / "data.duckdb", table="s.t"),
        TableSource(tmp_path / "data.duckdb", table='"V"'),
        DatabaseSource("sqlite://t.sqlite", "t", tmp_path),
        DatabaseSource(f"sqlite://{tmp_path}/t.sqlite", "main.T", tmp_path / "node"),
    ]


def with_view(source, view):
    return type(source)(**{**vars(source), "view": view})


def test_every_kind_of_source_gives_the_same(tmp_path):
    for source in files(tmp_path):
        check_source(OF, source)
        assert compute(TASK, source).tolist() == source_files.expected(has_view=False), source
        own = with_view(source, VIEW)
        check_source(OF, own)
        assert compute(TASK, own).tolist() == source_files.expected(has_view=True), own


@settings(SLOW, max_examples=15)
@given(rows=rows_of(T), task=tasks(T), data=st.data())
def test_any_task_on_arrow_equals_the_evaluator(tmp_path_factory, rows, task, data):
    """The engine hands some of a query's conditions on to Arrow."""
    folder = tmp_path_factory.mktemp("t")
    narrow = {name: [type_ for type_ in types if "HUGE" not in type_] for name, types in TYPES.items()}
    write_parquet(folder / "t.parquet", T, rows, {name: data.draw(st.sampled_from(types)) for name, types in narrow.items()})
    found = pyarrow.parquet.read_table(folder / "t.parquet")
    if data.draw(st.booleans()):
        place = found.column_names.index("c")
        found = found.set_column(place, "c", found["c"].dictionary_encode())
    source = arrow(folder / "t.arrow", found, data.draw(st.sampled_from(["file", "stream"])))
    assert compute(task, source).tolist() == totals(task, rows)


# Arrow


def test_arrow_files_that_cannot_be_read(tmp_path):
    rows = pa.table({"n": pa.array(np.arange(5000) % 100), "t": ["x"] * 5000})
    for kind in ("file", "stream"):
        path = arrow(tmp_path / "t.arrow", rows, kind).path
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        assert "cannot be read as arrow: the file is damaged" in refused(task_of(N), TableSource(path))
    assert "cannot be read as ipc" in refused(task_of(N), text_file(tmp_path, "t.ipc", f"n\n{MARKER}\n"))
    assert "cannot be read as ipc" in refused(task_of(N), text_file(tmp_path, "t.ipc", ""))
    wide = arrow(tmp_path / "t.feather", rows.append_column("w", pa.array([1] * 5000, pa.decimal256(50, 0))), "file")
    assert "has a column of a type that the engine does not have" in refused(task_of(N), wide)


def test_what_is_not_installed_is_named(tmp_path, monkeypatch):
    path = arrow(tmp_path / "t.arrow", pa.table({"n": [1]}), "file").path
    for module in ("arrow", "snapshot"):
        monkeypatch.setitem(sys.modules, f"parties.data.{module}", None)
        monkeypatch.delattr(f"parties.data.{module}", raising=False)
    with pytest.raises(DataError, match=r'needs pyarrow: install "comity\[arrow\]"'):
        compute(task_of(N), TableSource(path))
    with pytest.raises(DataError, match=r'install "comity\[databases\]"'):
        compute(task_of(N), DatabaseSource("postgres://x/y", "t", tmp_path))


def test_only_what_is_used_is_imported(tmp_path):
    code = """
import sys
from home_files import N, task_of
from parties.data.home import TableSource, compute
from pathlib import Path
compute(task_of(N), TableSource(Path(sys.argv[1])))
print(sorted({"pyarrow", "pandas", "ibis", "sqlite3"} & sys.modules.keys()))
"""
    path = parquet(tmp_path, "SELECT 1 AS n").path
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parent)])}
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "[]\n"


# DuckDB files


def test_a_duckdb_file_is_open_during_a_query_alone(tmp_path):
    path = duckdb_file(tmp_path, "CREATE TABLE t AS SELECT 1 AS n")
    writes = "import duckdb, sys; duckdb.connect(sys.argv[1]).execute('INSERT INTO t VALUES (2)')"
    for count in (1, 2):
        assert compute(task_of(N), TableSource(path, table="t")).tolist() == [count]
        subprocess.run([sys.executable, "-c", writes, path], check=True)
    stays = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", stays, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        message = refused(task_of(N), TableSource(path, table="t"))
        writer.stdin.close()
    assert "another program has the file open for writing: run the query again" in message
    assert compute(task_of(N), TableSource(path, table="t")).tolist() == [3]


def test_a_duckdb_file_can_read_nothing_else(tmp_path):
    secret = text_file(tmp_path, "secret.csv", "n\n5\n").path
    other = duckdb_file(tmp_path, "CREATE TABLE t AS SELECT 6 AS n", name="other.duckdb")
    path = duckdb_file(tmp_path, f"CREATE VIEW v AS SELECT * FROM read_csv('{secret}')", "CREATE TABLE t AS SELECT 7 AS n")
    assert "the table reads another file or an extension" in refused(task_of(N), TableSource(path, table="v"))
    for own in (f"SELECT * FROM read_csv('{secret}')", f"SELECT * FROM '{secret}'", f"FROM read_text('{other}')", "FROM other.t"):
        refused(task_of(N), TableSource(path, own, "t"))
    assert "must be one SELECT" in refused(task_of(N), TableSource(path, f"ATTACH '{other}'", "t"))
    with opened(TableSource(path, table="t"), N) as (connection, _, _), pytest.raises(duckdb.Error):
        connection.execute("INSERT INTO data.t VALUES (8)")


def test_tables_of_a_duckdb_file(tmp_path):
    path = duckdb_file(
        tmp_path, "CREATE SCHEMA s", 'CREATE TABLE s."odd name; --" AS SELECT 1 AS n', "CREATE TABLE t AS SELECT unnest([1, 2]) AS n"
    )
    assert compute(task_of(N), TableSource(path, table='S."odd name; --"')).tolist() == [1]
    assert compute(task_of(N), TableSource(path, "SELECT n FROM source UNION ALL FROM data.t", "main.t")).tolist() == [4]
    for name in ("odd", "s.t", "data.main.t"):
        there = 'there is no such table (there are: t, s.odd name; --)'
        assert there in refused(task_of(N), TableSource(path, table=name))
    for name in ("t; DROP TABLE t", "read_csv('x')", "t AS u", "(SELECT 1)", "a.b.c.d", "'t", " "):
        assert "`table` in node.toml is no name such as" in refused(task_of(N), TableSource(path, table=name))
    garbage = text_file(tmp_path, "g.duckdb", f"{MARKER}" * 1000).path
    assert "cannot be read as duckdb: the file is damaged" in refused(task_of(N), TableSource(garbage, table="t"))
    sqlite_file(tmp_path, "CREATE TABLE t (n INTEGER)")
    (tmp_path / "t.sqlite").rename(tmp_path / "t.db")
    assert 'is a SQLite file: say source = "sqlite:///' in refused(task_of(N), TableSource(tmp_path / "t.db", table="t"))


# SQLite


def test_a_snapshot_is_the_nodes_alone_and_lasts_for_one_query(tmp_path):
    source = sqlite_file(tmp_path, "CREATE TABLE t (n INTEGER, secret TEXT)", f"INSERT INTO t VALUES (1, 'x{MARKER}')")
    with opened(source, N) as (_, file, columns):
        assert file.path.stat().st_mode & 0o777 == 0o600
        assert file.path.parent.stat().st_mode & 0o777 == 0o700
        assert list(columns) == ["n"]
        assert str(MARKER).encode() not in file.path.read_bytes()
    assert not file.path.exists()
    with pytest.raises(ZeroDivisionError), opened(source, N) as (_, file, _):
        raise ZeroDivisionError
    assert not file.path.exists()
    (source.snapshots / "left.parquet").touch()
    remove_snapshots(tmp_path)
    assert not [*source.snapshots.iterdir()]
    source.snapshots.rmdir()
    source.snapshots.touch()
    with pytest.raises(DataError, match=f"cannot be copied to {source.snapshots}: File exists"):
        compute(task_of(N), source)


def test_sqlites_values_are_read_by_the_declared_type(tmp_path):
    of = table(column("n", "integer", 0, 2**60), column("d", "decimal", 0, 10**6, scale=2), column("b", "boolean"))
    rows = f"CREATE TABLE t AS SELECT {2**60} AS n, 0.29 AS d, 1 AS b UNION ALL SELECT 1.0, '{MARKER}', 'false' UNION ALL SELECT x'00', 5, 7"
    message = no(task_of(of), sqlite_file(tmp_path, rows))
    assert "column n: in 2 rows it is REAL or BLOB; column d: in 1 row it is REAL or BLOB, which no text is certain for" in message
    own = "SELECT CAST(n AS INTEGER) AS n, printf('%.2f', d) AS d, b FROM source"
    message = no(task_of(of), sqlite_file(tmp_path, own=own))
    assert "column d: in 1 row it is outside 0.00 to 10000.00" in message
    assert "column b: in 1 row it is neither true nor false" in message
    fine = sqlite_file(tmp_path, own=f"SELECT * FROM ({own}) WHERE b <> 7 AND CAST(d AS REAL) < 1000")
    vector = compute(task_of(of, *(source_files.Measure("sum", x) for x in source_files.references(of)[:2])), fine)
    assert vector.tolist() == [2**60, 29]


def test_what_is_wrong_with_a_database(tmp_path):
    task = task_of(N)
    source = sqlite_file(tmp_path, "CREATE TABLE t (n INTEGER)", f"INSERT INTO t VALUES ({MARKER})", "CREATE TABLE u (m)")
    assert "column n: in 1 row it is outside -100 to 100" in no(task, source)
    assert "there is no such table (there are: t, u)" in no(task, sqlite_file(tmp_path, table="v"))
    assert "`table` in node.toml is no name" in no(task, sqlite_file(tmp_path, table="t WHERE 1"))
    assert "column n is missing (there are: m)" in no(task, sqlite_file(tmp_path, table="u"))
    for own, part in (
        ("SELECT m AS n FROM source", "is not valid: no such column: m"),
        ("SELEC", "is not valid: near"),
        ("SELECT n FROM source; DROP TABLE t", "one statement at a time"),
        ("DROP TABLE t", "is not valid: near"),
        ("SELECT json_extract('x' || n, '$') AS n FROM source", "the database fails (OperationalError, SQLITE_ERROR)"),
    ):
        assert part in no(task, sqlite_file(tmp_path, own=own)), own
    assert f"there is no file {tmp_path}/other" in no(task, DatabaseSource("sqlite://other", "t", tmp_path))
    assert not (tmp_path / "other").exists()
    for url, part in (
        ("mysql://u:p@localhost/x", 'its driver is missing: install "ibis-framework[mysql]"'),
        ("foo://localhost/x", "no kind of database is named foo: there are athena, bigquery"),
        ("duckdb://data.duckdb", 'a file is named without a URL: say source = "data.duckdb"'),
        ("postgres://u:${COMITY_NONE}@localhost/x", "the node's environment has no variable COMITY_NONE"),
        (f"postgres://u:a/{MARKER}@localhost/x", "is no URL such as postgres://user:${PASSWORD}@host:5432/database"),
    ):
        assert part in no(task, DatabaseSource(url, "t", tmp_path))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgres://user:pass@host:5432/db", "postgres://host:5432/db"),
        ("postgres://user:pass@[::1]:5432/db?password=pass", "postgres://[::1]:5432/db"),
        ("postgres:///db?password=pass@x", "postgres://..."),
        ("postgres://user:pa/ss@host/db", "postgres://..."),
        ("postgres://user:pa?ss@host/db", "postgres://..."),
        ("postgres://user:pa#ss@host/db", "postgres://..."),
        ("postgres://user:pass@word@host/db", "postgres://..."),
        ("postgres://user:pass", "postgres://..."),
        ("snowflake://user:pass@account/db/schema?warehouse=w", "snowflake://account/db/schema"),
        ("${DATABASE_URL}", "${DATABASE_URL}"),
    ],
)
def test_a_url_is_shown_without_secrets(url, said):
    assert shown(url) == said
    assert "pass" not in repr(DatabaseSource(url, "t", Path("x")))


# node.toml


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[tables.t]\nsource = "x.duckdb"', 'x.duckdb has many tables: say which, for instance table = "public.flights"'),
        ('[tables.t]\nsource = "postgres://u:secret@h/d"', "postgres://h/d has many tables: say which"),
        ('[tables.t]\nsource = "${DATABASE_URL}"', "${DATABASE_URL} has many tables: say which"),
        ('[tables.t]\nsource = "x.csv"\ntable = "t"', "table is for databases: the file x.csv is one table, so leave it out"),
        ('[tables.t]\nsource = "x.arrow"\ntable = "t"', "table is for databases"),
        ('[tables.t]\nsource = "x.db"\ntable = ""', "must not be empty"),
        ("[engine]\nthreads = 0", "engine.threads: must be greater than or equal to 1"),
        ("[engine]\nthreads = 1.5", "engine.threads: must be a valid integer"),
        ('[engine]\nmemory_limit = "80%"', 'engine.memory_limit: must be a size such as "2 GB" or "500 MB", and 32 MB or more'),
        ('[engine]\nmemory_limit = "1 MB"', "engine.memory_limit: must be a size"),
        ('[engine]\nmemory_limit = "0 GB"', "engine.memory_limit: must be a size"),
        ("[engine]\nmemory_limit = 5", "engine.memory_limit: must be a valid string"),
        ("[engine]\nmemory = 5", "engine.memory: unknown key: did you mean memory_limit?"),
    ],
)
def test_a_node_toml_that_is_wrong(tmp_path, text, said):
    (tmp_path / "node.toml").write_text(f'name = "acme"\nlisten = "localhost:7101"\n{text}\n')
    with pytest.raises(ComityError) as caught:
        read_config(tmp_path)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_node_toml(tmp_path, monkeypatch):
    (tmp_path / "node.toml").write_text("""
        name = "acme"
        listen = "localhost:7101"
        [engine]
        memory_limit = "500 MB"
        threads = 1
        [tables.a]
        source = "a.parquet"
        [tables.b]
        source = "/b/b.duckdb"
        table = "s.t"
        sql = "SELECT 1"
        [tables.c]
        source = "sqlite://${FOLDER}/t.sqlite"
        table = "t"
    """)
    engine = EngineSettings("500 MB", 1)
    tables = read_config(tmp_path).tables
    assert tables["a"] == TableSource(tmp_path / "a.parquet", engine=engine)
    assert tables["b"] == TableSource(Path("/b/b.duckdb"), "SELECT 1", "s.t", engine)
    assert tables["c"] == DatabaseSource("sqlite://${FOLDER}/t.sqlite", "t", tmp_path, engine=engine)
    (tmp_path / "odd ? name").mkdir()
    sqlite_file(tmp_path / "odd ? name", "CREATE TABLE t (n INTEGER)", "INSERT INTO t VALUES (1), (2)")
    monkeypatch.setenv("FOLDER", "odd ? name")
    assert compute(task_of(N), tables["c"]).tolist() == [2]


# the engine's settings


def test_the_engine_takes_no_more_than_it_may(tmp_path):
    of = table(column("n", "integer", 0, 10**6), max_rows=10**6, owner="a", key=("n",))
    rows = "SELECT (range * 7919) % 999983 AS n FROM range(999983)"
    path = duckdb_file(tmp_path, f"CREATE TABLE t AS {rows}")
    for source in (parquet(tmp_path, rows), TableSource(path, table="t")):
        small = TableSource(source.path, table=source.table, engine=EngineSettings("32 MB", 1))
        assert "needs more memory than there is, or than `memory_limit` in node.toml gives" in refused(task_of(of), small)
        enough = TableSource(source.path, table=source.table, engine=EngineSettings("1 GB", 1))
        assert compute(task_of(of), enough).tolist() == [999983]


def test_the_engines_settings(tmp_path):
    settings = "SELECT current_setting('threads'), current_setting('memory_limit'), current_setting('temp_directory')"
    assert connect([], EngineSettings("512 MiB", 3)).execute(settings).fetchall() == [(3, "512.0 MiB", "")]
    assert connect([]).execute(settings).fetchall()[0][0] == min(4, os.cpu_count() or 1)
    source = parquet(tmp_path, "SELECT 1 AS n")
    for threads in (1, 2):
        with opened(TableSource(source.path, engine=EngineSettings(None, threads)), N) as (connection, _, _):
            assert connection.execute("SELECT current_setting('threads')").fetchall() == [(threads,)]
