"""One table with columns of all types, for tests of every kind of source."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pyarrow as pa
from home_files import COUNT, column, references, refused, table, task_of

from protocols.expression import Case, Comparison, Moment, Number
from protocols.planning.task import Key
from protocols.statistics.base import Measure

OF = table(
    column("n", "integer", -50, 49, nullable=True),
    column("d", "decimal", -(10**30), 10**30, scale=18, nullable=True),
    column("c", "category", values=("x", "Zürich", "it's"), nullable=True),
    column("b", "boolean"),
    column("f", "float", 0, 10**6, scale=2, step=25, nullable=True),
    column("day", "date", 0, 10_000),
    column("moment", "timestamp", 0, 10**15, nullable=True),
    max_rows=10_000,
)
TYPES = (pa.int32(), pa.decimal128(38, 18), pa.string(), pa.bool_(), pa.float64(), pa.date32(), pa.timestamp("us"))
VIEW = """
    WITH few AS (SELECT * FROM source WHERE n < 10 OR c = 'it''s')
    SELECT n * 2 AS n, d, c, b, f, day, moment FROM few -- as agreed
"""
"""SQL that every engine understands."""

N, D, C, B, F, DAY, MOMENT = references(OF)
MEASURES = ("rows", "d", "n", "present", "f", "early", "late")


def no(task, source):
    """The refusal of a table in a database; no copy is left."""
    message = refused(task, source)
    assert not [*source.snapshots.glob("*")]
    return message


def _is_before(reference, kind, encoded):
    return Measure("sum", Case(((Comparison("<", reference, Moment(kind, encoded)), Number(1)),), Number(0)))


TASK = task_of(
    OF, COUNT, Measure("sum", D), Measure("sum", N), Measure("count", N), Measure("sum", F),
    _is_before(DAY, "date", 1500), _is_before(MOMENT, "timestamp", 10**14 + 1), keys=[Key(C, True), Key(B)],
)  # fmt: skip


def rows() -> list[tuple[object, ...]]:
    """Decimals that no binary floating point number holds, floats near a step. In the view, n stays within its bounds."""
    texts = (*OF.columns["c"].values, None)
    return [
        (
            None if i % 7 == 0 else i % 45 - 25,
            None if i % 11 == 0 else Decimal(f"{(i - 1500) * 123456789}.{i:018}"),
            texts[i % 4],
            i % 3 == 0,
            None if i % 13 == 0 else i / 4 + 0.1,
            date(1970, 1, 1) + timedelta(days=i),
            None if i % 5 == 0 else datetime(1970, 1, 1) + timedelta(microseconds=10**14 + i - 1500),
        )
        for i in range(3000)
    ]


def arrow_table() -> pa.Table:
    arrays = [pa.array(values, type_) for values, type_ in zip(zip(*rows(), strict=True), TYPES, strict=True)]
    return pa.table(dict(zip(OF.columns, arrays, strict=True)))


def expected(has_view: bool) -> list[int]:
    """The vector of TASK, counted by Python."""
    cells = {measure: [0] * 8 for measure in MEASURES}
    codes = {text: code for code, text in enumerate(OF.columns["c"].values)} | {None: 3}
    for i, (n, d, c, b, f, _, moment) in enumerate(rows()):
        if has_view:
            if not ((n is not None and n < 10) or c == "it's"):
                continue
            n = None if n is None else 2 * n
        cell = codes[c] * 2 + b
        cells["rows"][cell] += 1
        cells["d"][cell] += 0 if d is None else int(Fraction(d) * 10**18)
        cells["n"][cell] += n or 0
        cells["present"][cell] += n is not None
        cells["f"][cell] += 0 if f is None else 25 * i
        cells["early"][cell] += i < 1500
        cells["late"][cell] += moment is not None and i <= 1500
    return [total for measure in MEASURES for total in cells[measure]]
