"""Share, open, multiply: among threads of one process, and among processes over mutual TLS."""

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.cases import Case, cases
from benchmarks.companies import companies, outputs
from benchmarks.measure import Line, peak_mb
from benchmarks.worker import WARM_UPS
from mpc.context import Context
from mpc.cost import Cost
from mpc.simulate import simulate
from mpc.triples.ot import ObliviousTriples
from parties.cli.local import free_ports
from protocols.gadgets import reveal, share


def over_grpc(case: Case, index: int, runs: int, quick: bool) -> Line:
    """A party's time is its own, from the barrier on; of each run the slowest party counts, as for the floor."""
    with companies(case.parties, case.scheme, dealer=case.triples in ("dealer", "preloaded")) as folders:
        job = json.dumps({"case": index, "runs": runs, "quick": quick, "ports": free_ports(case.parties)})
        commands = [[sys.executable, "-m", "benchmarks.worker", str(folder), job] for folder in folders[: case.parties]]
        reports: list[dict[str, Any]] = [json.loads(text) for text in outputs(commands)]
    most = max(reports, key=lambda report: int(report["measured"]["bytes"]))
    return Line(
        case.group,
        f"{case.name}, gRPC",
        case.parties,
        case.elements,
        _slowest(report["seconds"] for report in reports),
        "raw TLS" if most["measured"]["bytes"] else "a thread's start",
        _slowest(report["floor"] for report in reports),
        Cost(**most["declared"]),
        Cost(**most["measured"]),
        max(report["peak_mb"] for report in reports),
    )


def _slowest(runs: Any) -> Sequence[float]:
    return [max(parties) for parties in zip(*runs, strict=True)]


def in_memory(case: Case, runs: int) -> Line:
    """The floor is the same work on plain numbers in numpy. Memory is that of the one process."""
    values = np.arange(case.elements) - case.elements // 2

    def party(ctx: Context, mine: np.ndarray) -> tuple[list[float], Cost, Cost]:
        if isinstance(ctx.triples, ObliviousTriples):
            ctx.triples.link(ctx)
        ready, barrier, seconds = case.prepare(ctx, mine), share(ctx, [0])[0], []
        for _ in range(WARM_UPS + runs):
            reveal(ctx, barrier)
            start, before = time.perf_counter(), ctx.measured
            case.run(ctx, ready)
            seconds.append(time.perf_counter() - start)
        after = ctx.measured
        cost = Cost(after.rounds - before.rounds, after.bytes - before.bytes, after.triples - before.triples)
        return seconds[WARM_UPS:], case.cost(case.sharing, ctx.me, case.elements, ctx.triples), cost

    reports = simulate(party, [values] * case.parties, case.sharing, triples=case.triples)
    floor = []
    for _ in range(runs):
        start = time.perf_counter()
        case.plain(values)
        floor.append(time.perf_counter() - start)
    _, declared, measured = max(reports, key=lambda report: report[2].bytes)
    return Line(
        case.group, f"{case.name}, memory", case.parties, case.elements, _slowest(seconds for seconds, _, _ in reports),
        "numpy", floor, declared, measured, peak_mb(),
    )  # fmt: skip


def lines(groups: Sequence[str], runs: int, quick: bool) -> Any:
    for index, case in enumerate(cases(quick)):
        if case.group in groups:
            if case.triples != "preloaded":
                yield in_memory(case, runs)
            yield over_grpc(case, index, runs, quick)


GROUPS = ("exchange", "share", "open", "multiply", "dot", "compare", "truncate", "histogram", "moments", "dealer", "ot", "sum")
