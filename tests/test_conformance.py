"""The conformance matrix: every scheme x number of parties x triple source x transport runs every protocol, right
against exact integers, at the declared cost. The tables are in conformance.py."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from conformance import (
    CASES,
    CORRELATIONS,
    SCHEMES,
    TRANSPORTS,
    TRIPLES,
    Cell,
    cells,
    compares,
    inputs,
    named,
    reports,
    wrong,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.context import BLOCK
from mpc.correlations import Ands, Bits, Kind, Masks, Matrices, Squares, Triples, Truncations
from mpc.cost import Cost
from mpc.errors import ProtocolError
from mpc.schemes.additive import Additive
from mpc.schemes.named import FIELD, FIELD127, RING, RING128, schemes
from mpc.schemes.plaintext import Plaintext
from mpc.schemes.replicated import Replicated
from mpc.schemes.shamir import Shamir
from mpc.share import Share
from mpc.simulate import simulate
from protocols.gadgets import multiply, reveal, share, square


def wrapped(value: Any, modulus: int) -> Any:
    """Exact integers as an algebra represents them: the signed residue nearest to 0."""
    if isinstance(value, list):
        return [wrapped(v, modulus) for v in value]
    residue = value % modulus
    return residue - modulus if residue > (modulus - 1) // 2 else residue


def expected(cell: Cell, name: str) -> list[Any]:
    scheme, case = cell.scheme, CASES[name]
    values = [wrapped(value, scheme.algebra.modulus) for value in case.exact(inputs(scheme), scheme.parties)]
    return [[v / 2**case.scale for v in value] for value in values] if case.scale else values


def test_the_matrix_has_every_scheme_size_source_and_transport():
    # a cell that vanished would fail nothing
    found = list(cells())
    assert {cell.transport for cell in found} == set(TRANSPORTS)
    assert {cell.triples for cell in found} == set(TRIPLES)
    assert {cell.scheme_name for cell in found} == set(SCHEMES)
    sizes = {name: {c.parties for c in found if c.scheme_name == name and c.transport == "memory"} for name in SCHEMES}
    assert sizes["additive-2^64"] == sizes["additive-2^128"] == sizes["plaintext"] == {2, 3, 5}
    assert sizes["shamir-2^61-1"] == sizes["shamir-2^127-1"] == {3, 5}
    assert sizes["shamir-below-most"] == {5}
    assert sizes["replicated-2^64"] == sizes["replicated-2^128"] == {3}
    assert {c.scheme_name for c in found if c.triples is None} == {n for n in SCHEMES if n.startswith(("shamir", "replicated"))}
    assert {c.triples for c in found if c.scheme_name.startswith("replicated")} == {None}


Check = Callable[[Cell], Iterator[str]]
"""What is wrong in a cell, in words."""


def values_are_exact_at_receivers_alone(cell: Cell) -> Iterator[str]:
    for name in cases_of(cell):
        receivers = CASES[name].receivers(cell.parties)
        for me, report in enumerate(reports(cell)):
            right = expected(cell, name) if receivers is None or me in receivers else None
            if report[name].values != right:
                yield f"{name} at party {me}: {report[name].values}, not {right}"


def costs_are_those_declared(cell: Cell) -> Iterator[str]:
    for me, party in enumerate(reports(cell)):
        for name in cases_of(cell):
            report = party[name]
            if report.declared != report.measured or report.channel_bytes != report.measured.bytes:
                yield f"{name} at party {me}: declared {report.declared}, measured {report.measured}, sent {report.channel_bytes}"


def no_share_of_an_output_goes_to_who_is_no_receiver(cell: Cell) -> Iterator[str]:
    for name in cases_of(cell):
        if (of := CASES[name].receivers(cell.parties)) is not None:
            for me, party in enumerate(reports(cell)):
                to, of_whom = set(of) - {me}, set(range(cell.parties)) - {me} if me in of else set()
                if cell.scheme.name == "replicated":  # who lacks a component has it from the one before alone
                    to, of_whom = to & {(me + 1) % 3}, of_whom & {(me - 1) % 3}
                if party[name].sent_to != to or party[name].received_from != of_whom:
                    yield f"{name}: party {me} sent to {party[name].sent_to}, received from {party[name].received_from}"


def linear_operations_send_nothing(cell: Cell) -> Iterator[str]:
    for me, party in enumerate(reports(cell)):
        for name in ("linear", "totals"):
            if party[name].sent_to | party[name].received_from:
                yield f"{name}: party {me} sent or received"


def costs_are_those_of_the_papers(cell: Cell) -> Iterator[str]:
    """The formulas themselves, beside "declared is measured"."""
    n, scheme, count = cell.parties, cell.scheme, 12
    width = {"Z_2^64": 8, "GF(2^61-1)": 8, "Z_2^128": 16, "GF(2^127-1)": 16}[scheme.algebra.name]
    for me, party in enumerate(reports(cell)):
        shared, product = party["share"].measured, party["multiply"].measured
        if scheme.name == "additive" and (shared.bytes, shared.rounds) != (0, 0):
            yield f"share at party {me}: {shared}"
        # all shares but the owner's and those of t others
        if scheme.name == "shamir" and shared.bytes != (n - 1 - scheme.privacy_threshold) * count * width:
            yield f"share at party {me}: {shared}"
        if scheme.name == "replicated":
            if shared != Cost(1, count * width):
                yield f"share at party {me}: {shared}"
            right = Cost(1, count * width)
        elif cell.triples is None:
            owners = 2 * scheme.privacy_threshold + 1
            right = Cost(1, (me < owners) * (n - 1 - scheme.privacy_threshold) * count * width)
        else:  # two elements to each peer, beside the triples
            right = Cost(1, 2 * (n - 1) * count * width, count) + makes(cell, me, Triples(count))
        if product != right:
            yield f"multiply at party {me}: {product}, not {right}"


def what_is_made_holds_at_every_index_and_costs_what_the_papers_say(cell: Cell) -> Iterator[str]:
    for me, party in enumerate(reports(cell)):
        for kind in CORRELATIONS if cell.triples is not None else ():
            report = party[str(kind)]
            if why := wrong(kind, cell.scheme.algebra.modulus, report.values):
                yield why
            costs = (report.declared, report.measured, makes(cell, me, kind))
            if len(set(costs)) > 1 or report.channel_bytes != report.measured.bytes:
                yield f"{kind} at party {me}: declared, measured and in the papers {costs}, sent {report.channel_bytes}"


CHECKS: tuple[Check, ...] = (
    values_are_exact_at_receivers_alone,
    costs_are_those_declared,
    no_share_of_an_output_goes_to_who_is_no_receiver,
    linear_operations_send_nothing,
    costs_are_those_of_the_papers,
    what_is_made_holds_at_every_index_and_costs_what_the_papers_say,
)


def cases_of(cell: Cell) -> list[str]:
    return [name for name, case in CASES.items() if compares(cell.scheme, cell.triples) or not case.correlated]


@pytest.mark.parametrize("cell", list(cells()), ids=str)
def test_every_case_of_a_cell_is_right_at_its_declared_cost(cell: Cell) -> None:
    """One test a cell, so that its session runs once."""
    assert [f"{check.__name__}: {why}" for check in CHECKS for why in check(cell)] == []


def makes(cell: Cell, me: int, kind: Kind) -> Cost:
    """What the papers say that it costs party `me` to make a kind: Gilboa's products, SoftSpokenOT with k = 4 (32 bits a
    transfer), and dealing where the shares are not additive."""
    n, t, algebra = cell.parties, cell.scheme.privacy_threshold, cell.scheme.algebra
    if cell.triples != "ot":
        return Cost(rounds=1, bytes=32) if cell.triples == "dealer" else Cost()
    width = algebra.element_bytes
    transfers, corrections = {  # of a product; the latter in bytes, 64 - i bits for bit i where the ring allows it
        "Z_2^64": (64, 260), "GF(2^61-1)": (64, 61 * 8), "Z_2^128": (128, 128 * 16), "GF(2^127-1)": (128, 128 * 16),
    }[algebra.name]  # fmt: skip
    below, above = (me, t - me) if me <= t else (0, 0)
    chosen, sent, dealt, rounds = 0, 0, 0, 2 * (below + above > 0)  # transfers, bytes of corrections, elements
    if isinstance(kind, Ands):
        chosen, sent = (below + above) * 64 * kind.count, (below + above) * 8 * kind.count
    elif isinstance(kind, Triples):
        chosen, sent = ((below + above) * kind.count * x for x in (transfers, corrections))
        dealt = 3 * kind.count
    elif isinstance(kind, Squares):
        more, fewer = (kind.count + 1) // 2, kind.count // 2
        chosen, sent = (below * more + above * fewer) * transfers, (below * fewer + above * more) * corrections
        dealt = 2 * kind.count
    elif isinstance(kind, Bits | Masks):
        bits = 1 if isinstance(kind, Bits) else (algebra.modulus - 1).bit_length()
        chosen, sent, dealt = below * 64 * bits * kind.count, above * 64 * bits * kind.count * width, 64 * kind.count
        dealt *= 3 if isinstance(kind, Truncations) else 1
        rounds = 2 * (above + (below > 0))
        if isinstance(kind, Masks) and below + above:
            fours = ((kind.shift if isinstance(kind, Truncations) else bits) + 3) // 4
            more, fewer = (kind.count + 1) // 2, kind.count // 2  # from the first contributor on, and from the last
            chosen = (below * more + above * fewer) * bits * 64
            sent = (above * more + below * fewer) * (bits * 64 * width + fours * 15 * 11 * 8)  # for each four fifteen times eleven products
            rounds = 2 * len({step for step in range(1, t + 1) if me <= step or (t - me <= step and fewer)})
    elif isinstance(kind, Matrices):
        m, k, n_columns = kind.m, kind.k, kind.n
        chosen, sent = (below + above) * k * min(m, n_columns) * transfers, (below + above) * m * k * n_columns * corrections
        dealt = m * k + k * n_columns + m * n_columns
    cost = Cost(rounds, chosen * 4 + sent)
    if cell.scheme.name != "additive" and dealt:  # to all but the t whose shares streams fix
        cost += Cost(1, dealt * width * (n - 1 - t) if me <= t else 0)
    return cost


# --- operators: free ones work, all others raise ----------------------------------------------------------------------

SHARES = {
    "additive": Share(RING.encode([1, 2]), Additive(3), 0),
    "additive-128": Share(RING128.encode([1, 2]), Additive(3, RING128), 0),
    "shamir": Share(FIELD.encode([1, 2]), Shamir(3, 1), 0),
    "shamir-127": Share(FIELD127.encode([1, 2]), Shamir(3, 1, FIELD127), 0),
    "replicated": Share(RING.encode([[1, 2], [3, 4]]), Replicated(), 0),
    "plaintext": Share(RING.encode([1, 2]), Plaintext(3), 0),
}
every_share = pytest.mark.parametrize("x", list(SHARES.values()), ids=list(SHARES))


@every_share
def test_share_times_share_raises_and_names_multiply(x):
    with pytest.raises(TypeError, match=r"multiply\(ctx"):
        _ = x * x


@every_share
def test_a_share_has_no_truth_and_no_order(x):
    for attempt in (bool, lambda s: s < 3, lambda s: s and 1, lambda s: 1 if s else 0, lambda s: not s, lambda s: s >= s):
        with pytest.raises(TypeError):
            attempt(x)


@every_share
def test_a_share_refuses_public_numbers_that_are_no_integers(x):
    for attempt in (lambda s: s + 0.5, lambda s: s * 1.0, lambda s: 2.5 - s, lambda s: s * np.array([0.1, 0.2]), lambda s: s + "1"):
        with pytest.raises(TypeError):
            attempt(x)


@every_share
def test_shares_of_other_schemes_or_parties_do_not_mix(x):
    for y in SHARES.values():
        if y is not x:
            for attempt in (lambda y=y: x + y, lambda y=y: y - x):
                with pytest.raises(ProtocolError, match="not of one scheme"):
                    attempt()
    other = Share(x.data, x.scheme, 1)
    with pytest.raises(ProtocolError, match="not of one scheme and party"):
        _ = x + other


@every_share
def test_scales_must_agree_to_add(x):
    with pytest.raises(ProtocolError, match="scales 0 and 4"):
        _ = x + Share(x.data, x.scheme, x.party, 4)


@every_share
def test_a_public_number_too_large_at_the_shares_scale_is_refused_not_wrapped(x):
    # 2^50 with 16 fractional bits once wrapped to 0 over Z_2^64, in numpy's int64
    y = Share(x.data, x.scheme, x.party, 16)
    public = 1 << 50
    if x.scheme.algebra.bound > 1 << 100:
        assert (y + public).data.tolist() == [1 + (1 << 66), 2 + (1 << 66)]
    else:
        for value in (public, np.array([public, 0])):
            with pytest.raises(OverflowError):
                _ = y + value


def test_a_share_of_another_session_is_refused_before_anything_is_sent():
    foreign = Share(FIELD.encode([1, 2]), Shamir(3, 1), 0)

    def protocol(ctx, x):
        (mine, *_) = share(ctx, x)
        for attempt in (lambda: reveal(ctx, foreign), lambda: multiply(ctx, mine, foreign), lambda: multiply(ctx, foreign, foreign)):
            with pytest.raises(ProtocolError, match="not of this session"):
                attempt()
        return reveal(ctx, mine).tolist()

    assert simulate(protocol, [[1, 2]] * 3) == [[1, 2]] * 3


def test_receivers_must_be_parties():
    # the dealer's id, -1, is a peer of every channel, but no receiver
    def protocol(ctx, x):
        (mine, *_) = share(ctx, x)
        for to in ([3], [-1], [0, -1]):
            with pytest.raises(ProtocolError, match="receivers"):
                reveal(ctx, mine, to=to)
        return reveal(ctx, mine, to=iter([0, 2]))

    first, second, third = simulate(protocol, [[5]] * 3)
    assert (first.tolist(), second, third.tolist()) == ([5], None, [5])


def test_multiplying_needs_equal_shapes_and_a_source_of_triples():
    def unequal(ctx, x):
        a, b, _ = share(ctx, x)
        with pytest.raises(ProtocolError, match="shapes"):
            multiply(ctx, a, b[:1])

    def without(ctx, x):
        a, b, _ = share(ctx, x)
        with pytest.raises(ProtocolError, match="no source"):
            multiply(ctx, a, b)

    simulate(unequal, [[1, 2]] * 3)
    for scheme in ("additive", "plaintext"):
        simulate(without, [[1, 2]] * 3, scheme, triples=None)


@pytest.mark.parametrize("name", list(SCHEMES))
def test_a_value_beyond_the_bound_is_not_shared(name):
    scheme = SCHEMES[name](3 if name.startswith("replicated") else 5)
    bound = scheme.algebra.bound

    def protocol(ctx, x):
        for value in (bound + 1, -bound - 1):
            with pytest.raises((ProtocolError, OverflowError)):
                share(ctx, [value])
        return reveal(ctx, share(ctx, [-bound])[0]).tolist()

    assert simulate(protocol, [0] * scheme.parties, scheme) == [[-bound]] * scheme.parties


def test_what_is_shared_must_have_the_declared_shape():
    def protocol(ctx, x):
        for values, shapes in (([1, 2], {0: (3,)}), (None, {0: (2,), 1: (2,), 2: (2,)}), (None, None), ([[1, 2]], {0: (2,)})):
            if shapes is None or ctx.me == 0:
                with pytest.raises(ProtocolError):
                    share(ctx, values, shapes=shapes)
        if ctx.me != 0:
            with pytest.raises(ProtocolError):
                share(ctx, [1], shapes={0: (1,)})

    simulate(protocol, [0] * 3)


def test_schemes_refuse_too_few_parties():
    for name, parties, colluding in [
        ("additive", 1, 1), ("additive", 3, 3), ("additive", 3, 0), ("shamir", 2, 1), ("shamir", 4, 2), ("shamir", 3, 0), ("magic", 3, 1),
        ("replicated", 2, 1), ("replicated", 4, 1), ("replicated", 3, 2),
    ]:  # fmt: skip
        with pytest.raises(ValueError):
            schemes(name, parties, colluding)
    with pytest.raises(ValueError, match="field"):
        Shamir(3, 1, RING)
    with pytest.raises(ValueError, match="2 inputs"):
        simulate(lambda ctx, x: x, [1, 2], Additive(3))


def test_a_protocol_of_a_users_own_is_ten_lines():
    # the inner product of two companies' vectors, opened to a third
    def inner_product(ctx, mine):
        x, y, _ = share(ctx, mine)
        return reveal(ctx, multiply(ctx, x, y).sum(), to=[2])

    for scheme in ("additive", "shamir", "replicated", "plaintext"):
        results = simulate(inner_product, [[1, 2, 3], [4, -5, 6], [0, 0, 0]], scheme)
        assert results[:2] == [None, None]
        assert int(results[2]) == 12


# --- long arrays go in blocks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "triples"),
    [(Additive(3), "dealer"), (Additive(2, RING128), "dealer"), (Shamir(3, 1), None), (Shamir(5, 1), "dealer"), (Replicated(), None)],
    ids=named,
)
def test_arrays_longer_than_a_block(scheme, triples):
    """The first is of two blocks and a bit, the second shorter, the third has a shape; triples are asked for ahead, and
    taken in other portions than they are dealt in."""
    length = 2 * BLOCK + 17

    def protocol(ctx, mine):
        x, y = share(ctx, mine)[:2]
        if ctx.triples is not None:
            ctx.triples.request(ctx, Triples(length + 6))
        rounds = ctx.measured.rounds
        products = [multiply(ctx, x, y), multiply(ctx, x[:5], y[5:10]), multiply(ctx, x[:6].reshape(2, 3), y[:6].reshape(2, 3))]
        assert ctx.measured.rounds == rounds + 3 + (triples is not None)
        return reveal(ctx, *products)

    inputs = [np.arange(length) * (i + 1) - length for i in range(scheme.parties)]
    x, y = (values.astype(object) for values in inputs[:2])
    for first, second, third in simulate(protocol, inputs, scheme, triples=triples):
        assert (first == x * y).all()
        assert (second == x[:5] * y[5:10]).all()
        assert (third == (x[:6] * y[:6]).reshape(2, 3)).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.sampled_from([0, 1, -1, (1 << 29) - 1, 1 - (1 << 29)]), st.integers(-(1 << 29) + 1, (1 << 29) - 1)), min_size=1, max_size=9))
@pytest.mark.parametrize("scheme", [Additive(2), Shamir(3, 1), Replicated()], ids=named)
def test_squares_are_those_of_integers_up_to_the_bound(scheme, numbers):
    def protocol(ctx, mine):
        return reveal(ctx, square(ctx, share(ctx, mine)[0])).tolist()

    inputs = [numbers, *[[0] * len(numbers)] * (scheme.parties - 1)]
    source = None if isinstance(scheme, Replicated) else "insecure"
    assert simulate(protocol, inputs, scheme, triples=source)[0] == [x * x for x in numbers]
