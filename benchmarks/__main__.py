"""`python -m benchmarks`: share, multiply and open 100,000 values among three parties in one process.

Prints for each scheme the median time of several runs, as a multiple of the same products in plain numpy in the same
run, and the bytes a party sends a value.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np

from mpc.context import Context
from mpc.simulate import simulate
from protocols.gadgets import multiply, reveal, share

VALUES = 100_000
RUNS = 5


def protocol(ctx: Context, x: np.ndarray) -> int:
    first, second, _ = share(ctx, x)
    reveal(ctx, multiply(ctx, first, second))
    return ctx.measured.bytes


def median(work: Callable[[], object]) -> float:
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    rng = np.random.default_rng(1)
    inputs = list(rng.integers(-1000, 1000, (3, VALUES)))
    plain = median(lambda: inputs[0] * inputs[1])
    print(f"{VALUES:,} products, 3 parties in threads, median of {RUNS}; plain numpy {plain * 1e3:.2f} ms")
    for scheme, triples in (("additive", "dealer"), ("shamir", None), ("shamir", "dealer")):
        sent: list[int] = []

        def run(scheme: str = scheme, triples: str | None = triples, sent: list[int] = sent) -> None:
            sent[:] = simulate(protocol, inputs, scheme, triples=triples)

        seconds = median(run)
        how = "triples from a dealer" if triples else "resharing"
        print(f"{scheme:9} {how:22} {seconds * 1e3:7.0f} ms  {seconds / plain:6.0f} x numpy  {max(sent) / VALUES:5.0f} bytes a value")


if __name__ == "__main__":
    main()
