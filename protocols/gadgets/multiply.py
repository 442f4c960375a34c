"""Multiply: elementwise products of secrets."""

from collections import deque
from dataclasses import replace

import numpy as np

from mpc.algebra import Array
from mpc.context import Context, Costed
from mpc.correlations import triples
from mpc.cost import Cost
from mpc.dealing import deal, deal_cost
from mpc.errors import ProtocolError
from mpc.schemes import PartyId, Scheme
from mpc.share import Share
from protocols.gadgets.reveal import combine, reveal_cost


def multiply(ctx: Context, x: Share, y: Share) -> Share:
    """The elementwise product of two shares of one shape; its scale is the sum of theirs. Discloses nothing.

    With a source of triples: one round, two elements to each peer, one triple an element, under any linear scheme
    [Beaver91]. Without one: by resharing, where the scheme allows it (Shamir): one round, no triples [GRR98].
    """
    ctx.check(x)
    ctx.check(y)
    if x.shape != y.shape:
        raise ProtocolError(f"cannot multiply shapes {x.shape} and {y.shape}")
    product = _beaver(ctx, x, y) if ctx.triples is not None else _reshare(ctx, x, y)
    return replace(product, scale=x.scale + y.scale)


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

    for block, parts in ctx.broadcast("multiply", x.data.size, masked, rows=2):
        d, e = combine(ctx, parts, "multiply")
        a, c = kept.popleft()
        product[block] = algebra.add(algebra.add(c, algebra.multiply(d, all_y[block])), algebra.multiply(e, a))
    return replace(x, data=product.reshape(x.shape))


def _reshare(ctx: Context, x: Share, y: Share) -> Share:
    """Products of shares lie on a polynomial of degree 2t. Each of 2t + 1 parties shares its product anew; the
    weighted sum of those is a sharing of degree t of the same value."""
    scheme, algebra = ctx.scheme, ctx.scheme.algebra
    weights = scheme.product_weights
    if weights is None:
        raise ProtocolError(f"{scheme.name} shares multiply with triples only, and this session has no source of them")
    owners = range(len(weights))
    product = algebra.multiply(x.data, y.data) if ctx.me in owners else None
    parts = deal(ctx, "multiply", dict.fromkeys(owners, x.shape), product)
    return replace(x, data=algebra.combination(weights, [parts[i] for i in owners]))


def multiply_cost(scheme: Scheme, me: PartyId, source: Costed | None, elements: int) -> Cost:
    """What one `multiply` of `elements` products costs party `me`."""
    if source is not None:
        made = source.cost(scheme, me, triples(scheme, elements)) + Cost(triples=elements)
        return made + reveal_cost(scheme, me, range(scheme.parties), 2 * elements)
    assert scheme.product_weights is not None
    return deal_cost(scheme, me, dict.fromkeys(range(len(scheme.product_weights)), (elements,)))
