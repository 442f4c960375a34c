"""Random and chosen transfers: who chooses gets the message it chose, for its bytes and no other."""

import numpy as np
import pytest

from mpc.context import Context
from mpc.cost import Cost
from mpc.ot.extension import Chooser, Sender
from mpc.ot.transfers import BLOCK, choose, offer, receive_messages, send_messages
from mpc.randomness import Stream, fresh_seed
from mpc.simulate import simulate
from mpc.triples.ot import ObliviousTriples

SIZES = (1, 3, BLOCK, BLOCK + 1, 16 * BLOCK // 64 + 2)


def ends(ctx: Context) -> tuple[Chooser, Sender]:
    return ObliviousTriples().link(ctx)[1 - ctx.me]


def bits(choices: np.ndarray) -> np.ndarray:
    return np.unpackbits(choices.view(np.uint8), bitorder="little").astype(bool)[:, None]


@pytest.mark.parametrize("words", SIZES)
def test_the_chooser_has_the_key_it_chose_and_the_sender_both(words: int) -> None:
    def party(ctx: Context, mine: int) -> tuple[object, Cost]:
        (chooser, sender), tag = ends(ctx), ctx.tag("transfers")
        if ctx.me == 0:
            choices = Stream(fresh_seed()).words((words,))
            return (choices, choose(ctx, 1, tag, chooser, choices)), ctx.measured
        return offer(ctx, 0, tag, sender, words), ctx.measured

    ((choices, chosen), choosing), (keys, offering) = simulate(party, [0, 0], triples=None)
    assert (chosen == np.where(bits(choices), keys[1], keys[0])).all()
    assert (keys[0] != keys[1]).any(axis=1).all()
    assert (choosing, offering) == (Cost(bytes=4 * 64 * words), Cost())


@pytest.mark.parametrize("words", SIZES)
def test_the_chooser_gets_the_messages_it_chose(words: int) -> None:
    def party(ctx: Context, mine: int) -> tuple[object, Cost]:
        (chooser, sender), tag, stream = ends(ctx), ctx.tag("transfers"), Stream(fresh_seed())
        if ctx.me == 1:
            choices = stream.words((words,))
            return (choices, receive_messages(ctx, 0, tag, chooser, choices)), ctx.measured
        messages = stream.words((64 * words, 2)), stream.words((64 * words, 2))
        send_messages(ctx, 1, tag, sender, messages)
        return messages, ctx.measured

    (messages, sending), ((choices, got), choosing) = simulate(party, [0, 0], triples=None)
    assert (got == np.where(bits(choices), messages[1], messages[0])).all()
    assert (sending, choosing) == (Cost(bytes=32 * 64 * words), Cost(bytes=4 * 64 * words))
