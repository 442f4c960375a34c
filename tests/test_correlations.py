"""What the sources make, of every kind: the relation holds at each index, whatever the sizes; each party's part is uniform,
whatever it and, below the threshold, another know besides; both ends are equal under different hash seeds.

The planted bugs at the end show that these tests find what they are for.
"""

import itertools
import os
import subprocess
import sys
from functools import cache, reduce

import numpy as np
import pytest
from conformance import named, wrong
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from scipy import stats
from test_faults import disturb

from mpc.algebra.field import FIELD
from mpc.algebra.ring import RING
from mpc.algebra.wide import FIELD127, RING128
from mpc.algebra.words import WORDS
from mpc.correlations import Ands, Bits, Masks, Matrices, Squares, Triples, bit_length, matrix_product, unpacked
from mpc.errors import PeerError, ProtocolError
from mpc.ot import extension, matrices
from mpc.randomness import Stream, fresh_seed
from mpc.schemes.additive import Additive
from mpc.schemes.shamir import Shamir
from mpc.schemes.words import boolean
from mpc.simulate import simulate
from mpc.triples import ot
from protocols.gadgets import multiply, reveal, share

FALSE_ALARM = 1e-9
"""The probability that `not_uniform` finds something in one run though all is uniform (Bonferroni over its tests); it is
called fewer than 200 times here, so 1e-6 for all of this file is not reached."""

SOURCES = ("ot", "dealer", "insecure")
every_source = pytest.mark.parametrize("source", SOURCES)


def make(ctx, kinds):
    return [[part.data for part in ctx.triples.take(ctx, kind)] for kind in kinds]


def made(kinds, scheme, source):
    """Of each kind, of each part the shares of all parties: [kind][part][party]."""
    everywhere = simulate(make, [kinds] * scheme.parties, scheme, triples=source, deadline=60)
    return [list(zip(*of_kind, strict=True)) for of_kind in zip(*everywhere, strict=True)]


def opened(kind, scheme, parts):
    schemes = [part.scheme for part in (*kind.drawn(scheme), *kind.following(scheme))]
    return [s.combine(dict(enumerate(shares))) for s, shares in zip(schemes, parts, strict=True)]


def all_wrong(kinds, scheme, source):
    found = [wrong(k, scheme.algebra.modulus, opened(k, scheme, p)) for k, p in zip(kinds, made(kinds, scheme, source), strict=True)]
    return [why for why in found if why]


# --- the relation, at every index --------------------------------------------------------------------------------------


LONG = (Triples(1025), Ands(1025), Squares(2049), Bits(1025), Masks(33), Matrices(1030, 2, 3), Matrices(2, 2, 2070))
"""Beyond the blocks in which they are made: of 1,024 products, words or elements of a matrix's vectors."""


@every_source
@pytest.mark.parametrize("scheme", [Additive(2), Additive(3), Shamir(3, 1), Shamir(5, 1)], ids=named)
def test_the_relation_holds_beyond_one_block(scheme, source):
    assert all_wrong(LONG, scheme, source) == []


@every_source
@pytest.mark.parametrize("scheme", [Additive(2, RING128), Shamir(3, 1, FIELD127)], ids=named)
def test_the_relation_holds_in_wide_algebras(scheme, source):
    assert all_wrong([Triples(3), Squares(3), Bits(3), Masks(2), Matrices(4, 3, 2), Matrices(2, 3, 4)], scheme, source) == []


