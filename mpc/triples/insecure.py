"""Triples that everybody could compute: for tests and plaintext runs only. They protect nothing."""

import numpy as np

from mpc.algebra import Shape
from mpc.context import Context
from mpc.cost import Cost
from mpc.randomness import Stream
from mpc.schemes import PartyId, Scheme
from mpc.share import Share


class InsecurePublicTriples:
    """Every party derives all parties' shares from one public seed. No security whatsoever."""

    name = "insecure-public"

    def __init__(self) -> None:
        self._stream = Stream(bytes(32))

    def request(self, ctx: Context, count: int) -> None:
        pass

    def take(self, ctx: Context, shape: Shape) -> tuple[Share, Share, Share]:
        scheme, count = ctx.scheme, int(np.prod(shape))

        def shares(value: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
            drawn = {i: scheme.algebra.uniform((count,), self._stream) for i in scheme.seeded(random=value is None)}
            value, rest = scheme.complete(drawn, value)
            return value, (drawn | rest)[ctx.me]

        a, my_a = shares(None)
        b, my_b = shares(None)
        _, my_c = shares(scheme.algebra.multiply(a, b))
        mine = tuple(Share(x.reshape(shape), scheme, ctx.me) for x in (my_a, my_b, my_c))
        return mine[0], mine[1], mine[2]

    def cost(self, scheme: Scheme, me: PartyId, count: int) -> Cost:
        return Cost(triples=count)
