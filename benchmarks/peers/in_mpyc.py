"""One party in MPyC: Shamir's scheme over GF(2^61-1), or for comparisons a larger field, multiplication by resharing, over mutual TLS."""

import os
import sys
from typing import Any

import numpy as np

from benchmarks.peers.party import BITS, Job, job, numbers, report


def main(job: Job) -> None:
    os.chdir(job.folder)  # the certificates are read from .config/
    addresses = [f"-Plocalhost:{port}" for port in job.ports]
    sys.argv = [sys.argv[0], *addresses, f"-I{job.me}", "--ssl", "--no-log"]
    from mpyc.runtime import mpc  # reads sys.argv

    field = mpc.SecFld(2**61 - 1) if job.work in ("multiply", "sum") else mpc.SecInt(BITS)
    mpc.run(mpc.start())
    values = np.array(numbers(job))
    inputs = mpc.input(field.array(values.astype(object)))
    middle = (job.parties * len(values) - 1) // 2

    def multiply() -> Any:
        return mpc.run(mpc.gather(inputs[0] * inputs[1]))

    def total() -> Any:
        shared = mpc.input(field.array(values.astype(object)))
        return mpc.run(mpc.output(sum(shared[1:], shared[0]), receivers=[0]))

    def compare() -> Any:
        return mpc.run(mpc.gather(inputs[0] < inputs[1][::-1]))

    def median() -> Any:
        shared = mpc.input(field.array(values.astype(object)))
        ordered = mpc.np_sort(mpc.np_concatenate(shared))  # its quickselect, without arrays, takes ten times as long
        return mpc.run(mpc.output(ordered[middle], receivers=[0]))

    if job.work == "multiply":
        opened, expected = mpc.run(mpc.output(inputs[0] * inputs[1])), values * values % (2**61 - 1)
    elif job.work == "compare":
        opened, expected = mpc.run(mpc.output(inputs[0] < inputs[1][::-1])), values < values[::-1]
    elif job.work == "median":
        opened, expected = median(), np.sort(np.tile(values, job.parties))[middle]
    else:
        opened, expected = total(), values * job.parties % (2**61 - 1)
    if opened is not None and not np.array_equal(np.array(getattr(opened, "value", opened), dtype=object), expected):
        sys.exit("a wrong result")
    one = field(1)
    report(job, lambda: mpc.run(mpc.output(one)), {"multiply": multiply, "compare": compare, "median": median, "sum": total}[job.work])
    mpc.run(mpc.shutdown())


if __name__ == "__main__":
    main(job())
