"""Multiply: elementwise products of secrets."""

from dataclasses import replace
from functools import reduce

import numpy as np

from mpc.context import Context, TripleSource
from mpc.cost import Cost
from mpc.errors import ProtocolError
from mpc.schemes import PartyId, Scheme
from mpc.share import Share
from protocols.gadgets.reveal import open_residues, reveal_cost
from protocols.gadgets.share import deal, share_cost


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
    assert ctx.triples is not None
    a, b, c = ctx.triples.take(ctx, x.shape)
    ctx.measured += Cost(triples=x.data.size)
    masked = [replace(x, scale=0) - a, replace(y, scale=0) - b]
    opened = open_residues(ctx, masked, range(ctx.parties), "multiply")
    assert opened is not None
    d, e = opened  # x y = (a + d)(b + e) = c + d b + e a + d e
    algebra = ctx.scheme.algebra
    local = algebra.add(algebra.multiply(d, b.data), algebra.multiply(e, a.data))
    public = ctx.scheme.constant(algebra.multiply(d, e), ctx.me)
    return replace(c, data=algebra.add(algebra.add(c.data, local), public))


def _reshare(ctx: Context, x: Share, y: Share) -> Share:
    """Products of shares lie on a polynomial of degree 2t. Each of 2t + 1 parties shares its product anew; the
    weighted sum of those is a sharing of degree t of the same value."""
    scheme, algebra = ctx.scheme, ctx.scheme.algebra
    weights = scheme.product_weights
    if weights is None:
        raise ProtocolError(f"{scheme.name} shares multiply with triples only, and this session has no source of them")
    owners = range(len(weights))
    product = algebra.multiply(x.data, y.data)
    parts = deal(ctx, "multiply", dict.fromkeys(owners, x.shape), product if ctx.me in owners else None)
    weighted = (algebra.multiply(parts[i], np.array(w, x.data.dtype)) for i, w in enumerate(weights))
    return replace(x, data=reduce(algebra.add, weighted))


def multiply_cost(scheme: Scheme, me: PartyId, triples: TripleSource | None, elements: int) -> Cost:
    """What one `multiply` of `elements` products costs party `me`."""
    if triples is not None:
        return triples.cost(scheme, me, elements) + reveal_cost(scheme, me, range(scheme.parties), 2 * elements)
    assert scheme.product_weights is not None
    return share_cost(scheme, me, dict.fromkeys(range(len(scheme.product_weights)), (elements,)))
