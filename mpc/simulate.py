"""One function run as n parties in threads of this process: for trying a protocol out, and for its tests."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mpc.channel import Channel, MemoryChannel, MemoryNetwork
from mpc.context import Context, TripleSource
from mpc.randomness import fresh_seed
from mpc.schemes import DEALER, PartyId, Scheme
from mpc.schemes.named import schemes
from mpc.schemes.replicated import Replicated
from mpc.triples.dealer import deal
from mpc.triples.insecure import InsecurePublicTriples
from mpc.triples.named import triple_source


def simulate(
    protocol: Callable[..., Any],
    inputs: Sequence[Any],
    scheme: Scheme | str = "additive",
    *,
    colluding: int | None = None,
    triples: str | None = "dealer",
    wrap: Callable[[PartyId, Channel], Channel] = lambda _, channel: channel,
    deadline: float = 20.0,
) -> list[Any]:
    """Runs `protocol(ctx, inputs[i])` as party i, for every i, and returns what each returned.

    `scheme` is a name ("additive", "shamir", "replicated", "plaintext") or a scheme; `colluding` defaults to the most it allows.
    `triples` is "ot", "dealer" (one runs beside the parties), "insecure" or None; replicated shares take none. `wrap` may put something around each
    party's channel, to watch or to disturb it. The first failure of a party is raised.
    """
    n = len(inputs)
    if isinstance(scheme, str):
        scheme = schemes(scheme, n, colluding or (n - 1 if scheme in ("additive", "plaintext") else (n - 1) // 2))[0]
    if isinstance(scheme, Replicated):
        triples = None
    if scheme.parties != n:
        raise ValueError(f"{n} inputs for a scheme of {scheme.parties} parties")
    everybody = [*range(n), *([DEALER] if triples == "dealer" else [])]
    network = MemoryNetwork(everybody, deadline)
    pairs = {frozenset((a, b)): fresh_seed() for a in everybody for b in everybody if a != b}

    def context(me: PartyId) -> Context:
        source: TripleSource | None = None
        if me != DEALER:
            source = InsecurePublicTriples() if triples == "insecure" else triple_source(triples)
        keys = {peer: pairs[frozenset((me, peer))] for peer in everybody if peer != me}
        return Context(me, scheme, wrap(me, MemoryChannel(network, me)), keys, source)

    failed: list[BaseException] = []
    lock = threading.Lock()

    def run(work: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return work(*arguments)
        except BaseException as error:
            with lock:
                failed.append(error)
            network.close()
            raise

    with ThreadPoolExecutor(len(everybody)) as pool:
        dealing = pool.submit(run, deal, context(DEALER)) if triples == "dealer" else None
        running = [pool.submit(run, protocol, context(i), inputs[i]) for i in range(n)]
        for future in running:
            future.exception()
        network.close()
        if dealing:
            dealing.exception()
    if failed:
        raise failed[0]
    return [future.result() for future in running]
