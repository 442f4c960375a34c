"""Noise that is drawn inside the computation: each party's random bits go into it, and nobody knows it."""

from collections.abc import Sequence
from fractions import Fraction
from functools import reduce
from operator import add

from mpc.context import Context, Costed
from mpc.cost import Cost
from mpc.noise import STEP_BITS, gaussian_steps
from mpc.randomness import Stream
from mpc.schemes import PartyId, Scheme
from mpc.schemes.words import boolean
from mpc.share import Share, concatenate
from protocols.gadgets.bits import BitShare, as_numbers, as_numbers_cost, words_of
from protocols.gadgets.multiply import multiply, multiply_cost
from protocols.gadgets.share import share, share_cost
from protocols.gadgets.thresholds import reached, reached_cost


def gaussian(ctx: Context, variances: Sequence[tuple[Fraction, int]], stream: Stream) -> Share:
    """For each (variance, count) so many independent discrete Gaussians, flat, one after the other. `stream` is this party's own: its bits are added to those of all others, so they are uniform if
    one party's are. Discloses nothing.

    The sizes are looked up in a public table, by comparing secret uniform numbers with its thresholds (`mpc.noise.gaussian_steps`). Rounds: the sharing of bits, and for each term of a variance those of
    `reached` of 128 bits (seven), of `as_numbers`, and a multiplication."""
    found: list[Share] = []
    for variance, count in variances:
        terms, words = gaussian_steps(variance), words_of(count)
        own = stream.words((len(terms), 1 + STEP_BITS, words))
        uniform = reduce(add, share(ctx.under(boolean(ctx.scheme)), own))
        values = []
        for k, (factor, thresholds) in enumerate(terms):
            at = reached(ctx, [uniform[k, 1 + i] for i in range(STEP_BITS)], thresholds)
            numbers = as_numbers(ctx, BitShare(concatenate([uniform[k, 0], at]), (1 + len(thresholds), 64 * words)))[:, :count]
            size = numbers[1:].sum(0)
            values.append(factor * (size - 2 * multiply(ctx, numbers[0], size)))
        found.append(reduce(add, values))
    return concatenate(found)


def gaussian_cost(scheme: Scheme, me: PartyId, source: Costed | None, variances: Sequence[tuple[Fraction, int]]) -> Cost:
    """What one `gaussian` costs party `me`."""
    cost = Cost()
    for variance, count in variances:
        terms, words = gaussian_steps(variance), words_of(count)
        cost += share_cost(boolean(scheme), me, dict.fromkeys(range(scheme.parties), (len(terms), 1 + STEP_BITS, words)))
        for _, thresholds in terms:
            cost += reached_cost(scheme, me, source, STEP_BITS, len(thresholds), count)
            cost += as_numbers_cost(scheme, me, source, (1 + len(thresholds)) * 64 * words) + multiply_cost(scheme, me, source, count)
    return cost
