"""Share: parties spread their own values over all."""

from collections.abc import Mapping

from mpc import fixed_point
from mpc.algebra import Shape
from mpc.context import Context
from mpc.dealing import deal, deal_cost
from mpc.errors import ProtocolError
from mpc.schemes import PartyId
from mpc.share import Share


def share(
    ctx: Context, values: object = None, *, shapes: Mapping[PartyId, Shape] | None = None, scale: int = 0
) -> list[Share]:
    """Parties share arrays of integers. Returns a Share for each owner, in the order of the parties.

    `shapes` says which parties own an array and of what shape; without it every party owns one of this shape. With
    `scale` fractional bits, values may be decimals. ProtocolError where a value lies beyond the algebra's `bound`.

    Discloses nothing. One round; additive sharing needs none, since all shares but the owner's come from streams,
    and Shamir sharing sends n - 1 - t elements a value. [CDI05; GRR98]
    """
    scheme, algebra = ctx.scheme, ctx.scheme.algebra
    mine = None
    if values is not None:
        numbers = fixed_point.encode(values, scale)
        if numbers.size and max(int(numbers.max()), -int(numbers.min())) > algebra.bound:
            raise ProtocolError(f"a value to share lies beyond the bound of {algebra.name}, {algebra.bound}")
        mine = algebra.encode(numbers)
    if shapes is None:
        if mine is None:
            raise ProtocolError("every party is an owner here: share needs this party's values")
        shapes = dict.fromkeys(range(ctx.parties), mine.shape)
    if (None if mine is None else mine.shape) != shapes.get(ctx.me):
        raise ProtocolError("the values to share do not have the shape that `shapes` gives for this party")
    held = deal(ctx, "share", shapes, mine)
    return [Share(held[owner], scheme, ctx.me, scale) for owner in sorted(shapes)]


share_cost = deal_cost
"""What one `share` costs party `me`."""
