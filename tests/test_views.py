"""What a coalition sees says nothing more than its inputs and outputs: its views for two inputs of the others that give
it equal outputs are statistically alike.

A view is all that the coalition's channels received and all shares and triples that its members hold. One run shares
LENGTH copies of the same secret, each with randomness of its own: LENGTH samples of every coordinate of the view.
Compared are the coordinates, what a coalition would make of its shares (their sum; the polynomial of least degree
through them; what messages and its own share open), and sums and differences of any two of those. The planted bugs at the end show that this finds leaks.
"""

import struct
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from conformance import Watched, multiplies_with, named
from scipy import stats

from mpc.algebra.field import Field61
from mpc.algebra.ring import Ring64
from mpc.algebra.wide import FIELD127, RING128
from mpc.channel import Tag
from mpc.schemes import DEALER
from mpc.schemes.additive import Additive
from mpc.schemes.plaintext import Plaintext
from mpc.schemes.replicated import Replicated
from mpc.schemes.shamir import Shamir, lagrange
from mpc.simulate import simulate
from protocols.gadgets import multiply, reveal, share, square

FALSE_ALARM = 1e-8
"""The probability that one comparison of two views fails though the views are alike (Bonferroni over its tests)."""

LENGTH = 1024


@dataclass
class View:
    """`own`: label -> this party's share of something; `received`: messages, in rows of LENGTH elements."""

    own: dict[str, Any]
    received: dict[str, Any]
    opened: dict[str, Any]


class Spy:
    """A source of triples that keeps what it hands out."""

    def __init__(self, source):
        self.source, self.name, self.taken = source, source.name, []

    def request(self, ctx, kind):
        self.source.request(ctx, kind)

    def take(self, ctx, kind):
        self.taken.append(self.source.take(ctx, kind))
        return self.taken[-1]


class Again(Spy):
    """A planted bug: the first triple, and the first square, are handed out for ever."""

    def take(self, ctx, kind):
        return next((taken for taken in self.taken if len(taken) == len(kind.parts(ctx.scheme))), None) or super().take(ctx, kind)


def compute(ctx, job):
    """Everybody shares; products with `zero`'s input are opened to all, their own sums of all inputs to `receiver`."""
    values, secret, zero, receiver, spy = job
    if ctx.triples is not None:
        ctx.triples = spy(ctx.triples)
    shares = share(ctx, values)
    own = {f"input of {i}": x.data for i, x in enumerate(shares)}
    other = next(i for i in range(ctx.parties) if i not in (secret, zero))
    products = [multiply(ctx, shares[secret], shares[zero]), multiply(ctx, shares[other], shares[zero])]
    squares = [square(ctx, shares[k]) for k in (secret, other)]
    own |= {f"product {k}": product.data for k, product in enumerate([*products, *squares])}
    reveal(ctx, *products)
    reveal(ctx, sum(shares[1:], shares[0]), to=[receiver])
    for k, triple in enumerate(ctx.triples.taken if ctx.triples is not None else []):
        own |= {f"triple {k}, {name}": x.data for name, x in zip("abc" if len(triple) == 3 else "ac", triple, strict=True)}
    return own


def add_up(ctx, job):
    """Everybody shares; the sum is opened to all."""
    values, *_ = job
    shares = share(ctx, values)
    reveal(ctx, sum(shares[1:], shares[0]))
    return {f"input of {i}": x.data for i, x in enumerate(shares)}


