"""Oblivious transfer against restatements in plain Python, published vectors, and parties that send something else.

Statistical tests say at most once in a million runs that something is wrong where nothing is (chi-square of 2^16 and more
draws, at 1e-6), and each is shown to fail on a planted bug.
"""

import hashlib
import random
import secrets
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.bindings import crypto_scalarmult_ed25519_base_noclamp
from scipy.stats import chisquare

from mpc.algebra import Algebra
from mpc.algebra.field import FIELD, P
from mpc.algebra.ring import RING
from mpc.algebra.wide import FIELD127, RING128
from mpc.algebra.words import WORDS
from mpc.channel import Channel, Payload, Tag
from mpc.context import Context
from mpc.correlations import Masks, Row, Triples, Truncations
from mpc.errors import ComityError, PeerError
from mpc.ot import base, extension, kernels
from mpc.ot.base import COUNT, base_transfers
from mpc.ot.extension import SEED, Chooser, Sender
from mpc.ot.products import product_over
from mpc.randomness import Stream, derive, fresh_seed
from mpc.schemes import PartyId, Scheme
from mpc.schemes.additive import Additive
from mpc.schemes.named import schemes
from mpc.schemes.shamir import Shamir
from mpc.simulate import simulate
from mpc.triples.ot import ObliviousTriples

FALSE_ALARM = 1e-6
EPOCH = bytes(range(32))


