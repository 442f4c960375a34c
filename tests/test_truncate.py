"""Truncation and bits of numbers: right over the whole range and its edges, and nothing but uniform numbers opened; with the stated error
where it is not exact."""

from functools import reduce
from operator import add

import numpy as np
import pytest
from conformance import named, watch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from test_compare import FALSE_ALARM, numbers

from mpc.algebra.wide import FIELD127, RING128
from mpc.correlations import Masks, Truncations, bit_length
from mpc.cost import Cost
from mpc.errors import ProtocolError
from mpc.schemes.additive import Additive
from mpc.schemes.replicated import Replicated
from mpc.schemes.shamir import Shamir
from mpc.simulate import simulate
from protocols.gadgets import compose, decompose, multiply, reveal, reveal_bits, share, truncate, truncate_cost
from protocols.gadgets.reveal import open_residues

SCHEMES = [Additive(2), Additive(3), Shamir(3, 1), Replicated(), Additive(3, RING128), Shamir(3, 1, FIELD127), Replicated(RING128)]
every_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=named)


def truncated(values, bits, scheme, exact=True, triples="insecure"):
    def protocol(ctx, mine):
        x = reduce(add, share(ctx, mine))
        return reveal(ctx, truncate(ctx, x, bits, exact=exact)).tolist()

    results = simulate(protocol, [values, *[[0] * len(values)] * (scheme.parties - 1)], scheme, triples=triples)
    assert all(result == results[0] for result in results)
    return results[0]


@every_scheme
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_what_is_left_is_rounded_down(scheme, data):
    bound = scheme.algebra.bound
    bits = data.draw(st.integers(1, bit_length(scheme.algebra) - 2))
    near = st.builds(lambda k, off: max(min((k << bits) + off, bound), -bound), st.integers(-3, 3), st.integers(-1, 1))
    values = data.draw(st.lists(numbers(bound) | near, min_size=1, max_size=70))
    assert truncated(values, bits, scheme) == [value >> bits for value in values]


@pytest.mark.parametrize("triples", ["dealer", "ot"])
@pytest.mark.parametrize("scheme", [Additive(2), Shamir(3, 1), Additive(2, RING128)], ids=named)
def test_by_every_source(scheme, triples):
    values = [*range(-40, 40), scheme.algebra.bound, -scheme.algebra.bound]
    for bits in (3, 33):
        assert truncated(values, bits, scheme, triples=triples) == [value >> bits for value in values]


@pytest.mark.parametrize("scheme", [Additive(2), Shamir(3, 1), Replicated()], ids=named)
def test_more_than_one_block(scheme):
    values = np.random.default_rng(3).integers(-(2**50), 2**50, (1 << 16) + 70)
    assert (truncated(values, 17, scheme) == values >> 17).all()


def _too_large(values, bits, scheme):
    """How often each result is how much more than it should be."""
    found = np.array(truncated(values, bits, scheme, exact=False)) - (np.array(values) >> bits)
    return dict(zip(*(x.tolist() for x in np.unique(found, return_counts=True)), strict=True))


@pytest.mark.parametrize("scheme", [Additive(2), Shamir(3, 1), Replicated()], ids=named)
def test_not_exact_it_is_one_too_large_as_often_as_is_said(scheme):
    """A false alarm has a probability of 1e-9 for each of the binomial tests. Over the field a wrap may add one dropped bit."""
    count = 4_000
    for dropped, value in ((0, 5 << 8), (64, (5 << 8) + 64), (255, -(5 << 8) + 255)):
        found = _too_large([value] * count, 8, scheme)
        assert set(found) <= {0, 1}
        assert stats.binomtest(found.get(1, 0), count, dropped / 256, "less").pvalue > 1e-9
        assert stats.binomtest(found.get(1, 0), count, (dropped + scheme.algebra.is_field) / 256, "greater").pvalue > 1e-9
    assert stats.binomtest(found.get(1, 0), count, 0.9, "greater").pvalue < 1e-9  # another probability would be found


def test_a_fixed_point_product_has_its_scale_again():
    def protocol(ctx, mine):
        x, y, _ = share(ctx, mine, scale=10)
        product = truncate(ctx, multiply(ctx, x, y).reshape(2, 2), 10)
        assert (product.scale, product.shape) == (10, (2, 2))
        with pytest.raises(ProtocolError, match="10 fractional bits: 11 cannot"):
            truncate(ctx, x, 11)
        return reveal(ctx, product)

    x = np.array([1.5, -2.25, 1000, 0])
    assert (simulate(protocol, [x, x + 1, x])[0].reshape(-1) == np.floor(x * (x + 1) * 1024) / 1024).all()


def test_bits_that_cannot_be_dropped_and_no_source():
    def protocol(ctx, mine):
        (x, *_) = share(ctx, mine)
        if ctx.triples is None:
            with pytest.raises(ProtocolError, match="truncate: takes random numbers"):
                truncate(ctx, x, 3)
            return
        for bits in (0, -1, 63, 64):
            with pytest.raises(ProtocolError, match=f"1 to 62 bits can be dropped, not {bits}"):
                truncate(ctx, x, bits)

    simulate(protocol, [[1]] * 2, triples="insecure")
    simulate(protocol, [[1]] * 3, Shamir(3, 1), triples=None)


