"""Products of a party's secrets with its peers', made with all of them at once, in blocks: the exchange is here, what is
multiplied with what is a `Factor`."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np

from mpc.algebra import Algebra, Array
from mpc.channel import Payload, Tag
from mpc.context import Context, blocks
from mpc.cost import Cost
from mpc.errors import PeerError
from mpc.ot.extension import Chooser, Sender, Words
from mpc.ot.products import Product
from mpc.ot.transfers import BLOCK, received
from mpc.schemes import PartyId

Links = Mapping[PartyId, tuple[Chooser, Sender]]
"""Both ends of the extension with each peer."""

AHEAD = 4
"""Blocks that are sent before the first is waited for."""


class Factor(Protocol):
    """This party's side of products with one peer, as that end of the transfers which its place in `crossed` makes it. It
    keeps this party's shares of the products itself."""

    @property
    def blocks(self) -> list[slice]:
        """Those in which the transfers are made, the same at both ends."""
        ...

    def words(self, block: slice) -> int:
        """Words of choices, 64 transfers each."""
        ...

    def choices(self, block: slice) -> Words:
        """The chooser's."""
        ...

    def send(self, end: Sender, keys: tuple[Words, Words, Words, Words], block: slice) -> Iterator[Payload]:
        """The corrections, message by message; `keys` as `Sender.extend` gives them."""
        ...

    def choose(
        self, end: Chooser, keys: tuple[Words, Words], block: slice, receive: Callable[[int], Payload]
    ) -> None:
        """Takes the corrections in, a message of so many bytes at each call of `receive`; `keys` as `Chooser.extend` gives
        them. ValueError where a correction is none."""
        ...


@dataclass(frozen=True)
class Elementwise:
    """`factor` times the peer's, element by element; the shares are added to `out`."""

    product: Product
    algebra: Algebra
    factor: Array = field(repr=False)
    out: Array = field(repr=False)

    @property
    def blocks(self) -> list[slice]:
        return list(blocks(len(self.factor), BLOCK)) if len(self.factor) else []

    def words(self, block: slice) -> int:
        count: int = block.stop - block.start
        return count * self.product.words

    def choices(self, block: slice) -> Words:
        return self.product.choices(self.factor[block])

    def send(self, end: Sender, keys: tuple[Words, Words, Words, Words], block: slice) -> Iterator[Payload]:
        share, corrections = self.product.sender(keys, self.factor[block])
        self.out[block] = self.algebra.add(self.out[block], share)
        yield corrections

    def choose(
        self, end: Chooser, keys: tuple[Words, Words], block: slice, receive: Callable[[int], Payload]
    ) -> None:
        raw = receive((block.stop - block.start) * self.product.corrected)
        self.out[block] = self.algebra.add(self.out[block], self.product.chooser(keys, self.factor[block], raw))


def crossed(
    ctx: Context, links: Links, tag: Tag, sending: Mapping[PartyId, Factor], choosing: Mapping[PartyId, Factor]
) -> None:
    """Products with each peer in `sending`, which chooses, and in `choosing`, which sends. Discloses nothing.

    Two rounds: for each block the chooser sends its message, then the sender the corrections; they are sent while the
    blocks before are waited for.
    """
    offered = {i: factor.blocks for i, factor in sending.items()}
    chosen = {i: factor.blocks for i, factor in choosing.items()}
    last = max(map(len, (*offered.values(), *chosen.values())), default=0)
    kept: dict[tuple[PartyId, int], tuple[Words, Words]] = {}
    for step in range(last + 2 * AHEAD if last else 0):
        for i, factor in choosing.items():
            for block in chosen[i][step : step + 1]:
                message, rows, encrypted = links[i][0].extend(factor.choices(block))
                ctx.send_bytes(i, tag, _payload(message))
                kept[i, step] = rows, encrypted
        now = step - AHEAD
        for i, factor in sending.items() if now >= 0 else ():
            for block in offered[i][now : now + 1]:
                end = links[i][1]
                message = received(ctx, i, tag, end, factor.words(block))
                for corrections in factor.send(end, end.extend(message), block):
                    ctx.send_bytes(i, tag, corrections)
        now -= AHEAD
        for i, factor in choosing.items() if now >= 0 else ():
            for block in chosen[i][now : now + 1]:
                receive = partial(ctx.receive_bytes, i, tag)
                try:
                    factor.choose(links[i][0], kept.pop((i, now)), block, receive)
                except ValueError as error:
                    raise PeerError(i, f"a message of no meaning at {tag}: {error}") from None
    ctx.measured += Cost(rounds=2 if last else 0)


def _payload(message: Array) -> memoryview:
    return np.ascontiguousarray(message, "<u8").reshape(-1).view(np.uint8).data
