"""Cryptographic randomness: AES-256-CTR streams from full-length seeds, and keys derived from keys.

Seeds come from the operating system. A stream that two parties hold gives both the same numbers without a message.
"""

import os

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

SEED_BYTES = 32
_ZEROS = memoryview(bytes(1 << 20))


class Stream:
    """The key stream of AES-256 in counter mode under a 32-byte seed (NIST SP 800-38A). Never prints its seed."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a seed has {SEED_BYTES} bytes")
        self._encryptor = Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor()

    def fill(self, out: NDArray[np.uint8]) -> None:
        """Fills `out` with the next bytes."""
        for start in range(0, out.size, len(_ZEROS)):
            part = out[start : start + len(_ZEROS)]
            self._encryptor.update_into(_ZEROS[: part.size], part.data)

    def read(self, count: int) -> bytes:
        """The next `count` bytes."""
        out = np.empty(count, dtype=np.uint8)
        self.fill(out)
        return out.tobytes()

    def words(self, shape: tuple[int, ...]) -> NDArray[np.uint64]:
        """The next 64-bit words as an array, the same on every machine."""
        words = np.empty(int(np.prod(shape)), dtype="<u8")
        self.fill(words.view(np.uint8))
        return words.astype(np.uint64, copy=False).reshape(shape)


def fresh_seed() -> bytes:
    return os.urandom(SEED_BYTES)


def derive(secret: bytes, *labels: str | bytes) -> bytes:
    """A 32-byte key from `secret` for the purpose that `labels` name (HKDF-SHA256, RFC 5869); distinct labels give
    independent keys, since each is prefixed with its length."""
    info = b"comity"
    for label in labels:
        raw = label.encode() if isinstance(label, str) else label
        info += len(raw).to_bytes(4, "big") + raw
    return HKDF(hashes.SHA256(), SEED_BYTES, salt=None, info=info).derive(secret)
