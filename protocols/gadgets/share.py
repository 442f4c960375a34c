"""Share: parties spread their own values over all."""

from collections.abc import Iterable

from mpc import fixed_point
from mpc.algebra import Array, Shape
from mpc.context import Context
from mpc.cost import Cost
from mpc.errors import ProtocolError
from mpc.schemes import PartyId, Scheme
from mpc.share import Share


def share(
    ctx: Context,
    values: object = None,
    *,
    owners: Iterable[PartyId] | None = None,
    shape: Shape | None = None,
    scale: int = 0,
) -> list[Share]:
    """Each of `owners` (default: every party) shares an array of integers; all arrays have one shape.

    Returns a Share for each owner, in the order of `owners`. A party that owns nothing passes `shape` instead of
    `values`. With `scale` fractional bits, values may be decimals. Values lie within the algebra's `bound`.

    Discloses nothing. One round; additive sharing needs none, since all shares but the owner's come from streams.
    [GRR98, section 4; CDI05]
    """
    owners = list(range(ctx.parties) if owners is None else owners)
    scheme, algebra = ctx.scheme, ctx.scheme.algebra
    if ctx.me in owners:
        if values is None:
            raise ProtocolError("this party is an owner: it needs values to share")
        numbers = fixed_point.encode(values, scale)
        if numbers.size and max(abs(int(numbers.max())), abs(int(numbers.min()))) > algebra.bound:
            raise ProtocolError(f"a value to share lies beyond the bound of {algebra.name}, {algebra.bound}")
        mine = algebra.encode(numbers)
        if shape is not None and mine.shape != shape:
            raise ProtocolError(f"the values to share have shape {mine.shape}, not {shape}")
        shape = mine.shape
    if shape is None:
        raise ProtocolError("a party that owns no values must say their shape")

    held = deal(ctx, "share", owners, mine if ctx.me in owners else None, shape)
    return [Share(held[owner], scheme, ctx.me, scale) for owner in owners]


def deal(
    ctx: Context, operation: str, owners: Iterable[PartyId], mine: Array | None, shape: Shape
) -> dict[PartyId, Array]:
    """Each of `owners` deals shares of an array of residues (`mine`, at an owner); all in one round.

    Returns this party's share of each. Only what the streams do not fix travels.
    """
    scheme, algebra = ctx.scheme, ctx.scheme.algebra
    held: dict[PartyId, Array] = {}
    outgoing: dict[PartyId, Array] = {}
    incoming: dict[PartyId, Shape] = {}
    for owner in owners:
        seeded = scheme.seeded(owner=owner)
        if owner == ctx.me:
            drawn = {i: algebra.uniform(shape, ctx.stream(owner, i)) for i in seeded}
            _, outgoing = scheme.complete(drawn, mine)
            held[owner] = outgoing.pop(owner)
        elif ctx.me in seeded:
            held[owner] = algebra.uniform(shape, ctx.stream(owner, ctx.me))
        else:
            incoming[owner] = shape
    return held | ctx.exchange(operation, outgoing, incoming)


def share_cost(scheme: Scheme, me: PartyId, owners: Iterable[PartyId], elements: int) -> Cost:
    """What one `share` of `elements` values an owner costs party `me`."""
    owners = list(owners)
    explicit = {owner: scheme.parties - 1 - len(scheme.seeded(owner=owner)) for owner in owners}
    receives = any(owner != me and me not in scheme.seeded(owner=owner) for owner in owners)
    sent = explicit.get(me, 0) * elements * scheme.algebra.element_bytes
    return Cost(rounds=1 if receives or explicit.get(me) else 0, bytes=sent)


