"""One party in CrypTen: additive sharing over Z_2^64, triples from the first party, which is trusted; without TLS."""

import os
import sys
from types import ModuleType
from typing import Any

from benchmarks.peers.party import Job, job, report


def main(job: Job) -> None:
    os.environ.update({
        "WORLD_SIZE": str(job.parties), "RANK": str(job.me), "DISTRIBUTED_BACKEND": "gloo",
        "RENDEZVOUS": f"tcp://localhost:{job.ports[0]}", "GLOO_SOCKET_IFNAME": "lo",
    })  # fmt: skip
    # CrypTen imports its reader of ONNX models, which wants a module that PyTorch no longer has; nothing here reads one
    missing = ModuleType("torch.onnx._internal.registration")
    missing.registry = None  # type: ignore[attr-defined]
    sys.modules[missing.__name__] = missing
    import crypten
    import crypten.communicator
    import torch

    torch.set_num_threads(1)  # the parties share the machine: with more they take turns
    crypten.init()
    values = torch.arange(job.elements) - job.elements // 2
    x, y = (crypten.cryptensor(values, src=party, precision=0) for party in (0, 1))

    def multiply() -> Any:
        return x * y

    def total() -> Any:
        shared = [crypten.cryptensor(values, src=party, precision=0) for party in range(job.parties)]
        return sum(shared[1:], shared[0]).get_plain_text(dst=0)

    if job.work == "multiply":
        opened, expected = multiply().get_plain_text(dst=0), values * values
    else:
        opened, expected = total(), values * job.parties
    if job.me == 0 and not torch.equal(opened.long(), expected):
        sys.exit("a wrong result")
    report(job, crypten.communicator.get().barrier, multiply if job.work == "multiply" else total)


if __name__ == "__main__":
    main(job())
