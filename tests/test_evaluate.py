"""Row expressions for whole domains at once, against their values row by row."""

from itertools import product

import numpy as np
import pytest
from expressions import evaluate as of_row
from expressions import numbers, truths
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.evaluate import Values, domain, evaluate, true
from protocols.expression import Bin, Reference
from protocols.tables import Column

COLUMNS = [
    Column("n", "integer", -3, 2, nullable=True),
    Column("m", "integer", 0, 3),
    Column("c", "category", 0, 1, values=("p", "q"), nullable=True),
    Column("b", "boolean", 0, 1, nullable=True),
    Column("d", "date", 10, 12),
]
REFERENCES = [Reference("t", column) for column in COLUMNS]
DOMAINS = [domain(column, column.nullable) for column in COLUMNS]


def grid():
    """Every combination of values: as arrays that are broadcast, and row by row."""
    columns = {}
    for axis, (reference, of) in enumerate(zip(REFERENCES, DOMAINS, strict=True)):
        shape = [1] * len(COLUMNS)
        shape[axis] = -1
        columns[reference] = Values(*(x.reshape(shape) for x in of))
    listed = [[None if null else value for value, null in zip(*of, strict=True)] for of in DOMAINS]
    return columns, [dict(zip((c.name for c in COLUMNS), values, strict=True)) for values in product(*listed)]


GRID, ROWS = grid()
SHAPE = tuple(len(of.values) for of in DOMAINS)


@given(numbers(REFERENCES) | truths(REFERENCES))
@settings(max_examples=300, deadline=None)
def test_all_values_at_once_are_those_row_by_row(node):
    found = evaluate(node, GRID)
    values, null = (np.broadcast_to(x, SHAPE).reshape(-1).tolist() for x in found)
    expected = [of_row(node, row) for row in ROWS]
    assert [None if n else value for value, n in zip(values, null, strict=True)] == expected
    if node.type == "truth":
        assert np.broadcast_to(true(node, GRID), SHAPE).reshape(-1).tolist() == [value is True for value in expected]


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_numbers_beyond_64_bits_stay_exact(data):
    large = Reference("t", Column("large", "integer", 1 << 62, (1 << 62) + 2))
    node = data.draw(numbers([large, *REFERENCES[2:]]))
    found = evaluate(node, GRID | {large: Values(*(x.reshape(3, *[1] * len(SHAPE)) for x in domain(large.column, False)))})
    values, null = (np.broadcast_to(x, (3, *SHAPE)).reshape(-1).tolist() for x in found)
    expected = [of_row(node, row | {"large": (1 << 62) + k}) for k in range(3) for row in ROWS]
    assert [None if n else value for value, n in zip(values, null, strict=True)] == expected


def test_what_is_no_row_expression_is_refused():
    with pytest.raises(TypeError):
        evaluate(Bin(REFERENCES[0], 0, 2, 0, 2), GRID)