@pytest.mark.parametrize("scheme", [Additive(2), Shamir(3, 1), Additive(3, RING128)], ids=named)
def test_what_is_made_in_several_pieces_and_slabs(monkeypatch, scheme):
    monkeypatch.setattr(ot, "BATCH", 64)
    monkeypatch.setattr(ot, "_BITS", 64 * 4)
    monkeypatch.setattr(matrices, "PART", 4)
    monkeypatch.setattr(matrices, "LARGEST_BLOCK", 12_000)  # slabs of 46 elements over Z_2^64, 24 over the field, 5 in the wide

    def protocol(ctx, kinds):
        ctx.triples.link(ctx)
        parts = []
        for kind in kinds:
            before = ctx.measured
            parts.append([part.data for part in ctx.triples.take(ctx, kind)])
            declared = ctx.triples.cost(ctx.scheme, ctx.me, kind)
            assert (ctx.measured.rounds, ctx.measured.bytes) == (before.rounds + declared.rounds, before.bytes + declared.bytes)
        return parts

    kinds = [Squares(129), Bits(10), Masks(3), Matrices(50, 3, 2), Matrices(3, 5, 49), Matrices(6, 13, 6), Triples(130)]
    if scheme.algebra is RING128:  # Python integers
        kinds = [Squares(66), Bits(5), Masks(2), Matrices(7, 2, 2), Matrices(2, 1, 6)]
    results = simulate(protocol, [kinds] * scheme.parties, scheme, triples="ot", deadline=60)
    for kind, of_kind in zip(kinds, zip(*results, strict=True), strict=True):
        assert not wrong(kind, scheme.algebra.modulus, opened(kind, scheme, list(zip(*of_kind, strict=True))))


@every_source
def test_kinds_and_triples_ahead_in_any_order(source):
    """What was asked for before is taken after, from the right place."""

    def protocol(ctx, x):
        words = ctx.under(boolean(ctx.scheme))
        ctx.triples.request(ctx, Triples(5))
        ctx.triples.request(words, Ands(3))
        first = ctx.triples.take(ctx, Squares(4))
        triple, ands = ctx.triples.take(ctx, Triples(4)), ctx.triples.take(words, Ands(3))
        second = ctx.triples.take(ctx, Bits(2))
        last = ctx.triples.take(ctx, Triples(4))
        return [[part.data for part in parts] for parts in (first, triple, ands, second, last)]

    for scheme in (Additive(3), Shamir(3, 1)):
        results = simulate(protocol, [0] * 3, scheme, triples=source)
        kinds = [Squares(4), Triples(4), Ands(3), Bits(2), Triples(4)]
        seen = []
        for kind, of_kind in zip(kinds, zip(*results, strict=True), strict=True):
            values = opened(kind, scheme, list(zip(*of_kind, strict=True)))
            assert not wrong(kind, scheme.algebra.modulus, values)
            seen += values[0].tolist()
        assert len(set(seen)) == len(seen)


def test_multiplying_words_under_the_boolean_scheme_is_and():
    def protocol(ctx, mine):
        words = ctx.under(boolean(ctx.scheme))
        x, y, _ = share(words, mine)
        product = multiply(words, x, y)
        with pytest.raises(ProtocolError, match="not of this session"):
            reveal(ctx, product)
        return reveal(words, product).tolist(), ctx.measured == words.measured, ctx.measured.triples

    inputs = [np.array([(1 << 64) - 1, 12, 0], np.uint64), np.array([(1 << 63) + 5, 10, 7], np.uint64), np.zeros(3, np.uint64)]
    for scheme in (Additive(3), Shamir(3, 1)):
        for source in SOURCES:
            assert simulate(protocol, inputs, scheme, triples=source) == [([(1 << 63) + 5, 8, 0], True, 3)] * 3


def test_a_context_under_another_scheme_is_the_same_session():
    def protocol(ctx, x):
        words = ctx.under(boolean(ctx.scheme))
        assert (words.me, words.parties, words.triples) == (ctx.me, ctx.parties, ctx.triples)
        assert [words.tag("a").step, ctx.tag("a").step, words.tag("a").step] == [0, 1, 2]
        words.triples = None
        assert ctx.triples is None
        assert words.scheme != ctx.scheme
        with pytest.raises(ProtocolError, match="a scheme of 4 parties in a session of 3"):
            ctx.under(Additive(4))

    simulate(protocol, [0] * 3)


def test_the_schemes_of_a_session_have_one_threshold():
    def protocol(ctx, x):
        ctx.triples.take(ctx, Squares(1))
        with pytest.raises(ProtocolError, match="one privacy threshold"):
            ctx.triples.take(ctx.under(Additive(3, WORDS)), Ands(1))

    simulate(protocol, [0] * 3, Shamir(3, 1), triples="ot")


