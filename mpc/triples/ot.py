"""Triples, and other correlations, that the parties make among themselves, by oblivious transfer: nobody is trusted with them.

t + 1 parties, the contributors, as many as never collude all, draw a_i and b_i; a and b are the sums. Each pair of them makes
shares of a_i b_j and of a_j b_i (mpc/ot), so c is shared additively, too. Additive shares are that already; under another
scheme each of the t + 1 deals its part of a, b and c to all. A coalition of t sees of the others' parts only keys of transfers
it did not choose, pads to it, and shares.

The other kinds go the same way. A square has one cross product a pair where a triple has two. A matrix product has one for each
element of the smaller factor and a vector of the other. A random bit is the XOR of one of each contributor, in words as it
is; as a number it goes from one to the next: R + r - 2 R r, where r, the next one's bit, chooses among what the ones before
hold of R; in masks it chooses among what becomes of the products of bits as well (mpc/ot/fours.py).
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import reduce
from math import prod

import numpy as np

from mpc.algebra import Algebra, Array, Shape
from mpc.context import Context
from mpc.correlations import (
    Ands,
    Bits,
    Kind,
    Masks,
    Matrices,
    Part,
    Row,
    Squares,
    Triples,
    Truncations,
    bit_length,
    check,
    in_products,
    matrix_product,
    shares,
    unpacked,
)
from mpc.cost import Cost
from mpc.dealing import deal, deal_cost
from mpc.errors import ProtocolError
from mpc.ot.base import ID_BYTES, BaseKeys, base_transfers
from mpc.ot.crossing import Elementwise, crossed
from mpc.ot.extension import Chooser, Sender
from mpc.ot.fours import Fours, bytes_corrected
from mpc.ot.matrices import Outer, bytes_of_matrices, vector_product_over
from mpc.ot.products import OneBit, bytes_chosen, bytes_each_way, product_over
from mpc.randomness import Stream
from mpc.schemes import PartyId, Scheme
from mpc.schemes.additive import Additive
from mpc.schemes.words import boolean
from mpc.share import Share
from mpc.triples.pool import Pools

OPERATION = "triples"
Links = dict[PartyId, tuple[Chooser, Sender]]
"""Both ends of the extension with each of the other contributors."""

BATCH = 1 << 18
"""Triples that are made before the next are begun; of squares as many, of bits 2^20, of masks so many that they have 2^20."""
_BITS = 1 << 20


class ObliviousTriples:
    """A party's end. `keys` are those of the base transfers with its peers, where there are any of an earlier session;
    at the end, `keys` has them all, to be kept."""

    name = "ot"

    def __init__(self, keys: Mapping[PartyId, BaseKeys] | None = None) -> None:
        self.keys = dict(keys or {})
        self._links: Links | None = None
        self._pools = Pools()
        self._stream: Stream  # of this party's parts; from `link` on

    def request(self, ctx: Context, kind: Row) -> None:
        """Makes what is missing, here and now. Discloses nothing."""
        pool = self._pools.of(kind, ctx.scheme)
        for batch in self.made(ctx, replace(kind, count=max(kind.count - pool.size, 0))):
            pool.put(batch)

    def take(self, ctx: Context, kind: Kind) -> tuple[Share, ...]:
        """Discloses nothing. Matrices: see `mpc/ot/matrices.py`; the other kinds: see `made`."""
        check(kind, ctx.scheme)
        if isinstance(kind, Row):
            self.request(ctx, kind)
            return shares(kind, ctx.scheme, ctx.me, self._pools.of(kind, ctx.scheme).take(kind.count))
        return shares(kind, ctx.scheme, ctx.me, self._piece(ctx, kind))

    def cost(self, scheme: Scheme, me: PartyId, kind: Kind) -> Cost:
        """Without what `link` takes."""
        cost = Cost()
        for piece in kind.pieces(_largest(kind, scheme)):
            cost += _piece_cost(scheme, me, piece)
        return cost

    def made(self, ctx: Context, kind: Row) -> Iterator[list[Array]]:
        """This party's shares of each part, in batches. A triple: 516 bytes to each of the t peers over Z_2^64, 744 over
        GF(2^61-1); an AND of words: 264; a square: 258 or 372 on average; 64 bits: from each contributor 256 to all before
        it, 512 to all after it, in 2 t rounds; masks: see docs/protocols.md."""
        for piece in kind.pieces(_largest(kind, ctx.scheme)):
            yield self._piece(ctx, piece)

    def _piece(self, ctx: Context, kind: Kind) -> list[Array]:
        parts = kind.parts(ctx.scheme)
        if isinstance(kind, Triples | Ands):
            return list(self._shared(ctx.under(parts[0].scheme), (3, kind.count), self._triples(ctx.under(parts[0].scheme), kind.count)))
        if isinstance(kind, Squares):
            return list(self._shared(ctx, (2, kind.count), self._squares(ctx, kind.count)))
        if isinstance(kind, Matrices):
            ends = np.cumsum([prod(part.shape) for part in parts])
            flat = self._shared(ctx, (int(ends[-1]),), self._matrices(ctx, kind))
            return [x.reshape(part.shape) for part, x in zip(parts, np.split(flat, ends[:-1]), strict=True)]
        if isinstance(kind, Masks):
            words, products, bits = self._masks(ctx, kind)
            made: tuple[Array | None, ...] = (words, products, None if bits is None else _numbers(kind, ctx.scheme.algebra, bits))
        else:
            made = self._bits(ctx, parts[0])
        return [self._shared(ctx.under(part.scheme), part.shape, x) for part, x in zip(parts, made, strict=True)]

    def _triples(self, ctx: Context, count: int) -> Array | None:
        """This contributor's part of a, b and c: (3, count)."""
        links, tag, algebra = self.link(ctx), ctx.tag(OPERATION), ctx.scheme.algebra
        if ctx.me not in _contributors(ctx.scheme):
            return None
        a, b = algebra.uniform((count,), self._stream), algebra.uniform((count,), self._stream)
        made = np.stack([a, b, algebra.multiply(a, b)])
        product = product_over(algebra)
        sending, choosing = (dict.fromkeys(links, Elementwise(product, algebra, x, made[2])) for x in (a, b))
        crossed(ctx, links, tag, sending, choosing)
        return made

    def _squares(self, ctx: Context, count: int) -> Array | None:
        """This contributor's part of a and a * a: (2, count). Of the 2 a_i a_j of a pair, the lower is the sender for the
        first half, for the second the other. What is sent is 2 a_i: shares of a_i a_j, doubled, would all be even."""
        links, tag, algebra = self.link(ctx), ctx.tag(OPERATION), ctx.scheme.algebra
        if ctx.me not in _contributors(ctx.scheme):
            return None
        a = algebra.uniform((count,), self._stream)
        made = np.stack([a, algebra.multiply(a, a)])
        halves = slice(0, _first_half(count)), slice(_first_half(count), count)

        def factors(x: Array) -> list[Elementwise]:
            return [Elementwise(product_over(algebra), algebra, x[half], made[1, half]) for half in halves]

        twice, once = factors(algebra.add(a, a)), factors(a)
        sending = {i: twice[ctx.me > i] for i in links}
        choosing = {i: once[ctx.me < i] for i in links}
        crossed(ctx, links, tag, sending, choosing)
        return made

    def _bits(self, ctx: Context, wanted: Part) -> tuple[Array, Array] | tuple[None, None]:
        """Random bits, in words as `wanted`: this contributor's part of them, and of each bit as a number, (words, 64)."""
        links, algebra, contributors = self.link(ctx), ctx.scheme.algebra, _contributors(ctx.scheme)
        tags = [ctx.tag(OPERATION) for _ in contributors[1:]]
        if ctx.me not in contributors:
            return None, None
        words = wanted.uniform(self._stream)
        mine = words.reshape(-1)
        part = algebra.encode(unpacked(mine))  # of R, which is the bit of party 0 now, and the XOR of all at the end
        product = OneBit(algebra)
        for j, tag in zip(contributors[1:], tags, strict=True):
            if ctx.me < j:
                minus_twice = algebra.subtract(algebra.subtract(part - part, part), part)
                crossed(ctx, links, tag, {j: Elementwise(product, algebra, minus_twice, part)}, {})
            elif ctx.me == j:
                crossed(ctx, links, tag, {}, dict.fromkeys(range(j), Elementwise(product, algebra, mine, part)))
        return words, part

    def _masks(self, ctx: Context, kind: Masks) -> tuple[Array, Array, Array] | tuple[None, None, None]:
        """Random words; this contributor's part of their products in fours; and that of each bit as a number, (words, bits, 64). As `_bits` from one
        to the next: in the first half from the first contributor on, in the second from the last, so that all work alike."""
        links, algebra, contributors = self.link(ctx), ctx.scheme.algebra, _contributors(ctx.scheme)
        tags = [ctx.tag(OPERATION) for _ in contributors[1:]]
        if ctx.me not in contributors:
            return None, None, None
        words, used = kind.drawn(ctx.scheme)[0].uniform(self._stream), _multiplied(kind, ctx.scheme)
        products, numbers = in_products(words[:, :used]), algebra.encode(unpacked(words))
        first = _first_half(kind.count)
        ascending, descending = (
            Fours(algebra, words[half], used, numbers[half], products[half]) for half in (slice(first), slice(first, None))
        )
        for j, k, tag in zip(contributors[1:], contributors[-2::-1], tags, strict=True):
            sending = ({j: ascending} if ctx.me < j else {}) | ({k: descending} if ctx.me > k else {})
            choosing = (dict.fromkeys(range(j), ascending) if ctx.me == j else {}) | (dict.fromkeys(contributors[k + 1 :], descending) if ctx.me == k else {})
            crossed(ctx, links, tag, sending, choosing)
        return words, products, numbers

    def _matrices(self, ctx: Context, kind: Matrices) -> Array | None:
        """This contributor's part of A, B and A B, flat, end to end."""
        links, tag, algebra = self.link(ctx), ctx.tag(OPERATION), ctx.scheme.algebra
        if ctx.me not in _contributors(ctx.scheme):
            return None
        a, b = (algebra.uniform(part.shape, self._stream) for part in kind.drawn(ctx.scheme))
        # the elements of the smaller side choose, among multiples of the other side's columns or rows
        vectors, chosen = (a.T, b.T) if kind.m >= kind.n else (b, a)
        crosses = _zeros(algebra, (len(chosen), vectors.shape[1]))
        factor = Outer(vector_product_over(algebra), algebra, np.ascontiguousarray(vectors), np.ascontiguousarray(chosen), crosses)
        crossed(ctx, links, tag, dict.fromkeys(links, factor), dict.fromkeys(links, factor))
        c = algebra.add(matrix_product(algebra, a, b), crosses.T if kind.m >= kind.n else crosses)
        return np.concatenate([x.reshape(-1) for x in (a, b, c)])

    def _shared(self, ctx: Context, shape: Shape, mine: Array | None) -> Array:
        """This party's share of what the contributors hold parts of."""
        contributors = _contributors(ctx.scheme)
        if _are_shares(ctx.scheme):
            assert mine is not None
            return mine
        parts = deal(ctx, OPERATION, dict.fromkeys(contributors, shape), mine)
        return reduce(ctx.scheme.algebra.add, parts.values())

    def link(self, ctx: Context) -> Links:
        """Both ends of the extension with each of the other contributors, under keys of this session: at first use two
        rounds with 32 and 4,096 bytes to each, and between them the base transfers with those with whom not both have kept
        the same. None of this is counted as a cost: it is made once a session, whatever the session does."""
        contributors = _contributors(ctx.scheme)
        peers = [i for i in contributors if i != ctx.me and ctx.me in contributors]
        if self._links is None:
            step = ctx.tag("links").step
            self._stream = Stream(ctx.own_seed())
            ids = {i: self.keys[i].id if i in self.keys else bytes(ID_BYTES) for i in peers}
            told = ctx.tell_each("kept base transfers", ids)
            self.keys |= base_transfers(ctx, [i for i in peers if i not in self.keys or told[i] != ids[i]])
            choosers = {i: Chooser(self.keys[i].sent, _epoch(ctx, step, i, ctx.me)) for i in peers}
            setups = ctx.tell_each("trees", {i: chooser.setup for i, chooser in choosers.items()})
            self._links = {
                i: (choosers[i], Sender(self.keys[i].choices, self.keys[i].chosen, setup, _epoch(ctx, step, ctx.me, i)))
                for i, setup in setups.items()
            }
        if [*self._links] != peers:
            raise ProtocolError("the schemes of one session must have one privacy threshold")
        return self._links


