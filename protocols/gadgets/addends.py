"""Addends: under replicated shares a secret is the sum of a number that the first party knows, and one that the two others know.

Of x = x_0 + x_1 + x_2 the first party has two components, and so their sum, which it shares anew, in whatever form is needed: its bits, or what is left of it
without some. The third component, in the same form, needs no sharing, for both others know it. [MR18]
"""

from mpc.algebra import Array, Shape
from mpc.context import Context
from mpc.cost import Cost
from mpc.dealing import deal, deal_cost
from mpc.schemes import PartyId, Scheme
from mpc.schemes.replicated import Replicated
from mpc.share import Share

FIRST: PartyId = 0


def known(x: Share) -> tuple[Array | None, Array]:
    """The two numbers that x is the sum of, flat: the one at the first party, elsewhere None; the other, of which the first party knows
    nothing and has 0; local."""
    data = x.data.reshape(2, -1)
    if x.party == FIRST:
        return x.scheme.algebra.add(data[0], data[1]), data[0] - data[0]
    return None, data[2 - x.party]


def by_first(ctx: Context, value: Array | None, shape: Shape) -> Share:
    """Shares of residues that the first party knows. Discloses nothing. One round, in which it sends them to one other."""
    return Share(deal(ctx, "addends", {FIRST: shape}, value)[FIRST], ctx.scheme, ctx.me)


def by_first_cost(scheme: Scheme, me: PartyId, elements: int) -> Cost:
    """What one `by_first` of so many elements costs party `me`."""
    return deal_cost(scheme, me, {FIRST: (elements,)})


def by_others(ctx: Context, value: Array) -> Share:
    """Shares of residues that the two others know; local."""
    assert isinstance(ctx.scheme, Replicated)
    return Share(ctx.scheme.component(2, value, ctx.me), ctx.scheme, ctx.me)