@pytest.mark.parametrize("algebra", [RING, FIELD, RING128, FIELD127], ids=lambda a: a.name)
def test_matrix_products_are_those_of_integers(algebra):
    stream = Stream(fresh_seed())
    for m, k, n in ((1, 1, 1), (3, 4, 2), (1, 5, 1), (2, 1, 2)):
        x, y = algebra.uniform((m, k), stream), algebra.uniform((k, n), stream)
        exact = x.astype(object) @ y.astype(object) % algebra.modulus
        assert (matrix_product(algebra, x, y).astype(object) == exact).all()


@pytest.mark.parametrize(("kind", "block"), [(Triples(4), 1), (Squares(4), 1), (Bits(1), 0), (Matrices(3, 2, 1), 1)], ids=str)
def test_a_correction_that_is_no_element_names_the_peer(kind, block):
    """Over the field, 64 ones are none. Before its corrections party 0 sends its own choices, unless it only sends."""

    def change(to, tag, payload):
        return b"\xff" * len(payload) if (to, tag.operation, tag.block) == (1, "triples", block) else payload

    with pytest.raises(PeerError, match="of no meaning at") as caught:
        simulate(make, [[kind]] * 3, Shamir(3, 1), triples="ot", wrap=disturb(0, change))
    assert caught.value.peer == 0


# --- the long keys of matrices -----------------------------------------------------------------------------------------


def test_long_keys_are_the_tweakable_hash():
    """AES(AES(x) + l) + AES(x), with AES of `cryptography` called block by block."""
    epoch = bytes(range(32))
    rows = np.arange(6, dtype=np.uint64).reshape(3, 2) * np.uint64(0x9E3779B97F4A7C15)
    permutation = extension._fixed_key(epoch, "hash")
    aes = Cipher(algorithms.AES(extension.derive(epoch, "hash")[:16]), modes.ECB()).encryptor()
    y = extension._encrypted(permutation, rows)
    assert y.tobytes() == aes.update(rows.tobytes())
    long = extension._Long(permutation).expanded(y, 5, 4, 0).copy()
    for row, key in zip(y, long.reshape(3, 4, 2), strict=True):
        for at, block in enumerate(key):
            tweaked = row ^ np.array([5 + at, 0], np.uint64)
            assert block.tobytes() == (np.frombuffer(aes.update(tweaked.tobytes()), np.uint64) ^ row).tobytes()
    assert len(np.unique(long)) == long.size


# --- uniform, given what a coalition knows ------------------------------------------------------------------------------

