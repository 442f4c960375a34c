"""HISTOGRAM(x, lower, upper, bins): how many values fall into each of `bins` equal bins, and how many lie outside.

A histogram is COUNT grouped by the number of the bin; the plan treats it so."""

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

from protocols.expression import Bin
from protocols.statistics.base import Value, decimal

NAME = "HISTOGRAM"
COLUMNS = ("bin_lower", "bin_upper", "count")
LARGEST = 9_998  # bins; with the two rows for what lies outside, 10,000 cells


def edges(bins: Bin) -> list[tuple[Value, Value]]:
    """(bin_lower, bin_upper) of each cell, the open end of the first and the last None. Edges are integers where all
    are, else decimals where the bounds' digits suffice, else the nearest floats."""
    step = Fraction(bins.stop - bins.start, bins.bins)
    exact = [bins.start + step * i for i in range(bins.bins + 1)]
    unit = 10**bins.digits
    values: list[Value]
    if all((edge / unit).denominator == 1 for edge in exact):
        values = [int(edge / unit) for edge in exact]
    elif all(edge.denominator == 1 for edge in exact):
        values = [decimal(int(edge), bins.digits) for edge in exact]
    else:
        values = [float(edge / unit) for edge in exact]
    return [*zip([None, *values], [*values, None], strict=True)]


def reference(bins: Bin, values: Sequence[int | None]) -> list[tuple[Fraction | None, Fraction | None, int]]:
    """The rows from the pooled values themselves, for tests and the demo: every distinct value is put, as a fraction,
    between the exact edges."""
    unit = 10**bins.digits
    start, stop = Fraction(bins.start, unit), Fraction(bins.stop, unit)
    step = (stop - start) / bins.bins
    exact = [start + step * number for number in range(bins.bins + 1)]
    counts = [0] * (bins.bins + 2)
    for value, count in Counter(values).items():
        if value is None:
            continue
        x = Fraction(value, 10**bins.operand.scale)
        if x < start:
            counts[0] += count
        elif x > stop:
            counts[-1] += count
        else:
            counts[min((x - start) // step, bins.bins - 1) + 1] += count
    return list(zip([None, *exact], [*exact, None], counts, strict=True))
