"""COVAR_SAMP, COVAR_POP, CORR, REGR_R2, REGR_SLOPE and REGR_INTERCEPT of (y, x), over the rows in which neither is NULL, from
exact integers.

With N the count, S(y), S(x) the sums of the deviations from the middles of the bounds, and S(uv) those of their products, N^2
times the covariance of u and v is M(uv) = N S(uv) - S(u) S(v). The slope is M(yx) / M(xx), the correlation M(yx) / sqrt(M(xx)
M(yy)). What has no value is NULL, not NaN.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

from protocols.expression import Arithmetic, Node, beside, largest
from protocols.statistics.base import Arguments, Measure, Row, Value, from_middle, half_ulp, middle, root, upwards


def _totals(y: Node, x: Node) -> tuple[Measure, ...]:
    """The count, the sums of y and of x, and that of the product of their deviations."""
    product = Arithmetic("*", from_middle(y), from_middle(x))
    return (
        Measure("count", beside(y, x)),
        Measure("sum", beside(y, x)),
        Measure("sum", beside(x, y)),
        Measure("sum", product),
    )


def _squares(node: Node, other: Node) -> Measure:
    deviation = from_middle(node)
    return Measure("sum", beside(Arithmetic("*", deviation, deviation), other))


def _moments(arguments: Arguments, opened: Sequence[int], of: str) -> tuple[int, ...]:
    """N^2 times the covariance of y and x, and times the variance of each in `of`, from the sums in this order; integers at the scales of
    the products."""
    y, x = arguments
    count, total_y, total_x, *products = opened
    shift = {"y": total_y - count * middle(y), "x": total_x - count * middle(x)}
    pairs = (("y", "x"), *((each, each) for each in of))
    return tuple(count * product - shift[u] * shift[v] for (u, v), product in zip(pairs, products, strict=True))


def _pooled(rows: Sequence[Row]) -> tuple[list[tuple[int, int]], Fraction, Fraction]:
    """The rows that count, and the means of y and of x, 0 where there are none."""
    present = [(y, x) for y, x in rows if y is not None and x is not None]
    n = max(len(present), 1)
    return present, Fraction(sum(y for y, _ in present), n), Fraction(sum(x for _, x in present), n)


def _products(pairs: Sequence[tuple[int, int]], mean_u: Fraction, mean_v: Fraction) -> Fraction:
    """The sum of the products of deviations from the means."""
    p, d = mean_u.as_integer_ratio()
    q, e = mean_v.as_integer_ratio()
    return Fraction(sum((u * d - p) * (v * e - q) for u, v in pairs), d * e)


def _signed(size: float, like: Fraction | int) -> float:
    return -size if like < 0 else size


def _span(node: Node) -> Fraction:
    return Fraction(node.upper - node.lower, 10**node.scale)


class Covariance:
    names = ("COVAR_SAMP", "COVAR_POP")
    takes = (2,)
    discloses = "the count, and the sums of y, x and y x"

    def measures(self, name: str, arguments: Arguments) -> tuple[Measure, ...]:
        return _totals(*arguments)

    def finish(self, name: str, arguments: Arguments, opened: Sequence[int]) -> Value:
        y, x = arguments
        count = opened[0]
        divisor = count - name.endswith("_SAMP")
        if divisor < 1:
            return None
        (yx,) = _moments(arguments, opened, "")
        return float(Fraction(yx, count * divisor * 10 ** (y.scale + x.scale)))

    def error_bound(self, name: str, arguments: Arguments, rows: int) -> float:
        """The covariance is bilinear, and at most the product of two deviations: of values in a span at most half of it, of errors of at
        most r at most r. Over n - 1 instead of n it is at most twice that (of two values)."""
        y, x = arguments
        worst = 2 if name.endswith("_SAMP") else 1
        moved = y.rounding * _span(x) / 2 + x.rounding * _span(y) / 2 + y.rounding * x.rounding
        return upwards(worst * moved) + half_ulp(worst * _span(y) * _span(x) / 4)

    def reference(self, name: str, arguments: Arguments, rows: Sequence[Row]) -> Fraction | float | None:
        y, x = arguments
        present, mean_y, mean_x = _pooled(rows)
        divisor = len(present) - name.endswith("_SAMP")
        if divisor < 1:
            return None
        return Fraction(_products(present, mean_y, mean_x), divisor * 10 ** (y.scale + x.scale))


class Correlation:
    names = ("CORR", "REGR_R2")
    takes = (2,)
    discloses = "the count, and the sums of y, x, y x, y^2 and x^2"

    def measures(self, name: str, arguments: Arguments) -> tuple[Measure, ...]:
        y, x = arguments
        return *_totals(y, x), _squares(y, x), _squares(x, y)

    def finish(self, name: str, arguments: Arguments, opened: Sequence[int]) -> Value:
        yx, yy, xx = _moments(arguments, opened, "yx")
        if not xx or (not yy and name == "CORR"):
            return None
        squared = Fraction(yx**2, yy * xx) if yy else Fraction(1)
        return float(squared) if name == "REGR_R2" else _signed(root(squared), yx)

    def error_bound(self, name: str, arguments: Arguments, rows: int) -> float:
        """Any value in its range can be another's, where floats were rounded: a column that hardly varies has no direction."""
        if any(argument.rounding for argument in arguments):
            return 2 if name == "CORR" else 1
        return half_ulp(1)

    def reference(self, name: str, arguments: Arguments, rows: Sequence[Row]) -> Fraction | float | None:
        present, mean_y, mean_x = _pooled(rows)
        yy = _products([(y, y) for y, _ in present], mean_y, mean_y)
        xx = _products([(x, x) for _, x in present], mean_x, mean_x)
        if not xx or (not yy and name == "CORR"):
            return None
        yx = _products(present, mean_y, mean_x)
        squared = Fraction(yx**2, yy * xx) if yy else Fraction(1)
        return squared if name == "REGR_R2" else _signed(root(squared), yx)