def base_keys(seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both keys of 128 base transfers, choices, and the keys chosen."""
    rng = np.random.default_rng(seed)
    pairs, choices = rng.integers(0, 256, (COUNT, 2, 32), np.uint8), rng.integers(0, 2, COUNT, np.uint8)
    return pairs, choices, pairs[np.arange(COUNT), choices]


def ends(k: int = extension.K, epoch: bytes = EPOCH) -> tuple[Chooser, Sender, int]:
    """Both ends, and delta: the bits where the base transfers' choices were 0, as the trees are numbered."""
    pairs, choices, chosen = base_keys()
    chooser = Chooser(pairs, epoch, k)
    delta = 0
    for tree in range(COUNT // k):
        path = [1 - int(c) for c in choices[k * tree : k * (tree + 1)]]
        alpha = int("".join(map(str, path)), 2)
        delta |= alpha << (k * tree)
    return chooser, Sender(choices, chosen, chooser.setup, epoch, k), delta


def unmapped(row: np.ndarray) -> int:
    """The inverse of p: (l + h, l) to l + 2^64 h."""
    return int(row[1]) | (int(row[0]) ^ int(row[1])) << 64


def bits(words: np.ndarray) -> np.ndarray:
    return np.unpackbits(np.ascontiguousarray(words, "<u8").view(np.uint8), bitorder="little")


# --- vectors -------------------------------------------------------------------------------------------------------------------

BASEPOINT = bytes.fromhex("58" + "66" * 31)
ORDER = (2**252 + 27742317777372353535851937790883648493).to_bytes(32, "little")


def test_the_group_is_edwards25519() -> None:
    """The base point of RFC 8032, 5.1, and the first key of its section 7.1, whose scalar is clamped there."""
    one = (1).to_bytes(32, "little")
    assert crypto_scalarmult_ed25519_base_noclamp(one) == BASEPOINT
    digest = bytearray(hashlib.sha512(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")).digest()[:32])
    digest[0] &= 248
    digest[31] = digest[31] & 63 | 64
    key = crypto_scalarmult_ed25519_base_noclamp(bytes(digest))
    assert key.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


def test_the_permutation_is_aes_128() -> None:
    """FIPS 197, appendix C.1."""
    aes = Cipher(algorithms.AES(bytes(range(16))), modes.ECB()).encryptor()
    block = np.frombuffer(bytes.fromhex("00112233445566778899aabbccddeeff"), np.uint64)
    assert extension._encrypted(aes, block.copy()).tobytes().hex() == "69c4e0d86a7b0430d8cdb78070b4c55a"


# --- the extension against a restatement ---------------------------------------------------------------------------------------


def restated(pairs: np.ndarray, chooser: Chooser, words: int, k: int) -> list[int]:
    """v_j of each transfer, from the leaves' seeds: sums of streams over all leaves with a bit, in Python integers."""
    key = derive(EPOCH, "leaves")[:SEED]
    aes = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    seeds = chooser._leaves._seeds.reshape(COUNT // k, 1 << k, 2)
    columns = []
    for tree in seeds:
        streams = []
        for low, high in tree:
            seed = int(low) | int(high) << 64
            stream = b""
            for i in range(words // 2 + words % 2):
                block = (seed ^ i).to_bytes(16, "little")
                stream += (int.from_bytes(aes.update(block), "little") ^ seed ^ i).to_bytes(16, "little")
            streams.append(int.from_bytes(stream[: 8 * words], "little"))
        for b in range(k):
            total = 0
            for number, stream in enumerate(streams):
                total ^= stream * (number >> b & 1)
            columns.append(total)
    return [sum((column >> j & 1) << c for c, column in enumerate(columns)) for j in range(64 * words)]


@pytest.mark.parametrize("k", [2, 4, 8])
@pytest.mark.parametrize("words", [1, 3])
def test_the_extension_is_the_papers(k: int, words: int) -> None:
    chooser, sender, delta = ends(k)
    expected = restated(base_keys()[0], chooser, words, k)
    choices = Stream(bytes(32)).words((words,))
    message, rows, encrypted = chooser.extend(choices)
    assert [unmapped(row) for row in rows] == expected
    q, q_encrypted, other, other_encrypted = sender.extend(message)
    for j, chosen in enumerate(bits(choices)):
        assert unmapped(q[j]) == expected[j] ^ delta * int(chosen)
        assert unmapped(other[j]) == unmapped(q[j]) ^ delta
    aes = Cipher(algorithms.AES(derive(EPOCH, "hash")[:SEED]), modes.ECB()).encryptor()
    for plain, under in ((rows, encrypted), (q, q_encrypted), (other, other_encrypted)):
        assert under.tobytes() == aes.update(plain.tobytes())


def omega(x: tuple[int, int]) -> tuple[int, int]:
    return x[0] ^ x[1], x[0]


def times_y(x: tuple[int, int]) -> tuple[int, int]:
    """Y (c + d Y) = omega d + (c + d) Y, halves of 32 bits being c and d."""
    low, high = ([word & 0xFFFFFFFF for word in x], [word >> 32 for word in x])
    below = omega((high[0], high[1]))
    return below[0] | (low[0] ^ high[0]) << 32, below[1] | (low[1] ^ high[1]) << 32


def pair(row: np.ndarray) -> tuple[int, int]:
    return int(row[0]), int(row[1])


@pytest.mark.parametrize(("bits_each", "used"), [(4, 4), (9, 9), (11, 6), (3, 3)])
def test_one_of_sixteen_keys_is_that_of_the_number_chosen(bits_each: int, used: int) -> None:
    """And both ends combine rows as it is written down."""
    groups, fours = 2, -(-used // 4)
    chooser, sender, _ = ends()
    choices = Stream(bytes(32)).words((groups * bits_each,))
    message, rows, _ = chooser.extend(choices)
    q, *_ = sender.extend(message)
    mine, under = chooser.sixteen(rows, bits_each, used)
    theirs, theirs_under = (x.reshape(-1, 16, 2) for x in sender.sixteen(q, bits_each, used))
    assert len(mine) == len(theirs) == groups * fours * 64
    picked = bits(choices).reshape(groups, bits_each, 64)
    for number in range(0, len(mine), 7):
        group, four, at = number // (64 * fours), number // 64 % fours, number % 64
        there = range(4 * four, min(4 * four + 4, used))
        chosen = sum(int(picked[group, bit, at]) << i for i, bit in enumerate(there))
        assert (mine[number] == theirs[number, chosen]).all()
        assert (under[number] == theirs_under[number, chosen]).all()
        total = 0, 0
        for bit, factor in zip(there, (times_y, lambda x: omega(times_y(x)), lambda x: x, omega), strict=False):
            summand = factor(pair(rows[64 * (bits_each * group + bit) + at]))
            total = total[0] ^ summand[0], total[1] ^ summand[1]
        assert pair(mine[number]) == total


def test_factors_are_those_of_a_field_of_sixteen() -> None:
    """Each but 0 has an inverse, so a key that was not chosen is one at a secret that is as good as delta; and they are linear. Multiplied by it fifteen times an
    element is what it was."""
    for _ in range(20):
        delta = secrets.randbits(64), secrets.randbits(64)
        multiples = [pair(row) for row in extension._multiples(*delta)]
        assert len(set(multiples)) == 16
        assert multiples[0] == (0, 0)
        assert multiples[4] == delta
        for x, y in ((3, 5), (1, 14), (7, 9)):
            assert multiples[x ^ y] == (multiples[x][0] ^ multiples[y][0], multiples[x][1] ^ multiples[y][1])
        for number in range(1, 16):
            power = delta
            for _ in range(15):
                power = pair(extension._multiples(*power)[number])
            assert power == delta


@pytest.mark.parametrize("words", [1, 2, 15, 16, 17, 100])
def test_rows_are_those_of_the_matrix(words: int) -> None:
    columns = Stream(bytes(32)).words((128, words + 8))
    out, other = np.empty((64 * words, 2), np.uint64), np.empty((64 * words, 2), np.uint64)
    kernels.rows(columns, words, 5, 7, out, other)
    matrix = np.stack([bits(column) for column in columns[:, :words]], axis=1)
    plain = np.packbits(matrix, axis=1, bitorder="little").view(np.uint64)
    assert (out[:, 1] == plain[:, 0]).all()
    assert (out[:, 0] == plain[:, 0] ^ plain[:, 1]).all()
    assert (other == out ^ np.array([5, 7], np.uint64)).all()


def test_one_setting_of_base_keys_makes_ends_that_agree_whatever_the_epoch_and_others_that_do_not() -> None:
    pairs, choices, chosen = base_keys()
    chooser = Chooser(pairs, EPOCH)
    sender = Sender(choices, chosen, chooser.setup, bytes(32))  # of another epoch
    message, rows, _ = chooser.extend(np.zeros(4, np.uint64))
    q, *_ = sender.extend(message)
    assert (q != rows).any(axis=1).all()


# --- products ------------------------------------------------------------------------------------------------------------------

ALGEBRAS: list[Algebra] = [RING, FIELD, WORDS, RING128, FIELD127]
EDGES = [0, 1, 2, (1 << 32) - 1, 1 << 32, (1 << 61) - 2, (1 << 61) - 1, 1 << 63, (1 << 64) - 1, (1 << 127) - 2, (1 << 128) - 1]


def multiplied(algebra: Algebra, a: list[int], b: list[int]) -> list[int]:
    """a * b from the two ends' shares of it."""
    dtype = algebra.encode(0).dtype
    x, y = np.array(a, object).astype(dtype), np.array(b, object).astype(dtype)
    chooser, sender, _ = ends()
    product = product_over(algebra)
    message, *keys = chooser.extend(product.choices(y))
    kept, corrections = product.sender(sender.extend(message), x)
    assert len(corrections) == product.corrected * len(a)
    return [int(v) for v in algebra.add(kept, product.chooser((keys[0], keys[1]), y, corrections))]


def exactly(algebra: Algebra, a: int, b: int) -> int:
    return a & b if algebra is WORDS else a * b % algebra.modulus


@pytest.mark.parametrize("algebra", ALGEBRAS, ids=lambda algebra: algebra.name)
def test_products_at_the_edges(algebra: Algebra) -> None:
    edges = sorted({edge % algebra.modulus for edge in EDGES} | {algebra.modulus - 1})
    a, b = [x for x in edges for _ in edges], [y for _ in edges for y in edges]
    assert multiplied(algebra, a, b) == [exactly(algebra, x, y) for x, y in zip(a, b, strict=True)]


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(ALGEBRAS), st.integers(1, 70), st.randoms(use_true_random=False))
def test_products(algebra: Algebra, count: int, rng: random.Random) -> None:
    a, b = ([rng.randrange(algebra.modulus) for _ in range(count)] for _ in range(2))
    assert multiplied(algebra, a, b) == [exactly(algebra, x, y) for x, y in zip(a, b, strict=True)]


def test_the_corrections_of_the_ring_have_as_many_bits_as_count() -> None:
    """64 - i of bit i: 260 bytes, in which every bit is padded by a key that the chooser of the other bit does not have. Of
    zeros sent for zeros chosen, the corrections look uniform."""
    chooser, sender, _ = ends()
    product, count = product_over(RING), 4096
    message, *_ = chooser.extend(np.zeros(count, np.uint64))
    _, corrections = product.sender(sender.extend(message), np.zeros(count, np.uint64))
    assert len(corrections) == 260 * count
    assert uniform(np.frombuffer(corrections, np.uint8))


# --- what each sees looks uniform ------------------------------------------------------------------------------------------------


def uniform(values: np.ndarray) -> bool:
    return bool(chisquare(np.bincount(values, minlength=256)).pvalue > FALSE_ALARM)


def seen_by_the_sender(choices: np.ndarray, bug: str = "") -> np.ndarray:
    chooser, *_ = ends()
    message, *_ = chooser.extend(choices)
    if bug == "no pad":
        return np.broadcast_to(choices, message.shape)
    if bug == "one pad for all":
        return np.broadcast_to(message[:, :1] ^ choices, message.shape)
    return message


@pytest.mark.parametrize("bug", ["", "no pad", "one pad for all"])
def test_the_senders_view_of_choices_that_are_all_alike_is_uniform(bug: str) -> None:
    choices = np.full(512, 0x0123456789ABCDEF, np.uint64)
    view = np.ascontiguousarray(seen_by_the_sender(choices, bug)).reshape(-1).view(np.uint8)
    assert uniform(view) == (not bug)


@pytest.mark.parametrize("bug", ["", "delta is 0", "keys are rows"])
def test_the_key_that_was_not_chosen_is_uniform_given_the_other(bug: str) -> None:
    """Their difference, for choices that are all alike. With rows for keys it is delta, always."""
    chooser, sender, _ = ends()
    if bug == "delta is 0":
        sender._shift, sender._columns = (0, 0), sender._columns[:0]
    message, *_ = chooser.extend(np.zeros(256, np.uint64))
    q, under, other, other_under = sender.extend(message)
    difference = q ^ other if bug == "keys are rows" else q ^ under ^ other ^ other_under
    assert uniform(difference.reshape(-1).view(np.uint8)) == (not bug)


@pytest.mark.parametrize("bug", ["", "one key for all"])
def test_products_in_fours_are_sent_as_if_they_were_random(bug: str) -> None:
    """Of zeros and zeros chosen, all but the key of number 0, which the chooser has."""
    chooser, sender, _ = ends()
    if bug:
        sender._multiples = np.zeros_like(sender._multiples)
    message, *_ = chooser.extend(np.zeros(256, np.uint64))
    q, *_ = sender.extend(message)
    kept, corrections = np.zeros((64, 11), np.uint64), np.empty((64, 15, 11), np.uint64)
    kernels.send_fours(*sender.sixteen(q, 4, 4), np.zeros((64, 4), np.uint64), kept, corrections)
    assert uniform(kept.reshape(-1).view(np.uint8))
    assert uniform(corrections.reshape(-1).view(np.uint8)) == (not bug)


def triples_of(scheme_name: str, parties: int, count: int) -> list[list[np.ndarray]]:
    """Each party's shares of a, b, c."""

    def party(ctx: Context, mine: object) -> list[np.ndarray]:
        assert ctx.triples is not None
        return [share.data for share in ctx.triples.take(ctx, Triples(count))]

    threshold = parties - 1 if scheme_name == "additive" else (parties - 1) // 2
    return simulate(party, [None] * parties, schemes(scheme_name, parties, threshold)[0], triples="ot")


@pytest.mark.parametrize(("scheme", "parties"), [("additive", 2), ("additive", 3), ("shamir", 3), ("shamir", 5)])
def test_every_triple_is_right_and_every_share_uniform(scheme: str, parties: int) -> None:
    """The low bytes of each party's share of c, given all others' shares being what they are, too: c is masked."""
    found = schemes(scheme, parties, parties - 1 if scheme == "additive" else (parties - 1) // 2)[0]
    shares = triples_of(scheme, parties, 20_000)
    a, b, c = (found.combine({i: held[part] for i, held in enumerate(shares)}) for part in range(3))
    assert (c == found.algebra.multiply(a, b)).all()
    for held in shares:
        for part in held:
            assert uniform((part & np.uint64(255)).astype(np.int64))
    assert uniform((c & np.uint64(255)).astype(np.int64)) is False or scheme == "shamir"  # a product of ring elements is often even


# --- nothing is used twice ---------------------------------------------------------------------------------------------------------


def recorded(monkeypatch: pytest.MonkeyPatch, sessions: int, kind: Row, scheme: Scheme) -> list[bytes]:
    """The plaintexts and keys of all AES, and the masks of all trees, of sessions with the same base keys: as if both had come
    back from one backup each time."""
    seen: list[bytes] = []
    kept: dict[PartyId, dict[PartyId, base.BaseKeys]] = {party: {} for party in range(scheme.parties)}
    encrypted, fixed_key, mask = extension._encrypted, extension._fixed_key, extension._mask
    keys: dict[int, bytes] = {}

    def watch_key(epoch: bytes, label: str) -> Any:
        aes = fixed_key(epoch, label)
        keys[id(aes)] = derive(epoch, label)
        alive.append(aes)
        return aes

    def watch(aes: Any, words: np.ndarray) -> np.ndarray:
        raw = words.tobytes()
        blocks = (raw[at : at + 16] for at in range(0, len(raw), 16))
        seen.extend(keys[id(aes)] + block for block in blocks if any(block[8:]))  # the leaf that is not known is counted from 0
        return encrypted(aes, words)

    def watch_mask(*arguments: Any) -> bytes:
        made = mask(*arguments)
        seen.append(made)
        return made

    alive: list[Any] = []
    monkeypatch.setattr(extension, "_fixed_key", watch_key)
    monkeypatch.setattr(extension, "_encrypted", watch)
    monkeypatch.setattr(extension, "_mask", watch_mask)

    def party(ctx: Context, mine: object) -> None:
        source = ObliviousTriples(kept[ctx.me])
        source.request(ctx, kind)
        kept[ctx.me] = dict(source.keys)

    for _ in range(sessions):
        simulate(party, [None] * scheme.parties, scheme, triples=None)
    return seen


@pytest.mark.parametrize(("kind", "scheme"), [(Triples(3), Additive(2)), (Masks(2), Additive(2)), (Masks(2), Shamir(3, 1)), (Truncations(1, 5), Shamir(3, 1))])
@pytest.mark.parametrize("bug", [False, True])
def test_no_pad_is_ever_used_twice_even_from_a_restored_backup(kind: Row, scheme: Scheme, bug: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is seen at both ends at most: of a leaf, of a row, of a mask. Of a row of the sender's other keys, at one."""
    if bug:
        monkeypatch.setattr(Context, "secret", lambda self, peer, *labels: hashlib.sha256("".join(labels).encode()).digest())
    assert used_twice(recorded(monkeypatch, 4, kind, scheme)) == bug


def test_a_row_that_stands_for_a_four_as_well_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of 61 bits is a four of its own: its row must not be that of the bit."""
    combined = kernels.combined

    def as_it_is(rows: np.ndarray, each: int, used: int, out: np.ndarray) -> None:
        combined(rows, each, used, out)
        if used % 4 == 1:
            out.reshape(len(rows) // (64 * each), -1, 64, 2)[:, -1] = rows.reshape(-1, each, 64, 2)[:, used - 1]

    monkeypatch.setattr(kernels, "combined", as_it_is)
    assert used_twice(recorded(monkeypatch, 1, Masks(2), Shamir(3, 1)))


def used_twice(seen: list[bytes]) -> bool:
    _, counts = np.unique(np.array([hashlib.sha256(x).digest() for x in seen], dtype="S32"), return_counts=True)
    assert len(seen) > 10_000
    return int(counts.max()) > 2


# --- what is malformed is refused ---------------------------------------------------------------------------------------------------

SMALL_ORDER = [
    (1).to_bytes(32, "little"), bytes(32), bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
]  # fmt: skip
NO_POINTS = [*SMALL_ORDER, b"\xff" * 32, (2).to_bytes(32, "little"), bytes.fromhex("ee" + "ff" * 30 + "7f")]


class Altering:
    """A channel on which party 0's message number `number` is sent as `change` makes it."""

    def __init__(self, inner: Channel, change: Callable[[bytes], bytes], number: int) -> None:
        self._inner, self._change, self._left = inner, change, number

    def send(self, to: PartyId, tag: Tag, payload: Payload) -> None:
        if self._left == 0:
            payload = self._change(bytes(payload))
        self._left -= 1
        self._inner.send(to, tag, payload)

    def receive(self, sender: PartyId, tag: Tag, size: int) -> Payload:
        return self._inner.receive(sender, tag, size)


def altered(change: Callable[[bytes], bytes], number: int, work: Callable[[Context], Any], deadline: float = 2.0) -> list[Any]:
    def wrap(me: PartyId, channel: Channel) -> Channel:
        return Altering(channel, change, number) if me == 0 else channel

    return simulate(lambda ctx, _: work(ctx), [None, None], triples=None, wrap=wrap, deadline=deadline)


@pytest.mark.parametrize("point", NO_POINTS, ids=lambda point: point.hex()[:8])
@pytest.mark.parametrize("number", [0, 1])
def test_what_is_no_point_of_the_group_is_refused(point: bytes, number: int) -> None:
    with pytest.raises(PeerError, match="no point of the group") as refused:
        altered(lambda raw: point + raw[32:], number, lambda ctx: base_transfers(ctx, [1 - ctx.me]))
    assert refused.value.peer == 0


def test_a_point_whose_difference_is_neutral_is_refused() -> None:
    """B = A: the second key would be of the neutral element, which everybody knows."""
    first: list[bytes] = []

    def listen(self: Context, operation: str, messages: Any, tell: Any = Context.tell_each) -> Any:
        heard = tell(self, operation, messages)
        if self.me == 0 and not first:
            first.append(heard[1])
        return heard

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Context, "tell_each", listen)
        with pytest.raises(PeerError, match="without a secret") as refused:
            altered(lambda raw: first[0] + raw[32:], 1, lambda ctx: base_transfers(ctx, [1 - ctx.me]))
    assert refused.value.peer == 0


def flipped(raw: bytes, rng: random.Random) -> bytes:
    """64 bits: each counts with a half or so, as a choice's pad counts for one value of a bit of delta."""
    changed = bytearray(raw)
    for _ in range(64):
        changed[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    return bytes(changed)


CHANGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "bits": flipped,
    "shorter": lambda raw, rng: raw[:-1],
    "longer": lambda raw, rng: raw + b"\0",
    "nothing": lambda raw, rng: b"",
    "zeros": lambda raw, rng: bytes(len(raw)),
}


@pytest.mark.parametrize("scheme", ["additive", "shamir"])
@pytest.mark.parametrize("change", CHANGES)
def test_whatever_is_altered_of_the_offline_phase_is_refused_or_makes_another_triple(scheme: str, change: str) -> None:
    """Each message of party 0 in turn: which base keys it has, its point, its 128 points, the trees, the choices, the corrections,
    and with Shamir shares what it deals. No run hangs, and none ends in anything but a ComityError or other triples."""
    rng = random.Random(f"{scheme} {change}")
    parties = 2 if scheme == "additive" else 3
    found = schemes(scheme, parties, 1)[0]

    def work(ctx: Context, _: object) -> list[np.ndarray]:
        source = ObliviousTriples()
        return [share.data for share in source.take(ctx, Triples(64))]

    outcomes = []
    for number in range(6 if scheme == "additive" else 7):

        def wrap(me: PartyId, channel: Channel, number: int = number) -> Channel:
            return Altering(channel, lambda raw: CHANGES[change](raw, rng), number) if me == 0 else channel

        try:
            shares = simulate(work, [None] * parties, found, triples=None, wrap=wrap, deadline=2.0)
        except ComityError:
            outcomes.append("refused")
            continue
        try:
            a, b, c = (found.combine({i: held[part] for i, held in enumerate(shares)}) for part in range(3))
        except ValueError:  # Shamir shares that contradict one another
            outcomes.append("refused")
            continue
        outcomes.append("right" if (c == found.algebra.multiply(a, b)).all() else "wrong")
    if change in ("shorter", "longer", "nothing"):
        assert set(outcomes) == {"refused"}
    else:
        assert "wrong" in outcomes
        assert outcomes[1] in ("refused", "wrong")  # one altered point in sixteen is another of the subgroup's


@pytest.mark.parametrize("number", range(16))
def test_a_flipped_bit_of_a_correction_changes_the_triple_it_is_of_in_half_of_all_cases(number: int) -> None:
    """Bit by bit: a correction counts where its bit of b is 1."""
    chooser, sender, _ = ends()
    product, rng = product_over(RING), random.Random(number)
    stream = Stream(fresh_seed())
    a, b = stream.words((200,)), stream.words((200,))
    message, *keys = chooser.extend(b)
    kept, corrections = product.sender(sender.extend(message), a)
    wrong = 0
    for t in range(200):
        raw = bytearray(corrections)
        raw[256 * t + rng.randrange(256)] ^= 1 << rng.randrange(8)
        had = product.chooser((keys[0], keys[1]), b, bytes(raw))
        differs = np.flatnonzero(kept + had != a * b)
        assert set(differs) <= {t}
        wrong += len(differs)
    assert 50 < wrong < 150  # binomial of 200 with 1/2: outside with 1e-12


def test_a_correction_that_is_no_element_of_the_field_is_refused() -> None:
    chooser, sender, _ = ends()
    product = product_over(FIELD)
    b = FIELD.encode(np.arange(4))
    message, *keys = chooser.extend(product.choices(b))
    _, corrections = product.sender(sender.extend(message), b)
    raw = bytearray(corrections)
    raw[:8] = P.to_bytes(8, "little")
    with pytest.raises(ValueError, match="no element"):
        product.chooser((keys[0], keys[1]), b, bytes(raw))


def test_an_epoch_ends_before_its_transfers_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extension, "LARGEST_EPOCH", 128)
    chooser, *_ = ends()
    chooser.extend(np.zeros(2, np.uint64))
    with pytest.raises(ComityError, match="at most 128 transfers"):
        chooser.extend(np.zeros(1, np.uint64))


def test_nothing_secret_prints() -> None:
    chooser, sender, _ = ends()
    chooser.extend(np.zeros(2, np.uint64))
    pairs, choices, chosen = base_keys()
    assert repr(chooser) == "<chooser, 128 transfers made>"
    assert repr(sender) == "<sender, 0 transfers made>"
    assert repr(base.BaseKeys(pairs, choices, chosen, secrets.token_bytes(32))) == "BaseKeys()"
