"""Aggregation at home against a Python evaluator, on files of every kind."""

import csv
import json
import statistics
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import product

import duckdb
import numpy as np
import pytest
from expressions import bins, evaluate, numbers, texts, truths
from home_files import COUNT, MARKER, ROWS, N, X, column, parquet, references, refused, table, task_of, text_file, view
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parties.data.home import DataError, TableSource, check_source, compute
from protocols.expression import Arithmetic, Bin, Case, Comparison, IsNull, Membership, Not, Number, Text
from protocols.planning.task import HomeTask, Key
from protocols.statistics import BY_NAME
from protocols.statistics.base import Measure

ODD = (
    "it's", "", " spaced ", "back\\slash", "ü\u200b😀", "e\u0301", "é", "NULL", '"quoted"', "--", "'; DROP TABLE t", "a,b",
    "new\nline", "\t", "%_", "$1", "?",
)  # fmt: skip


T = table(
    column("i", "integer", -7, 12, nullable=True),
    column("j", "integer", 3, 5),
    column("d", "decimal", -150, 999, scale=2, nullable=True),
    column("big", "decimal", -2 * 10**18, 2 * 10**18, scale=18, nullable=True),
    column("c", "category", values=ODD, nullable=True),
    column("b", "boolean", nullable=True),
    column("f", "float", -1000, 2025, scale=2, step=25, nullable=True),
    column("day", "date", -2, 15_706, nullable=True),
    column("moment", "timestamp", -5 * 10**6, 1_357_000_000 * 10**6, nullable=True),
)

TYPES = {
    "i": ["TINYINT", "INTEGER", "BIGINT", "HUGEINT", "DECIMAL(4,0)", "DECIMAL(9,3)"],
    "j": ["UTINYINT", "SMALLINT", "UBIGINT", "UHUGEINT"],
    "d": ["DECIMAL(5,2)", "DECIMAL(18,4)", "DECIMAL(38,2)", "DECIMAL(38,20)"],
    "big": ["DECIMAL(19,18)", "DECIMAL(38,18)", "DECIMAL(38,30)"],
    "c": ["VARCHAR"],
    "b": ["BOOLEAN"],
    "f": ["DOUBLE", "FLOAT", "DECIMAL(18,3)"],
    "day": ["DATE"],
    "moment": ["TIMESTAMP", "TIMESTAMP_NS"],
}


def value(of, encoded):
    """The value in a file that is encoded so."""
    if encoded is None:
        return None
    if of.kind == "date":
        return date(1970, 1, 1) + timedelta(days=encoded)
    if of.kind == "timestamp":
        return datetime(1970, 1, 1) + timedelta(microseconds=encoded)
    return Decimal(encoded).scaleb(-of.scale) if of.kind in ("decimal", "float") else encoded


def write_parquet(path, of, rows, types):
    connection = duckdb.connect()
    connection.execute("CREATE TABLE t (" + ", ".join(f"{name} {types[name]}" for name in of.columns) + ")")
    for row in rows:
        texts_ = [None if row[n] is None else str(value(c, row[n])) for n, c in of.columns.items()]
        casts = ", ".join(f"CAST(? AS {types[name]})" for name in of.columns)
        connection.execute(f"INSERT INTO t VALUES ({casts})", texts_)
    connection.execute(f"COPY t TO '{path}' (FORMAT parquet)")
    connection.close()


def write_csv(path, of, rows):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(of.columns)
        for row in rows:
            writer.writerow(["" if row[n] is None else format_csv(c, row[n]) for n, c in of.columns.items()])


def format_csv(of, encoded):
    if of.kind == "boolean":
        return str(encoded).lower()
    if of.kind in ("date", "timestamp"):
        return str(value(of, encoded))
    return encoded if of.kind == "category" else f"{value(of, encoded):f}"


