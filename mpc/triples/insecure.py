"""Triples that everybody could compute: for tests and plaintext runs only. They protect nothing."""

from mpc.context import Context
from mpc.correlations import Kind, Row, check, shared
from mpc.cost import Cost
from mpc.randomness import Stream
from mpc.schemes import PartyId, Scheme
from mpc.share import Share


class InsecurePublicTriples:
    """Every party derives all parties' shares from one public seed. No security whatsoever."""

    name = "insecure-public"

    def __init__(self) -> None:
        self._stream = Stream(bytes(32))

    def request(self, ctx: Context, kind: Row) -> None:
        pass

    def take(self, ctx: Context, kind: Kind) -> tuple[Share, ...]:
        check(kind, ctx.scheme)
        dealt = shared(kind, ctx.scheme, lambda _, part: part.uniform(self._stream))
        return tuple(Share((drawn | rest)[ctx.me], part.scheme, ctx.me) for part, drawn, rest in dealt)

    def cost(self, scheme: Scheme, me: PartyId, kind: Kind) -> Cost:
        return Cost()
