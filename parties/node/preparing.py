"""The offline phase in a session of its own: triples, and what else there is, for the stock, and the sources that use it."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from mpc.context import Context, TripleSource
from mpc.correlations import ROWS, Row
from mpc.ot.base import BaseKeys
from mpc.schemes import Scheme
from mpc.schemes.named import schemes
from mpc.triples.named import triple_source
from mpc.triples.stocked import LOT_BYTES, LOTS, StockedTriples, usable
from parties.governance.approval import Membership
from parties.governance.stock import Group, Shelf, Stock

if TYPE_CHECKING:
    from mpc.triples.ot import ObliviousTriples

PURPOSE = "prepare"  # of such a session
LARGEST = 1 << 30
"""Of one kind, words where it is bits, in one session: the transfers of a session are bounded (mpc/ot/extension.py)."""

Progress = Callable[[int, int], None]
"""Hears how many of how many are made."""


KINDS = {kind(1).name: kind for kind in ROWS}


def asked(name: str) -> Row | None:
    """What a session of this purpose is to have in stock at its end, from its name, such as "50000000 triples"; None where
    that is nothing of the kind. Bits are rounded up to whole words."""
    count, _, kind = name.partition(" ")
    if kind not in KINDS or not (count.isascii() and count.isdigit()) or not 0 < len(count) < 13:
        return None
    wanted = KINDS[kind](-(-int(count) // KINDS[kind].EACH))
    return wanted if 0 < wanted.count <= LARGEST else None


def smallest(member: Membership) -> Scheme:
    """The spec's scheme over its smallest algebra: what is made ahead is for queries under that."""
    security = member.spec.security
    return schemes(security.scheme, len(security.parties), security.colluding)[0]


def group(member: Membership, scheme: Scheme) -> Group:
    parties = member.spec.security.parties
    certificates = tuple(member.spec.parties[name].certificate for name in parties)
    return Group(parties, certificates, parties.index(member.me), scheme)


@contextmanager
def making(stock: Stock, member: Membership) -> "Iterator[ObliviousTriples]":
    """A maker that begins with the kept keys of base transfers, and whose own are kept at the end."""
    from mpc.triples.ot import (
        ObliviousTriples,  # its compiled loops take a second to load, which most commands need not
    )

    parties = dict(enumerate(member.spec.security.parties))
    certificates = {i: member.peers[name].certificate for i, name in parties.items() if name != member.me}
    kept: dict[int, BaseKeys] = {}
    for i, certificate in certificates.items():
        keys = stock.base_keys(certificate)
        if keys is not None:
            kept[i] = keys
    maker = ObliviousTriples(kept)
    try:
        yield maker
    finally:
        for i, keys in maker.keys.items():
            if i not in kept or kept[i].id != keys.id:
                stock.keep_base_keys(certificates[i], keys)


@contextmanager
def source(stock: Stock, member: Membership, scheme: Scheme, name: str | None) -> Iterator[TripleSource | None]:
    """Where a session's triples come from, of the name that its companies agreed on: what they make by oblivious transfer comes
    from the stock as far as that goes. None where shares are multiplied without triples."""
    if name != "ot":
        yield triple_source(name)
        return
    with making(stock, member) as maker:
        yield StockedTriples(lambda kind: stock.shelf(group(member, scheme), type(kind)), maker)


def prepare(ctx: Context, shelf: Shelf, maker: "ObliviousTriples", lot: bytes, wanted: Row, tell: Progress) -> int:
    """Makes what is missing to `wanted` in stock at all parties, as the lot with that id; how many that were. A chunk counts
    once all have it, so what was made before an interruption can be used. Discloses how much is in stock. StockError where this
    node keeps no more."""
    found = usable(ctx, shelf)
    there = sum(stop - start for _, start, stop in found)
    missing = wanted.count - there
    if missing <= 0:
        return 0
    for small in found[: max(len(found) + 1 - LOTS, 0)]:  # remnants of many interrupted sessions
        shelf.destroy(small.lot, f"there are {LOTS} lots with the same companies, and this is the smallest")
    shelf.begin(lot[:LOT_BYTES], missing)
    try:
        ctx.tell("stock begun", b"\1")  # at all, before anybody has a chunk of it
        made = 0
        for batch in maker.made(ctx, replace(wanted, count=missing)):
            shelf.add(lot[:LOT_BYTES], batch)
            ctx.tell("stock made", b"\1")
            made += len(batch[0])
            tell(wanted.EACH * (there + made), wanted.EACH * wanted.count)
    finally:
        shelf.finish(lot[:LOT_BYTES])
    return made


def progress(made: int, wanted: int) -> str:
    return json.dumps({"made": made, "of": wanted})
