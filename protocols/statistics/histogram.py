"""HISTOGRAM(x, lower, upper, bins): how many values fall into each of `bins` equal bins, and how many lie outside.

A histogram is COUNT grouped by the number of the bin; the plan treats it so."""

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
