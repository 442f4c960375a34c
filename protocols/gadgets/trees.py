"""Trees: secret bits joined by halves, in as many rounds as there are halvings; all that is multiplied at a level goes in one round."""

from collections.abc import Iterator, Sequence
from operator import add

from mpc.context import Context, Costed
from mpc.cost import Cost
from mpc.schemes import PartyId, Scheme
from mpc.schemes.words import boolean
from mpc.share import Share, concatenate
from protocols.gadgets.bits import words_of
from protocols.gadgets.multiply import multiply, multiply_cost


def words_multiplied(ctx: Context, x: Sequence[Share], y: Sequence[Share], skip: int = -1) -> list[Share]:
    """The products of words, all in one round; without the one numbered `skip`."""
    chosen = [k for k in range(len(x)) if k != skip]
    product = multiply(ctx.under(x[0].scheme), concatenate([x[k] for k in chosen]), concatenate([y[k] for k in chosen]))
    size = x[0].shape[0]
    return [product[start : start + size] for start in range(0, size * len(chosen), size)]


def fours_multiplied(ctx: Context, fours: Sequence[Sequence[Share]]) -> list[dict[int, Share]]:
    """Of each four words all products of some of them: that of those numbered i under the sum of 2^i. Two rounds, 11 ANDs a four."""
    found = [{1 << i: word for i, word in enumerate(four)} for four in fours]
    for pairs in (((1, 2), (4, 8)), [(a, b) for a in (1, 2, 3) for b in (4, 8, 12)]):
        products = words_multiplied(ctx, [of[a] for of in found for a, _ in pairs], [of[b] for of in found for _, b in pairs])
        for k, product in enumerate(products):
            a, b = pairs[k % len(pairs)]
            found[k // len(pairs)][a | b] = product
    return found


def fours_multiplied_cost(scheme: Scheme, me: PartyId, source: Costed | None, fours: int, count: int) -> Cost:
    """What one `fours_multiplied` of so many fours of `count` bits each costs party `me`."""
    words = fours * words_of(count)
    return multiply_cost(boolean(scheme), me, source, 2 * words) + multiply_cost(boolean(scheme), me, source, 9 * words)


def join(ctx: Context, lower: list[Share], same: list[Share]) -> Share:
    """Of numbers in parts, lowest first: whether the first is less, from whether each of its parts is less or the same."""
    while (parts := len(lower)) > 1:
        pairs = parts // 2
        # less in the higher part, or the same there and less in the lower; whether the lowest is the same matters to nothing
        product = words_multiplied(ctx, 2 * same[1 : 2 * pairs : 2], lower[: 2 * pairs : 2] + same[: 2 * pairs : 2], skip=pairs)
        lower = [*map(add, lower[1 : 2 * pairs : 2], product), *lower[2 * pairs :]]
        same = [same[0], *product[pairs:], *same[2 * pairs :]]
    return lower[0]


def join_cost(scheme: Scheme, me: PartyId, source: Costed | None, parts: int, count: int) -> Cost:
    """What one `join` of so many parts of `count` numbers costs party `me`."""
    cost = Cost()
    for level in levels(parts):
        cost += multiply_cost(boolean(scheme), me, source, (2 * (level // 2) - 1) * words_of(count))
    return cost


def levels(parts: int) -> Iterator[int]:
    """How many parts there are at each level of a tree, but the last."""
    while parts > 1:
        yield parts
        parts = -(-parts // 2)


def all_joined(ctx: Context, lower: Sequence[Share], same: Sequence[Share]) -> list[Share]:
    """What `join` gives of the lowest part, of the two lowest, and so on, as in a parallel prefix adder. [Sklansky60]"""
    lower, same = list(lower), list(same)
    for pairs in _prefixes(len(lower)):
        left, right = zip(*((same[i], lower[j]) for i, j in pairs), strict=True)
        more = [(same[i], same[j]) for i, j in _followed(pairs)]
        joined = words_multiplied(ctx, [*left, *(x for x, _ in more)], [*right, *(y for _, y in more)])
        for (i, _), product in zip(pairs, joined, strict=False):
            lower[i] = lower[i] + product
        for (i, _), product in zip(_followed(pairs), joined[len(pairs) :], strict=True):
            same[i] = product
    return lower


def all_joined_cost(scheme: Scheme, me: PartyId, source: Costed | None, parts: int, count: int) -> Cost:
    """What one `all_joined` of so many parts of `count` numbers costs party `me`."""
    cost = Cost()
    for pairs in _prefixes(parts):
        cost += multiply_cost(boolean(scheme), me, source, (len(pairs) + len(_followed(pairs))) * words_of(count))
    return cost


def _prefixes(parts: int) -> Iterator[list[tuple[int, int]]]:
    """At each level, which part is joined with which prefix below it."""
    step = 1
    while step < parts:
        yield [(i, i // step * step - 1) for i in range(parts) if i // step % 2]
        step *= 2


def _followed(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Those of which what comes out does not begin at the lowest part yet, so that something is joined to it."""
    step = pairs[0][0]
    return [(i, j) for i, j in pairs if i >= 2 * step]
