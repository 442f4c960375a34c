"""Division, roots, exponentials and logarithms: against mpmath over the whole range and its edges, within the stated error; at the declared
cost; and refused where they could wrap."""

import math
from dataclasses import replace
from fractions import Fraction
from functools import reduce
from operator import add

import mpmath
import numpy as np
import pytest
from conformance import named, watch
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.algebra.wide import FIELD127, RING128
from mpc.errors import ProtocolError
from mpc.schemes.additive import Additive
from mpc.schemes.replicated import Replicated
from mpc.schemes.shamir import Shamir
from mpc.simulate import simulate
from protocols.gadgets import (
    divide,
    divide_cost,
    exponential,
    exponential_cost,
    logarithm,
    logarithm_cost,
    share,
    square_root,
    square_root_cost,
)
from protocols.gadgets.reveal import open_residues

SCHEMES = [Additive(2), Shamir(3, 1), Replicated(), Additive(2, RING128), Shamir(3, 1, FIELD127)]
every_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=named)


def held(scheme, function, *arrays, scales):
    """The integers as which the result is held, of integers that stand for numbers of these scales."""

    def protocol(ctx, mine):
        x = [replace(reduce(add, share(ctx, array)), scale=scale) for array, scale in zip(mine, scales, strict=True)]
        found = function(ctx, *x)
        assert found.shape == np.shape(arrays[0])
        opened = open_residues(ctx, [found], range(scheme.parties), "reveal")
        return ctx.scheme.algebra.decode(opened[0]).tolist(), found.scale

    zeros = [np.zeros(np.shape(array), int) for array in arrays]
    results = simulate(protocol, [arrays, *[zeros] * (scheme.parties - 1)], scheme, triples="insecure")
    assert all(result == results[0] for result in results)
    return results[0]


