"""Totals at home for a query with differential privacy, against the rules themselves in plain Python: which rows can be
taken, how many of each unit, and that nothing else depends on rows."""

import csv
import sqlite3
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import combinations
from math import inf, isnan, nan

import duckdb
import pyarrow as pa
import pyarrow.parquet
import pytest
from expressions import evaluate
from home_files import COUNT, MARKER, column, parquet, references, table, text_file, view
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_home_data import code_of, tasks

from parties.data import bounding, home
from parties.data.home import DatabaseSource, DataError, TableSource, check_source, compute
from protocols.expression import Arithmetic, Bin, Number, magnitude
from protocols.planning.task import HomeTask, Key
from protocols.statistics.base import Measure
from protocols.tables import Unit

SLOW = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


def private(of, *measures, unit, where=(), keys=()):
    return HomeTask(replace(of, unit=unit), tuple(where), tuple(keys), measures or (COUNT,), unit)


def totals(task, source):
    return compute(task, source).tolist()


# any table and task

T = table(
    column("i", "integer", -7, 12, nullable=True),
    column("d", "decimal", -150, 999, scale=2),
    column("f", "float", -1000, 2025, scale=2, step=25, nullable=True),
    column("c", "category", values=("x", "it's", "Zürich"), nullable=True),
    column("b", "boolean"),
    column("day", "date", -2, 10, outside="drop"),
    column("moment", "timestamp", -5 * 10**6, 10**15, nullable=True),
    max_rows=1000,
)
TYPES = {
    "i": pa.int64(), "d": pa.decimal128(20, 4), "f": pa.float64(), "c": pa.string(), "b": pa.bool_(),
    "day": pa.date32(), "moment": pa.timestamp("us"), "who": pa.string(),
}  # fmt: skip
UNREADABLE = "?!"
"""Of no type, in a CSV file."""

FEW_OR_FAR = {
    "i": st.none() | st.integers(-9, 14) | st.sampled_from([-(2**63), 2**63 - 1, 13, -8]),
    "d": st.none() | st.sampled_from(["-1.50", "0", "9.99", "0.25", "10", "-99999999", "9999999999999999", "0.0001"]).map(Decimal),
    "f": st.none() | st.sampled_from([0.0, 0.25, -3.5, 20.25, 20.5, 1e308, -1e308, inf, -inf, nan, 0.125]),
    "c": st.none() | st.sampled_from(["x", "x", "it's", "Zürich", "", "X", "z"]),
    "b": st.sampled_from([True, False, True, False, None]),
    "day": st.integers(-2, 10).map(lambda n: date(1970, 1, 1) + timedelta(n)) | st.sampled_from([date(1, 1, 1), date(9999, 1, 1), None]),
    "moment": st.none() | st.sampled_from([datetime(1970, 1, 2), datetime(1900, 1, 1), datetime(9999, 12, 31), datetime(2000, 2, 29, 1, 2, 3, 4)]),
}  # fmt: skip
UNITS = st.sampled_from(["ann", "bob", "bob", "Bob", "o'neil", "7", " 7", None])
TABLES = st.lists(st.fixed_dictionaries({**FEW_OR_FAR, "who": UNITS}), max_size=12)


def prepared(of, value):
    """The encoded value; ValueError for a row that cannot be taken."""
    if value == UNREADABLE or (value is None and not of.nullable):
        raise ValueError
    if value is None or of.kind == "boolean":
        return value
    if of.kind == "category":
        return of.values[of.values.index(value)]
    if of.kind == "float":
        if isnan(value):
            raise ValueError
        steps = value * 10.0**of.scale / of.step
        encoded = steps if steps in (inf, -inf) else round(steps) * of.step
    elif of.kind == "date":
        encoded = (value - date(1970, 1, 1)).days
    elif of.kind == "timestamp":
        encoded = (value - datetime(1970, 1, 1)) // timedelta(microseconds=1)
    else:
        scaled = Decimal(value).scaleb(of.scale)
        encoded = int(scaled)
        if encoded != scaled:
            raise ValueError
    if of.outside == "drop" and not of.lower <= encoded <= of.upper:
        raise ValueError
    return min(max(encoded, of.lower), of.upper)