def views(protocol, inputs, scheme, triples, *, secret=0, zero=1, spy=Spy):
    watched: dict[int, Watched] = {}

    def wrap(me, channel):
        watched[me] = Watched(channel)
        return watched[me]

    jobs = [(np.full(LENGTH, x), secret, zero, secret, spy) for x in inputs]
    all_own = simulate(protocol, jobs, scheme, triples=triples, wrap=wrap)
    found = []
    for me, held in enumerate(all_own):
        own = {f"{label}{f', component {k}' * bool(scheme.axes)}": x for label, data in held.items() for k, x in enumerate(data.reshape(-1, LENGTH))}
        received, opened = {}, {}
        for sender, tag, data in rows(scheme, watched[me].received):
            received |= {f"message from {sender} at {tag}, row {k}": row for k, row in enumerate(data)}
        for tag in dict.fromkeys(tag for _, tag, _ in watched[me].sent):
            shares = {sender: data for sender, at, data in rows(scheme, watched[me].received) if at == tag}
            for _, at, data in rows(scheme, watched[me].sent):
                if at == tag:
                    shares[me] = data
            if len(shares) == scheme.parties and tag.operation != "triples":
                try:
                    values = scheme.combine(shares)
                except ValueError:
                    continue  # no opening but another step, such as resharing
                opened |= {f"opened at {tag}, row {k}": row for k, row in enumerate(values)}
        found.append(View(own, received, opened))
    return found


