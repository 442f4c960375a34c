"""Parties that are out of step, silent, or send nonsense end a session with an error that names the peer and the step,
never with a wrong number where integrity is claimed."""

import struct
import threading
import time

import numpy as np
import pytest
from conformance import Watched, named

from mpc.algebra.field import FIELD, P
from mpc.algebra.ring import RING
from mpc.algebra.wide import FIELD127, RING128
from mpc.channel import MemoryChannel, MemoryNetwork, SessionEnded, Tag
from mpc.context import BLOCK, Context
from mpc.correlations import LARGEST_REQUEST, Ands, Bits, Masks, Matrices, Squares, Triples
from mpc.errors import ComityError, PeerError, ProtocolError
from mpc.randomness import fresh_seed
from mpc.schemes import DEALER
from mpc.schemes.additive import Additive
from mpc.schemes.plaintext import Plaintext
from mpc.schemes.shamir import Shamir
from mpc.schemes.words import boolean
from mpc.simulate import simulate
from mpc.triples.dealer import DealerTriples, deal
from mpc.triples.insecure import InsecurePublicTriples
from protocols.gadgets import multiply, reveal, share

INPUTS = [[1, 2], [3, 4], [5, 6]]


class Disturbed:
    """A channel that sends what `change(to, tag, payload)` gives; nothing for None."""

    def __init__(self, channel, change):
        self.channel, self.change = channel, change

    def send(self, to, tag, payload):
        changed = self.change(to, tag, bytes(payload))
        if changed is not None:
            self.channel.send(to, tag, changed)

    def receive(self, sender, tag, size):
        return self.channel.receive(sender, tag, size)


def disturb(party, change):
    return lambda me, channel: Disturbed(channel, change) if me == party else channel


def reveal_sum(ctx, values):
    shares = share(ctx, values)
    return reveal(ctx, sum(shares[1:], shares[0])).tolist()


def failure(*arguments, **options) -> ComityError:
    with pytest.raises(ComityError) as caught:
        simulate(*arguments, **options)
    return caught.value


def each_failure(protocol, n, scheme, triples=None, deadline=0.3):
    """What each party's run raised. Unlike `simulate`, the first failure does not end the others' waits."""
    network = MemoryNetwork(range(n), deadline)
    keys = {frozenset((a, b)): fresh_seed() for a in range(n) for b in range(a)}
    raised = [None] * n

    def run(me):
        ctx = Context(me, scheme, MemoryChannel(network, me), {i: keys[frozenset((i, me))] for i in range(n) if i != me}, triples)
        try:
            protocol(ctx)
        except ComityError as error:
            raised[me] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)  # kernels may still have to be compiled
    assert not any(thread.is_alive() for thread in threads)
    return raised


# --- out of step ----------------------------------------------------------------------------------------------------------


def test_multiply_where_the_others_reveal_names_step_operation_and_peer_at_all():
    def protocol(ctx):
        a, b, _ = share(ctx, [1, 2])
        return reveal(ctx, multiply(ctx, a, b) if ctx.me == 0 else a)

    errors = each_failure(protocol, 3, Shamir(3, 1))
    assert all(isinstance(error, PeerError) for error in errors)
    assert str(errors[0]) == "out of step: party 1 is at step 1 (reveal), this party at step 2 (reveal)"
    assert errors[0].peer == 1
    # in resharing, party 1 draws its share of party 0's product and gets no message: it hears of step 2 first
    assert str(errors[1]) == "out of step: party 0 is at step 2 (reveal), this party at step 1 (reveal)"
    assert str(errors[2]) == "out of step: party 0 is at step 1 (multiply), this party at step 1 (reveal)"
    assert errors[1].peer == errors[2].peer == 0


def test_multiply_with_triples_where_the_others_reveal_names_step_operation_and_peer():
    def protocol(ctx):
        ctx.triples = InsecurePublicTriples()
        a, b, _ = share(ctx, [1, 2])
        return multiply(ctx, a, b) if ctx.me == 0 else reveal(ctx, a, b)

    for error in each_failure(protocol, 3, Additive(3))[1:]:
        assert str(error) == "out of step: party 0 is at step 1 (multiply), this party at step 1 (reveal)"
        assert error.peer == 0


