"""Triples that the parties make among themselves, by oblivious transfer: nobody is trusted with them.

t + 1 parties, as many as never collude all, draw a_i and b_i; a and b are the sums. Each pair of them makes shares of
a_i b_j and of a_j b_i (mpc/ot), so c is shared additively, too. Additive shares are that already; under another scheme
each of the t + 1 deals its part of a, b and c to all. A coalition of t sees of the others' parts only keys of transfers it
did not choose, pads to it, and shares.
"""

from collections.abc import Iterator, Mapping
from math import prod

import numpy as np

from mpc.algebra import Array, Shape
from mpc.channel import Tag
from mpc.context import Context, blocks
from mpc.cost import Cost
from mpc.dealing import deal, deal_cost
from mpc.errors import PeerError, ProtocolError
from mpc.ot.base import ID_BYTES, BaseKeys, base_transfers
from mpc.ot.extension import Chooser, Sender, Words
from mpc.ot.products import Product, bytes_each_way, product_over
from mpc.ot.transfers import BLOCK, received
from mpc.randomness import Stream
from mpc.schemes import PartyId, Scheme
from mpc.schemes.additive import Additive
from mpc.share import Share
from mpc.triples.pool import Pool

OPERATION = "triples"
Links = dict[PartyId, tuple[Chooser, Sender]]
"""Both ends of the extension with each of the other contributors."""

AHEAD = 4
"""Blocks that are sent before the first is waited for."""
BATCH = 1 << 18
"""Triples that are made before the next are begun."""


class ObliviousTriples:
    """A party's end. `keys` are those of the base transfers with its peers, where there are any of an earlier session;
    at the end, `keys` has them all, to be kept."""

    name = "ot"

    def __init__(self, keys: Mapping[PartyId, BaseKeys] | None = None) -> None:
        self.keys = dict(keys or {})
        self._links: Links | None = None
        self._pool = Pool()
        self._stream: Stream  # of this party's parts; from `link` on

    def request(self, ctx: Context, count: int) -> None:
        """Makes what is missing to `count`, here and now. Discloses nothing."""
        for batch in self.made(ctx, max(count - self._pool.size, 0)):
            self._pool.put(batch)

    def take(self, ctx: Context, shape: Shape) -> tuple[Share, Share, Share]:
        count = prod(shape)
        if count < 1:
            raise ProtocolError(f"at least 1 triple must be taken, not {count}")
        self.request(ctx, count)
        a, b, c = (Share(x.reshape(shape), ctx.scheme, ctx.me) for x in self._pool.take(count))
        return a, b, c

    def cost(self, scheme: Scheme, me: PartyId, count: int) -> Cost:
        """Without what `link` takes."""
        cost, contributors = Cost(triples=count), _contributors(scheme)
        if me in contributors:
            cost += Cost(bytes=(len(contributors) - 1) * count * bytes_each_way(product_over(scheme.algebra)))
        for start in range(0, count, BATCH):
            size = min(BATCH, count - start)
            cost += Cost(rounds=2 if me in contributors else 0)
            if not isinstance(scheme, Additive):
                cost += deal_cost(scheme, me, dict.fromkeys(contributors, (3, size)))
        return cost

    def made(self, ctx: Context, count: int) -> Iterator[list[Array]]:
        """`count` triples, this party's shares of a, b and c, in batches. 516 bytes a triple to each of the t peers over
        Z_2^64, 744 over GF(2^61-1)."""
        contributors = _contributors(ctx.scheme)
        for start in range(0, count, BATCH):
            size = min(BATCH, count - start)
            links, tag = self.link(ctx), ctx.tag(OPERATION)  # at all parties, so that their steps keep the same numbers
            mine = self._additive(ctx, links, tag, size) if ctx.me in contributors else None
            if isinstance(ctx.scheme, Additive):  # nothing else makes summands shares, however many there are
                assert mine is not None
                yield list(mine)
                continue
            parts = deal(ctx, OPERATION, dict.fromkeys(contributors, (3, size)), mine)
            yield list(ctx.scheme.algebra.combination([1] * len(parts), list(parts.values())))

    def _additive(self, ctx: Context, links: Links, tag: Tag, count: int) -> Array:
        """This party's part of a, b and c: (3, count)."""
        algebra = ctx.scheme.algebra
        made = np.empty((3, count), algebra.encode(0).dtype)
        made[0], made[1] = algebra.uniform((count,), self._stream), algebra.uniform((count,), self._stream)
        made[2] = algebra.multiply(made[0], made[1])
        for block, share in _crossed(ctx, links, tag, product_over(algebra), made[0], made[1]):
            made[2, block] = algebra.add(made[2, block], share)
        ctx.measured += Cost(rounds=2)
        return made

    def link(self, ctx: Context) -> Links:
        """Both ends of the extension with each of the other contributors, under keys of this session: at first use two
        rounds with 32 and 4,096 bytes to each, and between them the base transfers with those with whom not both have kept
        the same. None of this is counted as a cost: it is made once a session, whatever the session does."""
        if self._links is None:
            contributors = _contributors(ctx.scheme)
            peers = [i for i in contributors if i != ctx.me and ctx.me in contributors]
            ids = {i: self.keys[i].id if i in self.keys else bytes(ID_BYTES) for i in peers}
            step = ctx.tag("links").step
            self._stream = Stream(ctx.own_seed())
            told = ctx.tell_each("kept base transfers", ids)
            self.keys |= base_transfers(ctx, [i for i in peers if i not in self.keys or told[i] != ids[i]])
            choosers = {i: Chooser(self.keys[i].sent, _epoch(ctx, step, i, ctx.me)) for i in peers}
            setups = ctx.tell_each("trees", {i: chooser.setup for i, chooser in choosers.items()})
            self._links = {
                i: (choosers[i], Sender(self.keys[i].choices, self.keys[i].chosen, setup, _epoch(ctx, step, ctx.me, i)))
                for i, setup in setups.items()
            }
        return self._links


