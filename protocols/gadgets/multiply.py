"""Multiply: products of secrets, one by one or added up."""

from collections import deque
from dataclasses import replace
from math import prod

import numpy as np

from mpc.algebra import Algebra, Array
from mpc.context import Context, Costed
from mpc.correlations import Squares, triples
from mpc.cost import Cost
from mpc.dealing import deal, deal_cost
from mpc.errors import ProtocolError
from mpc.schemes import PartyId, Scheme
from mpc.schemes.replicated import Replicated, after, before
from mpc.share import Share
from protocols.gadgets.reveal import opened, reveal_cost


def multiply(ctx: Context, x: Share, y: Share) -> Share:
    """The elementwise product of two shares of one shape; its scale is the sum of theirs. Discloses nothing.

    With a source of triples: one round, two elements to each peer, one triple an element, under any linear scheme
    [Beaver91]. Without one, in one round: Shamir shares by resharing, n - 1 - t elements from each of 2t + 1 parties [GRR98]; replicated
    ones by sending one element to the party before [AFLNO16].
    """
    if ctx.triples is None:
        return dot(ctx, x[..., np.newaxis], y[..., np.newaxis])
    _check(ctx, x, y)
    return replace(_beaver(ctx, x, y), scale=x.scale + y.scale)


def dot(ctx: Context, x: Share, y: Share) -> Share:
    """The products of two shares of one shape, added up over the last axis, of which there must be one; their scale is the sum of both. Discloses
    nothing. One round. Without triples, what travels is as much as for one product each; with them, as for `multiply`."""
    _check(ctx, x, y)
    if ctx.triples is not None:
        return multiply(ctx, x, y).sum(-1)
    product = _replicate(ctx, x, y) if isinstance(ctx.scheme, Replicated) else _reshare(ctx, x, y)
    return replace(product, scale=x.scale + y.scale)


def square(ctx: Context, x: Share) -> Share:
    """Each element of a share times itself; its scale is twice as large. Discloses nothing. One round. With a source of triples half of what `multiply` sends, and a random square
    an element: with d = x - a opened, x x = a a + d (x + a) [Beaver91]. Without one, as `multiply`."""
    if ctx.triples is None:
        return multiply(ctx, x, x)
    ctx.check(x)
    source, algebra = ctx.triples, ctx.scheme.algebra
    source.request(ctx, Squares(x.data.size))
    all_x, product = x.data.reshape(-1), np.empty(x.data.size, x.data.dtype)
    kept: deque[tuple[Array, Array]] = deque()

    def masked(block: slice) -> Array:
        a, c = (share.data for share in source.take(ctx, Squares(block.stop - block.start)))
        kept.append((a, c))
        return algebra.subtract(all_x[block], a)

    for block, mine, received in ctx.broadcast("square", x.data.size, masked):
        a, c = kept.popleft()
        product[block] = algebra.add(c, algebra.multiply(opened(ctx, mine, received, "square"), algebra.add(all_x[block], a)))
    return replace(x, data=product.reshape(x.shape), scale=2 * x.scale)


def _check(ctx: Context, x: Share, y: Share) -> None:
    ctx.check(x)
    ctx.check(y)
    if x.shape != y.shape:
        raise ProtocolError(f"cannot multiply shapes {x.shape} and {y.shape}")


def _beaver(ctx: Context, x: Share, y: Share) -> Share:
    """With d = x - a and e = y - b opened, x y = (a + d) y = c + d y + e a: each party computes that on its shares."""
    source, algebra = ctx.triples, ctx.scheme.algebra
    assert source is not None
    source.request(ctx, triples(ctx.scheme, x.data.size))
    ctx.measured += Cost(triples=x.data.size)
    all_x, all_y, product = x.data.reshape(-1), y.data.reshape(-1), np.empty(x.data.size, x.data.dtype)
    kept: deque[tuple[Array, Array]] = deque()

    def masked(block: slice) -> Array:
        a, b, c = (share.data for share in source.take(ctx, triples(ctx.scheme, block.stop - block.start)))
        kept.append((a, c))
        return np.stack([algebra.subtract(all_x[block], a), algebra.subtract(all_y[block], b)])

    for block, mine, received in ctx.broadcast("multiply", x.data.size, masked, rows=2):
        d, e = opened(ctx, mine, received, "multiply")
        a, c = kept.popleft()
        product[block] = algebra.add(algebra.add(c, algebra.multiply(d, all_y[block])), algebra.multiply(e, a))
    return replace(x, data=product.reshape(x.shape))


