"""Reveal: parties send their shares to the receivers, who add them up to the value."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mpc import fixed_point
from mpc.algebra import Array
from mpc.context import Context
from mpc.cost import Cost
from mpc.errors import ProtocolError
from mpc.schemes import PartyId, Scheme
from mpc.share import Share, concatenate


def open_residues(ctx: Context, shares: Sequence[Share], to: Iterable[PartyId], operation: str) -> list[Array] | None:
    """The residues behind `shares`, at the receivers; None elsewhere. All travel in one round."""
    receivers, scheme = set(to), ctx.scheme
    if not receivers <= set(range(ctx.parties)):
        raise ProtocolError(f"{operation}: the receivers {sorted(receivers)} are not all among {ctx.parties} parties")
    for share in shares:
        ctx.check(share)
    flat = concatenate(shares)
    sent = scheme.sent(flat.data)
    received = ctx.exchange(
        operation,
        {i: sent for i in sorted(receivers) if ctx.me in scheme.senders(i)},
        dict.fromkeys(scheme.senders(ctx.me), flat.shape) if ctx.me in receivers else {},
    )
    if ctx.me not in receivers:
        return None
    combined = opened(ctx, flat.data, received, operation)
    values, start = [], 0
    for share in shares:
        values.append(combined[start : start + share.size].reshape(share.shape))
        start += share.size
    return values


def opened(ctx: Context, share: Array, received: Mapping[PartyId, Array], operation: str) -> Array:
    """The residues behind this party's share and what others sent of theirs."""
    try:
        return ctx.scheme.opened(ctx.me, share, received)
    except ValueError as error:
        raise ProtocolError(f"{operation}: {error}") from None


def reveal(ctx: Context, *shares: Share, to: Iterable[PartyId] | None = None) -> Any:
    """Opens `shares` to the parties `to` (default: all), together in one round.

    Returns the values (integers; floats where the share has a scale), one array for each share, a number for a share
    without dimensions; for a single share the value itself. None at a party that is no receiver.

    Discloses exactly the values, to the receivers alone; no share of them goes to anybody else. One round; each
    party sends each other receiver one element a value, replicated shares only the next one.
    """
    opened = open_residues(ctx, shares, range(ctx.parties) if to is None else to, "reveal")
    if opened is None:
        return None
    decode = ctx.scheme.algebra.decode
    values = [fixed_point.decode(decode(x), share.scale) for x, share in zip(opened, shares, strict=True)]
    values = [value.item() if value.ndim == 0 else value for value in values]
    return values[0] if len(values) == 1 else values


def reveal_each(ctx: Context, shares: Mapping[PartyId, Share]) -> Array | None:
    """Opens to each party in `shares` flat integers of its own, all in one round; None at a party that is not among them.

    Discloses to each exactly its values. Each party sends each of the others its elements."""
    for share in shares.values():
        ctx.check(share)
    mine, scheme = shares.get(ctx.me), ctx.scheme
    received = ctx.exchange(
        "reveal",
        {i: scheme.sent(share.data) for i, share in shares.items() if ctx.me in scheme.senders(i)},
        dict.fromkeys(scheme.senders(ctx.me), mine.shape) if mine is not None else {},
    )
    if mine is None:
        return None
    return scheme.algebra.decode(opened(ctx, mine.data, received, "reveal"))


def reveal_each_cost(scheme: Scheme, me: PartyId, elements: Mapping[PartyId, int]) -> Cost:
    """What one `reveal_each` of so many elements to each costs party `me`."""
    sent = [count for i, count in elements.items() if me in scheme.senders(i)]
    return Cost(rounds=1 if sent or me in elements else 0, bytes=sum(sent) * scheme.algebra.element_bytes)


def reveal_cost(scheme: Scheme, me: PartyId, to: Iterable[PartyId], elements: int) -> Cost:
    """What one `reveal` of `elements` values in all costs party `me`."""
    return reveal_each_cost(scheme, me, dict.fromkeys(to, elements))
