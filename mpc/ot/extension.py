"""OT extension: from 128 base transfers any number of them, for AES and 128/k bits each. SoftSpokenOT, passive. [Roy22]

The chooser grows 128/k trees of 2^k leaves, and lets the other end, the sender, know all leaves of each but number
alpha, which is k bits of the sender's delta (a punctured pseudorandom function, through the base transfers). Leaf x of a
tree, a seed s, gives a stream r_x: AES(s + i) + s + i for i = 0, 1, ... under one key, which spares a key schedule a leaf. With u the sum of all, and v_b of those whose number has bit b, the sender, who does not know
r_alpha, computes w_b = v_b + alpha_b u. The chooser sends u + c for its choice bits c; adding alpha_b times that, the
sender has q_b = v_b + alpha_b c. Over all trees: q_j = v_j + c_j delta, rows of 128 bits.

The keys of transfer j are H(q_j) and H(q_j + delta), of which the chooser knows number c_j: H(v_j).
H(x) = AES(p(x)) + p(x), p a linear orthomorphism. [GKWY20] Both keys of AES, that of H and that of the streams, are of
this direction and epoch alone. An epoch is one session: trees and keys are new in each, whatever state a party comes back
with.
"""

import hashlib

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

from mpc.channel import Payload
from mpc.errors import ProtocolError
from mpc.ot import kernels
from mpc.ot.base import COUNT
from mpc.randomness import derive, fresh_seed

Words = NDArray[np.uint64]

K = 4
"""Bits of delta a tree: 2^K leaves. 2 needs half the AES and twice the bytes; 8, the reverse and more: eight times the AES."""
SEED = 16
LARGEST_EPOCH = 1 << 36
"""Transfers in one direction of a session. Beyond, the advantage of who computes 2^64 AES against H would pass 2^-27 (docs/oblivious-transfer.md)."""

_PAD = 8  # words by which the rows of a matrix are further apart than they are long: a power of two would evict them
_AT_ONCE = 1 << 14  # words of leaves that are encrypted at once: 128 KiB


def _fixed_key(epoch: bytes, label: str) -> CipherContext:
    return Cipher(algorithms.AES(derive(epoch, label)[:SEED]), modes.ECB()).encryptor()


def _encrypted(aes: CipherContext, words: Words, out: NDArray[np.uint8] | None = None) -> Words:
    """AES of each block of two words; in `out`, if given, which has room for a block more: the library asks for it."""
    if out is None:
        out = np.empty(words.nbytes + SEED, np.uint8)
    aes.update_into(words.reshape(-1).view(np.uint8).data, out.data)
    return out[: words.nbytes].view(np.uint64).reshape(words.shape)


class _Long:
    """Long keys: block l of the one of row x is AES(y + l) + y, with y = AES(p(x)), the tweakable hash. [GKWY20]

    They stand in buffers that are kept: fresh memory takes the system longer to hand out than AES to fill.
    """

    def __init__(self, aes: CipherContext) -> None:
        self._aes, self._buffers = aes, [np.empty(0, np.uint8)] * 3

    def expanded(self, encrypted: Words, first: int, count: int, buffer: int) -> Words:
        """Blocks `first` to `first + count` for each y (n, 2): (n, 2 * count), until the next call with the same buffer."""
        size = encrypted.nbytes * count + SEED
        for number in (0, 1 + buffer):
            if self._buffers[number].size < size:
                self._buffers[number] = np.empty(size, np.uint8)
        tweaked = self._buffers[0][: size - SEED].view(np.uint64).reshape(len(encrypted), 2 * count)
        kernels.tweak(encrypted, first, tweaked)
        blocks = _encrypted(self._aes, tweaked, self._buffers[1 + buffer])
        kernels.whiten(encrypted, blocks)
        return blocks


