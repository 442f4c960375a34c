"""Dealing: parties spread arrays of residues over all, as shares."""

from collections.abc import Mapping
from math import prod

import numpy as np

from mpc.algebra import Array, Shape
from mpc.context import Context, blocks
from mpc.cost import Cost
from mpc.schemes import PartyId, Scheme


def deal(ctx: Context, operation: str, shapes: Mapping[PartyId, Shape], mine: Array | None) -> dict[PartyId, Array]:
    """Each owner in `shapes` deals shares of an array of residues (`mine`, if I am one); all in one round.

    Returns this party's share of each. Only what the streams do not fix travels.
    """
    scheme, algebra, tag = ctx.scheme, ctx.scheme.algebra, ctx.tag(operation)
    held: dict[PartyId, Array] = {}
    travels = False
    if mine is not None:
        flat, own = mine.reshape(-1), np.empty((*scheme.axes, mine.size), mine.dtype)
        for block in blocks(flat.size):
            size = block.stop - block.start
            drawn = {i: algebra.uniform((size,), ctx.stream(ctx.me, i)) for i in scheme.seeded(owner=ctx.me)}
            _, rest = scheme.complete(drawn, flat[block])
            own[..., block] = rest.pop(ctx.me)
            for to, part in rest.items():
                ctx.send(to, tag, part)
                travels = True
        held[ctx.me] = own.reshape((*scheme.axes, *mine.shape))
    for owner, shape in shapes.items():
        if owner == ctx.me:
            continue
        if ctx.me in scheme.seeded(owner=owner):
            dealt = algebra.uniform(shape, ctx.stream(owner, ctx.me))
        else:
            dealt = ctx.receive(owner, tag, shape)
            travels = True
        held[owner] = scheme.dealt(dealt, owner, ctx.me)
    ctx.measured += Cost(rounds=1 if travels else 0)
    return held


def deal_cost(scheme: Scheme, me: PartyId, shapes: Mapping[PartyId, Shape]) -> Cost:
    """What one `deal` costs party `me`."""
    explicit = {owner: scheme.parties - 1 - len(scheme.seeded(owner=owner)) for owner in shapes}
    receives = any(owner != me and me not in scheme.seeded(owner=owner) for owner in shapes)
    sent = explicit[me] * prod(shapes[me]) * scheme.algebra.element_bytes if me in shapes else 0
    return Cost(rounds=1 if receives or explicit.get(me) else 0, bytes=sent)
