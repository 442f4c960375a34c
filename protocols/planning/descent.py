"""MIN, MAX and QUANTILE_DISC with noise: a value is found on shares, going down a tree of intervals, and it alone is opened.

The bounds of x are cut into equal leaves (`Tree`), numbered in order, for MAX backwards. With C(i) the number of rows up to leaf i, over all companies, and N that of all, the first leaf is looked
for at which b C(i) - a N >= 0, for the quantile at p = a / b; or C(i) >= k, for MIN and MAX. Each company shares its counts of all leaves, exactly, and none is opened. Each level of the tree halves the leaves that
are left: the total at the last one of the left half gets noise and is compared with zero, on shares, and the half is selected by the secret bit. So noise is added to one number a level, not to
a count of every interval, and to a number that one row moves by max(a, b - a), half of b for a median.

Privacy: each level is a Gaussian (or Laplace) mechanism with an equal part of the output's budget. Which number is compared follows from the noisy comparisons before it, so they are composed adaptively [BS16, Lemma 2.3],
and the leaf follows from them. The noise is a secret of its own beside the counts: if what a company shares for one release could be another thing the second time, one noise would cover two counts. So asking again for what may have
been opened is another release (`Plan.is_once`).

Error: where no level's noise is beyond r, rows up to the leaf found are at least as many as asked for less r, and those before it fewer than asked for plus r. MIN asks for so many rows, k, as are three deviations of a level's noise: so that
a leaf before which there is no row passes in one of 740 levels.

Rounds, a level: those of `negative`, of `as_numbers`, and but for the last a multiplication. In all as many multiplications as there are leaves.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import isqrt

import numpy as np

from mpc.context import Context, Costed
from mpc.cost import Cost
from mpc.schemes import PartyId, Scheme
from mpc.share import Share, concatenate
from protocols.expression import Node
from protocols.gadgets import as_numbers, as_numbers_cost, multiply, multiply_cost, negative, negative_cost
from protocols.planning.privacy import Noise
from protocols.statistics.base import Value, decimal, upwards
from protocols.statistics.quantile import DISCRETE, LEAVES, Tree, tree_of

DEVIATIONS = 3
"""MIN and MAX keep so many deviations of a level's noise away from no rows at all."""
SPREAD = 0.7
"""The rank of the value found is off by so many deviations of a level's noise, as a root mean square, where rows lie evenly, or by less."""