def test_a_party_one_step_ahead_is_found():
    def protocol(ctx):
        (a, *_) = share(ctx, [1, 2])
        if ctx.me == 1:
            reveal(ctx, a, to=[0])  # the others take this step with the next line
        return reveal(ctx, a)

    error = each_failure(protocol, 3, Additive(3))[2]
    assert str(error) == "out of step: party 1 is at step 2 (reveal), this party at step 1 (reveal)"


def test_a_party_that_shares_where_others_reveal_is_found():
    def protocol(ctx):
        (a, *_) = share(ctx, [1, 2])
        return share(ctx, [1, 2]) if ctx.me == 2 else reveal(ctx, a)

    for scheme in (Shamir(3, 1), Plaintext(3)):
        errors = each_failure(protocol, 3, scheme)
        assert any(isinstance(error, PeerError) and error.peer == 2 and "(reveal)" in str(error) for error in errors)


def test_revealing_arrays_of_different_sizes_is_found():
    def protocol(ctx):
        (a, *_) = share(ctx, [1, 2])
        return reveal(ctx, a[:1] if ctx.me == 1 else a)

    errors = each_failure(protocol, 3, Additive(3))
    for me in (0, 2):
        assert errors[me].peer == 1
        assert str(errors[me]) == "party 1 sent a message of the wrong size at step 1 (reveal)"


def test_blocks_of_one_step_that_change_places_are_found():
    network = MemoryNetwork(range(2))
    pair = fresh_seed()
    one, other = (Context(i, Additive(2), MemoryChannel(network, i), {1 - i: pair}) for i in range(2))
    tag, values = one.tag("multiply"), np.arange(2 * BLOCK, dtype=np.uint64)
    for swapped in (False, True):
        one.send(1, tag, values)
        sent = [network.links[0, 1].get(timeout=1) for _ in range(2)]
        for message in reversed(sent) if swapped else sent:
            network.links[0, 1].put(message)
        if not swapped:
            assert np.array_equal(other.receive(0, tag, values.shape), values)
            tag = one.tag("multiply")
    with pytest.raises(PeerError) as caught:
        other.receive(0, tag, values.shape)
    assert str(caught.value) == "out of step: party 0 is at step 1 (multiply, block 1), this party at step 1 (multiply)"


# --- nonsense on the wire ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [lambda p: p[:-1], lambda p: p + b"\0", lambda p: b"", lambda p: p * 2], ids=["short", "long", "empty", "twice"])
@pytest.mark.parametrize("scheme", [Additive(3), Additive(3, RING128), Shamir(3, 1), Shamir(3, 1, FIELD127)], ids=named)
def test_a_message_of_the_wrong_size_names_the_peer_and_the_step(scheme, change):
    error = failure(
        reveal_sum, INPUTS, scheme, wrap=disturb(1, lambda to, tag, p: change(p) if tag.operation == "reveal" else p)
    )
    assert isinstance(error, PeerError)
    assert error.peer == 1
    assert "party 1" in str(error)
    assert "wrong size at step 1 (reveal)" in str(error)


@pytest.mark.parametrize("scheme", [Shamir(3, 1), Shamir(3, 1, FIELD127)], ids=named)
@pytest.mark.parametrize("excess", [0, 1])
def test_an_element_that_is_no_residue_names_the_peer_and_the_step(scheme, excess):
    width = scheme.algebra.element_bytes
    element = (scheme.algebra.modulus + excess).to_bytes(width, "little")
    error = failure(reveal_sum, INPUTS, scheme, wrap=disturb(2, lambda to, tag, p: element + p[width:]))
    assert isinstance(error, PeerError)
    assert error.peer == 2
    assert "an element is not in GF" in str(error)
    assert "step" in str(error)
    assert str(P) not in str(error)


