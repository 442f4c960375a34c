"""What silent OT would bring: Ferret's encoding of a correlation (Yang et al., CCS 2020, ePrint 2020/924) beside the same
transfer by our extension, in one process. Comity has no silent OT: docs/decisions say why."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numba
import numpy as np

from benchmarks.measure import Line, peak_mb
from mpc.ot.base import COUNT
from mpc.ot.extension import Chooser, Sender
from mpc.randomness import Stream, fresh_seed
from parties.wire.memory import keep_freed_memory

GROUPS = ("silent",)
SECRET = 589_760
"""Length of the secret for 10^7 correlations at a time, table 2 of the paper."""
WEIGHT = 10
SIZE = 1 << 18


@numba.njit("void(uint64[:,::1], uint32[:,::1], uint64[:,::1])", cache=True, nogil=True)
def _encode(base: Any, indices: Any, out: Any) -> None:
    """Each correlation is the sum of ten random places of the secret: a local linear code."""
    for j in range(out.shape[0]):
        low, high = out[j, 0], out[j, 1]
        for i in range(WEIGHT):
            at = np.uint64(indices[j, i]) * np.uint64(SECRET) >> np.uint64(32)
            low ^= base[at, 0]
            high ^= base[at, 1]
        out[j, 0], out[j, 1] = low, high


def lines(groups: Sequence[str], runs: int, quick: bool) -> Iterator[Line]:
    """Without the trees of the noise (two AES a correlation), which would come on top; rows of correlations at both ends, not
    hashed, on one core."""
    if "silent" not in groups:
        return
    keep_freed_memory()
    stream, out = Stream(fresh_seed()), np.zeros((SIZE, 2), np.uint64)
    base = stream.words((SECRET, 2))
    indices = np.empty((SIZE, WEIGHT), np.uint32)

    def silent() -> None:
        for _ in range(2):  # at both ends
            stream.fill(indices.reshape(-1).view(np.uint8))
            _encode(base, indices, out)

    pairs = np.frombuffer(os.urandom(COUNT * 64), np.uint8).reshape(COUNT, 2, 32)
    choices = np.frombuffer(os.urandom(COUNT), np.uint8) & np.uint8(1)
    chooser = Chooser(pairs, bytes(32))
    sender = Sender(choices, pairs[np.arange(COUNT), choices], chooser.setup, bytes(32))
    words = stream.words((1024,))

    def extension() -> None:
        for _ in range(SIZE // 64 // words.size):
            sender.extend(chooser.extend(words)[0])

    seconds, floor = [], []
    for _ in range(runs):
        seconds.append(_timed(silent))
        floor.append(_timed(extension))
    yield Line("silent", "Ferret's encoding, both ends", 1, SIZE, seconds, "our extension, hashed", floor, peak_mb=peak_mb())


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
