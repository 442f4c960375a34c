"""Merge: sorted lists of secret rows become one, in Batcher's bitonic merging network. [Batcher68]"""

import numpy as np

from mpc.context import Context, Costed
from mpc.cost import Cost
from mpc.schemes import PartyId, Scheme
from mpc.share import Share, concatenate
from protocols.gadgets.bits import as_numbers, as_numbers_cost
from protocols.gadgets.compare import negative, negative_cost
from protocols.gadgets.multiply import multiply, multiply_cost


def merge(ctx: Context, lists: Share) -> Share:
    """(columns, lists, rows), each list in the order of its first column, to (columns, lists x rows), all in that order; both numbers are powers of two. Rows that are alike in the first
    column may come in any order. Discloses nothing.

    For two lists of k rows log2(2 k) steps, for four so many and one more than these, and so on. A step is a `negative` of half of all rows, `as_numbers` of these, and a multiplication of half of what there is."""
    columns, count, rows = lists.shape
    while count > 1:
        lists = _joined(lists[:, ::2], lists[:, 1::2, ::-1])  # goes up, then down
        count, rows = count // 2, 2 * rows
        half = rows // 2
        while half:
            blocks = lists.reshape(columns, count * rows // (2 * half), 2 * half)
            low, high = blocks[:, :, :half], blocks[:, :, half:]
            is_later = as_numbers(ctx, negative(ctx, (high[0] - low[0]).reshape(-1))).reshape(1, *low.shape[1:])
            moved = multiply(ctx, is_later.broadcast_to(low.shape).reshape(-1), (high - low).reshape(-1)).reshape(*low.shape)
            lists = _joined(low + moved, high - moved)
            half //= 2
        lists = lists.reshape(columns, count, rows)
    return lists.reshape(columns, rows)


def merge_cost(scheme: Scheme, me: PartyId, source: Costed | None, columns: int, lists: int, rows: int) -> Cost:
    """What one `merge` costs party `me`."""
    cost, half = Cost(), lists * rows // 2
    for _ in range(sum(range(rows.bit_length(), (lists * rows).bit_length()))):
        cost += negative_cost(scheme, me, source, half) + as_numbers_cost(scheme, me, source, half) + multiply_cost(scheme, me, source, columns * half)
    return cost


def _joined(first: Share, second: Share) -> Share:
    """End to end along the last axis."""
    places = np.arange(first.size).reshape(first.shape)
    return concatenate([first, second])[np.concatenate([places, places + first.size], axis=-1)]