def taken(task, row):
    """The cell and what the row adds to each measure; None for a row that does not count."""
    try:
        encoded = {c.name: prepared(c, row[c.name]) for c in task.columns}
    except ValueError:
        return None
    if any(evaluate(condition, encoded) is not True for condition in task.where):
        return None
    cell = 0
    for key in task.keys:
        code = code_of(key, encoded)
        if code is None:
            return None
        cell = cell * key.size + code
    worth = [1 if m.expression is None else evaluate(m.expression, encoded) for m in task.measures]
    return cell, tuple(0 if w is None else 1 if m.kind == "count" else w for m, w in zip(task.measures, worth, strict=True))


def write(path, rows):
    if path.suffix == ".parquet":
        columns = {name: pa.array([row[name] for row in rows], TYPES[name]) for name in TYPES}
        pa.parquet.write_table(pa.table(columns), path)
        return TableSource(path)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(TYPES)
        for row in rows:
            writer.writerow(["" if row[name] is None else str(row[name]) for name in TYPES])
    return TableSource(path)


def check_one_unit(task, candidates, vector):
    """What one unit's rows give is a choice that the caps allow, and no smaller than it has to be."""
    cells = {}
    for cell, added in candidates:
        cells.setdefault(cell, []).append(added)
    per_measure = [vector[n * task.cells : (n + 1) * task.cells] for n in range(len(task.measures))]
    counts = per_measure[0]
    chosen = {cell: count for cell, count in enumerate(counts) if count}
    assert len(chosen) == min(task.unit.groups, len(cells))
    for cell, count in chosen.items():
        assert count == min(task.unit.rows, len(cells[cell]))
        sums = tuple(part[cell] for part in per_measure)
        assert any(tuple(map(sum, zip(*some, strict=True))) == sums for some in combinations(cells[cell], count))
    for measure, part in zip(task.measures, per_measure, strict=True):
        most = task.unit.rows * (1 if measure.kind == "count" or measure.expression is None else magnitude(measure.expression))
        assert sum(map(bool, part)) <= task.unit.groups
        assert all(abs(x) <= most for x in part)
        assert sum(x * x for x in part) <= task.unit.groups * most**2
        assert not any(x for cell, x in enumerate(part) if cell not in chosen)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """In which files are written again and again: the engine of a path is kept."""
    return tmp_path_factory.mktemp("again")


@SLOW
@given(data=st.data(), rows=TABLES, kind=st.sampled_from(["csv", "parquet"]))
def test_any_task_takes_of_each_unit_what_the_caps_allow(folder, data, rows, kind):
    drawn = data.draw(tasks(T, depth=1))
    unit = Unit("who", rows=data.draw(st.integers(1, 3)), groups=data.draw(st.integers(1, 3)))
    task = private(T, COUNT, *drawn.measures, unit=unit, where=drawn.where[:1], keys=drawn.keys)
    if kind == "csv":
        # nothing between commas is NULL, and an infinite float is no number as text
        rows = [{**row, "c": row["c"] or None, "f": UNREADABLE if row["f"] in (inf, -inf) else row["f"]} for row in rows]
        for row in rows:
            row.update(dict.fromkeys(data.draw(st.sampled_from(["", "", "", "i", "d", "f", "b", "day", "moment"]).map(str.split)), UNREADABLE))
    check_any_task(task, rows, data.draw(st.permutations(rows)), folder / f"t.{kind}")


def check_any_task(task, rows, permuted, path):
    whole = totals(task, write(path, rows))
    sums = [0] * task.size
    for who in {row["who"] for row in rows if row["who"] is not None}:
        own = [row for row in rows if row["who"] == who]
        vector = totals(task, write(path, own))
        check_one_unit(task, [found for row in own if (found := taken(task, row))], vector)
        sums = [x + y for x, y in zip(sums, vector, strict=True)]
    assert sums == whole, "what is taken of a unit depends on another, or on its own absence"
    assert totals(task, write(path, permuted)) == whole


@settings(SLOW, max_examples=15)
@given(data=st.data(), rows=TABLES)
def test_each_row_is_a_unit_of_its_own_without_a_key(folder, data, rows):
    drawn = data.draw(tasks(T, depth=1))
    task = private(T, *drawn.measures, unit=Unit(), where=drawn.where, keys=drawn.keys)
    source = write(folder / "t.parquet", rows)
    expected = [0] * task.size
    for found in filter(None, (taken(task, row) for row in rows)):
        for number, added in enumerate(found[1]):
            expected[number * task.cells + found[0]] += added
    assert totals(task, source) == expected


# by hand

G = table(column("k", "integer", 0, 99), column("x", "integer", -3, 1000), max_rows=10**7)
K, X = references(G)
SUMS = (COUNT, Measure("sum", X))


