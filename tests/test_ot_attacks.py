"""Attacks on the oblivious transfers, each shown to work where the defence is taken away; and the whole extension against a
restatement that shares no code with it.

A statistical test fails by chance at most once in a million runs (FALSE_ALARM).
"""

import hashlib
import os
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from conformance import Watched
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from nacl.bindings import (
    crypto_core_ed25519_sub,
    crypto_scalarmult_ed25519_base_noclamp,
)
from nacl.exceptions import CryptoError
from scipy.stats import chi2_contingency, chisquare
from test_contributing import example

from mpc.algebra.field import FIELD
from mpc.algebra.ring import RING
from mpc.channel import Channel, Payload, Tag
from mpc.context import Context
from mpc.correlations import Triples
from mpc.errors import ComityError, PeerError
from mpc.ot import base, crossing, extension, kernels
from mpc.ot.base import COUNT, BaseKeys, base_transfers
from mpc.ot.extension import Chooser, Sender
from mpc.ot.products import product_over
from mpc.randomness import Stream, derive, fresh_seed
from mpc.schemes import PartyId, Scheme
from mpc.schemes.additive import Additive
from mpc.simulate import simulate
from mpc.triples import ot
from mpc.triples.ot import ObliviousTriples

FALSE_ALARM = 1e-6
EPOCH = bytes(range(32))


