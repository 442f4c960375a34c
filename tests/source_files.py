"""One table with columns of all types, for tests of every kind of source."""

from decimal import Decimal
from fractions import Fraction

import pyarrow as pa
from home_files import COUNT, column, references, table, task_of

from protocols.planning.task import Key
from protocols.statistics.base import Measure

OF = table(
    column("n", "integer", -50, 49, nullable=True),
    column("d", "decimal", -(10**30), 10**30, scale=18, nullable=True),
    column("c", "category", values=("x", "Zürich", "it's"), nullable=True),
    column("b", "boolean"),
    max_rows=10_000,
)
VIEW = "WITH few AS (SELECT * FROM source WHERE n < 10 OR c = 'it''s') SELECT n * 2 AS n, d, c, b FROM few -- as agreed"
"""SQL that every engine understands."""

N, D, C, B = references(OF)
TASK = task_of(OF, COUNT, Measure("sum", D), Measure("sum", N), Measure("count", N), keys=[Key(C, True), Key(B)])


def rows() -> list[tuple[int | None, Decimal | None, str | None, bool]]:
    """Decimals that no binary floating point number holds. In the view, n stays within its bounds."""
    texts = (*OF.columns["c"].values, None)
    return [
        (
            None if i % 7 == 0 else i % 45 - 25,
            None if i % 11 == 0 else Decimal(f"{(i - 1500) * 123456789}.{i:018}"),
            texts[i % 4],
            i % 3 == 0,
        )
        for i in range(3000)
    ]


def arrow_table() -> pa.Table:
    types = (pa.int32(), pa.decimal128(38, 18), pa.string(), pa.bool_())
    arrays = [pa.array(values, type_) for values, type_ in zip(zip(*rows(), strict=True), types, strict=True)]
    return pa.table(dict(zip(OF.columns, arrays, strict=True)))


def expected(has_view: bool) -> list[int]:
    """The vector of TASK, counted by Python."""
    cells = [[0] * 8 for _ in range(4)]
    codes = {text: code for code, text in enumerate(OF.columns["c"].values)} | {None: 3}
    for n, d, c, b in rows():
        if has_view:
            if not ((n is not None and n < 10) or c == "it's"):
                continue
            n = None if n is None else 2 * n
        cell = codes[c] * 2 + b
        cells[0][cell] += 1
        cells[1][cell] += 0 if d is None else int(Fraction(d) * 10**18)
        cells[2][cell] += n or 0
        cells[3][cell] += n is not None
    return [total for measure in cells for total in measure]