@pytest.mark.parametrize(("rows", "groups"), [(1, 1), (2, 3), (5, 200)])
def test_one_unit_with_very_many_rows_moves_little(tmp_path, rows, groups):
    task = private(G, *SUMS, unit=Unit("who", rows=rows, groups=groups), keys=[Key(K)])
    others = "SELECT range AS who, range % 100 AS k, range % 7 AS x FROM range(1000)"
    flood = "SELECT -1 AS who, (range // 7) % 100 AS k, 10000000 - range % 7 AS x FROM range(100000)"
    before = totals(task, parquet(tmp_path, others, "a.parquet"))
    after = totals(task, parquet(tmp_path, f"{others} UNION ALL {flood}", "b.parquet"))
    moved = [y - x for x, y in zip(before, after, strict=True)]
    cells = min(groups, 100)
    assert sorted(filter(None, moved)) == sorted([rows] * cells + [1000 * rows] * cells)


def test_clamps_are_each_columns_own_bounds(tmp_path):
    of = table(column("low", "integer", 5, 9), column("high", "integer", -10**18, -1), column("f", "float", -10, 25, scale=1))
    low, high, f = references(of)
    rows = "(VALUES (-100, 0, -1e300), (7, -5, 0.5), (9223372036854775807, -9223372036854775808, 'inf')) AS v(low, high, f)"
    source = parquet(tmp_path, f"SELECT low::BIGINT AS low, high::BIGINT AS high, f::DOUBLE AS f FROM {rows}")
    task = private(of, *(Measure("sum", x) for x in (low, high, f)), unit=Unit())
    assert totals(task, source) == [5 + 7 + 9, -1 - 5 - 10**18, -10 + 5 + 25]


def test_more_rows_than_max_rows_are_not_told(tmp_path):
    of = table(column("b", "boolean"), column("x", "integer", -3, 1000), max_rows=5)
    b, x = references(of)
    source = parquet(tmp_path, "SELECT range < 3 AS b, 2000 AS x FROM range(100)")
    assert totals(private(of, COUNT, Measure("sum", x), unit=Unit(), keys=[Key(b)]), source) == [5, 3, 5000, 3000]
    low = parquet(tmp_path, "SELECT false AS b, -2000 AS x FROM range(10000)", "low.parquet")
    assert totals(private(of, Measure("sum", x), Measure("sum", Arithmetic("*", x, Number(-1))), unit=Unit()), low) == [-5000, 5000]


@pytest.mark.parametrize("bound", [2**62, 2**63 - 1, 2**63, 2**100, 2**120, 2**125])
@pytest.mark.parametrize("sign", [1, -1])
def test_no_sum_overflows_in_the_engine(tmp_path, bound, sign):
    of = table(column("w", "integer", -bound, bound), max_rows=1)
    [w] = references(of)
    huge = min(bound, 2**126) - 3
    source = view(tmp_path, f"SELECT CAST('{sign * huge}' AS HUGEINT) AS w, range // 2 AS who FROM range(5000)")
    largest = private(of, Measure("sum", w), unit=Unit("who", rows=2))
    assert totals(largest, source) == [sign * bound]
    assert totals(replace(largest, table=replace(largest.table, max_rows=5000)), source) == [sign * huge * 5000]


def test_the_engines_largest_integers(tmp_path):
    of = table(column("w", "integer", -(2**126), 5), max_rows=10)
    [w] = references(of)
    rows = "[170141183460469231731687303715884105727, -170141183460469231731687303715884105728, -7]"
    source = view(tmp_path, f"SELECT unnest({rows}::HUGEINT[]) AS w")
    assert totals(private(of, Measure("sum", w), COUNT, unit=Unit()), source) == [5 - 2**126 - 7, 3]
    source = view(tmp_path, f"SELECT unnest(['{2**128 - 1}', '7'])::UHUGEINT AS w")  # beyond what can be clamped
    assert totals(private(of, Measure("sum", w), COUNT, unit=Unit()), source) == [5, 1]