@dataclass(frozen=True)
class Descent:
    """`function` of the argument of `tree`, in each of its groups; a quantile is that at `p`. `noise` is that of each level, the first halving of the leaves first."""

    function: str
    p: Fraction
    tree: Tree
    noise: tuple[Noise, ...] = ()

    def __str__(self) -> str:
        return f"{self.function}({self.tree.argument}{f', {self.p}' if self.is_quantile else ''})"

    @property
    def is_quantile(self) -> bool:
        return self.function == DISCRETE

    @property
    def levels(self) -> int:
        """Of halvings. There is room for one leaf more, where nothing is found."""
        return self.tree.leaves.bit_length()

    @property
    def most(self) -> int:
        """How far one row moves what is compared."""
        return max(self.p.numerator, self.p.denominator - self.p.numerator) if self.is_quantile else 1

    @property
    def least(self) -> tuple[int, ...]:
        """What a total must reach in each level, in units of its noise."""
        return tuple(0 if self.is_quantile else isqrt(int(DEVIATIONS**2 * added.variance)) + 1 for added in self.noise)

    @property
    def rows(self) -> int:
        """How many rows MIN and MAX ask for."""
        return -(-max(self.least) // self.noise[0].factor)

    @property
    def compared(self) -> int:
        """Comparisons in all groups."""
        return self.tree.groups * self.levels

    def reach(self, companies: int, most: int) -> int:
        """The largest magnitude of what is compared, where each company counts at most so many rows in a leaf."""
        largest = companies * self.tree.leaves * most * self.most
        return max(added.reach(largest) + least for added, least in zip(self.noise, self.least, strict=True))

    def rank_error(self, deviations: Sequence[float]) -> float:
        """How far the rank of the value found is off, in rows, as a root mean square; `deviations` are those of the noise in each level."""
        return SPREAD * max(deviations) / (self.p.denominator if self.is_quantile else 1)

    def value(self, leaf: int) -> Value:
        """Of the leaf that was found: the middle of its values. None where there was none, of MIN and MAX: not rows enough."""
        tree = self.tree
        if leaf >= tree.leaves and not self.is_quantile:
            return None
        leaf = min(leaf, tree.leaves - 1)
        if self.p == 1:
            leaf = tree.leaves - 1 - leaf
        middle = tree.argument.lower + (leaf * tree.values + (tree.values - 1) // 2) * tree.step
        return decimal(min(middle, tree.argument.upper), tree.argument.scale)

    @property
    def error_bound(self) -> float:
        """The greatest difference from a value of the leaf, in units of x, as it was before floats were rounded."""
        return upwards(Fraction(self.tree.values // 2 * self.tree.step, 10**self.tree.argument.scale) + self.tree.argument.rounding)

    @property
    def discloses(self) -> str:
        """What the receivers learn, in words."""
        if self.is_quantile:
            return "the value alone: no count, and no comparison, is opened"
        side = "at least" if self.p else "at most"
        return f"the value alone, one that about {self.rows:,} rows are {side}: a value of fewer rows would say whether they are there"


def descent_of(function: str, p: Fraction, argument: Node, groups: int, count: int) -> Descent:
    """One of `count` in a query of so many groups, without its noise."""
    return Descent(function, p, replace(tree_of(argument, groups * count, LEAVES - 1), groups=groups))


def descend(ctx: Context, descents: Sequence[Descent], counts: Sequence[Share], noise: Share) -> Share:
    """For each of `descents` the number of the leaf that is found in each group, flat, one descent after another; that after the last where there is none. `counts` are those of
    the leaves, (groups, leaves), each; `noise` has for each descent that of all levels, group by group. Discloses nothing; costs `descend_cost`."""
    groups = counts[0].shape[0]
    states, before, leaf, starts, start = [], [], [], [], 0
    for descent, of in zip(descents, counts, strict=True):
        states.append(_padded(of[:, ::-1] if descent.p == 1 else of, 1 << descent.levels))
        total = of.sum(1)
        # what is compared, but for the rows up to a leaf
        before.append(-descent.p.numerator * total if descent.is_quantile else 0 * total)
        leaf.append(0 * total)
        starts.append(start)
        start += descent.levels * groups
    for level in range(max(descent.levels for descent in descents), 0, -1):
        half, compared, sums = 1 << (level - 1), [], []
        active = [k for k, descent in enumerate(descents) if descent.levels >= level]
        for k in active:
            number = descents[k].levels - level
            sums.append(_weight(descents[k]) * states[k][:, :half].sum(1))
            added = noise[starts[k] + number * groups : starts[k] + (number + 1) * groups]
            compared.append((before[k] + sums[-1]) * descents[k].noise[number].factor - descents[k].least[number] + added)
        is_right = as_numbers(ctx, negative(ctx, concatenate(compared))).reshape(len(active), groups)
        for place, k in enumerate(active):
            leaf[k] = leaf[k] + half * is_right[place]
        if level == 1:
            break
        # the half to go on with, and what is before it
        differences = [concatenate([states[k][:, half:] - states[k][:, :half], sums[place]]) for place, k in enumerate(active)]
        bits = [
            concatenate([is_right[place].reshape(groups, 1).broadcast_to((groups, half)), is_right[place]]) for place in range(len(active))
        ]
        selected = multiply(ctx, concatenate(bits), concatenate(differences)).reshape(len(active), groups * (half + 1))
        for place, k in enumerate(active):
            states[k] = states[k][:, :half] + selected[place][: groups * half].reshape(groups, half)
            before[k] = before[k] + selected[place][groups * half :]
    return concatenate(leaf)


def descend_cost(scheme: Scheme, me: PartyId, source: Costed | None, descents: Sequence[Descent], groups: int) -> Cost:
    """What one `descend` costs party `me`."""
    cost = Cost()
    for level in range(max(descent.levels for descent in descents), 0, -1):
        active = sum(descent.levels >= level for descent in descents)
        cost += negative_cost(scheme, me, source, active * groups) + as_numbers_cost(scheme, me, source, active * groups)
        if level > 1:
            cost += multiply_cost(scheme, me, source, active * groups * ((1 << (level - 1)) + 1))
    return cost


def with_noise(descents: Sequence[Descent], noise: Sequence[Noise]) -> tuple[Descent, ...]:
    """Each with its levels' part of `noise`."""
    parts = iter(noise)
    return tuple(replace(descent, noise=tuple(next(parts) for _ in range(descent.levels))) for descent in descents)


def _weight(descent: Descent) -> int:
    """How often a row up to a leaf counts there."""
    return descent.p.denominator if descent.is_quantile else 1


def _padded(counts: Share, size: int) -> Share:
    """(groups, leaves) with zeros after them, up to `size`."""
    groups, leaves = counts.shape
    places = np.full((groups, size), groups * leaves)
    places[:, :leaves] = np.arange(groups * leaves).reshape(groups, leaves)
    flat = counts.reshape(-1)
    return concatenate([flat, 0 * flat[:1]])[places]
