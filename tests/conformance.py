"""The registry of the conformance matrix: what is added to one of these tables inherits every test of
test_conformance.py. (`SCHEMES`, `TRIPLES`, `TRANSPORTS`, `CASES`, the protocols, and `CORRELATIONS`, what the sources make.)

One session a cell runs every case, whatever the transport: the tests only read what the parties report.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial, reduce
from itertools import pairwise
from operator import and_
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from cluster import Cluster

from mpc.channel import Channel, Payload, Tag
from mpc.context import Context
from mpc.correlations import PRODUCTS, Ands, Bits, Kind, Masks, Matrices, Squares, Triples, Truncations, bit_length
from mpc.cost import Cost
from mpc.schemes import PartyId, Scheme
from mpc.schemes.additive import Additive
from mpc.schemes.named import FIELD, FIELD127, RING, RING128, schemes
from mpc.schemes.plaintext import Plaintext
from mpc.schemes.replicated import Replicated
from mpc.schemes.shamir import Shamir
from mpc.share import Share
from mpc.simulate import simulate
from mpc.triples.insecure import InsecurePublicTriples
from mpc.triples.named import triple_source
from mpc.triples.ot import ObliviousTriples
from parties import join
from parties.node.serve import ServingNode
from protocols.gadgets import (
    as_numbers,
    as_numbers_cost,
    both,
    both_cost,
    compose,
    compose_cost,
    decompose,
    decompose_cost,
    dot,
    dot_cost,
    equal,
    histogram,
    histogram_cost,
    is_zero_cost,
    less,
    multiply,
    multiply_cost,
    negative,
    negative_cost,
    reveal,
    reveal_bits,
    reveal_bits_cost,
    reveal_cost,
    select,
    select_cost,
    share,
    share_cost,
    square,
    square_cost,
    truncate,
    truncate_cost,
)
from protocols.gadgets.reveal import open_residues

# --- the axes of the matrix -----------------------------------------------------------------------------------------

PARTIES = (2, 3, 5)

SCHEMES: dict[str, Callable[[int], Scheme]] = {
    # a ValueError says that the scheme has no such number of parties
    "additive-2^64": lambda n: Additive(n, RING),
    "additive-2^128": lambda n: Additive(n, RING128),
    "shamir-2^61-1": lambda n: Shamir(n, (n - 1) // 2, FIELD),
    "shamir-2^127-1": lambda n: Shamir(n, (n - 1) // 2, FIELD127),
    "shamir-below-most": lambda n: Shamir(n, (n - 1) // 2 - 1, FIELD),  # 5 parties, 1 colluding: 2t + 1 < n
    "replicated-2^64": lambda n: schemes("replicated", n, 1)[0],
    "replicated-2^128": lambda n: schemes("replicated", n, 1)[1],
    "plaintext": lambda n: Plaintext(n, RING),
}

TRIPLES: tuple[str | None, ...] = ("dealer", "ot", "insecure", None)
"""None: where the scheme multiplies without; replicated shares always do."""

Protocol = Callable[[Context, Any], Any]
Transport = Callable[[Protocol, Sequence[Any], Scheme, str | None], list[Any]]


def run_in_memory(protocol: Protocol, inputs: Sequence[Any], scheme: Scheme, triples: str | None) -> list[Any]:
    return simulate(protocol, inputs, scheme, triples=triples)


def run_over_grpc(protocol: Protocol, inputs: Sequence[Any], scheme: Scheme, triples: str | None) -> list[Any]:
    """Every party with a certificate and a port of its own, in threads of this process; the dealer is a node."""
    names = [f"party{i}" for i in range(scheme.parties)]
    kind = "additive" if scheme.name == "plaintext" else scheme.name  # a spec offers no plaintext; it takes any channel
    with TemporaryDirectory() as folder:
        cluster = Cluster(
            Path(folder), names, scheme=kind, colluding=scheme.privacy_threshold or 1,
            triples="dealer" if triples == "dealer" else None,
        )  # fmt: skip
        cluster.approve()
        dealer = ServingNode(cluster["dealer"]) if triples == "dealer" else None

        def take_part(i: int) -> Any:
            algebra = None if scheme.name == "plaintext" else scheme.algebra.name
            with join(cluster[names[i]], session="conformance", algebra=algebra) as ctx:
                ctx.scheme = scheme
                if triples in ("ot", "insecure"):
                    ctx.triples = InsecurePublicTriples() if triples == "insecure" else triple_source(triples)
                return protocol(ctx, inputs[i])

        try:
            with ThreadPoolExecutor(scheme.parties) as pool:
                return list(pool.map(take_part, range(scheme.parties)))
        finally:
            if dealer is not None:
                dealer.close()


TRANSPORTS: dict[str, Transport] = {"memory": run_in_memory, "grpc": run_over_grpc}
"""`protocol(ctx, inputs[i])` as party i, for every i; what each returned."""

SUPPORTED: dict[str, Callable[[Scheme, str | None], bool]] = {
    "grpc": lambda scheme, triples: scheme.name != "plaintext" or triples != "dealer"
}
"""For a transport that cannot serve every scheme and triple source: which it does."""


@dataclass(frozen=True)
class Cell:
    transport: str
    scheme_name: str
    parties: int
    triples: str | None

    @property
    def scheme(self) -> Scheme:
        return SCHEMES[self.scheme_name](self.parties)

    def __str__(self) -> str:
        return f"{self.transport}-{self.scheme_name}-{self.parties}-{self.triples}"


def cells() -> Iterator[Cell]:
    for transport in TRANSPORTS:
        for name, make in SCHEMES.items():
            for parties in PARTIES:
                try:
                    scheme = make(parties)
                except ValueError:
                    continue
                for triples in TRIPLES:
                    possible = multiplies_with(scheme, triples)
                    if possible and SUPPORTED.get(transport, lambda scheme, triples: True)(scheme, triples):
                        yield Cell(transport, name, parties, triples)


def multiplies_with(scheme: Scheme, triples: str | None) -> bool:
    if triples is None:
        return isinstance(scheme, Replicated) or scheme.product_weights is not None
    return not isinstance(scheme, Replicated)


def compares(scheme: Scheme, triples: object) -> bool:
    """Whether it runs the cases that take what only a source of triples has, or replicated shares do without."""
    return triples is not None or isinstance(scheme, Replicated)


def named(value: object) -> str:
    """The same name of a scheme (or coalition ...) in every process, for parametrized tests."""
    if not hasattr(value, "privacy_threshold"):
        return str(value)
    scheme: Any = value
    return f"{scheme.name}-{scheme.parties}-{scheme.privacy_threshold}-{scheme.algebra.name}"


# --- what a party reports ---------------------------------------------------------------------------------------------


class Watched:
    """A channel that keeps what passes through it. `watch(ctx)` puts one in place, whatever the transport."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.sent: list[tuple[PartyId, Tag, bytes]] = []
        self.received: list[tuple[PartyId, Tag, bytes]] = []

    def send(self, to: PartyId, tag: Tag, payload: Payload) -> None:
        self.sent.append((to, tag, bytes(payload)))
        self.channel.send(to, tag, payload)

    def receive(self, sender: PartyId, tag: Tag, size: int) -> Payload:
        payload = self.channel.receive(sender, tag, size)
        self.received.append((sender, tag, bytes(payload)))
        return payload


