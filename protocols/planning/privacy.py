"""The noise of a query: how its budget is split over what is opened, and how much of it each company adds.

docs/privacy.md derives the formulas. Everything is exact (integers and fractions), so that all nodes plan the same.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Literal

from mpc.algebra import Array
from mpc.noise import (
    LEAST_VARIANCE,
    Sampler,
    discrete_gaussian,
    gaussian_bound,
    gaussian_steps_bound,
    polya,
    polya_bound,
)
from mpc.randomness import Stream
from protocols.accounting import central_variance, laplace_scale, noise_variance
from protocols.statistics.base import Noisy
from protocols.tables import Unit

Mechanism = Literal["gaussian", "laplace", "joint", "randomised-response"]


@dataclass(frozen=True)
class Privacy:
    """What a query of the spec asks for. `micro_rho` is its price. `epsilon` is that of the spec (None where it gives rho), or
    the pure epsilon of Laplace noise or randomised response. `split` are weights of outputs by name, 1 where none is given.
    `local`: what each company does at home is enough by itself, whatever leaves it is seen, and by whom [KLNRS11]."""

    mechanism: Mechanism
    micro_rho: int
    epsilon: Fraction | None = None
    delta: Fraction | None = None
    split: tuple[tuple[str, int], ...] = ()
    local: bool = False

    @property
    def is_pure(self) -> bool:
        """Whether epsilon holds without a delta."""
        return self.mechanism not in ("gaussian", "joint")

    def weight(self, output: str) -> int:
        return dict(self.split).get(output, 1)


@dataclass(frozen=True)
class Noise:
    """What each of `adding` parties adds to one opened total, in every cell, by itself: an integer, Gaussian with variance
    `parameter`, or Polya with scale `parameter`, such that the noise of `honest` of them is enough. What is opened is the
    total times 10^digits and all of that. Noise that is `joint` is Gaussian, and drawn once, inside the computation, by all
    together, as if one party added it that nobody colludes with. `central` is the parameter of what a trusted party would have to add to the total,
    `local` that of what each one would, trusting no other."""

    mechanism: Literal["gaussian", "laplace"]
    parameter: Fraction
    digits: int
    adding: int
    honest: int
    central: Fraction
    local: Fraction
    joint: bool = False

    @property
    def bound(self) -> int:
        """The largest magnitude of one party's noise."""
        if self.joint:
            return gaussian_steps_bound(self.parameter)
        if self.mechanism == "gaussian":
            return gaussian_bound(self.parameter)
        return polya_bound(self.parameter, self.honest)

    @property
    def factor(self) -> int:
        """By what a total is multiplied before noise is added."""
        return int(10**self.digits)

    def reach(self, largest: int) -> int:
        """The largest magnitude of what is opened, of a total of at most `largest`."""
        return largest * self.factor + (1 if self.joint else self.adding) * self.bound

    @property
    def sampler(self) -> Sampler:
        return discrete_gaussian(self.parameter) if self.mechanism == "gaussian" else polya(self.parameter, self.honest)

    @property
    def variance(self) -> Fraction:
        """Of all noise, in units of what is opened; of Polya noise a bound on it."""
        if self.mechanism == "gaussian":
            return self.parameter * (1 if self.joint else self.adding)
        return 2 * self.parameter**2 * Fraction(self.adding, self.honest)

    @cached_property
    def deviation(self) -> float:
        """The standard deviation of all noise, in units of the total."""
        if self.joint:
            return math.sqrt(self.parameter) / self.factor
        return math.sqrt(self.adding * self.sampler.variance) / self.factor

    def draw(self, cells: int, stream: Stream) -> Array:
        """One party's noise, an integer a cell."""
        return self.sampler.draw(cells, stream)

    def read(self, opened: Sequence[int]) -> list[Noisy]:
        """What was opened, a value a cell, in units of the total."""
        return [Noisy(value, self.digits, self.deviation) for value in opened]

    @cached_property
    def central_deviation(self) -> float:
        return math.sqrt(self._variance(self.central))

    @cached_property
    def local_deviation(self) -> float:
        return math.sqrt(self.adding * self._variance(self.local))

    def _variance(self, parameter: Fraction) -> Fraction | float:
        """Of noise that is enough without anybody else's."""
        return parameter if self.mechanism == "gaussian" else polya(parameter, 1).variance


@dataclass(frozen=True)
class Sensitivity:
    """How far one unit moves the totals of one measure at one company at most: it is in `cells` cells, by `most` in
    each. `is_spread`: no two of these are added up into one cell of the answer."""

    cells: int
    most: int
    is_spread: bool = True

    @property
    def first(self) -> int:
        """By the sum of absolute values."""
        return self.cells * self.most

    @property
    def second_squared(self) -> int:
        """The square of the Euclidean length."""
        return self.cells * self.most**2 if self.is_spread else self.first**2


def plan_noise(
    privacy: Privacy, unit: Unit, sensitivities: Sequence[Sensitivity], weights: Sequence[int | Fraction], adding: int, colluding: int
) -> tuple[Noise, ...]:
    """The noise of each measure. `adding` parties add some, of which `colluding` may know each other's. A unit that replaces
    another moves the totals twice. Shares of the budget are rounded down, and what is left goes to the first ones.

    Local noise trusts no other party, as if all but one colluded. That is enough even where each party's noisy totals are seen
    and not their sum alone: of Gaussian noise of variance m Delta_2^2 / (2 rho) each of the m companies that a unit is in costs
    rho / m, of Laplace noise epsilon / m. Joint noise is that of a trusted party."""
    if privacy.local:
        colluding = adding - 1
    twice = 1 if unit.neighbours == "add-remove" else 2
    assert privacy.mechanism != "randomised-response"
    kind: Literal["gaussian", "laplace"] = "laplace" if privacy.mechanism == "laplace" else "gaussian"
    joint, total, noises = privacy.mechanism == "joint", sum(weights), []
    who = {"holders": adding, "companies": unit.companies}
    prices = [int(privacy.micro_rho * weight // total) for weight in weights]
    for number in range(privacy.micro_rho - sum(prices)):
        prices[number] += 1
    for sensitivity, weight, micro_rho in zip(sensitivities, weights, prices, strict=True):
        if kind == "gaussian":
            squared = sensitivity.second_squared * twice**2
            central = central_variance(**who, squared_sensitivity=squared, micro_rho=micro_rho)
            variance = central if joint else noise_variance(**who, colluding=colluding, squared_sensitivity=squared, micro_rho=micro_rho)
            digits = next(d for d in range(40) if variance * 100**d >= LEAST_VARIANCE)
            local = noise_variance(**who, colluding=adding - 1, squared_sensitivity=squared, micro_rho=micro_rho)
            parameter = variance * 100**digits
        else:
            assert privacy.epsilon is not None
            epsilon = privacy.epsilon * weight / total
            parameter, _ = laplace_scale(**who, colluding=colluding, sensitivity=sensitivity.first * twice, epsilon=epsilon)
            central, local, digits = parameter, parameter, 0
        noises.append(Noise(kind, parameter, digits, adding, max(1, adding - colluding), central, local, joint))
    return tuple(noises)
