"""Merging sorted lists of secret rows, and bringing some to the front: against plain sorting, under every scheme, at the declared cost."""

import numpy as np
import pytest
from conformance import named
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.schemes.additive import Additive
from mpc.schemes.replicated import Replicated
from mpc.schemes.shamir import Shamir
from mpc.simulate import simulate
from protocols.gadgets import compact, compact_cost, merge, merge_cost, reveal, share
from protocols.gadgets import merge as merging

every_scheme = pytest.mark.parametrize("scheme", [Additive(2), Additive(3), Shamir(3, 1), Replicated()], ids=named)
TRIPLES = "insecure"
"""For schemes that need none, too: whether they are used is `ctx.triples`."""


def run(scheme, work, cost):
    def party(ctx, _):
        made = work(ctx)
        before = ctx.measured
        found = made()
        assert ctx.measured == before + cost(ctx.scheme, ctx.me, ctx.triples)
        return reveal(ctx, found)

    return np.array(simulate(party, [None] * scheme.parties, scheme, triples=TRIPLES)[0])


def shared(ctx, values):
    values = np.array(values, dtype=object)
    return share(ctx, values.reshape(-1) if ctx.me == 0 else None, shapes={0: (values.size,)})[0].reshape(*values.shape)


@every_scheme
@given(data=st.data(), log_lists=st.integers(0, 3), log_rows=st.integers(0, 4))
@settings(max_examples=8, deadline=None)
def test_lists_are_merged_with_their_rows(scheme, data, log_lists, log_rows):
    lists, rows = 1 << log_lists, 1 << log_rows
    edge = (1 << 58) - 1
    keys = st.one_of(st.integers(0, 5), st.sampled_from([0, edge, 1 << 58]), st.integers(0, edge))
    of = [sorted(data.draw(st.lists(keys, min_size=rows, max_size=rows))) for _ in range(lists)]
    beside = [[7 * key % 1009 - 500 for key in each] for each in of]
    found = run(scheme, lambda ctx: (lambda x: lambda: merge(ctx, x))(shared(ctx, [of, beside])), lambda *who: merge_cost(*who, 2, lists, rows))
    together = sorted(key for each in of for key in each)
    assert found.tolist() == [together, [7 * key % 1009 - 500 for key in together]]


@every_scheme
@given(data=st.data(), log_rows=st.integers(0, 7))
@settings(max_examples=8, deadline=None)
def test_rows_that_are_kept_come_to_the_front_in_their_order(scheme, data, log_rows):
    count = 1 << log_rows
    keep = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    rows = np.array([range(1, count + 1), range(-5, count - 5)])

    def work(ctx):
        kept, x = shared(ctx, [int(bit) for bit in keep]), shared(ctx, rows)
        return lambda: compact(ctx, kept, x)

    found = run(scheme, work, lambda *who: compact_cost(*who, 2, count))
    kept = rows[:, np.array(keep, dtype=bool)]
    assert found.tolist() == np.concatenate([kept, np.zeros((2, count - kept.shape[1]), dtype=int)], axis=1).tolist()


def test_a_planted_bug_is_found(monkeypatch):
    """The second list is not turned round."""
    joined = merging.__globals__["_joined"]
    monkeypatch.setitem(merging.__globals__, "_joined", lambda first, second: joined(first, second[:, :, ::-1] if second.shape[-1] == 4 else second))
    found = run(Additive(2), lambda ctx: (lambda x: lambda: merge(ctx, x))(shared(ctx, [[[1, 4, 6, 9], [2, 3, 7, 8]]])), lambda *who: merge_cost(*who, 1, 2, 4))
    assert found.tolist() != [[1, 2, 3, 4, 6, 7, 8, 9]]
