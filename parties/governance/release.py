"""What members sign before they reveal something: a release, its encoding, the statement, the receipt."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from mpc.errors import ComityError

ID_BYTES, HASH_BYTES, SIGNATURE_BYTES = 16, 32, 64
NO_HEAD = bytes(HASH_BYTES)
"""The head of a chain without entries."""
LARGEST_PRICE = 1 << 40
"""In micro-rho: a million times what hides nothing. Sums of it fit SQLite's integers."""


class LedgerError(ComityError):
    """The ledger cannot be used, or refuses a step. Nothing was written."""


class PeerRefused(LedgerError):
    """What `peer` committed to or signed does not belong to this release, or contradicts what it signed before."""

    def __init__(self, peer: str, message: str) -> None:
        super().__init__(message)
        self.peer = peer


class Account(NamedTuple):
    """Of this company: whose privacy in which table."""

    table: str
    unit: str

    def __str__(self) -> str:
        return f"table {self.table}, unit {self.unit}"


@dataclass(frozen=True)
class Charge:
    """The price of a release on one account. micro-rho decides; `rdp` is kept beside, for reports."""

    table: str
    unit: str
    micro_rho: int
    rdp: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.micro_rho <= LARGEST_PRICE or any(not isinstance(x, int) or x < 0 for x in self.rdp):
            raise LedgerError(f"no price of {self.account}: micro-rho is from 0 to {LARGEST_PRICE:,}, rdp has no negative part")

    @property
    def account(self) -> Account:
        return Account(self.table, self.unit)


@dataclass(frozen=True)
class Release:
    """What all members agree to reveal, to whom, at what price. Equal at all members."""

    id: bytes
    query: str
    spec_digest: str
    plan_digest: str
    members: tuple[str, ...]
    receivers: tuple[str, ...]
    charges: tuple[Charge, ...]

    def __post_init__(self) -> None:
        if len(self.id) != ID_BYTES:
            raise LedgerError(f"the id of a release has {ID_BYTES} bytes")
        for what in (self.members, self.receivers, [charge.account for charge in self.charges]):
            if len(set(what)) != len(what):
                raise LedgerError(f"{self.query} names a member, a receiver or an account twice")

    def encoding(self) -> bytes:
        """Canonical: the same for any order of members, receivers and charges, and for no two different releases."""
        charges = [
            frame(charge.table, charge.unit, charge.micro_rho, frame(*charge.rdp))
            for charge in sorted(self.charges, key=lambda charge: charge.account)
        ]
        return frame(
            "comity release 1", self.id, self.query, self.spec_digest, self.plan_digest,
            frame(*sorted(self.members)), frame(*sorted(self.receivers)), frame(*charges),
        )  # fmt: skip


@dataclass(frozen=True)
class Receipt:
    """One member's signature over a release, with its place in that member's own chain."""

    SIZE = HASH_BYTES + 8 + SIGNATURE_BYTES

    previous: bytes
    sequence: int
    signature: bytes

    def to_bytes(self) -> bytes:
        return self.previous + self.sequence.to_bytes(8, "big") + self.signature

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """LedgerError where it is none."""
        if len(raw) != cls.SIZE:
            raise LedgerError(f"a receipt has {cls.SIZE} bytes, not {len(raw)}")
        previous, rest = raw[:HASH_BYTES], raw[HASH_BYTES:]
        return cls(previous, int.from_bytes(rest[:8], "big"), rest[8:])


def statement(release: Release, commitments: Mapping[str, bytes], signer: str, sequence: int, previous: bytes) -> bytes:
    """What `signer` signs. `previous` is the head of its own chain, and this the entry `sequence` of it, from 1."""
    named = [frame(name, commitments[name]) for name in sorted(commitments)]
    return frame("comity receipt 1", release.encoding(), frame(*named), signer, sequence, previous)


def head_after(signed: bytes) -> bytes:
    """The head of a chain whose newest entry is the statement `signed`, which holds the previous head."""
    return hashlib.sha256(b"comity ledger 1" + signed).digest()


def sign(key: ec.EllipticCurvePrivateKey, signed: bytes) -> bytes:
    """ECDSA over SHA-256 as r and s, 32 bytes each."""
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def verify(
    release: Release, commitments: Mapping[str, bytes], signer: str, receipt: Receipt, certificate: bytes
) -> bytes:
    """The head of `signer`'s chain after it. PeerRefused where `receipt` is not signed with the key of `certificate`
    (DER) over exactly this."""
    key = x509.load_der_x509_certificate(certificate).public_key()
    try:
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise InvalidSignature
        sizes = (len(receipt.signature), len(receipt.previous))
        if sizes != (SIGNATURE_BYTES, HASH_BYTES) or not 0 < receipt.sequence < 1 << 63:
            raise InvalidSignature
        r, s = (int.from_bytes(half, "big") for half in (receipt.signature[:32], receipt.signature[32:]))
        signed = statement(release, commitments, signer, receipt.sequence, receipt.previous)
        key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise PeerRefused(
            signer, f"the receipt of {signer} for {release.query} does not verify: it signed something else, or it is not "
            "the holder of its certificate in the spec. Nothing was opened",
        ) from None  # fmt: skip
    return head_after(signed)


def frame(*parts: str | bytes | int) -> bytes:
    """Fields one after the other, each with its length before it."""
    raws = (part if isinstance(part, bytes) else str(part).encode() for part in parts)
    return b"".join(len(raw).to_bytes(4, "big") + raw for raw in raws)
