"""What a party in any of the other systems is told and says."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """Party `me` does `work` on `elements`, in the way `how`. Keys are in `folder`; party i may listen at `ports[i]`."""

    work: str
    how: str
    me: int
    parties: int
    elements: int
    warm_ups: int
    runs: int
    folder: str
    ports: list[int]


BITS = 60
"""Of the numbers that are compared: as many as Comity compares in GF(2^61-1)."""
FACTOR, MODULUS = 48_271, 1_000_001


def numbers(job: Job) -> list[int]:
    """What one party has: of a median its rows, the same as a company's of Comity."""
    if job.work == "median":
        return [number * FACTOR % MODULUS for number in range(job.elements // job.parties)]
    return [number - job.elements // 2 for number in range(job.elements)]


def job() -> Job:
    return Job(**json.loads(sys.argv[1]))


def report(job: Job, barrier: Callable[[], object], work: Callable[[], object]) -> None:
    """Each run starts at a barrier, as Comity's do."""
    seconds = []
    for _ in range(job.warm_ups + job.runs):
        barrier()
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    with open("/proc/self/status", encoding="ascii") as status:
        peak = next(int(text.split()[1]) for text in status if text.startswith("VmHWM")) / 1024
    print(json.dumps({"seconds": seconds[job.warm_ups :], "peak_mb": peak}))