def base_keys(seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both keys of 128 base transfers, choices, and the keys chosen."""
    rng = np.random.default_rng(seed)
    pairs, choices = rng.integers(0, 256, (COUNT, 2, 32), np.uint8), rng.integers(0, 2, COUNT, np.uint8)
    return pairs, choices, pairs[np.arange(COUNT), choices]


def ends(k: int = extension.K) -> tuple[Chooser, Sender]:
    pairs, choices, chosen = base_keys()
    chooser = Chooser(pairs, EPOCH, k)
    return chooser, Sender(choices, chosen, chooser.setup, EPOCH, k)


# --- the whole extension, in Python integers ---------------------------------------------------------------------------------------


def xor(parts: list[bytes]) -> bytes:
    return bytes(np.bitwise_xor.reduce([np.frombuffer(part, np.uint8) for part in parts]))


def halves(node: bytes) -> list[bytes]:
    digest = hashlib.sha256(b"comity tree 1" + node).digest()
    return [digest[:16], digest[16:]]


def aes(label: str, block: int) -> int:
    key = derive(EPOCH, label)[:16]
    return int.from_bytes(Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block.to_bytes(16, "little")), "little")


def known_leaves(choices: np.ndarray, chosen: np.ndarray, setup: bytes, k: int) -> Iterator[tuple[int, dict[int, bytes]]]:
    """Of each tree alpha and the leaves that the holder of the keys chosen can reach, by number: by prefixes, in a way of its
    own. A node's number is its path, first step highest."""
    for tree in range(COUNT // k):
        known: dict[tuple[int, int], bytes] = {}  # (depth, number)
        path = 0
        for depth in range(k):
            at, side = k * tree + depth, int(choices[k * tree + depth])
            for (level, number), node in list(known.items()):
                if level == depth:
                    for step, child in enumerate(halves(node)):
                        known[depth + 1, 2 * number + step] = child
            pad = derive(chosen[at].tobytes() + EPOCH, "tree", str(at), str(side))[:16]
            others = [node for (level, number), node in known.items() if level == depth + 1 and number % 2 == side]
            known[depth + 1, 2 * path + side] = xor([setup[32 * at + 16 * side :][:16], pad, *others])
            path = 2 * path + 1 - side
        yield path, {number: node for (level, number), node in known.items() if level == k}


def stream_bit(seed: bytes, j: int) -> int:
    """Bit j of a leaf's stream."""
    block = int.from_bytes(seed, "little") ^ (j // 128)
    return (aes("leaves", block) ^ block) >> (j % 128) & 1


def key_of(row: int) -> int:
    """H, from the definition: p(l, h) = (l + h, l)."""
    low, high = row & (1 << 64) - 1, row >> 64
    moved = (low ^ high) | low << 64
    return aes("hash", moved) ^ moved


@pytest.mark.parametrize("k", [2, 4, 8])
def test_the_senders_rows_and_both_ends_keys_follow_from_the_messages_alone(k: int) -> None:
    """The sender's side in plain Python from what it has: choices, keys, setup, message. q_j from the leaves it knows, that of
    number x weighted with x + alpha; its keys, and the one that the chooser has."""
    _pairs, choices, chosen = base_keys()
    chooser, sender = ends(k)
    picked = Stream(bytes(32)).words((2,))
    message, rows, encrypted = chooser.extend(picked)
    q, q_encrypted, other, other_encrypted = sender.extend(message)
    trees = list(known_leaves(choices, chosen, chooser.setup, k))
    delta = sum(alpha << (k * t) for t, (alpha, _) in enumerate(trees))
    assert all(len(leaves) == (1 << k) - 1 and alpha not in leaves for alpha, leaves in trees)
    for j in (0, 1, 63, 64, 127):
        row = 0
        for t, (alpha, leaves) in enumerate(trees):
            for number, seed in leaves.items():
                row ^= stream_bit(seed, j) * ((number ^ alpha) << (k * t))
            row ^= (int(message[t, j // 64]) >> (j % 64) & 1) * (alpha << (k * t))
        keys = key_of(row), key_of(row ^ delta)
        for expected, plain, under in zip(keys, (q, other), (q_encrypted, other_encrypted), strict=True):
            assert expected == int.from_bytes((plain[j] ^ under[j]).tobytes(), "little")
        choice = int(picked[j // 64]) >> (j % 64) & 1
        assert int.from_bytes((rows[j] ^ encrypted[j]).tobytes(), "little") == keys[choice]


def test_the_tree_is_what_it_was() -> None:
    """A vector of our own: base keys that both ends keep would be worth nothing after a change."""
    pairs, choices, chosen = base_keys()
    digest = hashlib.sha256(extension._mask(pairs[5, 1], EPOCH, 5, 1))
    for node in extension._children(bytes(range(16))):
        digest.update(node)
    _, seeds = extension._grow_punctured(choices, chosen, bytes(range(256)) * 16, EPOCH, 4)
    digest.update(b"".join(seed for tree in seeds for seed in tree))
    assert digest.hexdigest() == "b713171457fc3887a0f0d52dd3b5e14a3253611f600f165374a2ad00b01d05bd"


@pytest.mark.parametrize("bug", [False, True])
@pytest.mark.parametrize("k", [2, 4, 8])
def test_in_pieces_no_block_of_a_stream_is_drawn_twice(k: int, bug: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Odd sizes too, of which the rest of a block is given up: at both ends alike."""
    drawn: list[tuple[object, bytes]] = []
    encrypted = extension._encrypted

    def watch(cipher: Any, words: np.ndarray) -> np.ndarray:
        drawn.extend((cipher, block.tobytes()) for block in words.reshape(-1, 2))
        return encrypted(cipher, words)

    monkeypatch.setattr(extension, "_encrypted", watch)
    chooser, sender = ends(k)
    for words in (1, 2, 3, 64, 5):
        message, rows, under = chooser.extend(np.full(words, ~np.uint64(0)))
        *_, other, other_under = sender.extend(message)
        assert ((rows ^ under) == (other ^ other_under)).all()
        if bug:
            chooser._leaves._drawn = sender._leaves._drawn = 0
    for end in (chooser, sender):
        blocks = [block for cipher, block in drawn if cipher is end._leaves._aes]
        if end is sender:  # in place of the leaf that is not known, the same is drawn in all trees
            blocks = [block for block in blocks if any(block[8:])]
        assert len(blocks) >= (COUNT // k) * ((1 << k) - 1) * 39
        assert (len(set(blocks)) == len(blocks)) == (not bug)


def test_p_and_p_plus_x_are_permutations() -> None:
    """An orthomorphism: both have full rank."""
    columns = np.zeros((128, 2 + 8), np.uint64)
    for i in range(128):
        columns[i, i // 64] = 1 << (i % 64)
    out = np.empty((128, 2), np.uint64)
    kernels.rows(columns, 2, 0, 0, out, np.empty((0, 2), np.uint64))
    images = [int(low) | int(high) << 64 for low, high in out]
    for vectors in (images, [image ^ 1 << i for i, image in enumerate(images)]):
        basis: dict[int, int] = {}
        for vector in vectors:
            while vector and vector.bit_length() in basis:
                vector ^= basis[vector.bit_length()]
            assert vector
            basis[vector.bit_length()] = vector


def test_aes_is_that_of_sp_800_38a() -> None:
    """F.1.1, ECB-AES128, the first two blocks, as H and the streams call it."""
    cipher = Cipher(algorithms.AES(bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")), modes.ECB()).encryptor()
    blocks = np.frombuffer(bytes.fromhex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"), np.uint64)
    assert extension._encrypted(cipher, blocks.reshape(2, 2)).tobytes().hex() == (
        "3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699de785895a96fdbaaf"
    )


def test_the_groups_order_times_the_base_point_is_refused() -> None:
    order = (2**252 + 27742317777372353535851937790883648493).to_bytes(32, "little")
    with pytest.raises(CryptoError):
        crypto_scalarmult_ed25519_base_noclamp(order)
    point = crypto_scalarmult_ed25519_base_noclamp((5).to_bytes(32, "little"))
    with pytest.raises(PeerError, match="without a secret"):
        base._multiple(order, point, 1)
    twenty = crypto_scalarmult_ed25519_base_noclamp((20).to_bytes(32, "little"))
    assert base._multiple((4).to_bytes(32, "little"), point, 1) == twenty


# --- a generator that comes back from a snapshot ------------------------------------------------------------------------------------


class Rewound:
    """The operating system's generator, which gives the threads of party 0 in each session what it gave them in the last."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._here, self._real = threading.local(), os.urandom
        patch.setattr(os, "urandom", self)

    def begin(self, me: PartyId) -> None:
        self._here.stream = Stream(bytes(32)) if me == 0 else None

    def __call__(self, count: int) -> bytes:
        stream = getattr(self._here, "stream", None)
        return stream.read(count) if stream is not None else self._real(count)


def rewound_sessions(patch: pytest.MonkeyPatch, work: Callable[[Context], Any], bug: bool) -> list[tuple[list[Any], Watched]]:
    """Two sessions, and what party 1 saw of each."""
    generator = Rewound(patch)
    if bug:
        patch.setattr(Context, "own_seed", lambda ctx: fresh_seed())
    found = []
    for _ in range(2):
        watched: dict[PartyId, Watched] = {}

        def wrap(me: PartyId, channel: Channel, watched: dict[PartyId, Watched] = watched) -> Channel:
            watched[me] = Watched(channel)
            return watched[me]

        def party(ctx: Context, _: object) -> Any:
            generator.begin(ctx.me)
            return work(ctx)

        found.append((simulate(party, [None, None], triples=None, wrap=wrap), watched[1]))
    return found


@pytest.mark.parametrize("bug", [False, True])
def test_a_peer_whose_generator_was_rewound_shows_no_choice(bug: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attack of a peer that only looks: from the same b, B - B' is c (A - A'), for its own A and A', and so says every c,
    which is delta."""
    (first, saw), (second, saw_later) = rewound_sessions(monkeypatch, lambda ctx: base_transfers(ctx, [1 - ctx.me]), bug)
    mine = [watched.sent[0][2] for watched in (saw, saw_later)]
    theirs = [watched.received[1][2] for watched in (saw, saw_later)]
    assert [len(raw) for raw in (*mine, *theirs)] == [32, 32, 4096, 4096]
    shift = crypto_core_ed25519_sub(*mine)
    neutral = (1).to_bytes(32, "little")
    said = {neutral: 0, shift: 1}
    guesses = [said.get(crypto_core_ed25519_sub(theirs[0][at : at + 32], theirs[1][at : at + 32])) for at in range(0, 4096, 32)]
    choices = first[0][1].choices.tolist()
    if bug:
        assert guesses == choices == second[0][1].choices.tolist()
    else:
        assert guesses == [None] * 128
        assert choices != second[0][1].choices.tolist()


@pytest.mark.parametrize("bug", [False, True])
def test_a_party_whose_generator_was_rewound_makes_other_triples(bug: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same a in both sessions, x - a and x' - a open x - x'."""

    def work(ctx: Context) -> list[int]:
        return next(iter(ObliviousTriples().made(ctx, Triples(8))))[0].tolist()

    first, second = (parts for parts, _ in rewound_sessions(monkeypatch, work, bug))
    assert (first[0] == second[0]) == bug
    assert first[1] != second[1]


# --- kept keys ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bug", [False, True])
def test_two_sources_with_the_same_kept_keys_in_one_session_share_no_mask(bug: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    mask = extension._mask
    monkeypatch.setattr(extension, "_mask", lambda *arguments: [seen.append(mask(*arguments)), seen[-1]][1])
    if bug:
        epoch = ot._epoch
        monkeypatch.setattr(ot, "_epoch", lambda ctx, step, sender, chooser: epoch(ctx, 0, sender, chooser))

    def party(ctx: Context, _: object) -> list[np.ndarray]:
        sources = [ObliviousTriples()]
        sources[0].request(ctx, Triples(1))
        sources.append(ObliviousTriples(sources[0].keys))
        return [share.data for share in sources[1].take(ctx, Triples(3))]

    shares = simulate(party, [None, None], triples=None)
    a, b, c = (sum(held[part] for held in shares) for part in range(3))
    assert (a * b == c).all()
    # the chooser's end has both masks of every transfer, the sender's one of them
    assert len(seen) == 2 * 2 * COUNT * 3
    assert (len(set(seen)) == 2 * 2 * COUNT * 2) == (not bug)


def test_ends_with_keys_of_different_base_transfers_make_new_ones() -> None:
    """One of the two was put back to a backup; or has none; or both have the same, which serve again."""

    def party(ctx: Context, old: dict[PartyId, BaseKeys]) -> dict[PartyId, BaseKeys]:
        source = ObliviousTriples(old)
        a, b, c = source.take(ctx, Triples(4))
        checked.append((ctx.me, a.data, b.data, c.data))
        return source.keys

    checked: list[Any] = []
    first = simulate(party, [{}, {}], triples=None)
    second = simulate(party, [{}, {}], triples=None)
    for inputs, same in (((first[0], second[1]), False), (({}, second[1]), False), ((second[0], second[1]), True)):
        checked.clear()
        after = simulate(party, inputs, triples=None)
        assert after[0][1].id == after[1][0].id
        assert (after[1][0].id == second[1][0].id) == same
        a, b, c = (sum(held[part] for held in checked) for part in (1, 2, 3))
        assert (a * b == c).all()


@pytest.mark.parametrize("algebra", [RING, FIELD], ids=lambda algebra: algebra.name)
def test_a_scheme_in_which_a_value_is_no_sum_of_shares_gets_right_triples(algebra: Any, tmp_path: Any) -> None:
    """The one of CONTRIBUTING.md, with t = n - 1: what each drew has to be dealt."""
    scheme = example(tmp_path, "scheme").Difference(3, algebra)

    def party(ctx: Context, _: object) -> list[np.ndarray]:
        assert ctx.triples is not None
        held = [share.data for share in ctx.triples.take(ctx, Triples(9))]
        declared = ctx.triples.cost(ctx.scheme, ctx.me, Triples(9))
        assert (ctx.measured.bytes, ctx.measured.rounds) == (declared.bytes, declared.rounds)
        return held

    shares = simulate(party, [None] * 3, scheme, triples="ot")
    a, b, c = (scheme.combine({i: held[part] for i, held in enumerate(shares)}) for part in range(3))
    assert (algebra.multiply(a, b) == c).all()


# --- what each sees ---------------------------------------------------------------------------------------------------------------------


def unmasked(patch: pytest.MonkeyPatch) -> None:
    """A planted bug that makes right triples: all pads are 0."""
    from mpc.ot.products import Compiled

    send, choose = Compiled.sender, Compiled.chooser
    patch.setattr(Compiled, "sender", lambda self, keys, a: send(self, tuple(np.zeros_like(x) for x in keys), a))
    patch.setattr(Compiled, "chooser", lambda self, keys, b, raw: choose(self, tuple(np.zeros_like(x) for x in keys), b, raw))


def nibble(values: np.ndarray) -> np.ndarray:
    return (values & np.uint64(15)).astype(np.int64)


def independent(x: np.ndarray, y: np.ndarray, tests: int) -> bool:
    """Whether the low nibbles of x are uniform for each low nibble of y."""
    for value in range(16):
        found = np.bincount(nibble(x)[nibble(y) == value], minlength=16)
        if found.sum() >= 80 and chisquare(found).pvalue < FALSE_ALARM / (16 * tests):
            return False
    return True


@pytest.mark.parametrize("bug", [False, True])
@pytest.mark.parametrize("algebra", [RING, FIELD], ids=lambda algebra: algebra.name)
def test_each_partys_part_is_uniform_given_the_others(algebra: Any, bug: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three parties, what party 0 holds: its a and b given all that the others hold, and its c given everything but the sum of
    the others' c, for single values and their products."""
    if bug:
        unmasked(monkeypatch)
    scheme: Scheme = Additive(3, algebra)

    def party(ctx: Context, _: object) -> list[np.ndarray]:
        assert ctx.triples is not None
        return [share.data for share in ctx.triples.take(ctx, Triples(8_000))]

    (a, b, c), *others = simulate(party, [None] * 3, scheme, triples="ot")
    theirs = [part for held in others for part in held]
    theirs += [algebra.multiply(x, y) for x in (others[0][0], others[1][0]) for y in (others[0][1], others[1][1])]
    pairs = [(mine, part) for mine in (a, b) for part in theirs]
    all_a, all_b = (algebra.combination([1, 1, 1], [x, *(held[part] for held in others)]) for part, x in enumerate((a, b)))
    pairs += [(c, part) for part in [*theirs, a, b, *(algebra.multiply(*xs) for xs in ((a, b), (a, all_b), (all_a, b)))]]
    result = [independent(x, y, len(pairs)) for x, y in pairs]
    assert all(result) == (not bug)


class Zeros(Stream):
    def read(self, count: int) -> bytes:
        return bytes(count) if count == COUNT else super().read(count)


@pytest.mark.parametrize("bug", ["", "the same b", "no choice"])
def test_the_points_say_nothing_of_the_choices_which_are_fair(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """4 parties: 1,536 transfers. Delta is the choices, so this is a chooser's view of it."""
    if bug == "the same b":
        begun: list[Stream] = []

        def scalar(stream: Stream) -> bytes:
            b = 5 if stream in begun else 3
            begun.append(stream)
            return b.to_bytes(32, "little")

        monkeypatch.setattr(base, "_scalar", scalar)
    if bug == "no choice":
        monkeypatch.setattr(base, "Stream", Zeros)
    watched: dict[PartyId, Watched] = {}

    def wrap(me: PartyId, channel: Channel) -> Channel:
        watched[me] = Watched(channel)
        return watched[me]

    def party(ctx: Context, _: object) -> dict[PartyId, np.ndarray]:
        return {i: keys.choices for i, keys in base_transfers(ctx, [i for i in range(4) if i != ctx.me]).items()}

    all_choices = simulate(party, [None] * 4, triples=None, wrap=wrap)
    points, choices = [], []
    for me, chosen in enumerate(all_choices):
        for to, _, raw in watched[me].sent:
            if len(raw) == 32 * COUNT:
                points.append(np.frombuffer(raw, np.uint8).reshape(COUNT, 32)[:, 0] & 15)
                choices.append(chosen[to])
    first, said = np.concatenate(points), np.concatenate(choices)
    fair = abs(int(said.sum()) - len(said) / 2) < 5 * len(said) ** 0.5 / 2  # five deviations: 6e-7
    table = np.array([np.bincount(first[said == choice], minlength=16) for choice in (0, 1)])
    alike = not fair or chi2_contingency(table[:, table.sum(0) > 0]).pvalue > FALSE_ALARM
    assert (fair, alike) == (bug != "no choice", bug != "the same b")


# --- what is altered on the way ------------------------------------------------------------------------------------------------------


def test_a_flipped_bit_of_the_trees_counts_where_the_other_end_reads_it() -> None:
    """One of two nodes of a level is for the sender: with probability 1/2 a flip makes all that comes out wrong, else nothing
    at all. That is what a cheater can find out by it, bit by bit of delta: nothing here is claimed against one."""
    pairs, choices, chosen = base_keys()
    picked = Stream(bytes(32)).words((4,))
    for index, side in [(i, side) for i in (0, 3, 4, 70, 127) for side in (0, 1)]:
        chooser = Chooser(pairs, EPOCH)
        setup = bytearray(chooser.setup)
        setup[32 * index + 16 * side + 5] ^= 4
        message, rows, _ = chooser.extend(picked)
        bits = np.unpackbits(picked.view(np.uint8), bitorder="little")[:, None]
        q, _, other, _ = Sender(choices, chosen, bytes(setup), EPOCH).extend(message)
        agree = (np.where(bits, other, q) == rows).all(axis=1)
        if side == choices[index]:
            assert agree.mean() < 0.8
        else:
            assert agree.all()


def test_a_flipped_bit_of_the_choices_counts_where_the_trees_part_of_delta_is_not_0() -> None:
    """15 of 16 trees: then the transfer's product is wrong, and no other."""
    chooser, sender = ends()
    _, choices, chosen = base_keys()
    alphas = [alpha for alpha, _ in known_leaves(choices, chosen, chooser.setup, 4)]
    assert 0 in alphas  # the seed has one
    product, stream, rng = product_over(RING), Stream(fresh_seed()), random.Random(5)
    a, b = stream.words((320,)), stream.words((320,))
    message, *keys = chooser.extend(b)
    counts = set()
    for t in range(320):
        tree = t % 32
        message[tree, t] ^= np.uint64(1 << rng.randrange(32))  # of bit i, 64 - i bits of a pad count
        counts |= {t} if alphas[tree] else set()
    kept, corrections = product.sender(sender.extend(message), a)
    had = product.chooser((keys[0], keys[1]), b, corrections)
    assert set(np.flatnonzero(kept + had != a * b)) == counts


class Posting:
    """A channel whose messages, in the order in which party 0 sends them, go through `post(number, tag, payload, send)`."""

    def __init__(self, inner: Channel, post: Callable[..., None]) -> None:
        self._inner, self._post, self._number = inner, post, 0

    def send(self, to: PartyId, tag: Tag, payload: Payload) -> None:
        self._post(self._number, tag, bytes(payload), lambda tag, payload: self._inner.send(to, tag, payload))
        self._number += 1

    def receive(self, sender: PartyId, tag: Tag, size: int) -> Payload:
        return self._inner.receive(sender, tag, size)


@pytest.fixture(scope="module")
def kept() -> list[dict[PartyId, BaseKeys]]:
    def party(ctx: Context, _: object) -> dict[PartyId, BaseKeys]:
        return base_transfers(ctx, [1 - ctx.me])

    return simulate(party, [None, None], triples=None)


def offline(kept: list[dict[PartyId, BaseKeys]], post: Callable[..., None]) -> bool:
    """Whether the triples are right: three blocks of them."""

    def party(ctx: Context, keys: dict[PartyId, BaseKeys]) -> list[np.ndarray]:
        return [share.data for share in ObliviousTriples(keys).take(ctx, Triples(40))]

    def wrap(me: PartyId, channel: Channel) -> Channel:
        return Posting(channel, post) if me == 0 else channel

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crossing, "BLOCK", 16)
        shares = simulate(party, kept, triples=None, wrap=wrap, deadline=1.0)
    a, b, c = (sum(held[part] for held in shares) for part in range(3))
    return bool((a * b == c).all())


NEW = [("which keys", 0), ("a point", 1), ("128 points", 2)]
KEPT = [("trees", 1), ("choices", 2), ("choices", 3), ("choices", 4), ("corrections", 5), ("corrections", 6), ("corrections", 7)]
"""The messages of party 0 where base keys have to be made, and where they are kept."""
LAST = 7


@pytest.mark.parametrize("what", ["repeated", "swapped", "dropped", "cut"])
def test_messages_in_another_order_or_number_are_refused_by_name(what: str, kept: list[dict[PartyId, BaseKeys]]) -> None:
    for name, at in (*NEW, *KEPT):
        late: list[tuple[Tag, bytes]] = []

        def post(number: int, tag: Tag, payload: bytes, send: Callable[..., None], at: int = at, late: Any = late) -> None:
            if number != at:
                send(tag, payload)
                if late:
                    send(*late.pop())
            elif what == "repeated":
                send(tag, payload)
                send(tag, payload)
            elif what == "swapped":
                late.append((tag, payload))
            elif what == "cut":
                send(tag, payload[: len(payload) // 2])

        keys = [{}, {}] if (name, at) in NEW else kept
        if what == "repeated" and at == LAST:
            assert offline(keys, post)  # nobody waits for more
            continue
        with pytest.raises(PeerError) as refused:
            offline(keys, post)
        assert refused.value.peer == 0
        assert "step" in str(refused.value)


def test_messages_of_another_session_make_no_right_triples(kept: list[dict[PartyId, BaseKeys]]) -> None:
    """Each in turn, under the right tag: the wire tells sessions apart by their id, and so refuses it before; were it not so,
    all of a session is under keys of its own. Which base keys one has is the same in both."""
    for messages, keys in ((NEW, [{}, {}]), (KEPT, kept)):
        heard: dict[int, bytes] = {}

        def listen(number: int, tag: Tag, payload: bytes, send: Callable[..., None], heard: Any = heard) -> None:
            heard[number] = payload
            send(tag, payload)

        assert offline(keys, listen)
        for _, at in messages:

            def post(number: int, tag: Tag, payload: bytes, send: Callable[..., None], at: int = at, heard: Any = heard) -> None:
                send(tag, heard[at] if number == at else payload)

            try:
                right = offline(keys, post)
            except ComityError:
                right = False
            assert right == (at == 0)


def test_a_session_that_failed_in_the_middle_leaves_nothing_to_use_again(kept: list[dict[PartyId, BaseKeys]]) -> None:
    """The next one has new trees."""
    rows: list[bytes] = []
    encrypted = extension._encrypted

    def watch(cipher: Any, words: np.ndarray) -> np.ndarray:
        if len(words.shape) == 2:  # H's, not the streams'
            rows.extend(row.tobytes() for row in words)
        return encrypted(cipher, words)


    def post(number: int, tag: Tag, payload: bytes, send: Callable[..., None]) -> None:
        send(tag, payload if number != LAST else payload[:-1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extension, "_encrypted", watch)
        with pytest.raises(PeerError):
            offline(kept, post)
        failed = set(rows)
        rows.clear()
        assert offline(kept, lambda number, tag, payload, send: send(tag, payload))
    assert len(failed) == 64 * 40 * 4  # a chooser's are among its sender's
    assert not failed & set(rows)