def test_what_a_peer_sent_is_never_in_the_error():
    error = failure(reveal_sum, INPUTS, Shamir(3, 1), wrap=disturb(0, lambda to, tag, p: b"\xff" * len(p)))
    for text in (str(2**64 - 1), "\\xff", "18446744073709551615"):
        assert text not in str(error)


# --- silence -------------------------------------------------------------------------------------------------------------------


def test_silence_ends_at_the_deadline_and_names_the_peer_and_the_step():
    begun = time.monotonic()
    error = failure(
        reveal_sum, INPUTS, triples=None, deadline=0.2, wrap=disturb(1, lambda to, tag, p: p if to != 0 else None)
    )
    assert 0.2 <= time.monotonic() - begun < 5
    assert isinstance(error, PeerError)
    assert error.peer == 1
    assert str(error) == "party 1 sent nothing for 0.2 s at step 1 (reveal)"


def test_a_failed_party_ends_the_others_waits_at_once_and_its_error_is_the_one_raised():
    def protocol(ctx, values):
        if ctx.me == 2:
            raise ZeroDivisionError("its own fault")
        return reveal_sum(ctx, values)

    begun = time.monotonic()
    with pytest.raises(ZeroDivisionError, match="its own fault"):
        simulate(protocol, INPUTS, deadline=30)
    assert time.monotonic() - begun < 5


def test_a_closed_session_gives_what_was_sent_before_and_then_ends():
    network = MemoryNetwork(range(2), deadline=5)
    one, other = MemoryChannel(network, 0), MemoryChannel(network, 1)
    one.send(1, Tag(0, "a"), b"12")
    network.close()
    assert bytes(other.receive(0, Tag(0, "a"), 2)) == b"12"
    with pytest.raises(SessionEnded):
        other.receive(0, Tag(1, "a"), 2)


def test_messages_of_one_sender_arrive_in_order():
    network = MemoryNetwork(range(3), deadline=1)
    channels = [MemoryChannel(network, i) for i in range(3)]
    for step in range(50):
        channels[0].send(1, Tag(step, "x"), bytes([step]))
        channels[2].send(1, Tag(step, "x"), bytes([step + 100]))
    for step in range(50):
        assert bytes(channels[1].receive(2, Tag(step, "x"), 1)) == bytes([step + 100])
    for step in range(50):
        assert bytes(channels[1].receive(0, Tag(step, "x"), 1)) == bytes([step])


# --- altered shares -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scheme", "inputs"), [(Shamir(3, 1), INPUTS), (Shamir(5, 2, FIELD127), [[1, 2]] * 5), (Shamir(5, 1), [[1, 2]] * 5)], ids=named)
@pytest.mark.parametrize("operation", ["reveal", "multiply"])
def test_one_altered_shamir_share_is_detected_wherever_more_than_t_plus_1_come(scheme, inputs, operation):
    def protocol(ctx, values):
        a, b, *_ = share(ctx, values)
        return reveal(ctx, multiply(ctx, a, b) if operation == "multiply" else a).tolist()

    def flip(to, tag, payload):  # the lowest bit of the first element: still a residue, or refused as none
        return bytes([payload[0] ^ 1]) + payload[1:] if tag.operation == operation else payload

    for party in range(scheme.parties):
        error = failure(protocol, inputs, scheme, triples="dealer", wrap=disturb(party, flip))
        assert f"{operation}: the shares contradict one another: at least one was altered" in str(error)


@pytest.mark.parametrize("scheme", [Shamir(3, 1), Shamir(5, 2), Shamir(5, 1)], ids=named)
def test_combine_detects_up_to_as_many_altered_shares_as_there_are_beyond_t_plus_1(scheme):
    rng = np.random.default_rng(1)
    t, n = scheme.privacy_threshold, scheme.parties

    def deal_out():
        drawn = {i: rng.integers(0, P, 3, dtype=np.uint64) for i in range(t)}
        return drawn | scheme.complete(drawn, FIELD.encode([1, -2, 3]))[1]

    assert FIELD.decode(scheme.combine(deal_out())).tolist() == [1, -2, 3]
    for altered in range(1, n - t):
        for first in range(n):
            shares = deal_out()
            for k in range(altered):
                i = (first + k) % n
                shares[i] = FIELD.add(shares[i], rng.integers(1, P, 3, dtype=np.uint64))
            with pytest.raises(ValueError, match="altered"):
                scheme.combine(shares)
    some = deal_out()
    assert FIELD.decode(scheme.combine({i: some[i] for i in list(some)[-(t + 1) :]})).tolist() == [1, -2, 3]
    with pytest.raises(ValueError, match="shares are needed"):
        scheme.combine({i: some[i] for i in range(t)})


