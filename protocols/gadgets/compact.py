"""Compact: of secret rows those that are kept come to the front, in their order; nobody learns which, or how many. [Goodrich11]"""

import numpy as np

from mpc.context import Context, Costed
from mpc.cost import Cost
from mpc.schemes import PartyId, Scheme
from mpc.share import Share, concatenate
from protocols.gadgets.bits import BitShare, as_numbers, as_numbers_cost, words_of
from protocols.gadgets.decompose import decompose, decompose_cost
from protocols.gadgets.multiply import multiply, multiply_cost


def compact(ctx: Context, kept: Share, rows: Share) -> Share:
    """The `rows`, (columns, n), for which `kept`, (n,), is the number 1, and not 0; then rows of zeros. n is a power of two. Discloses nothing.

    How far a row has to go is how many before it are not kept: its bits, lowest first, say in which of log2(n) steps it moves by 1, 2, 4 ... rows. Rows that are kept never meet. Rounds: those of `decompose` and of `as_numbers`,
    a multiplication, and one for each step, in which the columns and the bits that are left are multiplied."""
    columns, count = rows.shape
    steps = count.bit_length() - 1
    if not steps:
        return multiply(ctx, _repeated(kept, columns), rows.reshape(-1)).reshape(columns, 1)
    before = kept
    for step in range(steps):
        before = before + _moved(before.reshape(1, count), -(1 << step)).reshape(count)
    distance = np.arange(1, count + 1) - before  # of a row that is kept: how many are not, up to it
    bits = concatenate([bit.words for bit in decompose(ctx, distance)[:steps]])
    numbers = as_numbers(ctx, BitShare(bits, (steps, 64 * words_of(count))))[:, :count]
    state = concatenate([numbers, rows])
    state = multiply(ctx, _repeated(kept, steps + columns), state).reshape(steps + columns, count)
    for step in range(steps):
        rest = state[1:]
        moved = multiply(ctx, _repeated(state[0], steps - step - 1 + columns), rest.reshape(-1)).reshape(*rest.shape)
        state = rest - moved + _moved(moved, 1 << step)
    return state


def compact_cost(scheme: Scheme, me: PartyId, source: Costed | None, columns: int, count: int) -> Cost:
    """What one `compact` costs party `me`."""
    steps = count.bit_length() - 1
    cost = Cost()
    if steps:
        cost += decompose_cost(scheme, me, source, count) + as_numbers_cost(scheme, me, source, steps * 64 * words_of(count))
    cost += multiply_cost(scheme, me, source, (steps + columns) * count)
    for step in range(steps):
        cost += multiply_cost(scheme, me, source, (steps - step - 1 + columns) * count)
    return cost


def _repeated(row: Share, times: int) -> Share:
    return row.reshape(1, row.size).broadcast_to((times, row.size)).reshape(-1)


def _moved(rows: Share, by: int) -> Share:
    """Each `by` places towards the front, or by -`by` towards the end; zeros come after them."""
    columns, count = rows.shape
    from_ = np.arange(count) + by
    places = np.arange(columns)[:, np.newaxis] * count + from_
    places = np.where((from_ >= 0) & (from_ < count), places, columns * count)
    flat = rows.reshape(-1)
    return concatenate([flat, 0 * flat[:1]])[places]
