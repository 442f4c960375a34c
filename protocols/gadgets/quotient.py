"""Quotient: exact division of integers, digit by digit as on paper, in base 16."""

from functools import reduce
from operator import add

from mpc.context import Context, Costed
from mpc.cost import Cost
from mpc.errors import ProtocolError
from mpc.schemes import PartyId, Scheme
from mpc.share import Share, concatenate
from protocols.gadgets.bits import as_numbers, as_numbers_cost
from protocols.gadgets.compare import negative, negative_cost
from protocols.gadgets.multiply import multiply, multiply_cost

BASE = 16


def quotient(ctx: Context, x: Share, y: Share, digits: int) -> Share:
    """The integer part of x / y, of one shape, for 0 <= x < 16^digits y; where x and y are 0, 16^digits - 1. Both are integers, and
    16^digits y lies within the algebra's `bound`. Exact. Discloses nothing.

    From the highest digit on, what is left of x is compared with each of 1 to 15 times y at that place, and the digit, by
    how many of them it reaches, times y is taken away (section 4.3.1) [Knuth97]. Seven rounds a digit (eight in a wide algebra), one less for the last;
    15 comparisons (`negative`) and a multiplication."""
    if x.shape != y.shape or x.scale or y.scale:
        raise ProtocolError(f"cannot divide {x!r} of scale {x.scale} by {y!r} of scale {y.scale}: integers of one shape are needed")
    left, divisor = x.reshape(-1), y.reshape(-1)
    found: list[Share] = []
    for place in (BASE**k for k in reversed(range(digits))):
        reached = ~negative(ctx, concatenate([left - j * place * divisor for j in range(1, BASE)]))
        digit = as_numbers(ctx, reached.reshape(BASE - 1, *divisor.shape)).sum(0)
        found.append(place * digit)
        if place > 1:
            left = left - place * multiply(ctx, digit, divisor)
    whole: Share = reduce(add, found)
    return whole.reshape(*x.shape)


def quotient_cost(scheme: Scheme, me: PartyId, source: Costed | None, count: int, digits: int) -> Cost:
    """What one `quotient` of `count` elements costs party `me`."""
    cost = Cost()
    for k in reversed(range(digits)):
        cost += negative_cost(scheme, me, source, (BASE - 1) * count) + as_numbers_cost(scheme, me, source, (BASE - 1) * count)
        cost += multiply_cost(scheme, me, source, count) if k else Cost()
    return cost