def test_plaintext_parties_with_different_values_are_found():
    error = failure(
        reveal_sum, INPUTS, Plaintext(3), wrap=disturb(0, lambda to, tag, p: bytes([p[0] ^ 1]) + p[1:] if tag.step else p)
    )
    assert "different values" in str(error)


# --- the dealer ----------------------------------------------------------------------------------------------------------------


def take(ctx, count):
    return ctx.triples.take(ctx, Triples(count))


def test_the_dealer_refuses_requests_that_differ():
    error = failure(take, [5, 5, 6], Additive(3))
    assert isinstance(error, PeerError)
    assert error.peer == 2
    assert "another kind or number of triples than party 0" in str(error)


def asked(*numbers):
    """A request as the dealer gets it, unchecked."""
    return struct.pack("<4Q", *(number % (1 << 64) for number in (*numbers, *[0] * (4 - len(numbers)))))


def requesting(request):
    def protocol(ctx, x):
        ctx.send_bytes(DEALER, Tag(0, "triples"), request)
        ctx.receive_bytes(DEALER, Tag(0, "triples"), 1)

    return protocol


@pytest.mark.parametrize("count", [0, -1, LARGEST_REQUEST + 1, 1 << 40])
def test_absurd_numbers_of_triples_are_refused_at_the_party(count):
    def protocol(ctx, x):
        with pytest.raises(ProtocolError, match=f"not {count}"):
            ctx.triples.take(ctx, Triples(count))

    simulate(protocol, INPUTS)


@pytest.mark.parametrize("count", [0, -1, -(1 << 59), LARGEST_REQUEST + 1, 1 << 59])
@pytest.mark.parametrize("scheme", [Additive(3), Shamir(3, 1)], ids=named)
def test_absurd_numbers_of_triples_are_refused_by_the_dealer_before_it_draws_any(scheme, count):
    begun = time.monotonic()
    for kind in range(5):
        error = failure(requesting(asked(kind, count)), INPUTS, scheme)
        assert isinstance(error, PeerError)
        assert "between 1 and" in str(error)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    ("numbers", "why"),
    [
        ((5, 0, 4, 4), "between 1 and"),
        ((5, 4, 4, 0), "between 1 and"),
        ((5, 1 << 13, 1, (1 << 11) + 1), "between 1 and"),
        ((5, 1 << 63, 1 << 63, 1 << 63), "between 1 and"),
        ((5, 4096, 4096, 1024), "matrices of at most"),
        ((0, 1, 1, 0), "no kind of triples"),
        ((6, 1, 0, 0), "1 to 62 bits can be dropped, not 0"),
        ((6, 1, 63, 0), "1 to 62 bits can be dropped, not 63"),
        ((6, 1 << 20, 5, 0), "between 1 and"),
        ((6, 1, 5, 1), "no kind of triples"),
        ((7, 1, 0, 0), "no kind of triples"),
        ((1 << 63, 1, 0, 0), "no kind of triples"),
    ],
)
def test_absurd_kinds_and_dimensions_are_refused_by_the_dealer(numbers, why):
    begun = time.monotonic()
    error = failure(requesting(asked(*numbers)), INPUTS)
    assert isinstance(error, PeerError)
    assert why in str(error)
    assert time.monotonic() - begun < 5


def test_the_dealer_refuses_requests_of_different_kinds():
    def protocol(ctx, kind):
        ctx.triples.take(ctx, kind)

    error = failure(protocol, [Squares(3), Squares(3), Masks(3)], Additive(3))
    assert (error.peer, "another kind or number" in str(error)) == (2, True)