def _epoch(ctx: Context, step: int, sender: PartyId, chooser: PartyId) -> bytes:
    """32 bytes of this session, step and direction alone: two sources in one session may have the same keys."""
    return ctx.secret(chooser if sender == ctx.me else sender, "oblivious transfer", str(step), f"{sender}>{chooser}")


def _are_shares(scheme: Scheme) -> bool:
    """Whether what all contributors hold parts of is shared already."""
    return isinstance(scheme, Additive) and len(_contributors(scheme)) == scheme.parties


def _contributors(scheme: Scheme) -> range:
    return range(scheme.privacy_threshold + 1)


def _zeros(algebra: Algebra, shape: Shape) -> Array:
    return np.zeros(shape, algebra.encode(0).dtype)


def _first_half(count: int) -> int:
    return (count + 1) // 2


def _largest(kind: Kind, scheme: Scheme) -> int:
    """How many elements of the largest part are made at once."""
    if isinstance(kind, Masks):
        return kind.WIDTH * max(_BITS // 64**2, 1)
    return _BITS if isinstance(kind, Bits) else BATCH


def _multiplied(kind: Masks, scheme: Scheme) -> int:
    """Of so many bits there are products."""
    return kind.shift if isinstance(kind, Truncations) else bit_length(scheme.algebra)


def _numbers(kind: Masks, algebra: Algebra, bits: Array) -> Array:
    """What bits (count, bits, 64) make up, as `kind` has it."""

    def number(bits: Array) -> Array:
        return algebra.combination([1 << i for i in range(bits.shape[1])], [bits[:, i] for i in range(bits.shape[1])])

    if isinstance(kind, Truncations):
        return np.stack([number(bits), number(bits[:, kind.shift :]), bits[:, -1]], axis=1)
    return number(bits)


def _piece_cost(scheme: Scheme, me: PartyId, kind: Kind) -> Cost:
    if isinstance(kind, Ands):
        scheme = boolean(scheme)
    contributors, algebra = _contributors(scheme), scheme.algebra
    dealt = dict.fromkeys(contributors, (sum(prod(part.shape) for part in kind.parts(scheme) if part.scheme == scheme),))
    cost = Cost() if _are_shares(scheme) else deal_cost(scheme, me, dealt)
    if me not in contributors or len(contributors) == 1:
        return cost
    below, above = me, len(contributors) - 1 - me  # other contributors before and after
    if isinstance(kind, Triples | Ands):
        return cost + Cost(2, (below + above) * kind.count * bytes_each_way(product_over(algebra)))
    if isinstance(kind, Squares):
        product, first = product_over(algebra), _first_half(kind.count)
        second = kind.count - first
        chosen, sent = above * second + below * first, above * first + below * second
        return cost + Cost(2, bytes_chosen(chosen * product.words) + sent * product.corrected)
    if isinstance(kind, Matrices):
        return cost + Cost(2, (below + above) * bytes_of_matrices(vector_product_over(algebra), kind))
    if isinstance(kind, Masks):
        bits, first = bit_length(algebra), _first_half(kind.count)
        corrected = bytes_corrected(algebra, bits, _multiplied(kind, scheme))
        for groups, before in ((first, below), (kind.count - first, above)):
            cost += Cost(0, before * bytes_chosen(groups * bits) + (len(contributors) - 1 - before) * groups * corrected)
        return cost + Cost(2 * sum(below <= step or (above <= step and kind.count > 1) for step in contributors[1:]))
    bit, words = OneBit(algebra), prod(kind.drawn(scheme)[0].shape)
    steps = above + (me > 0)
    return cost + Cost(2 * steps, below * bytes_chosen(words) + above * words * bit.corrected)