class _Leaves:
    """The streams of all leaves of all trees, from which blocks of bits are drawn. Seeds (trees, leaves, 16)."""

    def __init__(self, seeds: list[list[bytes]], epoch: bytes) -> None:
        self.trees, self.leaves = len(seeds), len(seeds[0])
        self.k = self.leaves.bit_length() - 1
        self._seeds = np.frombuffer(b"".join(seed for tree in seeds for seed in tree), np.uint64).reshape(-1, 2).copy()
        # Each sum below is one of evenly many leaves: the counters cancel out, and of s + i the sum of the seeds is left.
        by_tree = self._seeds.reshape(self.trees, self.leaves, 2)
        numbers = np.arange(self.leaves)
        self._apart = np.stack([np.bitwise_xor.reduce(by_tree[:, numbers >> b & 1 == 1], axis=1) for b in range(self.k)], axis=1)
        self._apart = self._apart.reshape(COUNT, 2)
        self._together = np.bitwise_xor.reduce(by_tree, axis=1)
        self._aes = _fixed_key(epoch, "leaves")
        self._drawn = 0

    def columns(self, words: int) -> tuple[Words, Words]:
        """Of each tree the sums of the leaves whose number has bit b, for all b, k columns a tree: (128, words) and some
        padding; and the sum of all its leaves, (trees, words)."""
        even = words + words % 2  # a block of AES is two words
        columns, totals = np.empty((COUNT, even + _PAD), np.uint64), np.empty((self.trees, even), np.uint64)
        group = max(1, _AT_ONCE // (self.leaves * even))
        for first in range(0, self.trees, group):
            trees = slice(first, min(first + group, self.trees))
            seeds = self._seeds[self.leaves * trees.start : self.leaves * trees.stop]
            counted = np.empty(len(seeds) * even, np.uint64)
            kernels.counters(seeds, self._drawn, counted)
            encrypted = _encrypted(self._aes, counted)
            rows = slice(self.k * trees.start, self.k * trees.stop)
            kernels.fold(encrypted, self.leaves, self._apart[rows], self._together[trees], columns[rows], totals[trees])
        self._drawn += even // 2
        return columns, totals[:, :words]


_NONE = np.empty((0, 2), np.uint64)


class Chooser:
    """The end that has choice bits. `pairs` (128, 2, 32): both keys of the base transfers, in which it was the sender;
    `epoch` is the same 32 bytes at both ends, of this direction and session alone."""

    SETUP_BYTES = COUNT * 2 * SEED

    def __init__(self, pairs: NDArray[np.uint8], epoch: bytes, k: int = K) -> None:
        self.setup, seeds = _grow(pairs, epoch, k)
        """What the sender has to be given before the first block."""
        self._leaves, self._aes, self._made = _Leaves(seeds, epoch), _fixed_key(epoch, "hash"), 0
        self._long = _Long(self._aes)

    def __repr__(self) -> str:
        return f"<chooser, {self._made} transfers made>"

    def expanded(self, encrypted: Words, first: int, count: int) -> Words:
        """Long keys in the place of keys of 128 bits, (n, 2 * count), which the next call overwrites: of each, blocks `first`
        to `first + count`, from the AES of its row (n, 2) as `extend` gives it. A key is used in one of the two ways alone; a
        block counts as a transfer."""
        self._made = _counted(self._made, len(encrypted) * count)
        return self._long.expanded(encrypted, first, count, 0)

    def sixteen(self, rows: Words, bits: int, used: int) -> tuple[Words, Words]:
        """One of sixteen keys for each four bits of choices: of groups of `bits` words of transfers, whose `rows` these are as `extend` gives them, the first `used` bits
        four by four. A row and its AES, (groups * fours * 64, 2) each: their sum is the key of the number that the four bits chosen are, of which the first is the lowest."""
        combined = _combined(rows, bits, used)
        self._made = _counted(self._made, 16 * len(combined))
        return combined, _encrypted(self._aes, combined)

    def extend(self, choices: Words) -> tuple[Words, Words, Words]:
        """64 transfers for each word of `choices`. What to send, (128 / k, words), and for each transfer a row under p and its
        AES, (64 * words, 2) each: their sum is the key chosen."""
        self._made = _counted(self._made, 64 * choices.size)
        columns, totals = self._leaves.columns(choices.size)
        message = np.bitwise_xor(totals, choices)
        rows = np.empty((64 * choices.size, 2), np.uint64)
        kernels.rows(columns, choices.size, 0, 0, rows, _NONE)
        return message, rows, _encrypted(self._aes, rows)


class Sender:
    """The end that gets both keys of each transfer. `choices` (128,) and `chosen` (128, 32) are of the base transfers, in
    which it chose; `setup` is what the chooser sent."""

    def __init__(
        self, choices: NDArray[np.uint8], chosen: NDArray[np.uint8], setup: Payload, epoch: bytes, k: int = K
    ) -> None:
        alphas, seeds = _grow_punctured(choices, chosen, setup, epoch, k)
        self._leaves, self._aes, self._made = _Leaves(seeds, epoch), _fixed_key(epoch, "hash"), 0
        self._long = _Long(self._aes)
        bits = np.array([alpha >> b & 1 for alpha in alphas for b in range(k)], np.uint8)
        self._columns = np.flatnonzero(bits)
        low, high = (int.from_bytes(np.packbits(half, bitorder="little").tobytes(), "little") for half in (bits[:64], bits[64:]))
        self._shift = low ^ high, low  # delta under p
        self._multiples = _multiples(*self._shift)
        self._k = k

    def __repr__(self) -> str:
        return f"<sender, {self._made} transfers made>"

    def expanded(self, encrypted: Words, others: Words, first: int, count: int) -> tuple[Words, Words]:
        """As the chooser's, for both keys of each transfer."""
        self._made = _counted(self._made, len(encrypted) * count)
        return self._long.expanded(encrypted, first, count, 0), self._long.expanded(others, first, count, 1)

    def sixteen(self, rows: Words, bits: int, used: int) -> tuple[Words, Words]:
        """As the chooser's, of both what stands for each of sixteen numbers, (groups * fours * 64 * 16, 2) each: the sums are keys."""
        combined = _combined(rows, bits, used)
        self._made = _counted(self._made, len(self._multiples) * len(combined))
        points = np.empty((len(self._multiples) * len(combined), 2), np.uint64)
        kernels.spread(combined, self._multiples, points)
        return points, _encrypted(self._aes, points)

    def message_words(self, words: int) -> int:
        """How many words a chooser's message for `words` words of choices has."""
        return COUNT // self._k * words

    def extend(self, message: Words) -> tuple[Words, Words, Words, Words]:
        """From the chooser's message (128 / k, words): a row and its AES for the key number 0 of each transfer, and the
        same for number 1, (64 * words, 2) each."""
        words = message.shape[1]
        self._made = _counted(self._made, 64 * words)
        columns, _ = self._leaves.columns(words)
        for column in self._columns:
            columns[column, :words] ^= message[column // self._k]
        rows, others = np.empty((64 * words, 2), np.uint64), np.empty((64 * words, 2), np.uint64)
        kernels.rows(columns, words, *self._shift, rows, others)
        return rows, _encrypted(self._aes, rows), others, _encrypted(self._aes, others)


def _combined(rows: Words, bits: int, used: int) -> Words:
    combined = np.empty((len(rows) // (64 * bits) * -(-used // 4) * 64, 2), np.uint64)
    kernels.combined(rows, bits, used, combined)
    return combined


def _multiples(low: int, high: int) -> Words:
    """0 to 15 times delta under p, with the bits of the number standing for Y, omega Y, 1 and omega: what `combined` makes of delta in the place of those rows."""
    delta, none = np.array([low, high], np.uint64), np.zeros(2, np.uint64)
    multiples = [[delta if number >> i & 1 else none for i in range(4) for _ in range(64)] for number in range(16)]
    return np.stack([_combined(np.array(rows), 4, 4)[0] for rows in multiples])


def _counted(made: int, more: int) -> int:
    made += more
    if made > LARGEST_EPOCH:
        raise ProtocolError(f"at most {LARGEST_EPOCH} transfers can be made in one session")
    return made


def _children(node: bytes) -> tuple[bytes, bytes]:
    both = hashlib.sha256(b"comity tree 1" + node).digest()
    return both[:SEED], both[SEED:]


def _xor(*parts: bytes) -> bytes:
    total = 0
    for part in parts:
        total ^= int.from_bytes(part, "little")
    return total.to_bytes(SEED, "little")


def _mask(key: NDArray[np.uint8], epoch: bytes, index: int, side: int) -> bytes:
    """Base key `index` in this epoch: a pad that no other epoch uses."""
    return derive(key.tobytes() + epoch, "tree", str(index), str(side))[:SEED]


def _grow(pairs: NDArray[np.uint8], epoch: bytes, k: int) -> tuple[bytes, list[list[bytes]]]:
    """The setup message and all leaves of 128/k trees. For each level, the sums of all left and of all right nodes,
    each under a base key: of the two, the sender learns the one off its path."""
    setup, trees = [], []
    for tree in range(COUNT // k):
        level = [derive(fresh_seed(), "root", epoch)[:SEED]]
        for depth in range(k):
            level = [child for node in level for child in _children(node)]
            index = k * tree + depth
            setup += [_xor(*level[side::2], _mask(pairs[index, side], epoch, index, side)) for side in (0, 1)]
        trees.append(level)
    return b"".join(setup), trees


def _grow_punctured(
    choices: NDArray[np.uint8], chosen: NDArray[np.uint8], setup: Payload, epoch: bytes, k: int
) -> tuple[list[int], list[list[bytes]]]:
    """Of each tree, alpha and the other leaves, in the order of their number xor alpha; the first, which nobody here knows, is zeros:
    it is in no sum that the sender uses. At each level
    the path goes where the base transfer's choice did not."""
    setup, alphas, trees = bytes(setup), [], []
    for tree in range(COUNT // k):
        level: list[bytes | None] = [None]
        path = 0
        for depth in range(k):
            index = k * tree + depth
            side = int(choices[index])
            level = [child for node in level for child in (_children(node) if node is not None else (None, None))]
            at = SEED * (2 * index + side)
            known = [node for node in level[side::2] if node is not None]
            level[2 * path + side] = _xor(setup[at : at + SEED], _mask(chosen[index], epoch, index, side), *known)
            path = 2 * path + 1 - side
        alphas.append(path)
        trees.append([level[leaf ^ path] or bytes(SEED) for leaf in range(1 << k)])
    return alphas, trees
