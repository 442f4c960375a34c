"""Base oblivious transfer: 128 in each direction of a pair, on the prime-order subgroup of edwards25519. [CO15]

In one direction, the sender sends A = aG; for transfer i the receiver sends B_i = b_i G + c_i A, where c_i is its choice
bit. The sender hashes a B_i and a (B_i - A), the receiver b_i A: it knows the key number c_i, and computing the other one
takes the Diffie-Hellman value of A with itself. B_i is uniform whatever c_i is. The hash takes in the session, both
parties, the index and all that was sent.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import nacl.exceptions
import numpy as np
from nacl.bindings import (
    crypto_core_ed25519_add,
    crypto_core_ed25519_is_valid_point,
    crypto_core_ed25519_scalar_reduce,
    crypto_core_ed25519_sub,
    crypto_scalarmult_ed25519_base_noclamp,
    crypto_scalarmult_ed25519_noclamp,
)
from numpy.typing import NDArray

from mpc.context import Context
from mpc.errors import PeerError
from mpc.randomness import Stream
from mpc.schemes import PartyId

COUNT = 128
POINT_BYTES = 32
KEY_BYTES = 32
ID_BYTES = 32


@dataclass(frozen=True, slots=True, eq=False)
class BaseKeys:
    """One party's part of the base transfers with one peer: of those in which it sent, both keys (128, 2, 32); of those
    in which it chose, its choices (128,) in {0, 1} and the keys chosen (128, 32). All `uint8`. `id` is the same at both
    ends, and of these transfers alone. Prints nothing of them."""

    sent: NDArray[np.uint8] = field(repr=False)
    choices: NDArray[np.uint8] = field(repr=False)
    chosen: NDArray[np.uint8] = field(repr=False)
    id: bytes = field(repr=False)


def base_transfers(ctx: Context, peers: Iterable[PartyId]) -> dict[PartyId, BaseKeys]:
    """128 random transfers in each direction between this party and each of `peers`, who all do the same.

    Discloses nothing. Two rounds, 4,128 bytes to each peer: one point, then 128. They are made once a pair, and not counted
    as a cost of the session. PeerError where a peer sends what is no
    point of the subgroup, or a point of small order.
    """
    drawn = {peer: Stream(ctx.own_seed()) for peer in peers}
    a = {peer: _scalar(stream) for peer, stream in drawn.items()}
    firsts = {peer: crypto_scalarmult_ed25519_base_noclamp(secret) for peer, secret in a.items()}
    theirs = {peer: _point(raw, peer) for peer, raw in ctx.tell_each("base transfers", firsts).items()}
    choices = {peer: np.frombuffer(stream.read(COUNT), np.uint8) & np.uint8(1) for peer, stream in drawn.items()}
    b = {peer: [_scalar(stream) for _ in range(COUNT)] for peer, stream in drawn.items()}
    mine = {
        peer: [
            (point, crypto_core_ed25519_add(point, theirs[peer]))[choice]  # both, so that it takes as long for either
            for point, choice in zip(map(crypto_scalarmult_ed25519_base_noclamp, b[peer]), choices[peer], strict=True)
        ]
        for peer in a
    }
    answers = ctx.tell_each("base transfers", {peer: b"".join(points) for peer, points in mine.items()})
    keys = {}
    for peer, raw in answers.items():
        points = [_point(raw[at : at + POINT_BYTES], peer) for at in range(0, len(raw), POINT_BYTES)]
        said_to_peer = _transcript(ctx, ctx.me, peer, firsts[peer], points)
        said_by_peer = _transcript(ctx, peer, ctx.me, theirs[peer], mine[peer])
        sent = [
            _key(said_to_peer, i, _multiple(a[peer], of, peer))
            for i, point in enumerate(points)
            for of in (point, crypto_core_ed25519_sub(point, firsts[peer]))
        ]
        chosen = [_key(said_by_peer, i, _multiple(b[peer][i], theirs[peer], peer)) for i in range(COUNT)]
        directions = (said_to_peer, said_by_peer) if ctx.me < peer else (said_by_peer, said_to_peer)
        keys[peer] = BaseKeys(
            np.frombuffer(b"".join(sent), np.uint8).reshape(COUNT, 2, KEY_BYTES),
            choices[peer],
            np.frombuffer(b"".join(chosen), np.uint8).reshape(COUNT, KEY_BYTES),
            hashlib.sha256(b"comity base transfers 1" + b"".join(directions)).digest(),
        )
    return keys


def _scalar(stream: Stream) -> bytes:
    """Uniform modulo the group's order (RFC 8032, 64 bytes reduced), but for 0."""
    while True:
        scalar: bytes = crypto_core_ed25519_scalar_reduce(stream.read(64))
        if any(scalar):
            return scalar


def _point(point: bytes, peer: PartyId) -> bytes:
    if not crypto_core_ed25519_is_valid_point(point):
        raise PeerError(peer, "sent what is no point of the group in a base transfer")
    return point


def _multiple(scalar: bytes, point: bytes, peer: PartyId) -> bytes:
    try:
        multiple: bytes = crypto_scalarmult_ed25519_noclamp(scalar, point)
    except nacl.exceptions.CryptoError:  # the neutral element
        raise PeerError(peer, "sent a point without a secret in a base transfer") from None
    return multiple


def _transcript(ctx: Context, sender: PartyId, receiver: PartyId, first: bytes, points: list[bytes]) -> bytes:
    """All that both have seen of one direction, and a key of the session that only the two have."""
    peer = receiver if sender == ctx.me else sender
    said = hashlib.sha256(ctx.secret(peer, "base transfers", f"{sender}>{receiver}") + first)
    for point in points:
        said.update(point)
    return said.digest()


def _key(transcript: bytes, index: int, shared: bytes) -> bytes:
    return hashlib.sha256(b"comity base transfer 1" + transcript + index.to_bytes(4, "big") + shared).digest()