def values_of(of):
    if of.kind == "category":
        values = st.sampled_from(of.values)
    elif of.kind == "boolean":
        values = st.booleans()
    else:
        values = st.sampled_from([of.lower, of.upper]) | st.integers(of.lower // of.step, of.upper // of.step).map(of.step.__mul__)
    return st.none() | values if of.nullable else values


def rows_of(of):
    return st.lists(st.fixed_dictionaries({n: values_of(c) for n, c in of.columns.items()}), max_size=ROWS)


@st.composite
def tasks(draw, of, depth=3):
    refs = references(of)
    keys = []
    for _ in range(draw(st.integers(0, 2))):
        expression = draw(st.sampled_from([r for r in refs if r.column.is_groupable]) | bins(refs))
        keys.append(Key(expression, expression.nullable() and draw(st.booleans())))
    sums = numbers(refs, depth).map(lambda node: Measure("sum", node))
    counts = (numbers(refs, 1) | truths(refs, 1) | texts(refs)).map(lambda node: Measure("count", node))
    measures = draw(st.lists(sums | counts | st.just(COUNT), min_size=1, max_size=3))
    where = draw(st.lists(truths(refs, depth), max_size=2))
    return HomeTask(of, tuple(where), tuple(keys), tuple(measures))


def code_of(key, row):
    """The cell of a key, None for nowhere."""
    found = evaluate(key.expression, row)
    if found is None:
        return key.size - 1 if key.has_null else None
    if isinstance(found, str):
        return key.expression.column.values.index(found)
    return int(found) - key.expression.lower


def expected(task, rows):
    cells = list(product(*(range(key.size) for key in task.keys)))
    totals = {(m, cell): 0 for m in range(len(task.measures)) for cell in cells}
    for row in rows:
        cell = tuple(code_of(key, row) for key in task.keys)
        if None in cell or any(evaluate(condition, row) is not True for condition in task.where):
            continue
        for m, measure in enumerate(task.measures):
            worth = 1 if measure.expression is None else evaluate(measure.expression, row)
            if worth is not None:
                totals[m, cell] += 1 if measure.kind == "count" else worth
    return [totals[m, cell] for m in range(len(task.measures)) for cell in cells]


SLOW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@SLOW
@given(rows=rows_of(T), task=tasks(T), data=st.data())
def test_any_task_equals_the_evaluator(tmp_path_factory, rows, task, data):
    path = tmp_path_factory.mktemp("t") / "t.parquet"
    types = {name: data.draw(st.sampled_from(choices)) for name, choices in TYPES.items()}
    own = None
    if any("HUGEINT" in type_ for type_ in types.values()):  # Parquet has none
        own = "SELECT " + ", ".join(f"CAST({name} AS {type_}) AS {name}" for name, type_ in types.items()) + " FROM source"
        types = dict.fromkeys(types, "VARCHAR")
    write_parquet(path, T, rows, types)
    vector = compute(task, TableSource(path, own))
    assert vector.shape == (len(task.measures) * task.cells,)
    assert vector.dtype == np.int64 or all(type(x) is int for x in vector)
    assert vector.tolist() == expected(task, rows)


PLAIN = table(*(c for c in T.columns.values() if c.name != "c"), column("c", "category", values=("x", "Zürich", "it's", "01")))


@settings(SLOW, max_examples=25)
@given(rows=rows_of(PLAIN), task=tasks(PLAIN, depth=2))
def test_csv_is_read_exactly(tmp_path_factory, rows, task):
    path = tmp_path_factory.mktemp("t") / "t.csv"
    write_csv(path, PLAIN, rows)
    assert compute(task, TableSource(path)).tolist() == expected(task, rows)


# by hand


def test_totals_beyond_int64_are_exact(tmp_path):
    wide = table(column("w", "decimal", -3 * 10**18, 3 * 10**18, scale=18), max_rows=10)
    [w] = references(wide)
    source = parquet(tmp_path, "SELECT CAST('2.999999999999999999' AS DECIMAL(38,18)) AS w FROM range(7)")
    square = Arithmetic("*", w, w)
    vector = compute(task_of(wide, Measure("sum", w), Measure("sum", square), COUNT), source)
    x = 3 * 10**18 - 1
    assert vector.dtype == object
    assert vector.tolist() == [7 * x, 7 * x * x, 7]


@pytest.mark.parametrize("bound", [2**63 - 1, 2**63, 2**62, 2**31 - 1, 2**31])
def test_each_side_of_the_engines_widths(tmp_path, bound):
    edge = table(column("w", "integer", -bound, bound), max_rows=4)
    [w] = references(edge)
    shifted = Arithmetic("-", w, Number(bound))
    source = view(tmp_path, f"SELECT unnest([{bound}, -{bound}, -{bound}]::HUGEINT[]) AS w")
    where = Comparison("<", Arithmetic("*", w, Number(1, 2)), Number(0))
    vector = compute(task_of(edge, Measure("sum", shifted), Measure("sum", w), where=[where]), source)
    assert vector.tolist() == [-4 * bound, -2 * bound]
    doubled = Membership(Arithmetic("+", w, w), (Number(-2 * bound),))
    assert compute(task_of(edge, where=[doubled]), source).tolist() == [2]


def test_bins_are_half_open_and_the_last_is_closed(tmp_path):
    of = table(column("d", "decimal", -1000, 1000, scale=2), max_rows=20)
    [d] = references(of)
    source = parquet(
        tmp_path, "SELECT unnest(['-0.01', '0.00', '0.33', '0.34', '0.66', '0.67', '1.00', '1.01'])::DECIMAL(4,2) AS d"
    )
    vector = compute(task_of(of, keys=[Key(Bin(d, 0, 100, 2, 3))]), source)
    assert vector.tolist() == [1, 2, 2, 2, 1]
    finer = compute(task_of(of, keys=[Key(Bin(d, 3, 9, 1, 2))]), source)  # [0.3, 0.6), [0.6, 0.9]
    assert finer.tolist() == [2, 2, 2, 2]


def test_null_keys_have_their_cell_or_belong_nowhere(tmp_path):
    of = table(
        column("b", "boolean", nullable=True), column("c", "category", values=("y", "x"), nullable=True), max_rows=9
    )
    b, c = references(of)
    rows = "(VALUES (true, 'x'), (NULL, 'x'), (false, NULL), (NULL, NULL), (true, 'y')) AS v(b, c)"
    source = parquet(tmp_path, f"SELECT * FROM {rows}")
    with_null = compute(task_of(of, keys=[Key(b, True), Key(c, True)]), source)
    assert with_null.reshape(3, 3).tolist() == [[0, 0, 1], [1, 1, 0], [0, 1, 1]]
    assert compute(task_of(of, keys=[Key(b), Key(c)]), source).tolist() == [0, 0, 1, 1]


def test_an_enum_of_a_view_and_names_of_another_case(tmp_path):
    of = table(column("c", "category", values=("b", "a")))
    source = parquet(tmp_path, "SELECT 'a' AS Country FROM range(3)")
    source = TableSource(source.path, "SELECT CAST(country AS ENUM('a', 'b')) AS C FROM source -- as agreed")
    assert compute(task_of(of, keys=[Key(*references(of))]), source).tolist() == [0, 3]


@pytest.mark.parametrize(("name", "content"), [("t.csv", "n\n"), ("t.json", "[]"), ("t.json", ""), ("t.jsonl", "")])
def test_empty_files_give_zeros(tmp_path, name, content):
    source = text_file(tmp_path, name, content)
    task = task_of(N, COUNT, Measure("sum", X), keys=[Key(X)])
    check_source(N, source)
    assert compute(task, source).tolist() == [0] * 402


def test_an_empty_parquet_gives_zeros(tmp_path):
    source = parquet(tmp_path, "SELECT 1 AS n WHERE false")
    assert compute(task_of(N, COUNT, Measure("sum", X)), source).tolist() == [0, 0]


def test_json_and_the_own_view(tmp_path):
    source = text_file(tmp_path, "t.json", json.dumps([{"n": 1, "p": 0.29}, {"n": None, "p": 1.5}, {"n": 3, "p": 2}]))
    of = table(column("n", "integer", 0, 5, nullable=True), column("p", "decimal", 0, 1000, scale=2))
    n, p = references(of)
    message = refused(task_of(of), source)
    assert "column p is DOUBLE, and decimal needs a DECIMAL or integer type: CAST" in message
    own = "SELECT n, CAST(p AS DECIMAL(5, 2)) AS p FROM source"
    vector = compute(task_of(of, Measure("sum", p), Measure("count", n)), TableSource(source.path, own))
    assert vector.tolist() == [379, 2]


def test_a_view_over_csv_has_types(tmp_path):
    own = "SELECT a * 2 AS n FROM source WHERE day >= DATE '2013-01-02'"
    source = text_file(tmp_path, "t.csv", "a,day\n1,2013-01-01\n2,2013-01-02\n3,2013-01-03\n", own)
    assert compute(task_of(N, Measure("sum", X)), source).tolist() == [10]


def test_csv_numbers_are_plain_digits(tmp_path):
    of = table(column("d", "decimal", -10**20, 10**20, scale=3, nullable=True), max_rows=100)
    [d] = references(of)
    good = ["1", "+1.5", "-.5", " 2 ", "3.", "0001.100000000000000000000000000000000000000000", "", "-0"]
    source = text_file(tmp_path, "t.csv", "d,e\n" + "".join(f"{g},1\n" for g in good))
    assert compute(task_of(of, Measure("sum", d), Measure("count", d)), source).tolist() == [8100, 7]
    bad = ["1e3", "0x10", "1_000", "one", "NaN", "-", ".", "--1", "1.2.3", "٣"]
    source = text_file(tmp_path, "t.csv", "d,e\n" + "".join(f"{b},1\n" for b in [*good, *bad]))
    assert "column d: in 10 rows it is no number in plain digits" in refused(task_of(of), source)
    fine = ["0.0001", "1.2345", "9" * 60, "9" * 38]
    source = text_file(tmp_path, "t.csv", "d,e\n" + "".join(f"{f},1\n" for f in fine))
    message = refused(task_of(of), source)
    assert "column d: in 2 rows it has more than 3 digits after the point" in message
    assert "column d: in 2 rows it is outside -100000000000000000.000 to 100000000000000000.000" in message


F = table(column("f", "float", -5 * 10**6, 5 * 10**6, scale=3, step=5), max_rows=1000)


@settings(SLOW, max_examples=25)
@given(values=st.lists(st.floats(-5000, 5000) | st.integers(-10**6, 10**6).map(lambda k: k * 0.0025), min_size=1))
@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_floats_are_rounded_to_the_nearest_step_half_to_even(tmp_path_factory, kind, values):
    path = tmp_path_factory.mktemp("f") / f"f.{kind}"
    duckdb.execute(f"COPY (SELECT unnest($1::DOUBLE[]) AS f) TO '{path}'", [values])
    [f] = references(F)
    got = compute(task_of(F, Measure("sum", f), Measure("sum", Arithmetic("*", f, f))), TableSource(path)).tolist()
    steps = [round(x * 1000.0 / 5.0) for x in values]  # IEEE products and quotients, and Python's round: half to even
    assert got == [sum(5 * k for k in steps), sum((5 * k) ** 2 for k in steps)]
    for name in ("SUM", "AVG", "VAR_POP", "VAR_SAMP", "STDDEV_POP", "STDDEV_SAMP"):
        statistic = BY_NAME[name]
        rounded = statistic.reference(name, (f,), [(5 * k,) for k in steps])
        unrounded = unrounded_answer(name, values)
        if rounded is not None:
            assert abs(Fraction(rounded) - unrounded) <= Fraction(statistic.error_bound(name, (f,), len(values))), name


def unrounded_answer(name, values):
    """From the floats themselves, as fractions."""
    exact = [Fraction(x) for x in values]
    if name in ("SUM", "AVG"):
        return sum(exact) / (len(exact) if name == "AVG" else 1)
    if name.endswith("_SAMP") and len(exact) < 2:
        return None
    of = statistics.variance if name.endswith("_SAMP") else statistics.pvariance
    return of(exact) if name.startswith("VAR") else Fraction(Decimal(of(exact).numerator).sqrt() / Decimal(of(exact).denominator).sqrt())


def test_a_float_is_taken_from_any_number_and_rounded_exactly_at_a_tie(tmp_path):
    [f] = references(F)
    ties = "[0.0025, 0.0075, -0.0025, -0.0075, 0.0125]"  # half a step: to the even one
    for type_ in ("DOUBLE", "DECIMAL(9,4)", "VARCHAR"):
        source = parquet(tmp_path, f"SELECT unnest({ties}::{type_ if type_ != 'VARCHAR' else 'DOUBLE'}[]) AS f")
        if type_ == "VARCHAR":
            source = text_file(tmp_path, "t.csv", "f\n2.5e-3\n.0075\n-0.0025\n-75E-4\n+0.0125\n")
        [nulls, tens] = compute(task_of(F, COUNT, Measure("sum", Arithmetic("*", f, f))), source).tolist()
        assert (nulls, tens) == (5, 0 + 100 + 0 + 100 + 100), type_
    assert compute(task_of(F, Measure("sum", f)), parquet(tmp_path, "SELECT 7 AS f")).tolist() == [7000]


LOOSE = table(
    column("i", "integer", -7, 12, nullable=True, outside="clamp"),
    column("d", "decimal", -150, 999, scale=2, outside="drop"),
    column("f", "float", -1000, 2025, scale=2, step=25, nullable=True, outside="clamp"),
    column("day", "date", 0, 10, outside="drop"),
    column("c", "category", values=("x", "y"), nullable=True, outside="drop"),
    column("b", "boolean"),
)
FAR = st.fixed_dictionaries({
    "i": st.none() | st.integers(-20, 20) | st.integers(-(2**63), 2**63 - 1),
    "d": st.integers(-300, 1200),
    "f": st.none() | st.integers(-60, 100).map(lambda k: 25 * k) | st.sampled_from([25 * 10**18, -25 * 10**18]),
    "day": st.sampled_from([0, 3, 10, 10, -1, 11, -(10**5), 10**6]),
    "c": st.none() | st.sampled_from(["x", "y", "y", "z"]),
    "b": st.booleans(),
})  # fmt: skip


@settings(SLOW, max_examples=30)
@given(rows=st.lists(FAR, max_size=ROWS), data=st.data(), is_text=st.booleans())
def test_what_is_outside_is_clamped_or_dropped_and_counted(tmp_path_factory, rows, data, is_text):
    task = data.draw(tasks(LOOSE, depth=1))
    path = tmp_path_factory.mktemp("t") / ("t.csv" if is_text else "t.parquet")
    if is_text:
        write_csv(path, LOOSE, rows)
    else:
        types = {"i": "BIGINT", "d": "DECIMAL(9, 2)", "f": "DOUBLE", "day": "DATE", "c": "VARCHAR", "b": "BOOLEAN"}
        write_parquet(path, LOOSE, rows, types)
    kept = [
        row for row in rows
        if -150 <= row["d"] <= 999 and 0 <= row["day"] <= 10 and row["c"] in (None, "x", "y")
    ]  # fmt: skip
    clamped = [
        {**row, **{n: None if row[n] is None else min(max(row[n], LOOSE.columns[n].lower), LOOSE.columns[n].upper) for n in "if"}}
        for row in kept
    ]
    counts = {n: sum(row[n] != near[n] for row, near in zip(kept, clamped, strict=True)) for n in "if"}
    used = [c.name for c in task.columns if c.outside == "clamp"]
    assert task.size == len(task.measures) * task.cells + 1 + len(used)
    assert compute(task, TableSource(path)).tolist() == [
        *expected(task, clamped), len(rows) - len(kept), *(counts[n] for n in used)
    ]  # fmt: skip


def test_what_cannot_be_clamped_is_refused(tmp_path):
    of = table(column("f", "float", -10, 10, outside="clamp"), column("n", "integer", 0, 9, outside="clamp"))
    f, n = references(of)
    both = task_of(of, Measure("sum", f), Measure("sum", n))
    rows = "(VALUES ('inf', 5), ('-inf', -3), ('1e300', 77), ('2.5', 9)) AS v(f, n)"
    source = parquet(tmp_path, f"SELECT f::DOUBLE AS f, n FROM {rows}")
    assert compute(both, source).tolist() == [10 - 10 + 10 + 2, 5 + 0 + 9 + 9, 3, 2]
    source = parquet(tmp_path, "SELECT unnest(['nan', '1'])::DOUBLE AS f, 1.5 AS n")
    message = refused(both, source)
    assert "column f: in 1 row it is not between -10 to 10, and too far away to be clamped, or no number" in message
    assert "column n: in 2 rows it is no whole number" in message
    dropped = table(column("f", "float", -10, 10, outside="drop"))
    assert compute(task_of(dropped), parquet(tmp_path, "SELECT unnest(['nan', '1', 'inf'])::DOUBLE AS f")).tolist() == [1, 2]


def test_a_key_may_drop_what_is_outside(tmp_path):
    owned = table(column("k", "integer", 1, 9, outside="drop"), column("b", "boolean"), owner="a", key=("k",))
    unique = parquet(tmp_path, "SELECT unnest([1, 2, 77, 78]) AS k, true AS b")
    assert compute(task_of(owned), unique).tolist() == [2, 2]
    assert "the key (k) is that of another row" in refused(task_of(owned), parquet(tmp_path, "SELECT unnest([1, 1, 77]) AS k, true AS b"))


def test_check_source_sees_text_that_is_of_no_type(tmp_path):
    of = table(column("n", "integer", 0, 5), column("b", "boolean"))
    check_source(of, text_file(tmp_path, "t.csv", "n,b\n1,TRUE\n77, false\n"))
    with pytest.raises(DataError) as caught:
        check_source(of, text_file(tmp_path, "t.csv", f"n,b\n1,yes\nx{MARKER},{MARKER}\n"))
    message = str(caught.value)
    assert "column n: in 1 of the first 10,000 rows it is no number" in message
    assert "column b: in 2 of the first 10,000 rows it is neither true nor false" in message
    assert str(MARKER) not in message


def test_a_path_with_quotes(tmp_path):
    folder = tmp_path / "it's; a \"folder\""
    folder.mkdir()
    source = text_file(folder, "t's.csv", "n\n5\n")
    assert compute(task_of(N, Measure("sum", X)), source).tolist() == [5]


def test_rows_with_odd_text(tmp_path):
    of = table(column("c", "category", values=ODD))
    [c] = references(of)
    path = tmp_path / "t.parquet"
    write_parquet(path, of, [{"c": odd} for odd in ODD[:ROWS]], {"c": "VARCHAR"})
    for odd in ODD[:ROWS]:
        where = [Comparison("=", c, Text(odd)), Membership(c, (Text(odd),)), Not(IsNull(c))]
        hit = Case(((Comparison("<>", c, Text(odd)), Number(-5)),), Number(7))
        assert compute(task_of(of, COUNT, Measure("sum", hit), where=where), TableSource(path)).tolist() == [1, 7]


def test_a_hundred_thousand_cells(tmp_path):
    of = table(column("k", "integer", -50_000, 49_999), max_rows=200_000)
    [k] = references(of)
    source = parquet(tmp_path, "SELECT (range * 7919) % 100000 - 50000 AS k FROM range(150000)")
    vector = compute(task_of(of, COUNT, Measure("sum", k), keys=[Key(k)]), source).reshape(2, -1)
    assert vector[0].sum() == 150_000
    assert set(vector[0].tolist()) == {1, 2}
    assert (vector[1] == vector[0] * np.arange(-50_000, 50_000)).all()
