"""One party in MPyC: Shamir's scheme over GF(2^61-1), multiplication by resharing, over mutual TLS."""

import os
import sys
from typing import Any

import numpy as np

from benchmarks.peers.party import Job, job, report


def main(job: Job) -> None:
    os.chdir(job.folder)  # the certificates are read from .config/
    addresses = [f"-Plocalhost:{port}" for port in job.ports]
    sys.argv = [sys.argv[0], *addresses, f"-I{job.me}", "--ssl", "--no-log"]
    from mpyc.runtime import mpc  # reads sys.argv

    field = mpc.SecFld(2**61 - 1)
    mpc.run(mpc.start())
    values = np.arange(job.elements) - job.elements // 2
    inputs = mpc.input(field.array(values.astype(object)))

    def multiply() -> Any:
        return mpc.run(mpc.gather(inputs[0] * inputs[1]))

    def total() -> Any:
        shared = mpc.input(field.array(values.astype(object)))
        return mpc.run(mpc.output(sum(shared[1:], shared[0]), receivers=[0]))

    if job.work == "multiply":
        opened, expected = mpc.run(mpc.output(inputs[0] * inputs[1])), values * values
    else:
        opened, expected = total(), values * job.parties
    if opened is not None and not np.array_equal(np.array(opened.value, dtype=object), expected % (2**61 - 1)):
        sys.exit("a wrong result")
    one = field(1)
    report(job, lambda: mpc.run(mpc.output(one)), multiply if job.work == "multiply" else total)
    mpc.run(mpc.shutdown())


if __name__ == "__main__":
    main(job())
