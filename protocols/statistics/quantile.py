"""MEDIAN(x) and QUANTILE_CONT(x, p) with noise, from counts of x in a tree of intervals.

A quantile has no bounded sensitivity, but the counts that it can be read from have: the bounds of x are cut into equal
leaves, every `FANOUT` of which are a node of the level above, and so on up to `FANOUT` nodes or fewer; a row is in one node of each
level. All counts are opened with noise of their own, an equal part of the budget for each level. What is under a node is
then known twice, so the leaves are fitted to all counts by weighted least squares [HRMS10], and the error of the count up to any
value is that of a few nodes, not of all leaves before it. docs/privacy.md says why `FANOUT` is what it is [QYL13].
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from mpc.algebra import Array
from protocols.expression import Leaf, Node, Reference, largest
from protocols.statistics.base import Arguments, Estimate, Row, half_ulp, upwards

Floats = NDArray[np.float64]

MEDIAN, QUANTILE, DISCRETE, MIN, MAX = "MEDIAN", "QUANTILE_CONT", "QUANTILE_DISC", "MIN", "MAX"
NAMES = (MEDIAN, QUANTILE)
"""Those that can be had with noise."""
ALL_NAMES = (*NAMES, DISCRETE, MIN, MAX)
FANOUT = 8
LEAVES, ALL_LEAVES = 4_096, 100_000
"""At most so many in a group, and in all groups together."""
FEWEST = 100
"""An answer by fewer leaves would be too coarse: there are so many, or one for each value of x."""
REACH = 1.96
"""A value is in the interval around a quantile if its rank is within so many standard errors of the rank asked for."""


@dataclass(frozen=True)
class Quantile:
    """The value at rank p (N - 1) of N in order, counted from 0; between two ranks in proportion, as SQL's QUANTILE_CONT. MIN and
    MAX are those at p = 0 and 1. QUANTILE_DISC is the value at rank p N, rounded up, counted from 1, and the first at p = 0: as in
    DuckDB."""

    p: Fraction
    discloses = "the number of values in each of many intervals, with noise: how they are distributed as a whole"

    def reference(self, name: str, arguments: Arguments, rows: Sequence[Row]) -> Fraction | None:
        """The answer from the pooled rows themselves, for tests and the demo."""
        (argument,) = arguments
        present = sorted(value for (value,) in rows if value is not None)
        if not present:
            return None
        if name == DISCRETE:
            return Fraction(present[max(math.ceil(self.p * len(present)), 1) - 1], 10**argument.scale)
        rank = self.p * (len(present) - 1)
        below, above = present[math.floor(rank)], present[math.ceil(rank)]
        return (below + (above - below) * (rank % 1)) / Fraction(10**argument.scale)


@dataclass(frozen=True)
class Tree:
    """`leaves` equal intervals of x, from its lower bound on; each holds `values` neighbouring values, which are `step`
    apart, integers at the scale of x. `groups` have a tree each."""

    argument: Node
    groups: int
    step: int
    values: int
    leaves: int

    @property
    def leaf(self) -> Leaf:
        """The number of the leaf that x is in."""
        x = self.argument
        return Leaf(x, x.lower, x.lower + self.leaves * self.values * self.step, x.scale, self.leaves)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Nodes of each level of one tree, leaves first. The last node of a level may have fewer children."""
        sizes = [self.leaves]
        while sizes[-1] > FANOUT:
            sizes.append(-(-sizes[-1] // FANOUT))
        return tuple(sizes)

    @property
    def error_bound(self) -> float:
        """The greatest difference of a quantile from the exact one, noise aside, in units of x: values of one leaf are not
        told apart, and places are floats."""
        width = Fraction((self.values - 1) * self.step, 10**self.argument.scale)
        return upwards(width + self.argument.rounding) + 8 * half_ulp(3 * largest(self.argument))


def tree_of(argument: Node, groups: int, most: int = LEAVES) -> Tree:
    """The tree for x in each of `groups`: the finest that there is room for, with `most` leaves at most."""
    step = argument.column.step if isinstance(argument, Reference) else 1
    count = (argument.upper - argument.lower) // step + 1
    values = -(-count // max(1, min(most, ALL_LEAVES // groups)))
    return Tree(argument, groups, step, values, -(-count // values))


def levels(tree: Tree, counts: Array, most: int) -> Array:
    """One company's counts of all levels, end to end, from those of the leaves, group by group; none is above `most`, its
    largest number of rows. Local. With R rows at most in each of C groups a unit moves each level by C R in sum and by
    sqrt(C) R in length, as it does a plain count: its rows in a group are in one node, or apart, which moves it less."""
    level = counts.reshape(tree.groups, tree.leaves)
    listed = [level]
    for _ in tree.sizes[1:]:
        level = np.add.reduceat(level, np.arange(0, level.shape[1], FANOUT), axis=1)
        listed.append(level)
    vector: Array = np.minimum(np.concatenate([level.reshape(-1) for level in listed]), most)
    return vector


def _sums(values: Floats, fanout: int = FANOUT) -> Floats:
    """Of every `fanout` neighbours along the last axis."""
    sums: Floats = np.add.reduceat(values, np.arange(0, values.shape[-1], fanout), axis=-1)
    return sums


def _spread(values: Floats, size: int, fanout: int = FANOUT) -> Floats:
    """Each `fanout` times, up to `size`."""
    return np.repeat(values, fanout, axis=-1)[..., :size]


def _upwards(leaves: int, variances: Sequence[float], fanout: int = FANOUT) -> list[Floats]:
    """For each level the variances of its nodes' counts, as they and all below them tell it."""
    own = [np.full(leaves, float(variances[0]))]
    for variance in variances[1:]:
        below = _sums(own[-1], fanout)
        own.append(below * variance / (below + variance))
    return own


def fit(counts: Sequence[Floats], variances: Sequence[float], fanout: int = FANOUT) -> Floats:
    """The leaves that come nearest to the noisy `counts` of all levels, in least squares weighted by `variances`. Counts
    have shape (groups, nodes), leaves first. Upwards, a node's own count and the sum of its children are averaged;
    downwards, what a node's children lack to it is put on them. [HRMS10]"""
    own = _upwards(counts[0].shape[-1], variances, fanout)
    up = [counts[0]]
    for level, variance, children in zip(counts[1:], variances[1:], own[:-1], strict=True):
        below = _sums(children, fanout)
        up.append((level * below + _sums(up[-1], fanout) * variance) / (below + variance))
    down = up[-1]
    for level, spread in zip(up[-2::-1], own[-2::-1], strict=True):
        lacking = (down - _sums(level, fanout)) / _sums(spread, fanout)
        down = level + _spread(lacking, level.shape[-1], fanout) * spread
    return down


def rank_variances(sizes: Sequence[int], variances: Sequence[float], p: float, fanout: int = FANOUT) -> Floats:
    """The variance of B_i - p N at all ends of leaves, the first included: B_i are the fitted counts before it together, and
    N all of them.

    Going down the tree, a node has the variance of its own count T, of B - p N before it, and their covariance. Given T,
    the counts of its children are independent of all outside the node, with the sum T."""
    own = _upwards(sizes[0], variances, fanout)
    all_ = own[-1].sum(keepdims=True)
    before, both, within = p * p * all_, -p * all_, all_
    for variance, width in zip(reversed(own), [sizes[-1]] + [fanout] * (len(own) - 1), strict=True):
        of_parent = _sums(variance, width)
        c, t, spread = (_spread(x, len(variance), width) for x in (both, within, of_parent))
        share = variance / spread
        left = np.cumsum(share) - share
        left -= _spread(left[::width], len(left), width)  # the share of those before it that have its parent
        before = _spread(before, len(variance), width) + 2 * left * c + left**2 * t + spread * left * (1 - left)
        both = share * (c + left * t - spread * left)
        within = share**2 * t + spread * share * (1 - share)
    return np.append(before, (1 - p) ** 2 * all_)


def read(tree: Tree, leaves: Floats, deviations: Floats, p: Fraction) -> Estimate:
    """The quantile from the fitted `leaves` of one group; `deviations` are the square roots of `rank_variances`. None where
    the noise leaves no rows.

    Counts up to each end of a leaf are made monotone by the mean of the largest before and the smallest after, which
    adds nothing to the largest of their errors. Values lie evenly in their leaf; the quantile is their mean from rank
    p (N - 1) to one more, which for whole counts is what SQL says. Its error is that of the rank, read off at the
    farther end of the values whose ranks are within `REACH` errors of the rank: so it is wide where there are few."""
    counts = np.append(0.0, np.cumsum(leaves))
    total = float(counts[-1])
    if total <= 0:
        return Estimate(None, None)
    counts = (np.maximum.accumulate(counts) + np.minimum.accumulate(counts[::-1])[::-1]) / 2
    counts = np.clip(counts, 0, total)
    width = float((tree.values - 1) * tree.step)
    starts = np.arange(tree.leaves) * float(tree.values * tree.step)

    first = float(p) * max(total - 1, 0)
    last = min(first + 1, total)
    low, high = np.clip(counts[:-1], first, last), np.clip(counts[1:], first, last)
    held = np.diff(counts)
    middle = np.divide((low + high) / 2 - counts[:-1], held, out=np.zeros_like(held), where=held > 0)
    offset = float(np.dot(high - low, starts + width * middle) / (last - first))

    upper, lower = counts + REACH * deviations, counts - REACH * deviations
    i = int(np.argmax(upper[1:] > first)) if upper[-1] > first else tree.leaves - 1
    j = tree.leaves - 1 - int(np.argmax(lower[:-1][::-1] < last))
    least = starts[i] + width * _part(upper[i], upper[i + 1], first)
    most = starts[j] + width * _part(lower[j], lower[j + 1], last)
    unit = 10**tree.argument.scale
    value = float((Fraction(offset) + tree.argument.lower) / unit)
    value = min(value, float(Fraction(tree.argument.upper, unit)))
    return Estimate(value, max(offset - least, most - offset, 0.0) / REACH / unit)


def _part(start: float, stop: float, at: float) -> float:
    """How far `at` is on the way from `start` to `stop`, from 0 to 1."""
    return min(max((at - start) / (stop - start), 0.0), 1.0) if stop > start else 0.0