def watch(ctx: Context) -> Watched:
    ctx._channel = watched = Watched(ctx._channel)
    return watched


@dataclass(frozen=True)
class Report:
    """One case at one party. `values`: what it opened, lists of Python numbers; None where it is no receiver."""

    values: list[Any] | None
    declared: Cost
    measured: Cost
    channel_bytes: int
    sent_to: frozenset[PartyId]
    received_from: frozenset[PartyId]


# --- the protocols ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """`run(ctx, shares, mine)` returns shares, which the session opens to all after it has measured, or what was
    opened, a list; `shares` are the parties' inputs, `mine` this party's. `exact(inputs, n)` are the right values as
    exact integers, right modulo the algebra's modulus (as are decimals, times 2^scale).
    `cost(ctx)` is what is declared. `receivers(n)`: who gets the values, None for all. `correlated`: it takes what only a source of
    triples has."""

    run: Callable[[Context, list[Share], Sequence[int]], list[Any]]
    exact: Callable[[list[list[int]], int], list[Any]]
    cost: Callable[[Context], Cost]
    receivers: Callable[[int], Sequence[PartyId] | None] = field(default=lambda n: None)
    scale: int = 0
    correlated: bool = False


LENGTH = 12


def inputs(scheme: Scheme) -> list[list[int]]:
    """LENGTH numbers a party: the edges of what may be shared, at other places for each party, and random ones."""
    bound, rng = scheme.algebra.bound, np.random.default_rng(7)
    edges = [0, 1, -1, bound, -bound, bound - 1, 1 - bound, bound // 2]
    return [
        [edges[(k * (party + 1) + party) % len(edges)] for k in range(8)]
        + [int.from_bytes(rng.bytes(24), "little") % (2 * bound + 1) - bound for _ in range(LENGTH - 8)]
        for party in range(scheme.parties)
    ]


def _everyone(ctx: Context) -> range:
    return range(ctx.parties)


def _multiplied(ctx: Context, elements: int) -> Cost:
    return multiply_cost(ctx.scheme, ctx.me, ctx.triples, elements)


def _revealed(ctx: Context, to: Sequence[PartyId] | None, elements: int) -> Cost:
    return reveal_cost(ctx.scheme, ctx.me, _everyone(ctx) if to is None else to, elements)


def _share_all(ctx: Context, x: list[Share], mine: Sequence[int]) -> list[Share]:
    return share(ctx, list(mine))


def _share_from_last(ctx: Context, x: list[Share], mine: Sequence[int]) -> list[Share]:
    last = ctx.parties - 1
    return share(ctx, [list(mine)] if ctx.me == last else None, shapes={last: (1, LENGTH)})


def _share_unevenly(ctx: Context, x: list[Share], mine: Sequence[int]) -> list[Share]:
    shapes = {i: (i + 1,) for i in range(ctx.parties) if i != 1}
    return share(ctx, list(mine[: ctx.me + 1]) if ctx.me in shapes else None, shapes=shapes)


def _uneven_shapes(n: int) -> dict[PartyId, tuple[int, ...]]:
    return {i: (i + 1,) for i in range(n) if i != 1}


def _linear(ctx: Context, x: list[Share], mine: Sequence[int]) -> list[Share]:
    public = np.arange(-5, 7)
    return [3 * x[0] - x[1] + 7, public - x[0], x[1] * public, -x[0] + public, x[0][2:5] - [1, -2, 3]]


def _linear_exact(v: list[list[int]], n: int) -> list[Any]:
    a, b = v[0], v[1]
    public = range(-5, 7)
    return [
        [3 * p - q + 7 for p, q in zip(a, b, strict=True)],
        [c - p for c, p in zip(public, a, strict=True)],
        [q * c for c, q in zip(public, b, strict=True)],
        [-p + c for c, p in zip(public, a, strict=True)],
        [p - c for p, c in zip(a[2:5], (1, -2, 3), strict=True)],
    ]


def _totals(ctx: Context, x: list[Share], mine: Sequence[int]) -> list[Share]:
    table = x[0].reshape(3, 4)
    twice = table[:, np.newaxis].broadcast_to((3, 2, 4))
    return [sum(x[1:], x[0]), x[0].sum(), table.sum(0), table.sum(1), twice.reshape(-1)]


def _totals_exact(v: list[list[int]], n: int) -> list[Any]:
    rows = [v[0][0:4], v[0][4:8], v[0][8:12]]
    return [
        [sum(column) for column in zip(*v, strict=True)],
        sum(v[0]),
        [sum(column) for column in zip(*rows, strict=True)],
        [sum(row) for row in rows],
        [v for row in rows for v in row + row],
    ]


def _multiply(ctx: Context, x: list[Share], mine: Sequence[int]) -> list[Share]:
    return [multiply(ctx, x[0], x[1])]


def _dot(ctx: Context, x: list[Share], mine: Sequence[int]) -> list[Share]:
    return [dot(ctx, x[0].reshape(3, 4), x[1].reshape(3, 4)), dot(ctx, x[0], x[1])]


def _multiply_table_and_number(ctx: Context, x: list[Share], mine: Sequence[int]) -> list[Share]:
    return [multiply(ctx, x[0].reshape(3, 4), x[1].reshape(3, 4)), multiply(ctx, x[0].sum(), x[1].sum())]


def _chain(ctx: Context, x: list[Share], mine: Sequence[int]) -> list[Share]:
    # a product is a share like any other: multiplied again, added, squared
    product = multiply(ctx, multiply(ctx, x[0], x[1]) - x[0], x[-1])
    return [product, multiply(ctx, product, product) + 1]


def _chain_exact(v: list[list[int]], n: int) -> list[Any]:
    products = [(a * b - a) * c for a, b, c in zip(v[0], v[1], v[-1], strict=True)]
    return [products, [p * p + 1 for p in products]]


def _reveal_to(receivers: Callable[[int], Sequence[PartyId] | None]) -> Case:
    def run(ctx: Context, x: list[Share], mine: Sequence[int]) -> list[Any]:
        opened = reveal(ctx, x[0], x[1][:3], to=receivers(ctx.parties))
        return [None] if opened is None else opened

    return Case(
        run,
        lambda v, n: [v[0], v[1][:3]],
        lambda ctx: _revealed(ctx, receivers(ctx.parties), LENGTH + 3),
        receivers,
    )


SIXTEENTHS = [-24, -1, 0, 1, 3, 1000]


def _decimals(ctx: Context, x: list[Share], mine: Sequence[int]) -> list[Any]:
    # scale 4 times scale 4, and a public number added at scale 8: nothing is lost
    a, b = share(ctx, [v / 16 for v in SIXTEENTHS], scale=4)[:2]
    product = multiply(ctx, a + 2, b) - 5
    assert product.scale == 8
    return [reveal(ctx, product)]


def _compare(ctx: Context, x: list[Share], mine: Sequence[int]) -> list[Any]:
    is_less = less(ctx, x[0].reshape(3, 4), x[1].reshape(3, 4)).reshape(LENGTH)
    is_zero = equal(ctx, x[0], [0] * 6 + [1] * 6)
    # what stays in the words beyond the bits is not opened: ~ makes it 1
    return reveal_bits(ctx, is_less, is_zero, both(ctx, is_less, ~is_zero), is_less ^ is_zero, ~is_less) or []


def _compare_exact(v: list[list[int]], n: int) -> list[Any]:
    is_less = [a < b for a, b in zip(v[0], v[1], strict=True)]
    is_zero = [a == (k > 5) for k, a in enumerate(v[0])]
    pairs = list(zip(is_less, is_zero, strict=True))
    return [is_less, is_zero, [a and not b for a, b in pairs], [a != b for a, b in pairs], [not a for a in is_less]]


def _least(ctx: Context, x: list[Share], mine: Sequence[int]) -> list[Share]:
    is_less = negative(ctx, x[0] - x[1])
    return [select(ctx, is_less, x[0], x[1]), select(ctx, is_less, x[1], 7), as_numbers(ctx, is_less)]


def _least_exact(v: list[list[int]], n: int) -> list[Any]:
    pairs = list(zip(v[0], v[1], strict=True))
    return [[min(pair) for pair in pairs], [b if a < b else 7 for a, b in pairs], [int(a < b) for a, b in pairs]]


def _correlated(ctx: Context, cost: Callable[[Scheme, PartyId, Any, int], Cost]) -> Cost:
    return cost(ctx.scheme, ctx.me, ctx.triples, LENGTH)


def _truncate(ctx: Context, x: list[Share], mine: Sequence[int]) -> list[Share]:
    return [truncate(ctx, x[0].reshape(3, 4), 3).reshape(LENGTH), truncate(ctx, x[1], 13)]


def _histogram(ctx: Context, x: list[Share], mine: Sequence[int]) -> list[Share]:
    bound = ctx.scheme.algebra.bound
    return [histogram(ctx, x[0], [-bound, -1, 0, 2, bound]), histogram(ctx, x[1], [1])]


def _histogram_exact(v: list[list[int]], bound: int) -> list[Any]:
    edges = [-bound, -1, 0, 2, bound]
    from_edge = [len(v[0]), *(sum(a >= edge for a in v[0]) for edge in edges), 0]
    return [[a - b for a, b in pairwise(from_edge)], [sum(a < 1 for a in v[1]), sum(a >= 1 for a in v[1])]]


def _decompose(ctx: Context, x: list[Share], mine: Sequence[int]) -> list[Share]:
    bits = decompose(ctx, x[0])
    return [compose(ctx, bits), compose(ctx, bits[:5], signed=False)]


def _decompose_cost(ctx: Context) -> Cost:
    length, each = bit_length(ctx.scheme.algebra) - 1, (ctx.scheme, ctx.me, ctx.triples, LENGTH)
    return _correlated(ctx, decompose_cost) + compose_cost(*each, length) + compose_cost(*each, 5)


CASES: dict[str, Case] = {
    "share": Case(
        _share_all,
        lambda v, n: v,
        lambda ctx: share_cost(ctx.scheme, ctx.me, dict.fromkeys(_everyone(ctx), (LENGTH,))),
    ),
    "share-from-last": Case(
        _share_from_last,
        lambda v, n: [[v[-1]]],
        lambda ctx: share_cost(ctx.scheme, ctx.me, {ctx.parties - 1: (1, LENGTH)}),
    ),
    "share-unevenly": Case(
        _share_unevenly,
        lambda v, n: [v[i][: i + 1] for i in _uneven_shapes(n)],
        lambda ctx: share_cost(ctx.scheme, ctx.me, _uneven_shapes(ctx.parties)),
    ),
    "linear": Case(_linear, _linear_exact, lambda ctx: Cost()),
    "totals": Case(_totals, _totals_exact, lambda ctx: Cost()),
    "multiply": Case(
        _multiply,
        lambda v, n: [[a * b for a, b in zip(v[0], v[1], strict=True)]],
        lambda ctx: _multiplied(ctx, LENGTH),
    ),
    "square": Case(
        lambda ctx, x, mine: [square(ctx, x[0])],
        lambda v, n: [[a * a for a in v[0]]],
        lambda ctx: square_cost(ctx.scheme, ctx.me, ctx.triples, LENGTH),
    ),
    "dot": Case(
        _dot,
        lambda v, n: [
            [sum(a * b for a, b in zip(v[0][k : k + 4], v[1][k : k + 4], strict=True)) for k in (0, 4, 8)],
            sum(a * b for a, b in zip(v[0], v[1], strict=True)),
        ],
        lambda ctx: dot_cost(ctx.scheme, ctx.me, ctx.triples, 3, 4) + dot_cost(ctx.scheme, ctx.me, ctx.triples, 1, LENGTH),
    ),
    "multiply-table-and-number": Case(
        _multiply_table_and_number,
        lambda v, n: [
            np.reshape(np.array([a * b for a, b in zip(v[0], v[1], strict=True)], dtype=object), (3, 4)).tolist(),
            sum(v[0]) * sum(v[1]),
        ],
        lambda ctx: _multiplied(ctx, LENGTH) + _multiplied(ctx, 1),
    ),
    "chain": Case(
        _chain, _chain_exact, lambda ctx: _multiplied(ctx, LENGTH) + _multiplied(ctx, LENGTH) + _multiplied(ctx, LENGTH)
    ),
    "reveal-to-all": _reveal_to(lambda n: None),
    "reveal-to-first": _reveal_to(lambda n: (0,)),
    "reveal-to-last": _reveal_to(lambda n: (n - 1,)),
    "reveal-to-two": _reveal_to(lambda n: (n - 1, 0)),
    "decimals": Case(
        _decimals,
        lambda v, n: [[(a + 32) * a - 5 * 256 for a in SIXTEENTHS]],
        lambda ctx: (
            share_cost(ctx.scheme, ctx.me, dict.fromkeys(_everyone(ctx), (len(SIXTEENTHS),)))
            + _multiplied(ctx, len(SIXTEENTHS))
            + _revealed(ctx, None, len(SIXTEENTHS))
        ),
        scale=8,
    ),
    "compare": Case(
        _compare, _compare_exact,
        lambda ctx: (
            _correlated(ctx, negative_cost) + _correlated(ctx, is_zero_cost) + _correlated(ctx, both_cost)
            + reveal_bits_cost(ctx.scheme, ctx.me, _everyone(ctx), *[LENGTH] * 5)
        ),
        correlated=True,
    ),
    "truncate": Case(
        _truncate, lambda v, n: [[a >> 3 for a in v[0]], [a >> 13 for a in v[1]]],
        lambda ctx: _correlated(ctx, partial(truncate_cost, bits=3)) + _correlated(ctx, partial(truncate_cost, bits=13)),
        correlated=True,
    ),
    "decompose": Case(_decompose, lambda v, n: [v[0], [a & 31 for a in v[0]]], _decompose_cost, correlated=True),
    "histogram": Case(
        _histogram, lambda v, n: _histogram_exact(v, max(abs(a) for of in v for a in of)),
        lambda ctx: _correlated(ctx, partial(histogram_cost, edges=5)) + _correlated(ctx, partial(histogram_cost, edges=1)),
        correlated=True,
    ),
    "least": Case(
        _least, _least_exact,
        lambda ctx: (
            _correlated(ctx, negative_cost) + _correlated(ctx, select_cost) + _correlated(ctx, select_cost)
            + _correlated(ctx, as_numbers_cost)
        ),
        correlated=True,
    ),
}


CORRELATIONS: tuple[Kind, ...] = (
    Triples(1), Triples(5), Ands(1), Ands(3), Squares(1), Squares(2), Squares(7),
    Bits(1), Bits(2), Masks(1), Masks(2), Truncations(1, 3), Truncations(2, 21),
    Matrices(1, 1, 1), Matrices(5, 3, 2), Matrices(2, 3, 5), Matrices(1, 7, 1), Matrices(3, 1, 3),
)  # fmt: skip


def _bits_of(word: int, count: int) -> list[int]:
    return [word >> i & 1 for i in range(count)]


def wrong(kind: Kind, modulus: int, parts: Sequence[np.ndarray]) -> str:
    """What is wrong with the opened `parts` of a kind, in Python integers; "" if nothing."""
    values = [part.astype(object) for part in parts]
    bits = (modulus - 1).bit_length()
    if isinstance(kind, Ands):
        holds, shapes = all(x & y == z for x, y, z in zip(*values, strict=True)), [(kind.count,)] * 3
    elif isinstance(kind, Triples):
        holds, shapes = all((x * y - z) % modulus == 0 for x, y, z in zip(*values, strict=True)), [(kind.count,)] * 3
    elif isinstance(kind, Squares):
        holds, shapes = all((x * x - y) % modulus == 0 for x, y in zip(*values, strict=True)), [(kind.count,)] * 2
    elif isinstance(kind, Bits):
        words, numbers = values
        holds = all(_bits_of(word, 64) == list(row) for word, row in zip(words, numbers, strict=True))
        shapes = [(kind.count,), (kind.count, 64)]
    elif isinstance(kind, Masks):
        words, products, numbers = values
        holds, multiplies = True, kind.shift if isinstance(kind, Truncations) else bits
        for of_group, multiplied, rows in zip(words, products, numbers, strict=True):
            wholes = [sum((word >> lane & 1) << i for i, word in enumerate(of_group)) for lane in range(64)]
            wanted = [wholes]
            if isinstance(kind, Truncations):
                wanted += [[whole >> kind.shift for whole in wholes], [whole >> bits - 1 for whole in wholes]]
            for of_wholes, row in zip(wanted, np.reshape(rows, (-1, 64)), strict=True):
                holds &= all((whole - x) % modulus == 0 for whole, x in zip(of_wholes, row, strict=True))
            padded = [*of_group[:multiplies], 0, 0, 0]
            for four, of_four in enumerate(multiplied):
                for subset, product in zip(PRODUCTS, of_four, strict=True):
                    holds &= product == reduce(and_, (padded[4 * four + i] for i in range(4) if subset >> i & 1))
        fours = (multiplies + 3) // 4
        shapes = [(kind.count, bits), (kind.count, fours, 11), (kind.count, 3, 64) if isinstance(kind, Truncations) else (kind.count, 64)]
    else:
        assert isinstance(kind, Matrices)
        a, b, c = values
        holds = all(
            (sum(a[i, k] * b[k, j] for k in range(kind.k)) - c[i, j]) % modulus == 0
            for i in range(kind.m) for j in range(kind.n)
        )  # fmt: skip
        shapes = [(kind.m, kind.k), (kind.k, kind.n), (kind.m, kind.n)]
    if [part.shape for part in parts] != shapes:
        return f"{kind}: shapes {[part.shape for part in parts]}"
    return "" if holds else f"{kind}: {parts}"


def session(ctx: Context, mine: Sequence[int]) -> dict[str, Report]:
    """All cases, one after another, in one session."""
    if isinstance(ctx.triples, ObliviousTriples):
        ctx.triples.link(ctx)  # once a session, and no cost of what runs in it
    watched = watch(ctx)
    shares = share(ctx, list(mine))
    reports = {}

    def measure(name: str, run: Callable[[], list[Any]], declared: Cost, opened: Callable[[list[Any]], list[Any] | None]) -> None:
        before, sent, received = ctx.measured, len(watched.sent), len(watched.received)
        result = run()
        now, messages, senders = ctx.measured, watched.sent[sent:], watched.received[received:]
        reports[name] = Report(
            opened(result),  # only now, so that the case's own cost stays apart
            declared,
            Cost(now.rounds - before.rounds, now.bytes - before.bytes, now.triples - before.triples),
            sum(len(payload) for _, _, payload in messages),
            frozenset(to for to, _, _ in messages),
            frozenset(sender for sender, _, _ in senders),
        )

    def opened(result: list[Any]) -> list[Any] | None:
        if isinstance(result[0], Share):
            values = reveal(ctx, *result)
            result = [values] if len(result) == 1 else values
        return None if result[0] is None else [np.asarray(value).tolist() for value in result]

    def residues(parts: list[Any]) -> list[Any]:
        found = [open_residues(ctx.under(part.scheme), [part], _everyone(ctx), "reveal") for part in parts]
        return [values[0] for values in found if values is not None]

    for name, case in CASES.items():
        if case.correlated and not compares(ctx.scheme, ctx.triples):
            continue
        measure(name, lambda case=case: case.run(ctx, shares, mine), case.cost(ctx), opened)
    for kind in CORRELATIONS if ctx.triples is not None else ():
        declared = ctx.triples.cost(ctx.scheme, ctx.me, kind)
        measure(str(kind), lambda kind=kind: list(ctx.triples.take(ctx, kind)), declared, residues)
    return reports


@cache
def reports(cell: Cell) -> list[dict[str, Report]]:
    """What each party reported of the one session of a cell."""
    scheme = cell.scheme
    return TRANSPORTS[cell.transport](session, inputs(scheme), scheme, cell.triples)
