"""Secret numbers against public thresholds, and histograms of secret numbers: right at the edges, at the declared cost, in pieces, and nothing but uniform
words opened."""

import numpy as np
import pytest
from conformance import named
from hypothesis import given, settings
from hypothesis import strategies as st
from test_compare import not_uniform

from mpc.algebra.words import WORDS
from mpc.channel import Tag
from mpc.correlations import unpacked
from mpc.errors import ProtocolError
from mpc.schemes.additive import Additive
from mpc.schemes.replicated import Replicated
from mpc.schemes.shamir import Shamir
from mpc.schemes.words import boolean
from mpc.simulate import simulate
from protocols.gadgets import histogram, histogram_cost, reached, reached_cost, reveal, share, thresholds
from protocols.gadgets.reveal import open_residues

SCHEMES = [Additive(2), Additive(3), Shamir(3, 1), Replicated()]
every_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=named)


def bits_of(values, length):
    """(length, words): bit i of all values."""
    padded = [*values, *[0] * (-len(values) % 64)]
    return [[sum((v >> i & 1) << k for k, v in enumerate(padded[start : start + 64])) for start in range(0, len(padded), 64)] for i in range(length)]


def found(values, at, length, scheme):
    def party(ctx, rows):
        words = ctx.under(boolean(ctx.scheme))
        (bits,) = share(words, None if rows is None else np.array(rows, np.uint64), shapes={0: (length, -(-len(values) // 64))})
        before, cost = ctx.measured, reached_cost(ctx.scheme, ctx.me, ctx.triples, length, len(at), len(values))
        result = reached(ctx, [bits[i] for i in range(length)], at)
        assert ctx.measured == before + cost
        (opened,) = open_residues(words, [result], range(ctx.parties), "reveal")
        return unpacked(opened).reshape(len(at), -1)[:, : len(values)].astype(bool).tolist()

    return simulate(party, [bits_of(values, length), *[None] * (scheme.parties - 1)], scheme, triples="insecure")[0]


@every_scheme
@given(data=st.data(), length=st.integers(1, 70) | st.sampled_from([4, 8, 64, 192]))
@settings(max_examples=12, deadline=None)
def test_a_number_reaches_what_it_is_at_least(scheme, data, length):
    most = (1 << length) - 1
    at = data.draw(st.lists(st.integers(1, most) | st.sampled_from([1, most]), min_size=1, max_size=5))
    near = st.sampled_from([value for t in at for value in (t - 1, t, min(t + 1, most))])
    values = data.draw(st.lists(near | st.integers(0, most), min_size=1, max_size=70))
    assert found(values, at, length, scheme) == [[value >= t for value in values] for t in at]


@every_scheme
def test_a_histogram_in_pieces_is_that_of_all(monkeypatch, scheme):
    monkeypatch.setattr(thresholds, "BLOCK", 256)
    values = np.random.default_rng(5).integers(-40, 40, 300)
    edges = [-39, -1, 0, 1, 20]

    def party(ctx, mine):
        (x,) = share(ctx, mine, shapes={0: (300,)})
        before, cost = ctx.measured, histogram_cost(ctx.scheme, ctx.me, ctx.triples, 300, len(edges))
        counts = histogram(ctx, x, edges)
        assert ctx.measured == before + cost
        return reveal(ctx, counts).tolist()

    inside, _ = np.histogram(values, [-100, *edges, 100])
    assert simulate(party, [values, *[None] * (scheme.parties - 1)], scheme, triples="insecure")[0] == inside.tolist()


def test_edges_must_ascend_and_thresholds_be_reachable():
    def party(ctx, mine):
        x = share(ctx, mine)[0]
        for edges in ([], [3, 3], [5, 2], [1 << 62]):
            with pytest.raises(ProtocolError, match="a histogram has ascending edges"):
                histogram(ctx, x, edges)
        words = share(ctx.under(boolean(ctx.scheme)), [7])[0]
        for at in (0, 2, -1):
            with pytest.raises(ProtocolError, match="lie between 1 and 2\\^1 - 1"):
                reached(ctx, [words], [at])

    simulate(party, [[1, 2]] * 2, "additive", triples="insecure")


@pytest.mark.parametrize("value", [3, 1 << 50])
def test_what_is_opened_are_uniform_words(value):
    sent = {}

    class Listening:
        def __init__(self, me, channel):
            self.me, self.channel = me, channel

        def send(self, to, tag, payload):
            sent.setdefault(tag, {})[self.me] = np.frombuffer(payload, np.uint64)
            self.channel.send(to, tag, payload)

        def receive(self, sender, tag, size):
            return self.channel.receive(sender, tag, size)

    def party(ctx, mine):
        histogram(ctx, share(ctx, mine)[0], [0, 4, 1 << 40])

    count = 1 << 13
    simulate(party, [np.full(count, value), np.zeros(count, int)], "additive", triples="dealer", wrap=Listening)
    opened = [(Tag(t.step, "multiply"), WORDS.add(*of.values())) for t, of in sent.items() if t.operation in ("multiply", "bits as numbers") and len(of) == 2]
    assert {t.operation for t in sent} == {"triples", "decompose", "multiply", "bits as numbers"}
    assert not_uniform(Additive(2), opened) == []