@pytest.mark.parametrize("triples", ["dealer", "ot", "insecure"])
def test_absurd_kinds_are_refused_at_the_party(triples):
    def protocol(ctx, x):
        for kind in (Squares(0), Bits(-1), Masks(LARGEST_REQUEST + 1), Matrices(0, 1, 1), Matrices(5000, 5000, 1), Ands(0)):
            with pytest.raises(ProtocolError, match="between 1 and"):
                ctx.triples.take(ctx, kind)
        with pytest.raises(ProtocolError, match="at most"):
            ctx.triples.take(ctx, Matrices(4096, 4096, 1024))
        for kind in (Squares(1), Bits(1), Masks(1), Matrices(1, 1, 1)):
            with pytest.raises(ProtocolError, match=r"no .* over GF"):
                ctx.triples.take(ctx.under(boolean(ctx.scheme)), kind)

    simulate(protocol, INPUTS, triples=triples)


def test_a_request_of_another_size_or_operation_is_refused_by_the_dealer():
    def other(ctx, x):
        ctx.exchange("reveal", {DEALER: ctx.scheme.algebra.encode([0, 1, 0, 0])}, {DEALER: (1,)})

    assert "party 0 sent a message of the wrong size at step 0 (triples)" in str(failure(requesting(bytes(16)), INPUTS))
    assert "party 0 is at step 0 (reveal), this party at step 0 (triples)" in str(failure(other, INPUTS))


def test_the_dealer_ends_with_the_session():
    network = MemoryNetwork([0, 1, DEALER])
    ctx = Context(DEALER, Additive(2), MemoryChannel(network, DEALER), {0: fresh_seed(), 1: fresh_seed()})
    network.close()
    assert deal(ctx) is None


@pytest.mark.parametrize("triples", ["dealer", "insecure"])
@pytest.mark.parametrize("scheme", [Additive(3), Additive(3, RING128), Shamir(3, 1), Shamir(5, 1), Shamir(5, 2, FIELD127), Plaintext(3)], ids=named)
def test_triples_are_products_and_each_is_handed_out_once(scheme, triples):
    def protocol(ctx, x):
        taken = [ctx.triples.take(ctx, Triples(count)) for count in (4, 6, 1, 4)]
        return [[reveal(ctx, t).tolist() for t in triple] for triple in taken]

    results = simulate(protocol, [0] * scheme.parties, scheme, triples=triples)
    assert all(result == results[0] for result in results)
    m, seen = scheme.algebra.modulus, []
    for a, b, c in results[0]:
        assert [(x * y - z) % m for x, y, z in zip(a, b, c, strict=True)] == [0] * len(a)
        seen += a + b
    assert len(set(seen)) == len(seen) == 2 * (4 + 6 + 1 + 4)


def test_triples_of_two_sessions_differ():
    def protocol(ctx, x):
        return reveal(ctx, take(ctx, 8)[0]).tolist()

    assert not set(simulate(protocol, INPUTS)[0]) & set(simulate(protocol, INPUTS)[0])


def test_the_dealer_sends_only_the_corrections_that_the_scheme_leaves_open():
    for scheme, expected in (
        (Additive(3), {0: 1, 1: 0, 2: 0}),  # c for party 0
        (Shamir(3, 1), {0: 0, 1: 1, 2: 3}),  # a and b beyond t + 1 parties, c beyond t
        (Shamir(5, 2), {0: 0, 1: 0, 2: 1, 3: 3, 4: 3}),
    ):
        watched = {}

        def wrap(me, channel, watched=watched):
            watched[me] = Watched(channel)
            return watched[me]

        simulate(take, [10] * scheme.parties, scheme, wrap=wrap)
        sent = dict.fromkeys(range(scheme.parties), 0)
        for to, _, payload in watched[DEALER].sent:
            sent[to] += len(payload)
        assert sent == {i: rows * 10 * 8 for i, rows in expected.items()}


def test_sources_of_triples_say_what_they_are():
    assert DealerTriples().name == "dealer"
    assert "insecure" in InsecurePublicTriples().name
    assert RING.name == "Z_2^64"