def rows(scheme, messages):
    """(peer, tag, rows of LENGTH elements) of each message but the requests to the dealer."""
    for peer, tag, payload in messages:
        elements = len(payload) // scheme.algebra.element_bytes
        if elements % LENGTH == 0:
            yield peer, tag, scheme.algebra.from_bytes(payload, (elements // LENGTH, LENGTH))


def coordinates(scheme, all_views, coalition):
    """Label -> samples: what the coalition sees, and what it could make of it."""
    algebra = scheme.algebra
    found = {}
    for i in coalition:
        found |= {f"{i}: {label}": data for label, data in (all_views[i].own | all_views[i].received).items()}
        found |= all_views[i].opened
    for label in all_views[coalition[0]].own:
        held = [all_views[i].own[label] for i in coalition]
        weights = {"sum": [1] * len(held)}
        if algebra.is_field:
            weights["interpolation"] = lagrange(tuple(i + 1 for i in coalition), 0, algebra.modulus)
        for name, each in weights.items():
            total = algebra.subtract(held[0], held[0])
            for weight, data in zip(each, held, strict=True):
                total = algebra.add(total, algebra.multiply(data, np.array(weight, dtype=data.dtype)))
            found[f"{name} of {label}"] = total
    return found


def histograms(algebra, samples):
    """For each row of samples: how often each value of the 5 highest and of the 5 lowest bits comes."""
    bits = (algebra.modulus - 1).bit_length()
    if samples.dtype == object:
        parts = [(samples >> (bits - 5)).astype(np.int64), (samples & 31).astype(np.int64)]
    else:
        parts = [(samples >> np.uint64(bits - 5)).astype(np.int64), (samples & np.uint64(31)).astype(np.int64)]
    count = len(samples)
    places = np.concatenate(parts) + 32 * np.arange(2 * count)[:, None]
    return np.bincount(places.reshape(-1), minlength=64 * count).reshape(2, count, 32)


def statistics(algebra, labels, samples):
    """Labels and histograms of all coordinates, and of all sums and differences of two."""
    yield labels, histograms(algebra, samples)
    if samples.dtype == object:
        return  # Python integers would take minutes
    for k in range(1, len(labels)):
        yield [f"{labels[k]} + {label}" for label in labels[:k]], histograms(algebra, algebra.add(samples[k], samples[:k]))
        yield [f"{labels[k]} - {label}" for label in labels[:k]], histograms(algebra, algebra.subtract(samples[k], samples[:k]))


def differences(scheme, one, other, coalition):
    """The labels by which the coalition could tell the two runs apart."""
    both = []
    for run in (one, other):
        found = coordinates(scheme, run, coalition)
        both.append(list(statistics(scheme.algebra, list(found), np.array(list(found.values())))))
    first, second = ([label for labels, _ in run for label in labels] for run in both)
    assert first == second
    a, b = (np.concatenate([counts for _, counts in run], axis=1) for run in both)
    # two samples of one size: the sum of (a - b)^2 / (a + b) is chi-square, one degree fewer than bins in use
    seen = a + b
    statistic = np.where(seen > 0, (a - b) ** 2 / np.maximum(seen, 1), 0).sum(-1)
    p_values = stats.chi2.sf(statistic, np.maximum((seen > 0).sum(-1) - 1, 1))
    return [label for label, p in zip(first, p_values.min(0), strict=True) if p < FALSE_ALARM / p_values.size]


SCHEMES = {
    "additive-3": Additive(3),
    "additive-3-wide": Additive(3, RING128),
    "shamir-3": Shamir(3, 1),
    "shamir-3-wide": Shamir(3, 1, FIELD127),
    "replicated": Replicated(),
    "replicated-wide": Replicated(RING128),
    "shamir-5": Shamir(5, 2),
    "shamir-5-below-most": Shamir(5, 1),
}
COALITIONS = [
    (name, coalition, triples)
    for name, scheme in SCHEMES.items()
    for coalition in combinations(range(scheme.parties), scheme.privacy_threshold)
    if scheme.parties < 5 or coalition in [(0,), (2,), (4,), (0, 1), (1, 2), (0, 4), (3, 4)]
    for triples in ("dealer", None)
    if multiplies_with(scheme, triples)
]


def outsider_inputs(scheme, coalition):
    """Two inputs that differ in one honest party's alone, whose product with a member's 0 is 0 either way."""
    secret = next(i for i in range(scheme.parties) if i not in coalition)
    zero = coalition[-1]
    one = [100 + i for i in range(scheme.parties)]
    one[zero] = 0
    other = list(one)
    one[secret], other[secret] = 3, (1 << 40) + 1
    return one, other, secret, zero


@pytest.mark.parametrize(("name", "coalition", "triples"), COALITIONS, ids=named)
def test_products_show_a_coalition_nothing_of_the_factors(name, coalition, triples):
    scheme = SCHEMES[name]
    one, other, secret, zero = outsider_inputs(scheme, coalition)
    runs = [views(compute, inputs, scheme, triples, secret=secret, zero=zero) for inputs in (one, other)]
    assert differences(scheme, *runs, coalition) == []


@pytest.mark.parametrize("coalition", [(0,), (1,)], ids=named)
def test_a_product_shows_one_of_two_parties_nothing_of_the_others_factor(coalition):
    def product(ctx, job):
        ctx.triples = Spy(ctx.triples)
        x, y = share(ctx, job[0])
        z = multiply(ctx, x, y)
        reveal(ctx, z)
        triple = {f"triple, {name}": t.data for name, t in zip("abc", ctx.triples.taken[0], strict=True)}
        return {"x": x.data, "y": y.data, "z": z.data} | triple

    scheme = Additive(2)
    inputs = [[0, 0], [0, 0]]
    inputs[0][1 - coalition[0]], inputs[1][1 - coalition[0]] = 3, (1 << 40) + 1
    runs = [views(product, each, scheme, "dealer") for each in inputs]
    assert differences(scheme, *runs, coalition) == []


SUM_COALITIONS = [
    ("additive-3", Additive(3), (0,)),
    ("additive-3", Additive(3), (2,)),
    ("additive-5", Additive(5), (0, 1, 3)),
    ("additive-5", Additive(5), (2, 3, 4)),
    ("shamir-3", Shamir(3, 1), (0,)),
    ("shamir-3", Shamir(3, 1), (1,)),
    *(("replicated", Replicated(), (i,)) for i in range(3)),
    ("shamir-5", Shamir(5, 2), (0, 1)),
    ("shamir-5", Shamir(5, 2), (2, 4)),
]


def sum_inputs(scheme, coalition):
    """Two inputs with one sum, in which two honest parties share it otherwise."""
    first, second = [i for i in range(scheme.parties) if i not in coalition][:2]
    one = [7 + i for i in range(scheme.parties)]
    other = list(one)
    other[first] += 1 << 40
    other[second] -= 1 << 40
    return one, other


@pytest.mark.parametrize(("name", "scheme", "coalition"), SUM_COALITIONS, ids=named)
def test_an_opened_sum_shows_a_coalition_nothing_of_its_summands(name, scheme, coalition):
    runs = [views(add_up, inputs, scheme, None) for inputs in sum_inputs(scheme, coalition)]
    assert differences(scheme, *runs, coalition) == []


@pytest.mark.parametrize("scheme", [Additive(3), Shamir(3, 1), Additive(3, RING128)], ids=named)
def test_the_dealer_sees_counts_alone(scheme):
    seen = {}

    def wrap(me, channel):
        if me == DEALER:
            seen[DEALER] = channel = Watched(channel)
        return channel

    received = []
    for x in (3, 1 << 40):
        jobs = [(np.full(LENGTH, value), 0, 1, 0, Spy) for value in (x, 0, 5)]
        simulate(compute, jobs, scheme, wrap=wrap)
        received.append(seen[DEALER].received)
    requests = [struct.pack("<4Q", kind, LENGTH, 0, 0) for kind in (0, 0, 2, 2)]  # triples, then squares, so many
    expected = [(party, Tag(step, "triples"), request) for step, request in enumerate(requests) for party in range(3)]
    assert received == [expected, expected]


# --- planted bugs: what the comparison above must find ------------------------------------------------------------------


class ZeroRing(Ring64):
    def uniform(self, shape, stream, /):
        return np.zeros_like(super().uniform(shape, stream))


class ZeroField(Field61):
    def uniform(self, shape, stream, /):
        return np.zeros_like(super().uniform(shape, stream))


class HalfRing(Ring64):
    """Masks that leave the upper half of the secrets to be seen."""

    def uniform(self, shape, stream, /):
        return super().uniform(shape, stream) & np.uint64((1 << 32) - 1)


def found_in_products(scheme, coalition, triples, spy=Spy):
    one, other, secret, zero = outsider_inputs(scheme, coalition)
    runs = [views(compute, inputs, scheme, triples, secret=secret, zero=zero, spy=spy) for inputs in (one, other)]
    return differences(scheme, *runs, coalition)


@pytest.mark.parametrize(
    ("scheme", "coalition", "triples"),
    [
        (Additive(3, ZeroRing()), (1, 2), "dealer"),
        (Additive(3, HalfRing()), (1, 2), "dealer"),
        (Shamir(3, 1, ZeroField()), (2,), "dealer"),
        (Shamir(3, 1, ZeroField()), (2,), None),
        (Replicated(ZeroRing()), (2,), None),
        (Replicated(HalfRing()), (1,), None),
        (Plaintext(3), (2,), "dealer"),
    ],
    ids=named,
)
def test_masks_without_randomness_are_found(scheme, coalition, triples):
    assert found_in_products(scheme, coalition, triples)


@pytest.mark.parametrize("triples", ["dealer", None])
def test_a_shamir_threshold_one_lower_than_claimed_is_found(triples):
    # 2 of 5 parties, where the polynomial has degree 1 only: no single share tells, their combination does
    found = found_in_products(Shamir(5, 1), (3, 4), triples)
    assert any("interpolation" in label for label in found)
    assert found_in_products(Shamir(3, 1), (1, 2), triples)


@pytest.mark.parametrize(("scheme", "coalition"), [(Additive(3), (1, 2)), (Shamir(3, 1), (1,))], ids=named)
def test_a_triple_used_twice_is_found(scheme, coalition):
    # x + a and y + a together tell x - y
    assert any(" - " in label for label in found_in_products(scheme, coalition, "dealer", Again))


def test_a_summand_opened_instead_of_the_sum_is_found():
    def leak(ctx, job):
        own = add_up(ctx, job)
        (first, *_) = share(ctx, job[0])
        reveal(ctx, first)
        return own

    scheme, coalition = Additive(3), (2,)
    runs = [views(leak, inputs, scheme, None) for inputs in sum_inputs(scheme, coalition)]
    assert differences(scheme, *runs, coalition)


def test_an_output_opened_to_more_than_its_receivers_is_found():
    def leak(ctx, job):
        own = compute(ctx, job)
        shares = share(ctx, job[0])
        reveal(ctx, sum(shares[1:], shares[0]))
        return own

    scheme, coalition = Additive(3), (1, 2)
    one, other, secret, zero = outsider_inputs(scheme, coalition)
    runs = [views(leak, inputs, scheme, "dealer", secret=secret, zero=zero) for inputs in (one, other)]
    assert differences(scheme, *runs, coalition)