def test_the_engines_farthest_days_and_moments(tmp_path):
    of = table(column("day", "date", 0, 9), column("moment", "timestamp", 0, 10**9), max_rows=100)
    day, moment = references(of)
    far = ["'infinity'", "'-infinity'", "'5881580-07-10'", "'5877642-06-25 (BC)'"]
    days = view(tmp_path, f"SELECT unnest([{', '.join(far)}])::DATE AS day, TIMESTAMP '2000-01-01' AS moment")
    assert totals(private(of, COUNT, keys=[Key(day)], unit=Unit()), days) == [2, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    for type_, arrow in (("s", 2**63 - 1), ("ms", -(2**63) + 2), ("us", -(2**63) + 2), ("ns", 2**63 - 1)):
        path = tmp_path / f"{type_}.arrow"
        rows = pa.table({"day": pa.array([0] * 3, pa.date32()), "moment": pa.array([0, arrow, 2**60], pa.timestamp(type_))})
        with pa.ipc.new_file(path, rows.schema) as file:
            file.write_table(rows)
        [count] = totals(private(of, Measure("count", moment), unit=Unit()), TableSource(path))
        assert 1 <= count <= 3, type_


def test_histograms_categories_dates_and_null_cells(tmp_path):
    of = table(
        column("c", "category", values=("y", "x"), nullable=True), column("day", "date", 0, 1), column("x", "integer", 0, 9),
        max_rows=100,
    )  # fmt: skip
    c, day, x = references(of)
    rows = """(VALUES ('y', 0, 1, 'a'), ('y', 0, 1, 'a'), ('y', 0, 1, 'a'), (NULL, 1, 5, 'b'), ('x', 5, 50, 'c'), ('z', 0, 3, 'd'))
        AS v(c, n, x, who)"""
    source = parquet(tmp_path, f"SELECT c, DATE '1970-01-01' + n AS day, x, who FROM {rows}")
    unit = Unit("who", rows=2, groups=1)
    assert totals(private(of, keys=[Key(c), Key(day)], unit=unit), source) == [2, 0, 0, 1]
    assert totals(private(of, keys=[Key(c, True), Key(day)], unit=unit), source) == [2, 0, 0, 1, 0, 1]
    histogram = Key(Bin(x, 0, 6, 0, 3))  # what is used alone can leave a row out
    assert totals(private(of, keys=[histogram], unit=unit), source) == [0, 2, 1, 1, 1]


@pytest.mark.parametrize("type_", [
    "VARCHAR", "TINYINT", "HUGEINT", "UUID", "DOUBLE", "DATE", "TIMESTAMPTZ", "BLOB", "DECIMAL(38, 3)", "BOOLEAN", "INTERVAL",
    "ENUM('1', '2')", "INTEGER[]", "STRUCT(a INTEGER, b VARCHAR)", "JSON",
])  # fmt: skip
def test_a_unit_is_of_any_type(tmp_path, type_):
    text = {
        "UUID": "'00000000-0000-0000-0000-00000000000' || n", "DATE": "'2000-01-0' || n", "TIMESTAMPTZ": "'2000-01-0' || n",
        "BOOLEAN": "n > 1", "INTERVAL": "n || ' days'", "INTEGER[]": "[n, NULL]", "STRUCT(a INTEGER, b VARCHAR)": "{'a': n, 'b': NULL}",
    }.get(type_, "n::VARCHAR")  # fmt: skip
    own = f"SELECT CASE WHEN n < 3 THEN CAST({text} AS {type_}) END AS \"The Unit\", n AS k, n AS x FROM (SELECT 1 + range % 3 AS n FROM range(90))"
    source = view(tmp_path, own)
    for groups in (1, 200):
        task = private(G, *SUMS, unit=Unit("the unit", rows=7, groups=groups), keys=[Key(K)])
        vector = totals(task, source)
        assert vector[:4] == [0, 7, 7, 0]
        assert vector[100:104] == [0, 7, 14, 0]
    check_source(task.table, source)


def test_floats_that_are_equal_are_one_unit(tmp_path):
    source = parquet(tmp_path, "SELECT unnest(['0', '-0', 'nan', '-nan', '1'])::DOUBLE AS who, 1 AS k, 1 AS x")
    assert totals(private(G, unit=Unit("who"), keys=[Key(K)]), source)[1] == 3


def test_a_declared_column_that_is_the_unit_is_not_clamped(tmp_path):
    source = parquet(tmp_path, "SELECT range AS k, 1 AS x FROM range(1000) UNION ALL SELECT range, 1 FROM range(1000)")
    assert totals(private(G, unit=Unit("k")), source) == [1000]
    assert totals(private(G, unit=Unit("k"), keys=[Key(K)]), source) == [1] * 99 + [901]
    assert totals(private(G, Measure("sum", X), unit=Unit("k")), source) == [1000]


def test_the_choice_differs_between_units(tmp_path):
    """Of 3,000 units with a row in each of ten cells, and two values, each is taken about as often. False alarm: 1e-9."""
    select = "SELECT range // 20 AS who, range % 10 AS k, (range // 10) % 2 AS x FROM range(60000)"
    vector = totals(private(G, *SUMS, unit=Unit("who"), keys=[Key(K)]), parquet(tmp_path, select))
    assert sum(vector[:10]) == 3000
    assert all(abs(n - 300) < 6.5 * (300 * 0.9) ** 0.5 for n in vector[:10])
    assert abs(sum(vector[100:]) - 1500) < 6.5 * 750**0.5


# what a company's log or a peer could tell

WILD = """(VALUES
    ('1', '2', 'a', 'x'), (NULL, NULL, NULL, NULL), ('', '-', 'b', ''), ('1e999', '0x10', 'c', ','), ('NaN', 'inf', 'd', '"'),
    ('99999999999999999999999999999999999999999999', '-99999999999999999999999999999999999999', 'e', 'z'),
    ('0.000000000000000000000000000000000000000000001', '1.', 'f', 'x'), ('2013-02-30', '9999999-01-01', 'g', '''; DROP'),
    ('-9223372036854775809', ' 5 ', 'h', 'ü'), ('true', 'NULL', 'i', repeat('y', 100000))
) AS v(x, k, who, c)"""


@pytest.mark.parametrize("kind", ["integer", "decimal", "float", "date", "timestamp", "boolean"])
def test_wildly_bad_rows_are_no_failure(tmp_path, kind):
    bounds = (0, 1) if kind == "boolean" else (0, 5)
    of = table(column("x", kind, *bounds, nullable=True), column("k", kind, *bounds), column("c", "category", values=("x",)))
    duckdb.execute(f"COPY (SELECT * FROM {WILD}) TO '{tmp_path / 't.csv'}' (HEADER, FORCE_QUOTE *)")
    x, k, c = references(of)
    for task in (
        private(of, Measure("count", x), unit=Unit("who"), keys=[Key(c)]), private(of, Measure("count", k), COUNT, unit=Unit()),
        private(of, keys=[Key(k)] if k.column.is_groupable else [], unit=Unit("who")),
    ):  # fmt: skip
        assert 0 <= sum(totals(task, TableSource(tmp_path / "t.csv"))) <= 20


def test_neighbouring_tables_fail_alike(tmp_path):
    """Whether and with what words compute fails is the same with any one row taken out, or with none left."""
    other_type = table(column("x", "float", 0, 5), column("k", "category", values=("1",)), column("b", "boolean"))
    schema = pa.schema({"x": pa.float64(), "k": pa.int64(), "who": pa.string()})
    rows = [{"x": nan, "k": MARKER, "who": "a"}, {"x": None, "k": None, "who": None}, {"x": 1.0, "k": 1, "who": f"{MARKER}"}]
    said = set()
    for some in ([], rows, *(rows[:n] + rows[n + 1 :] for n in range(3))):
        path = tmp_path / "t.parquet"
        pa.parquet.write_table(pa.Table.from_pylist(some, schema=schema), path)
        for unit in (Unit("who"), Unit("whom"), Unit()):
            with pytest.raises(DataError) as caught:
                compute(private(other_type, unit=unit), TableSource(path))
            said.add(str(caught.value))
    assert len(said) == 2
    assert not any(str(MARKER) in message for message in said)


def test_a_unit_that_is_missing_is_named(tmp_path):
    of = private(G, unit=Unit("person"))
    for source in (parquet(tmp_path, "SELECT 1 AS k, 2 AS x"), text_file(tmp_path, "t.csv", f"k,x\n{MARKER},1\n")):
        for call in (lambda s: compute(of, s), lambda s: check_source(of.table, s)):
            with pytest.raises(DataError, match=r"column person is missing, which says whose a row is .*add it to the data"):
                call(source)


def test_types_that_are_guessed_from_rows_are_refused(tmp_path):
    sources = [
        text_file(tmp_path, "t.json", '[{"k": 1, "x": 2, "who": 3}]'), text_file(tmp_path, "e.json", "[]"),
        text_file(tmp_path, "t.csv", "k,x,who\n1,2,3\n", "SELECT * FROM source"),
    ]  # fmt: skip
    for source in sources:
        for call in (lambda s: compute(private(G, unit=Unit()), s), lambda s: check_source(replace(G, unit=Unit()), s)):
            with pytest.raises(DataError, match="guessed from its rows"):
                call(source)
        compute(HomeTask(G, (), (), (COUNT,)), source)


def test_a_table_of_sqlite_refuses_no_row(tmp_path):
    with sqlite3.connect(tmp_path / "t.sqlite") as connection:
        connection.execute("CREATE TABLE t (k, x, who)")
        rows = [(1, 5, 7), (1, 5, 7.0), (1, 5, "7"), (1, 2.5, 8), (b"\xff", 1, 9), (2, -50, None), (2, -50, b"x"), (2, "y", 10)]
        connection.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
        connection.execute("INSERT INTO t VALUES (3, 4, CAST(x'ff41' AS TEXT))")
    source = DatabaseSource("sqlite://t.sqlite", "t", tmp_path)
    vector = totals(private(G, *SUMS, unit=Unit("Who"), keys=[Key(K)]), source)
    assert vector[:4] == [0, 1, 1, 1]
    assert vector[100:104] == [0, 5, -3, 4]
    with pytest.raises(DataError, match="column person is missing, which says whose"):
        compute(private(G, unit=Unit("person")), source)


# planted bugs

TAKEN, WINDOW = bounding._taken, bounding._window
PLANTED = {
    "none": {},
    "no cap": {"_taken": lambda rows, *_: rows},
    "no cap of rows": {"_taken": lambda rows, unit, *more: TAKEN(rows, replace(unit, rows=1000), *more)},
    "no cap of cells": {"_taken": lambda rows, unit, *more: TAKEN(rows, replace(unit, groups=1000), *more)},
    "one row more": {"_taken": lambda rows, unit, *more: TAKEN(rows, replace(unit, rows=unit.rows + 1), *more)},
    "the first rows of the file": {"_taken": lambda rows, unit, cells, added: TAKEN(rows, unit, cells, [])},
    "caps of all units together": {"_window": lambda function, of, order: WINDOW(function, [], order)},
    "no clamps": {"clamping": lambda table: table},
    "rows that are not fit": {"_is_fit": lambda items: bounding.all_of([])},
}


@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bugs_are_found(folder, monkeypatch, bug):
    for name, planted in PLANTED[bug].items():
        monkeypatch.setattr(home if hasattr(home, name) else bounding, name, planted)
    base = {"d": Decimal("0.25"), "f": 0.25, "b": True, "day": date(1970, 1, 1), "moment": None}
    few = [(n, c, "ann") for n in range(8) for c in ("x", "it's")] + [(5, "x", "bob"), (99, "Zürich", "bob"), (99, "x", "dan"), (None, "z", "eve")]
    rows = [{**base, "i": i, "c": c, "who": who} for i, c, who in few]
    rows.append({**rows[0], "who": "eve", "f": nan})
    i, f, c = (reference for reference in references(T) if reference.column.name in "ifc")
    task = private(T, COUNT, Measure("sum", i), Measure("sum", f), unit=Unit("who", rows=2), keys=[Key(c)])
    if bug == "none":
        return check_any_task(task, rows, rows[::-1], folder / "t.parquet")
    with pytest.raises((AssertionError, DataError)):
        check_any_task(task, rows, rows[::-1], folder / "t.parquet")


@pytest.mark.parametrize("row", ["q,Paris", '"q",Paris', "'q,Paris", "q,'Paris'", "q;z,Paris", "#q,Paris", "q|z|w,Paris", '"q""z",Paris', "q\\tz,Paris"])
@pytest.mark.parametrize("style", ["p{},Paris", '"p{}","Paris"', "p{},'Paris'"])
def test_one_row_of_a_csv_file_does_not_change_how_others_are_read(tmp_path, row, style):
    """An engine that guesses a file's dialect from its rows would read all anew."""
    of = table(column("city", "category", values=("Paris", "'Paris'")), max_rows=1000)
    [city] = references(of)
    task = private(of, COUNT, unit=Unit("person"), keys=[Key(city)])
    text = "person,city\n" + "".join(style.format(number) + "\n" for number in range(100))
    found = []
    for name, more in (("a", ""), ("b", row + "\n")):
        file = tmp_path / f"{name}.csv"
        file.write_text(text + more)
        found.append(totals(task, TableSource(file)))
    assert sum(found[0]) == 100
    assert sum(abs(x - y) for x, y in zip(*found, strict=True)) <= 1