class Regression:
    names = ("REGR_SLOPE", "REGR_INTERCEPT")
    takes = (2,)
    discloses = "the count, and the sums of y, x, y x and x^2"

    def measures(self, name: str, arguments: Arguments) -> tuple[Measure, ...]:
        y, x = arguments
        return *_totals(y, x), _squares(x, y)

    def finish(self, name: str, arguments: Arguments, opened: Sequence[int]) -> Value:
        y, x = arguments
        count, total_y, total_x = opened[:3]
        yx, xx = _moments(arguments, opened, "x")
        if not xx:
            return None
        slope = Fraction(yx, xx) * Fraction(10**x.scale, 10**y.scale)
        if name == "REGR_SLOPE":
            return float(slope)
        return float(Fraction(total_y, count * 10**y.scale) - slope * Fraction(total_x, count * 10**x.scale))

    def error_bound(self, name: str, arguments: Arguments, rows: int) -> float:
        """The slope is a mean of the slopes between any two rows, weighted by the squares of the differences of x, of which the least is a
        unit of its scale. So it is at most the span of y in such units, and errors of y of at most r move it by 2 r in such units. No bound
        holds where x was rounded: what differs by a step may hardly have differed."""
        y, x = arguments
        if x.rounding:
            return math.inf
        units = 10**x.scale
        steepest, moved = _span(y) * units, 2 * y.rounding * units
        if name == "REGR_SLOPE":
            return upwards(moved) + half_ulp(steepest)
        return upwards(y.rounding + moved * largest(x)) + half_ulp(largest(y) + steepest * largest(x))

    def reference(self, name: str, arguments: Arguments, rows: Sequence[Row]) -> Fraction | float | None:
        y, x = arguments
        present, mean_y, mean_x = _pooled(rows)
        xx = _products([(x, x) for _, x in present], mean_x, mean_x)
        if not xx:
            return None
        slope = _products(present, mean_y, mean_x) / xx
        if name == "REGR_SLOPE":
            return slope * Fraction(10**x.scale, 10**y.scale)
        return Fraction(mean_y - slope * mean_x, 10**y.scale)