def spread(lower, upper):
    """Integers from `lower` to `upper`: their edges, evenly, and by size."""
    edges = [lower, lower + 1, upper - 1, upper, *(x for x in (0, 1, -1) if lower <= x <= upper)]
    even = [lower + (upper - lower) * k // 150 for k in range(150)]
    sizes = [x for k in range((upper - lower).bit_length()) for x in (1 << k, (1 << k) + 1, (1 << k) - 1, -(1 << k), (3 << k) // 2) if lower <= x <= upper]
    return edges + even + sizes


@every_scheme
@pytest.mark.parametrize("scale", [8, 13, 16, 19])
def test_exponentials_over_the_whole_range(scheme, scale):
    values = spread(-8 << scale, (8 << scale) - 1)
    found, of_scale = held(scheme, exponential, values, scales=[scale])
    assert of_scale == scale
    with mpmath.workdps(40):
        exact = [mpmath.exp(mpmath.mpf(value) / 2**scale) for value in values]
        assert all(abs(mpmath.mpf(y) / 2**scale - e) <= (1 + e) / 2**scale for y, e in zip(found, exact, strict=True))


@every_scheme
@pytest.mark.parametrize(("scale", "most"), [(8, 1), (8, 1 << 20), (16, 1000), (24, 3)])
def test_logarithms_over_the_whole_range(scheme, scale, most):
    values = spread(1, most << scale)
    found, of_scale = held(scheme, lambda ctx, x: logarithm(ctx, x, most=most), values, scales=[scale])
    assert of_scale == scale
    with mpmath.workdps(40):
        exact = [mpmath.log(mpmath.mpf(value) / 2**scale) for value in values]
        assert all(abs(mpmath.mpf(y) / 2**scale - e) <= mpmath.mpf(1) / 2**scale for y, e in zip(found, exact, strict=True))


@every_scheme
@pytest.mark.parametrize(("scale", "up", "most"), [(0, 0, 10**6), (6, 6, 1), (5, 2, 12_345), (10, 0, 999)])
def test_roots_over_the_whole_range(scheme, scale, up, most):
    """`scale`: of the number; the root has `up` more."""
    values = [x for x in spread(0, most << scale) if x <= most << scale]
    values += [x * x for x in range(0, math.isqrt(most << scale), 17)] + [x * x + 2 * x for x in range(0, math.isqrt(most << scale) - 1, 17)]
    found, of_scale = held(scheme, lambda ctx, x: square_root(ctx, x, scale=scale + up, most=most), values, scales=[scale])
    assert of_scale == scale + up
    assert found == [math.isqrt(value << scale + 2 * up) for value in values]


@every_scheme
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_quotients_are_rounded_down(scheme, data):
    of_x, of_y, scale = (data.draw(st.integers(0, 6)) for _ in range(3))
    below, most = data.draw(st.sampled_from([1, 2, 30, 1000])), data.draw(st.sampled_from([1, 17, 1 << 20]))
    divisors = st.integers(1, most << of_y) | st.sampled_from([1, most << of_y])
    pairs = []
    for y in data.draw(st.lists(divisors, min_size=1, max_size=40)):
        largest = math.ceil(Fraction(below * y, 1 << of_y) * (1 << of_x)) - 1  # x / 2^of_x < below y / 2^of_y
        pairs.append((data.draw(st.integers(-largest, largest) | st.sampled_from([0, largest, -largest])), y))
    x, y = ([pair[k] for pair in pairs] for k in (0, 1))
    found, of_scale = held(scheme, lambda ctx, x, y: divide(ctx, x, y, scale=scale, below=below, most=most), x, y, scales=[of_x, of_y])
    assert of_scale == scale
    assert found == [math.floor(Fraction(a << of_y, b << of_x) * (1 << scale)) for a, b in pairs]


def test_a_reciprocal_is_a_quotient_of_one():
    values = [*range(1, 300), 1 << 10]
    found, _ = held(Additive(2), lambda ctx, y: divide(ctx, 0 * y + 1, y, scale=20, below=1 << 9, most=2), values, scales=[9])
    assert found == [(1 << 29) // value for value in values]


def test_tables_of_numbers():
    values = np.arange(1, 7).reshape(2, 3) << 10
    for function in (exponential, lambda ctx, x: logarithm(ctx, x, most=8), lambda ctx, x: square_root(ctx, x, scale=10, most=8)):
        found, _ = held(Additive(2), function, values, scales=[10])
        assert np.shape(found) == (2, 3)


REFUSED = {
    "an exponential to 24 fractional bits may come by 2^67, beyond the bound of Z_2^64": lambda ctx, x: exponential(ctx, replace(x, scale=24)),
    "with 8 fractional bits and more, not 7": lambda ctx, x: exponential(ctx, replace(x, scale=7)),
    "with 8 fractional bits and more, not 0": lambda ctx, x: logarithm(ctx, x, most=5),
    "a logarithm of numbers up to 5, to 40 fractional bits may come by": lambda ctx, x: logarithm(ctx, replace(x, scale=40), most=5),
    "a logarithm of numbers up to 2,305,843,009,213,693,952": lambda ctx, x: logarithm(ctx, replace(x, scale=8), most=1 << 61),
    "a root of numbers up to 17,592,186,044,416 may come by": lambda ctx, x: square_root(ctx, x, scale=20, most=1 << 44),
    "a root of a number with 9 fractional bits has 5 and more, not 4": lambda ctx, x: square_root(ctx, replace(x, scale=9), scale=4, most=9),
    "a quotient below 1,048,576 of divisors up to 1,099,511,627,776": lambda ctx, x: divide(ctx, x, x, scale=20, below=1 << 20, most=1 << 40),
}  # fmt: skip


@pytest.mark.parametrize("said", REFUSED)
def test_what_could_wrap_is_refused_before_anything_is_sent(said):
    def protocol(ctx, mine):
        (x, *_) = share(ctx, mine)
        watched = watch(ctx)
        with pytest.raises(ProtocolError) as refusal:
            REFUSED[said](ctx, x)
        assert said in str(refusal.value)
        assert watched.sent == []

    simulate(protocol, [[1, 2]] * 2, triples="insecure")


COSTS = {
    "exponential": (lambda ctx, x: exponential(ctx, x), lambda *costed: exponential_cost(*costed, 10)),
    "logarithm": (lambda ctx, x: logarithm(ctx, x, most=3), lambda *costed: logarithm_cost(*costed, 10, most=3)),
    "logarithm of large": (lambda ctx, x: logarithm(ctx, x, most=1 << 17), lambda *costed: logarithm_cost(*costed, 10, most=1 << 17)),
    "root": (lambda ctx, x: square_root(ctx, x, scale=7, most=900), lambda *costed: square_root_cost(*costed, scale=7, most=900)),
    "quotient": (lambda ctx, x: divide(ctx, x, x, scale=3, below=9, most=9), lambda *costed: divide_cost(*costed, scale=3, below=9)),
}  # fmt: skip


@every_scheme
@pytest.mark.parametrize("of", COSTS)
def test_declared_cost_is_measured(scheme, of):
    run, cost = COSTS[of]

    def protocol(ctx, mine):
        (x, *_) = share(ctx, mine)
        before = ctx.measured
        run(ctx, replace(x, scale=10))
        declared = cost(scheme, ctx.me, ctx.triples, 70)
        spent = ctx.measured
        assert (spent.rounds - before.rounds, spent.bytes - before.bytes, spent.triples - before.triples) == (declared.rounds, declared.bytes, declared.triples)

    simulate(protocol, [[1030] * 70] * scheme.parties, scheme, triples="insecure")
