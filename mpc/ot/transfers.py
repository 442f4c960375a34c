"""Oblivious transfers of one direction of a pair: random ones, whose keys both ends may use as they like, and chosen ones,
which carry two messages of the sender's. (Correlated ones, which carry a difference, are in products.py.)

A transfer serves one purpose: its keys are used up by whoever calls.
"""

import numpy as np

from mpc.channel import Tag
from mpc.context import Context, blocks
from mpc.ot.extension import Chooser, Sender, Words
from mpc.schemes import PartyId

BLOCK = 512
"""Words of choices, 64 transfers each, that are made at once: what they take stays in a core's cache."""


def choose(ctx: Context, peer: PartyId, tag: Tag, end: Chooser, choices: Words) -> Words:
    """Random transfers for `choices` (words,), whose other end calls `offer`: the keys chosen, (64 * words, 2). Discloses
    nothing. One message each block of 512 words, 4 bytes a transfer."""
    keys = np.empty((64 * choices.size, 2), np.uint64)
    for block in blocks(choices.size, BLOCK):
        message, rows, encrypted = end.extend(np.ascontiguousarray(choices[block]))
        ctx.send_bytes(peer, tag, message.astype("<u8", copy=False).reshape(-1).view(np.uint8).data)
        np.bitwise_xor(rows, encrypted, out=keys[64 * block.start : 64 * block.stop])
    return keys


def offer(ctx: Context, peer: PartyId, tag: Tag, end: Sender, words: int) -> tuple[Words, Words]:
    """The sender's end of `choose`: both keys of each transfer, (64 * words, 2) each. Sends nothing."""
    keys = np.empty((64 * words, 2), np.uint64), np.empty((64 * words, 2), np.uint64)
    for block in blocks(words, BLOCK):
        rows, encrypted, others, others_encrypted = end.extend(received(ctx, peer, tag, end, block.stop - block.start))
        np.bitwise_xor(rows, encrypted, out=keys[0][64 * block.start : 64 * block.stop])
        np.bitwise_xor(others, others_encrypted, out=keys[1][64 * block.start : 64 * block.stop])
    return keys


def received(ctx: Context, peer: PartyId, tag: Tag, end: Sender, words: int) -> Words:
    """A chooser's message for `words` words of choices, (128 / k, words)."""
    raw = ctx.receive_bytes(peer, tag, 8 * end.message_words(words))
    return np.frombuffer(raw, "<u8").astype(np.uint64, copy=False).reshape(-1, words)


def send_messages(ctx: Context, peer: PartyId, tag: Tag, end: Sender, messages: tuple[Words, Words]) -> None:
    """Sends messages of 128 bits, two a transfer, each (64 * words, 2), of which `peer` gets one: under the keys of random
    transfers. 32 bytes a transfer."""
    both = offer(ctx, peer, tag, end, len(messages[0]) // 64)
    for message, keys in zip(messages, both, strict=True):
        np.bitwise_xor(keys, message, out=keys)
        for block in blocks(len(keys), 16 * BLOCK):
            ctx.send_bytes(peer, tag, keys[block].astype("<u8", copy=False).reshape(-1).view(np.uint8).data)


def receive_messages(ctx: Context, peer: PartyId, tag: Tag, end: Chooser, choices: Words) -> Words:
    """The messages that `choices` (words,) choose, (64 * words, 2). The sender learns nothing of the choices, this party
    nothing of the other messages. Two rounds."""
    keys = choose(ctx, peer, tag, end, choices)
    bits = np.unpackbits(choices.astype("<u8").view(np.uint8), bitorder="little").astype(bool)[:, None]
    for number in (0, 1):
        for block in blocks(len(keys), 16 * BLOCK):
            raw = np.frombuffer(ctx.receive_bytes(peer, tag, 16 * (block.stop - block.start)), "<u8").reshape(-1, 2)
            keys[block] ^= np.where(bits[block] == number, raw, np.uint64(0))
    return keys
