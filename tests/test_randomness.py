"""Streams and derived keys: against published vectors, against `cryptography` itself, and as random numbers."""

import logging

import numpy as np
import pytest
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mpc.algebra.field import FIELD
from mpc.algebra.ring import RING
from mpc.algebra.wide import FIELD127, RING128
from mpc.channel import MemoryChannel, MemoryNetwork
from mpc.context import Context
from mpc.randomness import SEED_BYTES, Stream, derive, fresh_seed
from mpc.schemes.additive import Additive
from mpc.share import Share

FALSE_ALARM = 1e-9
"""The probability with which one statistical test below fails on true random numbers."""

# NIST SP 800-38A, F.5.5 CTR-AES256.Encrypt
NIST_KEY = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
NIST_COUNTER = bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
NIST_PLAIN = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172a" "ae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52ef" "f69f2445df4f9b17ad2b417be66c3710"
)  # fmt: skip
NIST_CIPHER = bytes.fromhex(
    "601ec313775789a5b7a7f504bbf3d228" "f443e3ca4d62b59aca84e990cacaf5c5"
    "2b0930daa23de94ce87017ba2d84988d" "dfc9c58db67aada613c2dd08457941a6"
)  # fmt: skip


def aes_blocks(key: bytes, first: int, count: int) -> bytes:
    """AES-256 of the counters first, first + 1, ..., block by block: what counter mode is made of."""
    counters = b"".join(((first + i) % (1 << 128)).to_bytes(16, "big") for i in range(count))
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(counters)


def test_counter_mode_from_blocks_gives_the_published_vector():
    # the Stream's own counter starts at 0, the vector's elsewhere: so the vector checks the oracle of the next test
    key_stream = aes_blocks(NIST_KEY, int.from_bytes(NIST_COUNTER, "big"), 4)
    assert bytes(a ^ b for a, b in zip(key_stream, NIST_PLAIN, strict=True)) == NIST_CIPHER


def test_a_stream_is_aes_256_of_the_counters_from_zero():
    assert Stream(NIST_KEY).read(16 * 100) == aes_blocks(NIST_KEY, 0, 100)
    # AES-256 of the zero block under the zero key, NIST's known answer (AESAVS, GFSbox/KeySbox at zero)
    assert Stream(bytes(32)).read(16).hex() == "dc95c078a2408989ad48a21492842087"


@given(st.lists(st.integers(0, 70), max_size=20))
def test_reads_in_pieces_equal_one_read(pieces):
    whole, parts = Stream(NIST_KEY), Stream(NIST_KEY)
    assert b"".join(parts.read(count) for count in pieces) == whole.read(sum(pieces))


def test_reads_beyond_the_internal_block_equal_many_small_ones():
    count = (2 << 20) + 5
    whole, parts = Stream(NIST_KEY), Stream(NIST_KEY)
    expected = whole.read(count)
    assert len(expected) == count
    assert parts.read(3) + parts.read(1 << 20) + parts.read((1 << 20) + 2) == expected


def test_words_are_the_stream_in_little_endian():
    words = Stream(NIST_KEY).words((2, 3))
    assert words.shape == (2, 3)
    assert words.dtype == np.uint64
    raw = Stream(NIST_KEY).read(48)
    assert words.reshape(-1).tolist() == [int.from_bytes(raw[i : i + 8], "little") for i in range(0, 48, 8)]


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_a_seed_of_another_length_is_refused(length):
    with pytest.raises(ValueError, match="32 bytes"):
        Stream(bytes(length))


def test_fresh_seeds_are_full_length_and_differ():
    seeds = {fresh_seed() for _ in range(100)}
    assert len(seeds) == 100
    assert {len(seed) for seed in seeds} == {SEED_BYTES}