def _reshare(ctx: Context, x: Share, y: Share) -> Share:
    """Products of shares, and their sums, lie on a polynomial of degree 2t. Each of 2t + 1 parties shares its own anew; the
    weighted sum of those is a sharing of degree t of the same value."""
    scheme, algebra = ctx.scheme, ctx.scheme.algebra
    weights = scheme.product_weights
    if weights is None:
        raise ProtocolError(f"{scheme.name} shares multiply with triples only, and this session has no source of them")
    owners = range(len(weights))
    product = _summed(algebra, algebra.multiply(x.data, y.data)) if ctx.me in owners else None
    parts = deal(ctx, "multiply", dict.fromkeys(owners, x.shape[:-1]), product)
    return replace(x, data=algebra.combination(weights, [parts[i] for i in owners]))


def _replicate(ctx: Context, x: Share, y: Share) -> Share:
    """Of the nine products of components each party has three, the sum of which is a component of the product once a random
    component of zero is added. [AFLNO16]"""
    algebra, me, shape = ctx.scheme.algebra, ctx.me, x.shape
    all_x, all_y = (share.data.reshape(2, -1, shape[-1]) for share in (x, y))
    product = np.empty((2, prod(shape[:-1])), x.data.dtype)

    def mine(block: slice) -> Array:
        (x0, x1), (y0, y1) = all_x[:, block], all_y[:, block]
        found = _summed(algebra, algebra.add(algebra.multiply(x0, algebra.add(y0, y1)), algebra.multiply(x1, y0)))
        zero = algebra.subtract(*(algebra.uniform(found.shape, ctx.stream(a, b)) for a, b in ((me, after(me)), (before(me), me))))
        product[0, block] = algebra.add(found, zero)
        return product[0, block]

    for block, _, received in ctx.broadcast("multiply", product.shape[1], mine, to=(before(me),), of=(after(me),), rows=1):
        product[1, block] = received[after(me)]
    return replace(x, data=product.reshape(2, *shape[:-1]))


def _summed(algebra: Algebra, products: Array) -> Array:
    """Over the last axis."""
    return products[..., 0] if products.shape[-1] == 1 else algebra.total(products, -1)


def dot_cost(scheme: Scheme, me: PartyId, source: Costed | None, elements: int, length: int) -> Cost:
    """What one `dot` that gives so many elements, each of `length` products, costs party `me`."""
    return multiply_cost(scheme, me, source, elements * (length if source is not None else 1))


def square_cost(scheme: Scheme, me: PartyId, source: Costed | None, elements: int) -> Cost:
    """What one `square` of `elements` costs party `me`."""
    if source is None:
        return multiply_cost(scheme, me, source, elements)
    return source.cost(scheme, me, Squares(elements)) + reveal_cost(scheme, me, range(scheme.parties), elements)


def multiply_cost(scheme: Scheme, me: PartyId, source: Costed | None, elements: int) -> Cost:
    """What one `multiply` of `elements` products costs party `me`."""
    if source is not None:
        made = source.cost(scheme, me, triples(scheme, elements)) + Cost(triples=elements)
        return made + reveal_cost(scheme, me, range(scheme.parties), 2 * elements)
    if isinstance(scheme, Replicated):
        return Cost(rounds=1, bytes=elements * scheme.algebra.element_bytes)
    assert scheme.product_weights is not None
    return deal_cost(scheme, me, dict.fromkeys(range(len(scheme.product_weights)), (elements,)))
