"""Randomised response: each company reports the cell of each of its units truthfully or not, by chance, and shares counts of
what was reported [Warner65]. With k cells it is optimal for large epsilon among all that look at one unit at a time [KOV16].

It protects which cell a unit is in, not whether it is in any: the sum of all counts stays exact. docs/privacy.md says when
noise on the counts does better, which is nearly always.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from mpc.algebra import Array
from mpc.randomness import SEED_BYTES, Stream
from protocols.planning.privacy import Noise, Privacy, Sensitivity, plan_noise
from protocols.statistics.base import Noisy
from protocols.tables import Unit

WORDS = 1 << 64
"""As many values a random word has."""
DIGITS = 2
"""Of an estimate, after the point."""
_AT_ONCE = 1 << 18
_NEGLIGIBLE = Fraction(1, 1 << 100)


@dataclass(frozen=True)
class RandomisedResponse:
    """Of all 2^64 words `moved` make one of `cells` cells to another, for each of the other ones, and all the rest keep it. No
    company takes more than `most` units into account. `beside` is the local Laplace noise that costs as much."""

    cells: int
    moved: int
    most: int
    beside: Noise
    mechanism: Literal["randomised-response"] = "randomised-response"

    @property
    def kept(self) -> int:
        """How many words keep a cell."""
        return WORDS - (self.cells - 1) * self.moved

    def reach(self, largest: int) -> int:
        """The largest magnitude of what is opened: of a company not more than `most`, as of its exact counts."""
        return largest

    def draw(self, cells: int, stream: Stream) -> Array:
        """The key of one party's randomness: how many words are needed is known when its units are counted."""
        return stream.words((SEED_BYTES // 8,))

    def randomise(self, counts: Array, key: Array) -> Array:
        """How many units report each cell, from how many are in each (`cells` integers >= 0).

        Of more than `most` units the first ones count: moving a unit moves at most one of those, and their number stays. The
        time depends on that number, and on cells by which memory is read alone.
        """
        stream = Stream(key.astype("<u8").tobytes())
        ends = np.minimum(np.cumsum(counts.astype(object)), self.most).astype(np.int64)
        reported: Array = np.zeros(self.cells, dtype=np.int64)
        for start in range(0, int(ends[-1]), _AT_ONCE):
            units = np.arange(start, min(start + _AT_ONCE, int(ends[-1])))
            cell = np.searchsorted(ends, units, side="right")
            number = stream.words(units.shape) // np.uint64(self.moved)
            by = np.where(number < np.uint64(self.cells - 1), number + np.uint64(1), np.uint64(0)).astype(np.int64)
            reported += np.bincount((cell + by) % self.cells, minlength=self.cells)
        return reported

    def read(self, opened: Sequence[int]) -> list[Noisy]:
        """Unbiased estimates of how many units are in each cell: (n - N q) / (p - q) of n reports among N."""
        total = sum(opened)
        estimates = [Fraction(count * WORDS - total * self.moved, self.kept - self.moved) for count in opened]
        within = (min(max(estimate, Fraction(0)), Fraction(total)) for estimate in estimates)  # where variances are not negative
        return [
            Noisy(round(estimate * 10**DIGITS), DIGITS, self.deviation(total, count))
            for estimate, count in zip(estimates, within, strict=True)
        ]

    def deviation(self, total: int, within: Fraction | float) -> float:
        """The standard deviation of the estimate for a cell with `within` of `total` units: each of them reports it with
        probability p, each other one with q, independently."""
        p, q, gap = self.kept / WORDS, self.moved / WORDS, (self.kept - self.moved) / WORDS
        return math.sqrt(float(within) * p * (self.cells - 1) * q + float(total - within) * q * (1 - q)) / gap


def plan_response(privacy: Privacy, unit: Unit, cells: int, most: int, adding: int) -> RandomisedResponse:
    """A unit that is in m companies is reported m times, each time with epsilon / m."""
    assert privacy.epsilon is not None
    companies = min(unit.companies, adding)
    laplace = Privacy("laplace", privacy.micro_rho, privacy.epsilon, local=True)
    (beside,) = plan_noise(laplace, unit, [Sensitivity(1, 1)], [1], adding, adding - 1)
    return RandomisedResponse(cells, moved_words(privacy.epsilon / companies, cells), most, beside)


def moved_words(epsilon: Fraction, cells: int) -> int:
    """The smallest number q of words for each other cell with (2^64 - (cells - 1) q) / q <= e^epsilon (exactly, by a lower
    bound of e^epsilon): of any report, no cell is more likely than another by more than that factor."""
    at_least = term = Fraction(1)
    number = 0
    while term > _NEGLIGIBLE and at_least < WORDS:  # a part of the exponential series, whose terms are all positive
        number += 1
        term *= epsilon / number
        at_least += term
    return math.ceil(WORDS / (at_least + cells - 1))
