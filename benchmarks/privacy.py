"""What noise costs a company beside its query: drawing it, and a release in its ledger."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.measure import Line, peak_mb
from mpc.noise import discrete_gaussian, polya
from mpc.randomness import Stream, fresh_seed
from parties.governance.ledger import Ledger
from parties.governance.release import ID_BYTES, Charge, Release
from parties.wire import identity

GROUPS = ("noise", "ledger")
VALUES = 100_000
NAMES = ("a", "b", "c")


def lines(groups: Sequence[str], runs: int, quick: bool) -> Iterator[Line]:
    if "noise" in groups:
        yield from _noise(runs)
    if "ledger" in groups:
        yield _ledger(runs)


def _noise(runs: int) -> Iterator[Line]:
    """Tables are there: a node makes them at its first draw (1 to 40 ms). The floor is no exact distribution."""
    samplers = {
        "Gaussian, deviation 50": discrete_gaussian(Fraction(50**2)),
        "Gaussian, deviation 2^30": discrete_gaussian(Fraction(1 << 60)),
        "Laplace of 2 parts, scale 50": polya(Fraction(50), 2),
    }
    generator, stream = np.random.default_rng(), Stream(fresh_seed())
    for name, sampler in samplers.items():
        seconds = [_timed(partial(sampler.draw, VALUES, stream)) for _ in range(runs)]
        floor = [_timed(lambda: np.rint(generator.normal(0, 50, VALUES))) for _ in range(runs)]
        yield Line("noise", name, 1, VALUES, seconds, "numpy.random", floor, peak_mb=peak_mb())


def _ledger(runs: int) -> Line:
    """reserve, sign and hold at one of three companies. The floor is one write of a page to its disk."""
    with TemporaryDirectory(prefix="comity-bench-") as folder:
        folders = [Path(folder) / name for name in NAMES]
        identities = {name: identity.create(own, name) for name, own in zip(NAMES, folders, strict=True)}
        ledgers = {name: Ledger(own, name, identities[name]) for name, own in zip(NAMES, folders, strict=True)}
        certificates = {name: own.der for name, own in identities.items()}
        seconds, floor = [], []
        for _ in range(10 * runs):
            release = Release(os.urandom(ID_BYTES), "q", "spec", "plan", NAMES, NAMES, (Charge("t", "row", 1),))
            others = {name: ledgers[name].reserve(release, lambda: bytes(800), _no_cap).commitment for name in NAMES[1:]}
            start = time.perf_counter()
            commitments = {"a": ledgers["a"].reserve(release, lambda: bytes(800), _no_cap).commitment, **others}
            ledgers["a"].sign(release.id, commitments)
            taken = time.perf_counter() - start
            receipts = {name: ledgers[name].sign(release.id, commitments) for name in NAMES[1:]}
            seconds.append(taken + _timed(partial(ledgers["a"].hold, release.id, receipts, certificates)))
            floor.append(_timed(partial(_write, folders[0] / "page")))
        for ledger in ledgers.values():
            ledger.close()
    return Line("ledger", "reserve, sign, hold", len(NAMES), 1, seconds, "a write to disk", floor, peak_mb=peak_mb())


def _no_cap(_: object) -> None:
    return None


def _write(file: Path) -> None:
    with file.open("wb") as out:
        out.write(bytes(4096))
        out.flush()
        os.fsync(out.fileno())


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