def hkdf_by_hand(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869 from HMAC-SHA256 alone."""

    def mac(key: bytes, message: bytes) -> bytes:
        h = hmac.HMAC(key, hashes.SHA256())
        h.update(message)
        return h.finalize()

    extracted, block, out, number = mac(salt or bytes(32), secret), b"", b"", 1
    while len(out) < length:
        block = mac(extracted, block + info + bytes([number]))
        out, number = out + block, number + 1
    return out[:length]


@pytest.mark.parametrize(
    ("secret", "salt", "info", "length", "expected"),
    [
        # RFC 5869 A.1 and A.3 (no salt, no info)
        ("0b" * 22, "000102030405060708090a0b0c", "f0f1f2f3f4f5f6f7f8f9", 42,
         "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"),
        ("0b" * 22, "", "", 42,
         "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"),
    ],
)  # fmt: skip
def test_hkdf_gives_the_published_vectors(secret, salt, info, length, expected):
    # `derive` fixes salt, info's form and length, so the vectors check the two oracles of the next test
    s, a, i = (bytes.fromhex(text) for text in (secret, salt, info))
    assert hkdf_by_hand(s, a, i, length).hex() == expected
    assert HKDF(hashes.SHA256(), length, a or None, i).derive(s).hex() == expected


def test_derive_is_hkdf_over_length_prefixed_labels():
    info = b"comity" + b"\0\0\0\6shares" + b"\0\0\0\0031>0"
    derived = derive(NIST_KEY, "shares", "1>0")
    assert derived == hkdf_by_hand(NIST_KEY, b"", info, 32)
    assert derived == HKDF(hashes.SHA256(), 32, None, info).derive(NIST_KEY)
    assert derive(NIST_KEY, b"shares", "1>0") == derived
    assert len(derived) == SEED_BYTES


def test_different_secrets_and_labels_give_different_keys():
    labels = [(), ("",), ("", ""), ("ab",), ("a", "b"), ("", "ab"), ("ab", ""), ("abc",), ("ab", "c"), ("a", "bc"), ("1>0",), ("0>1",)]
    keys = {derive(secret, *label) for secret in (bytes(32), NIST_KEY) for label in labels}
    assert len(keys) == 2 * len(labels)


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_two_lists_of_labels_give_one_key_only_where_they_are_equal(one, other):
    assert (derive(NIST_KEY, *one) == derive(NIST_KEY, *other)) == (one == other)


def context(me: int, pair: bytes) -> Context:
    return Context(me, Additive(2), MemoryChannel(MemoryNetwork(range(2)), me), {1 - me: pair})


def test_a_pairs_streams_agree_at_both_ends_and_differ_by_direction():
    pair = fresh_seed()
    first, second = context(0, pair), context(1, pair)
    there, back = first.stream(0, 1).read(64), first.stream(1, 0).read(64)
    assert (there, back) == (second.stream(0, 1).read(64), second.stream(1, 0).read(64))
    assert there != back
    assert first.stream(0, 1).read(64) != there  # each number is handed out once


# --- as random numbers -------------------------------------------------------------------------------------------------


def looks_uniform(values: list[int], bits: int) -> bool:
    """Whether `bits`-bit numbers look uniform: each bit is set half of the time, each byte takes all values equally
    often. False on true random numbers with probability at most FALSE_ALARM (Bonferroni over all the tests made)."""
    count, width = len(values), -(-bits // 8)
    raw = np.frombuffer(b"".join(v.to_bytes(width, "little") for v in values), np.uint8).reshape(count, width)
    each_bit = np.unpackbits(raw, axis=1, bitorder="little")[:, :bits].sum(axis=0)
    p_values = [stats.binomtest(int(ones), count).pvalue for ones in each_bit]
    for column in range(bits // 8):
        p_values.append(stats.chisquare(np.bincount(raw[:, column], minlength=256)).pvalue)
    return min(p_values) > FALSE_ALARM / len(p_values)


ALGEBRAS = [(RING, 64), (FIELD, 61), (RING128, 128), (FIELD127, 127)]


@pytest.mark.parametrize(("algebra", "bits"), ALGEBRAS, ids=lambda value: getattr(value, "name", ""))
def test_uniform_looks_uniform_in_every_bit_and_byte(algebra, bits):
    values = [int(v) for v in algebra.uniform((20_000,), Stream(fresh_seed()))]
    assert looks_uniform(values, bits)


class Stuck(Stream):
    """A planted bug: one bit of every 64-bit word is always set."""

    def fill(self, out) -> None:
        super().fill(out)
        out[3::8] |= 16


class Biased(Stream):
    """A planted bug: bytes drawn modulo 250."""

    def fill(self, out) -> None:
        super().fill(out)
        out %= 250


@pytest.mark.parametrize("planted", [Stuck, Biased])
@pytest.mark.parametrize(("algebra", "bits"), ALGEBRAS, ids=lambda value: getattr(value, "name", ""))
def test_the_test_of_uniformity_fails_on_a_planted_bug(algebra, bits, planted):
    values = [int(v) for v in algebra.uniform((20_000,), planted(fresh_seed()))]
    assert not looks_uniform(values, bits)


def test_uniform_fills_the_field_evenly_up_to_its_modulus():
    # bytes aside: the numbers as a whole, in 100 equal bins
    for algebra in (FIELD, FIELD127):
        values = [int(v) for v in algebra.uniform((20_000,), Stream(fresh_seed()))]
        bins = np.bincount([v * 100 // algebra.modulus for v in values], minlength=100)
        assert stats.chisquare(bins).pvalue > FALSE_ALARM


# --- nothing secret prints ----------------------------------------------------------------------------------------------


def test_nothing_secret_prints_or_is_logged(caplog):
    pair = fresh_seed()
    ctx = context(0, pair)
    stream, share = ctx.stream(0, 1), Share(RING.encode([123456789]), Additive(2), 0)
    caplog.set_level(logging.DEBUG)
    seed = derive(pair, "shares", "0>1")
    number = str(int(Stream(seed).words((1,))[0]))
    logging.getLogger().warning("%s %r %s %r %s %r", stream, stream, share, share, ctx, ctx)
    for text in (caplog.text, f"{stream}{share}{ctx}", str([stream, share, ctx]), str({"a": share})):
        for secret in (pair.hex(), repr(pair)[2:10], seed.hex(), number, "123456789"):
            assert secret not in text
    assert "shape (1,)" in repr(share)