def _epoch(ctx: Context, step: int, sender: PartyId, chooser: PartyId) -> bytes:
    """32 bytes of this session, step and direction alone: two sources in one session may have the same keys."""
    return ctx.secret(chooser if sender == ctx.me else sender, "oblivious transfer", str(step), f"{sender}>{chooser}")


def _contributors(scheme: Scheme) -> range:
    return range(scheme.privacy_threshold + 1)


def _crossed(
    ctx: Context, links: Links, tag: Tag, product: Product, a: Array, b: Array
) -> Iterator[tuple[slice, Array]]:
    """For each other contributor this party's shares of a * (its b) and of (its a) * b, in blocks. Each block takes a
    message each way, then its corrections; they are sent while the blocks before are waited for."""
    cut = list(blocks(a.size, BLOCK))
    kept: dict[tuple[PartyId, int], tuple[Words, Words]] = {}
    for step in range(len(cut) + 2 * AHEAD):
        if step < len(cut):
            for i, (chooser, _) in links.items():
                message, row, encrypted = chooser.extend(product.choices(b[cut[step]]))
                ctx.send_bytes(i, tag, _payload(message))
                kept[i, step] = row, encrypted
        if 0 <= step - AHEAD < len(cut):
            block = cut[step - AHEAD]
            for i, (_, sender) in links.items():
                message = received(ctx, i, tag, sender, (block.stop - block.start) * product.words)
                share, corrections = product.sender(sender.extend(message), a[block])
                ctx.send_bytes(i, tag, corrections)
                yield block, share
        if step - 2 * AHEAD >= 0:
            block = cut[step - 2 * AHEAD]
            for i in links:
                raw = ctx.receive_bytes(i, tag, (block.stop - block.start) * product.corrected)
                try:
                    yield block, product.chooser(kept.pop((i, step - 2 * AHEAD)), b[block], raw)
                except ValueError as error:
                    raise PeerError(i, f"a message of no meaning at {tag}: {error}") from None


def _payload(message: Array) -> memoryview:
    return np.ascontiguousarray(message, "<u8").reshape(-1).view(np.uint8).data
