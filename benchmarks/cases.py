"""What is timed among parties: exchange (messages alone), share, open, multiply, dot, compare, truncate, sum, and the dealer. Each declares its
cost."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from mpc.context import Context, Costed
from mpc.correlations import Ands, Bits, Kind, Masks, Matrices, Squares, Triples, triples
from mpc.cost import Cost
from mpc.ot.base import base_transfers
from mpc.ot.extension import Chooser, K, Sender
from mpc.ot.transfers import BLOCK, choose, offer
from mpc.schemes import PartyId, Scheme
from mpc.schemes.named import schemes
from mpc.share import Share
from mpc.triples.dealer import DealerTriples
from mpc.triples.ot import ObliviousTriples
from protocols.gadgets import (
    dot,
    dot_cost,
    histogram,
    histogram_cost,
    less,
    multiply,
    multiply_cost,
    negative_cost,
    reveal,
    reveal_cost,
    share,
    share_cost,
    square,
    square_cost,
    truncate,
    truncate_cost,
)


@dataclass(frozen=True)
class Case:
    """`prepare(ctx, values)` is not timed; `run` takes what it returns. `triples`: "dealer" (dealt in the run), "preloaded"
    (dealt before it), "ot" (made in the run, on base transfers made before it), or None."""

    group: str
    scheme: str
    wide: bool
    parties: int
    triples: str | None
    elements: int
    prepare: Callable[[Context, np.ndarray], Any]
    run: Callable[[Context, Any], object]
    cost: Callable[[Scheme, PartyId, int, Costed | None], Cost]
    plain: Callable[[np.ndarray], object]
    """The same work on plain numbers."""
    named: str = ""

    @property
    def sharing(self) -> Scheme:
        colluding = self.parties - 1 if self.scheme == "additive" else (self.parties - 1) // 2
        return schemes(self.scheme, self.parties, colluding)[self.wide]

    @property
    def name(self) -> str:
        if self.named:
            return self.named
        how = {"dealer": ", dealt in the run", "preloaded": ", triples preloaded", "ot": ", triples made by OT in the run"}
        return f"{self.scheme} over {self.sharing.algebra.name}{how[self.triples] if self.triples and self.group not in ('dealer', 'ot') else ''}"


def shared(ctx: Context, values: np.ndarray) -> list[Share]:
    return share(ctx, values)


def _take(ctx: Context, shares: list[Share]) -> object:
    assert ctx.triples is not None
    return ctx.triples.take(ctx, triples(ctx.scheme, shares[0].data.size))


def _transfers(ctx: Context, link: tuple[Chooser, Sender]) -> None:
    """Half of them in each direction, `BLOCK` words of choices at a time."""
    chooser, sender = link
    tag, choices = ctx.tag("transfers"), np.zeros(BLOCK, np.uint64)
    for _ in range(TRANSFERS // 2 // 64 // BLOCK):
        choose(ctx, 1 - ctx.me, tag, chooser, choices)
        offer(ctx, 1 - ctx.me, tag, sender, BLOCK)


def _first_triple(ctx: Context, _: object) -> object:
    return ObliviousTriples().take(ctx, Triples(1))


def _made(named: str, kind: Kind, elements: int) -> Case:
    """By oblivious transfer, between two."""

    def take(ctx: Context, _: object) -> object:
        assert ctx.triples is not None
        return ctx.triples.take(ctx, kind)

    def cost(scheme: Scheme, me: PartyId, _: int, source: Costed | None) -> Cost:
        assert source is not None
        return source.cost(scheme, me, kind)

    return Case("ot", "additive", False, 2, "ot", elements, lambda ctx, values: None, take, cost, lambda x: x * x, named=named)


def _sum_to_one(ctx: Context, values: np.ndarray) -> object:
    shares = share(ctx, values)
    return reveal(ctx, sum(shares[1:], shares[0]), to=[0])


def _everyone(scheme: Scheme, n: int) -> dict[PartyId, tuple[int, ...]]:
    return dict.fromkeys(range(scheme.parties), (n,))


_EXCHANGE = (
    lambda ctx, values: ctx.scheme.algebra.encode(values),
    lambda ctx, array: ctx.exchange(
        "exchange", {i: array for i in range(ctx.parties) if i != ctx.me},
        {i: array.shape for i in range(ctx.parties) if i != ctx.me}
    ),
    lambda scheme, me, n, _: Cost(rounds=1, bytes=(scheme.parties - 1) * n * scheme.algebra.element_bytes),
    lambda x: x.copy(),
)
_SHARE = (
    lambda ctx, values: values,
    share,
    lambda scheme, me, n, _: share_cost(scheme, me, _everyone(scheme, n)),
    lambda x: x + x,
)
_OPEN = (
    shared,
    lambda ctx, shares: reveal(ctx, shares[0]),
    lambda scheme, me, n, _: reveal_cost(scheme, me, range(scheme.parties), n),
    lambda x: x + x,
)
_MULTIPLY = (
    shared,
    lambda ctx, shares: multiply(ctx, shares[0], shares[1]),
    lambda scheme, me, n, source: multiply_cost(scheme, me, source, n),
    lambda x: x * x,
)
_DOT = (
    lambda ctx, values: [x.reshape(-1, DOT) for x in share(ctx, values)[:2]],
    lambda ctx, shares: dot(ctx, shares[0], shares[1]),
    lambda scheme, me, n, source: dot_cost(scheme, me, source, n // DOT, DOT),
    lambda x: (x * x).reshape(-1, DOT).sum(1),
)
_COMPARE = (
    shared,
    lambda ctx, shares: less(ctx, shares[0], shares[1]),
    lambda scheme, me, n, source: negative_cost(scheme, me, source, n),
    lambda x: x < x[::-1],
)
_HISTOGRAM = (
    lambda ctx, values: share(ctx, values)[0],
    lambda ctx, x: histogram(ctx, x, EDGES),
    lambda scheme, me, n, source: histogram_cost(scheme, me, source, n, len(EDGES)),
    lambda x: np.histogram(x, EDGES),
)
_MOMENTS = (
    lambda ctx, values: share(ctx, values)[0],
    lambda ctx, x: reveal(ctx, x.sum(), square(ctx, x).sum() if ctx.triples else dot(ctx, x, x)),
    lambda scheme, me, n, source: (square_cost(scheme, me, source, n) if source else dot_cost(scheme, me, source, 1, n)) + reveal_cost(scheme, me, range(scheme.parties), 2),
    lambda x: (x.mean(), x.var()),
)
_TRUNCATE = (
    shared,
    lambda ctx, shares: truncate(ctx, shares[0], FRACTION),
    lambda scheme, me, n, source: truncate_cost(scheme, me, source, n, FRACTION),
    lambda x: x >> FRACTION,
)
_DEALER = (
    shared,
    _take,
    lambda scheme, me, n, _: DealerTriples().cost(scheme, me, Triples(n)),
    lambda x: x * x,
)
_BASE = (
    lambda ctx, values: None,
    lambda ctx, _: base_transfers(ctx, [i for i in range(ctx.parties) if i != ctx.me]),
    lambda scheme, me, n, _: Cost(),  # once a pair, and not counted
    lambda x: x * x,
)
_TRANSFERS = (
    lambda ctx, values: ObliviousTriples().link(ctx)[1 - ctx.me],
    _transfers,
    lambda scheme, me, n, _: Cost(bytes=n // 2 * 16 // K),
    lambda x: x * x,
)
_FIRST = (
    lambda ctx, values: None,
    _first_triple,
    lambda scheme, me, n, _: ObliviousTriples().cost(scheme, me, Triples(1)),
    lambda x: x * x,
)
_SUM = (
    lambda ctx, values: values,
    _sum_to_one,
    lambda scheme, me, n, _: share_cost(scheme, me, _everyone(scheme, n)) + reveal_cost(scheme, me, [0], n),
    lambda x: x + x + x,
)


TRANSFERS = 1 << 22
EDGES: range = range(-45_000, 50_000, 5_000)
"""Of 20 bins."""
DOT = 256
"""Products that are added up."""
FRACTION = 16
"""Bits that are dropped."""
SHARINGS = (("additive", False), ("additive", True), ("shamir", False), ("shamir", True))
MULTIPLICATIONS = (
    ("additive", False, 2, "preloaded"),
    ("additive", False, 2, "dealer"),
    ("additive", False, 2, "ot"),
    ("additive", False, 3, "dealer"),
    ("additive", False, 3, "ot"),
    ("additive", True, 3, "dealer"),
    ("shamir", False, 3, None),
    ("shamir", False, 3, "dealer"),
    ("shamir", True, 3, None),
    ("replicated", False, 3, None),
)
COMPARISONS = (
    ("additive", 2, "preloaded"), ("additive", 2, "dealer"), ("additive", 2, "ot"), ("additive", 3, "preloaded"), ("shamir", 3, "preloaded"), ("shamir", 3, "ot"),
    ("replicated", 3, None),
)


def cases(quick: bool) -> list[Case]:
    """Wide algebras are for few values."""
    n, few, million = (1 << 16, 1 << 10, 100_000) if quick else (1 << 20, 1 << 14, 1_000_000)
    matrices = Matrices(100, 20, 5) if quick else Matrices(1000, 200, 50)
    listed = [Case("exchange", "additive", False, 2, None, 2 * n, *_EXCHANGE)]  # the bytes of n products
    for group, work in (("share", _SHARE), ("open", _OPEN)):
        listed += [Case(group, scheme, wide, 3, None, few if wide else n, *work) for scheme, wide in SHARINGS]
    for scheme, wide, parties, source in MULTIPLICATIONS:
        count = few if wide else n >> 2 if source == "ot" else n
        listed.append(Case("multiply", scheme, wide, parties, source, count, *_MULTIPLY))
    listed += [Case("dot", scheme, False, 3, None, n, *_DOT) for scheme in ("shamir", "replicated")]
    for scheme, parties, source in COMPARISONS:
        listed.append(Case("compare", scheme, False, parties, source, n >> 4 if source == "ot" else n, *_COMPARE))
    listed += [Case("truncate", scheme, False, parties, source, n, *_TRUNCATE) for scheme, parties, source in (("additive", 2, "preloaded"), ("replicated", 3, None))]
    for scheme, parties, source in (("additive", 2, "preloaded"), ("additive", 3, "preloaded"), ("replicated", 3, None)):
        listed.append(Case("histogram", scheme, False, parties, source, million // 10, *_HISTOGRAM))
        listed.append(Case("moments", scheme, False, parties, source, million // 10, *_MOMENTS))
    listed += [Case("dealer", "additive", False, parties, "dealer", n, *_DEALER) for parties in (2, 3)]
    listed += [
        Case("ot", "additive", False, 2, None, 256, *_BASE, named="base transfers"),
        Case("ot", "additive", False, 2, None, TRANSFERS, *_TRANSFERS, named="random transfers"),
        Case("ot", "additive", False, 2, None, 1, *_FIRST, named="a first triple"),
        _made("triples", Triples(n >> 2), n >> 2),
        _made("squares", Squares(n >> 2), n >> 2),
        _made("ANDs of bits", Ands(n >> 4), 64 * (n >> 4)),
        _made("bits in both domains", Bits(n >> 6), 64 * (n >> 6)),
        _made("random numbers with their bits", Masks(n >> 12), n >> 6),
        _made(f"matrix triple {' x '.join(map(str, matrices.dimensions))}", matrices, prod(matrices.dimensions)),
    ]
    listed.append(Case("sum", "additive", False, 3, None, million, *_SUM))
    return listed
