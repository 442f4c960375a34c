"""Share: parties spread their own values over all."""

from collections.abc import Mapping
from math import prod

import numpy as np

from mpc import fixed_point
from mpc.algebra import Array, Shape
from mpc.context import Context, blocks
from mpc.cost import Cost
from mpc.errors import ProtocolError
from mpc.schemes import PartyId, Scheme
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


def deal(ctx: Context, operation: str, shapes: Mapping[PartyId, Shape], mine: Array | None) -> dict[PartyId, Array]:
    """Each owner in `shapes` deals shares of an array of residues (`mine`, if I am one); all in one round.

    Returns this party's share of each. Only what the streams do not fix travels.
    """
    scheme, algebra, tag = ctx.scheme, ctx.scheme.algebra, ctx.tag(operation)
    held: dict[PartyId, Array] = {}
    travels = False
    if mine is not None:
        flat, own = mine.reshape(-1), np.empty(mine.size, mine.dtype)
        for block in blocks(flat.size):
            size = block.stop - block.start
            drawn = {i: algebra.uniform((size,), ctx.stream(ctx.me, i)) for i in scheme.seeded(owner=ctx.me)}
            _, rest = scheme.complete(drawn, flat[block])
            own[block] = rest.pop(ctx.me)
            for to, part in rest.items():
                ctx.send(to, tag, part)
                travels = True
        held[ctx.me] = own.reshape(mine.shape)
    for owner, shape in shapes.items():
        if owner == ctx.me:
            continue
        if ctx.me in scheme.seeded(owner=owner):
            held[owner] = algebra.uniform(shape, ctx.stream(owner, ctx.me))
        else:
            held[owner] = ctx.receive(owner, tag, shape)
            travels = True
    ctx.measured += Cost(rounds=1 if travels else 0)
    return held


def share_cost(scheme: Scheme, me: PartyId, shapes: Mapping[PartyId, Shape]) -> Cost:
    """What one `share` (or `deal`) costs party `me`."""
    explicit = {owner: scheme.parties - 1 - len(scheme.seeded(owner=owner)) for owner in shapes}
    receives = any(owner != me and me not in scheme.seeded(owner=owner) for owner in shapes)
    sent = explicit[me] * prod(shapes[me]) * scheme.algebra.element_bytes if me in shapes else 0
    return Cost(rounds=1 if receives or explicit.get(me) else 0, bytes=sent)