@every_scheme
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_bits_are_those_of_twos_complement_and_make_up_the_number(scheme, data):
    values = data.draw(st.lists(numbers(scheme.algebra.bound), min_size=1, max_size=70))

    def protocol(ctx, mine):
        bits = decompose(ctx, reduce(add, share(ctx, mine)))
        return [row.tolist() for row in reveal_bits(ctx, *bits)], reveal(ctx, compose(ctx, bits)).tolist()

    bits, whole = simulate(protocol, [values, *[[0] * len(values)] * (scheme.parties - 1)], scheme, triples="insecure")[0]
    assert len(bits) == bit_length(scheme.algebra) - 1
    assert bits == [[bool(value >> k & 1) for value in values] for k in range(len(bits))]
    assert whole == values


def test_numbers_from_bits_of_any_shape():
    def protocol(ctx, mine):
        (x, *_) = share(ctx, mine)
        bits = decompose(ctx, x)
        with pytest.raises(ProtocolError, match="bits of one shape"):
            compose(ctx, [bits[0], bits[0].reshape(6)])
        return reveal(ctx, compose(ctx, bits[:3], signed=False), compose(ctx, bits[:3]))

    x = np.arange(-3, 3).reshape(2, 3)
    unsigned, signed = simulate(protocol, [x] * 3)[0]
    assert (unsigned == x % 8).all()
    assert (signed == (x + 4) % 8 - 4).all()


@pytest.mark.parametrize("scheme", [Additive(3), Shamir(3, 1)], ids=named)
@pytest.mark.parametrize("exact", [True, False])
def test_what_is_opened_is_uniform_whatever_the_number(scheme, exact):
    """Against chi-square, twenty-four times in all."""
    assert all(is_uniform(scheme, value, exact) for value in (0, 77, -(1 << 40)))


@pytest.mark.parametrize("scheme", [Additive(3), Shamir(3, 1)], ids=named)
def test_a_mask_that_is_too_small_is_found(monkeypatch, scheme):
    values = Truncations.values

    def small(self, of, *drawn):
        products, numbers = values(self, of, *drawn)
        return products, numbers & np.uint64(0xFFFFFFFF)

    monkeypatch.setattr(Truncations, "values", small)
    assert not is_uniform(scheme, 77, exact=True)


def is_uniform(scheme, value, exact):
    def protocol(ctx, mine):
        (x, *_) = share(ctx, mine)
        watched = watch(ctx)
        truncate(ctx, x, 9, exact=exact)
        sent = {tag: payload for _, tag, payload in watched.sent if tag.operation == "truncate"}  # to each of the others the same
        return {tag: {ctx.me: payload} | {sender: data for sender, at, data in watched.received if at == tag} for tag, payload in sent.items()}

    (opening,) = simulate(protocol, [[value] * 4096] * 3, scheme, triples="insecure")[0].values()
    words = scheme.combine({i: np.frombuffer(payload, "<u8") for i, payload in sorted(opening.items())})
    return all(stats.chisquare(np.bincount(words >> np.uint64(shift) & np.uint64(15), minlength=16)).pvalue > FALSE_ALARM for shift in (0, 50))


@pytest.mark.parametrize("scheme", [Additive(2), Additive(2, RING128), Shamir(3, 1), Shamir(3, 1, FIELD127)], ids=named)
@pytest.mark.parametrize("exact", [True, False])
def test_declared_cost_is_measured(scheme, exact):
    def protocol(ctx, mine):
        (x, *_) = share(ctx, mine)
        ctx.triples.request(ctx, Masks(1))
        for bits in (1, 4, 5, 40, 58):
            before = ctx.measured
            truncate(ctx, x, bits, exact=exact)
            spent = ctx.measured
            declared = before + truncate_cost(scheme, ctx.me, ctx.triples, 70, bits, exact=exact)
            assert (spent.rounds, spent.bytes, spent.triples) == (declared.rounds, declared.bytes, declared.triples)
        return spent

    assert simulate(protocol, [[5] * 70] * scheme.parties, scheme, triples="insecure")[0] != Cost()


def test_a_wrap_that_is_forgotten_is_found(monkeypatch):
    """Half of the sums wrap: without the correction the results are off by 2^55."""
    values = Truncations.values

    def forgotten(self, scheme, *drawn):
        products, numbers = values(self, scheme, *drawn)
        numbers[:, 2] = 0
        return products, numbers

    monkeypatch.setattr(Truncations, "values", forgotten)
    found = truncated([-5, 5, 0] * 30, 9, Additive(2))
    assert found != [value >> 9 for value in [-5, 5, 0] * 30]


def test_residues_beyond_the_bound_mean_nothing_but_stay_residues():
    def protocol(ctx, mine):
        (x, *_) = share(ctx, mine)
        return open_residues(ctx, [truncate(ctx, x * (1 << 40), 5)], range(3), "reveal")

    assert len(simulate(protocol, [[1 << 30]] * 3)[0]) == 1
