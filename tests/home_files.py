"""Files and tables of the tests of a company's own data."""

import duckdb
import pytest

from parties.data.home import DataError, TableSource, compute
from protocols.expression import Reference
from protocols.planning.task import HomeTask
from protocols.statistics.base import Measure
from protocols.tables import Column, Table

ROWS = 10
MARKER = 48151623
"""A value that no message may show."""

COUNT = Measure("count", None)


def column(name, kind, lower=0, upper=1, **options):
    if kind == "category":
        upper = len(options["values"]) - 1
    return Column(name, kind, lower, upper, **options)


def table(*columns, max_rows=ROWS, **options):
    return Table("t", {c.name: c for c in columns}, max_rows, ("a",), **options)


def references(of):
    return [Reference(of.name, c) for c in of.columns.values()]


def parquet(tmp_path, select, name="t.parquet"):
    path = tmp_path / name
    duckdb.sql(f"COPY ({select}) TO '{path}' (FORMAT parquet)")
    return TableSource(path)


def view(tmp_path, select):
    """Rows of types that Parquet does not have."""
    return TableSource(parquet(tmp_path, "SELECT 1 AS one").path, select)


def text_file(tmp_path, name, content, own=None):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return TableSource(path, own)


def task_of(of, *measures, where=(), keys=()):
    return HomeTask(of, tuple(where), tuple(keys), measures or (COUNT,))


def refused(task, source):
    with pytest.raises(DataError) as caught:
        compute(task, source)
    assert str(MARKER) not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None, "a logged traceback would show the engine's words"
    assert str(caught.value).startswith(source.place)
    return str(caught.value)


N = table(column("n", "integer", -100, 100), max_rows=1000)
[X] = references(N)
