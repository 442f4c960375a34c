"""Select: one of two secrets, by a secret bit (a multiplexer)."""

from typing import Any

from mpc.context import Context, Costed
from mpc.cost import Cost
from mpc.schemes import PartyId, Scheme
from mpc.share import Share
from protocols.gadgets.bits import BitShare, as_numbers, as_numbers_cost
from protocols.gadgets.multiply import multiply, multiply_cost


def select(ctx: Context, condition: BitShare, x: Share, y: Any) -> Share:
    """x where `condition` is 1, else y, a share or public; all of one shape. Discloses nothing. Two rounds: the bits become
    numbers (`as_numbers`), and are multiplied with x - y."""
    selected: Share = multiply(ctx, as_numbers(ctx, condition), x - y) + y
    return selected


def select_cost(scheme: Scheme, me: PartyId, source: Costed | None, count: int) -> Cost:
    """What one `select` of `count` elements costs party `me`."""
    return as_numbers_cost(scheme, me, source, count) + multiply_cost(scheme, me, source, count)