MANY = 1 << 13
KINDS = {
    "triples": Triples(MANY), "ands": Ands(MANY), "squares": Squares(MANY), "bits": Bits(MANY // 64), "masks": Masks(MANY // 256),
    "outer": Matrices(64, 1, 64), "tall": Matrices(128, 3, 16), "broad": Matrices(16, 3, 128),
}  # fmt: skip


def digits(kind, scheme, number, part, x):
    """Of each sample, the low 3 bits and the high 3 bits of a party's share `x`; of a word of bits one at a time."""
    if part.scheme.algebra is WORDS and isinstance(kind, Bits):
        return [unpacked(x).reshape(-1).astype(np.int64)]
    if part.scheme.algebra is WORDS and isinstance(kind, Masks):
        chosen = [(0, 1, 2), (-3, -2, -1)] if number == 0 else [(0, 16, 43), (-13, -12, -100)]
        rows = unpacked(x.reshape(len(x), -1)).astype(np.int64)
        return [(4 * rows[:, a] + 2 * rows[:, b] + rows[:, c]).reshape(-1) for a, b, c in chosen]
    if isinstance(kind, Matrices):  # an element of A and of B for each of C
        x = np.broadcast_to((x[:, :1], x[:1], x)[number], (kind.m, kind.n)).reshape(-1)
    high, x = bit_length(part.scheme.algebra) - 3, x.reshape(-1)
    if x.dtype == object:
        return [(x & 7).astype(np.int64), (x >> high & 7).astype(np.int64)]
    return [(x & np.uint64(7)).astype(np.int64), (x >> np.uint64(high) & np.uint64(7)).astype(np.int64)]


def crosses(kind, scheme, parts):
    """Each party's share of a b less what it would be if all others' pads were 0: all of a times its b, or, where the
    elements of a matrix A choose, its A times all of B. Over a field that alone tells, since a product with an unknown
    number is uniform."""
    algebra = scheme.algebra
    if isinstance(kind, Matrices) and kind.m < kind.n:
        b = reduce(algebra.add, parts[1])
        return [algebra.subtract(c, matrix_product(algebra, a, b)) for a, c in zip(parts[0], parts[2], strict=True)]
    if isinstance(kind, Matrices):
        a = reduce(algebra.add, parts[0])
        return [algebra.subtract(c, matrix_product(algebra, a, b)) for b, c in zip(*parts[1:], strict=True)]
    if isinstance(kind, Ands):
        algebra = WORDS
    if isinstance(kind, Triples):
        a = reduce(algebra.add, parts[0])
        return [algebra.subtract(c, algebra.multiply(a, b)) for b, c in zip(*parts[1:], strict=True)]
    if isinstance(kind, Squares):
        return [algebra.subtract(c, algebra.multiply(a, a)) for a, c in zip(*parts, strict=True)]
    return []


def not_uniform(kind, scheme, parts):
    """The shares that are not uniform given another share, by chi-square over the values of 3 bits of both."""
    named_parts = (*kind.drawn(scheme), *kind.following(scheme))
    shares = {
        (number, party): digits(kind, scheme, number, part, x)
        for number, part in enumerate(named_parts)
        for party, x in enumerate(parts[number])
    }
    drawn = len(kind.drawn(scheme))
    for party, x in enumerate(crosses(kind, scheme, parts)):
        shares[drawn + 1, party] = digits(kind, scheme, drawn, named_parts[-1], x)
    found, tests = [], []
    for (target, xs), (given, ys) in itertools.product(shares.items(), repeat=2):
        if given[0] > drawn or (isinstance(kind, Matrices) and target[0] < drawn) or (target[0] > drawn <= given[0]):
            continue  # A and B have few elements, each of which comes with many of C
        if target == given or (target[0] >= drawn <= given[0] and scheme.privacy_threshold < 2):
            continue  # two parts of c say what c is, and that a * b is nothing uniform
        for x, y in itertools.product(xs, ys):
            values = 2 if isinstance(kind, Bits) and target[0] == 0 else 8
            counts = np.bincount(y * values + x, minlength=8 * values).reshape(8, values)
            expected = counts.sum(1, keepdims=True) / values
            used = expected[:, 0] > 0
            statistic = ((counts[used] - expected[used]) ** 2 / expected[used]).sum()
            tests.append((target, given, stats.chi2.sf(statistic, used.sum() * (values - 1))))
    for target, given, p in tests:
        if p < FALSE_ALARM / len(tests):
            found.append(f"part {target[0]} of {target[1]} given part {given[0]} of {given[1]}")
    return found


@cache
def samples(scheme, source):
    return dict(zip(KINDS, made(list(KINDS.values()), scheme, source), strict=True))


@every_source
@pytest.mark.parametrize("scheme", [Additive(2), Additive(3), Shamir(3, 1), Shamir(5, 2), Additive(3, FIELD)], ids=named)
@pytest.mark.parametrize("name", list(KINDS))
def test_each_partys_part_is_uniform_given_the_others(name, scheme, source):
    assert not_uniform(KINDS[name], scheme, samples(scheme, source)[name]) == []


@pytest.mark.parametrize("scheme", [Additive(2, RING128), Shamir(3, 1, FIELD127)], ids=named)
def test_parts_are_uniform_in_wide_algebras(scheme):
    kinds = [Triples(1024), Squares(1024), Bits(32), Masks(8), Matrices(64, 1, 16)]
    for kind, parts in zip(kinds, made(kinds, scheme, "ot"), strict=True):
        assert not_uniform(kind, scheme, parts) == []


# --- planted bugs --------------------------------------------------------------------------------------------------------


@pytest.fixture
def without_pads(monkeypatch):
    """All keys of transfers, short and long, are 0."""
    chooser, sender = extension.Chooser.extend, extension.Sender.extend

    def choose(self, choices):
        message, rows, _ = chooser(self, choices)
        return message, rows, rows

    def send(self, message):
        rows, _, others, _ = sender(self, message)
        return rows, rows, others, others

    monkeypatch.setattr(extension.Chooser, "extend", choose)
    monkeypatch.setattr(extension.Sender, "extend", send)
    monkeypatch.setattr(
        extension._Long, "expanded", lambda self, encrypted, first, count, buffer: np.zeros((len(encrypted), 2 * count), np.uint64)
    )


@pytest.mark.parametrize("name", list(KINDS))
@pytest.mark.parametrize("scheme", [Additive(2), Additive(3, FIELD)], ids=named)
def test_pads_left_out_are_found_though_the_relation_holds(without_pads, scheme, name):
    kind = KINDS[name]
    (parts,) = made([kind], scheme, "ot")
    assert not wrong(kind, scheme.algebra.modulus, opened(kind, scheme, parts))
    assert not_uniform(kind, scheme, parts)


@pytest.mark.parametrize("name", list(KINDS))
def test_a_choice_bit_that_is_stuck_is_found(monkeypatch, name):
    extend = extension.Chooser.extend
    monkeypatch.setattr(extension.Chooser, "extend", lambda self, choices: extend(self, choices | np.uint64(8)))
    assert all_wrong([KINDS[name]], Additive(2), "ot")


@every_source
@pytest.mark.parametrize("name", list(KINDS))
def test_random_bits_that_are_stuck_are_found(monkeypatch, source, name):
    for algebra in (RING, WORDS):
        uniform = type(algebra).uniform

        def stuck(self, shape, stream, uniform=uniform):
            return uniform(self, shape, stream) & np.uint64(0x5555555555555555)

        monkeypatch.setattr(type(algebra), "uniform", stuck)
    (parts,) = made([KINDS[name]], Additive(3), source)
    if name in ("outer", "tall", "broad"):  # of which only C is looked at
        parts_of_a = np.concatenate([x.reshape(-1) for x in parts[0]])
        assert not (parts_of_a & np.uint64(2)).any()
    else:
        assert not_uniform(KINDS[name], Additive(3), parts)


@pytest.mark.parametrize("name", ["squares", "bits"])
def test_shares_that_are_doubled_after_are_found(monkeypatch, name):
    """2 (a_i a_j), or R - 2 (R r), instead of (2 a_i) a_j: what a party's part is modulo 2 is then its a_i, or its bit."""
    kind = KINDS[name]
    if name == "squares":
        source = ot.ObliviousTriples._squares

        def doubled(self, ctx, count):
            added = ctx.scheme.algebra.add
            made = source(self, ctx, count)
            low = made[0] & np.uint64(1)
            made[1] = added(made[1] & ~np.uint64(1), low)
            return made

        monkeypatch.setattr(ot.ObliviousTriples, "_squares", doubled)
    else:
        bits = ot.ObliviousTriples._bits

        def even(self, ctx, wanted):
            words, part = bits(self, ctx, wanted)
            return words, part & ~np.uint64(1)

        monkeypatch.setattr(ot.ObliviousTriples, "_bits", even)
    (parts,) = made([kind], Additive(2), "ot")
    assert not_uniform(kind, Additive(2), parts)


# --- separate processes ---------------------------------------------------------------------------------------------------

DIGEST = """
import hashlib
from mpc.context import Context
from mpc.correlations import *
from mpc.channel import MemoryChannel, MemoryNetwork
from mpc.schemes.additive import Additive
from mpc.schemes.words import boolean
from mpc.schemes.shamir import Shamir
from mpc.triples.insecure import InsecurePublicTriples

found = hashlib.sha256()
for scheme in (Additive(3), Shamir(5, 2)):
    keys = dict.fromkeys(range(1, scheme.parties), bytes(32))
    ctx = Context(0, scheme, MemoryChannel(MemoryNetwork(range(scheme.parties)), 0), keys, InsecurePublicTriples())
    for kind in (Triples(5), Ands(5), Squares(5), Bits(2), Masks(3), Matrices(2, 3, 4)):
        for part in ctx.triples.take(ctx, kind):
            found.update(part.data.tobytes())
print(found.hexdigest())
"""


def test_the_parts_are_drawn_in_one_order_under_any_hash_seed():
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
