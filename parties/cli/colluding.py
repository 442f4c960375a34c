"""A node whose company colludes, for `comity audit-privacy`: like any other, but that it writes down what such a company knows.

`python -m parties.cli.colluding DIRECTORY` serves that folder. For each query QUERY.npz there gets `home`, the company's own
totals, and `noise`, what it added to them, each time they are drawn; QUERY.opened a line for each time that something was opened to
it. If there is a file named CRASH when it has opened an answer, it removes that and kills itself, before its ledger says so.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mpc.algebra import Array
from mpc.context import Context
from parties.node import logs, query, release
from parties.node.serve import serve
from protocols.planning import execute
from protocols.planning.plan import Plan
from protocols.planning.search import Ranks

CRASH = "crash"


def collude(directory: Path) -> None:
    """Puts the writing between the node and its protocol."""

    def inputs(plan: Plan, home: Sequence[Array | None], noise: Array | None = None) -> Array | None:
        (own,) = home
        assert own is not None
        assert noise is not None
        with (directory / f"{plan.query.name}.npz").open("wb") as file:
            np.savez(file, home=own.astype(np.int64), noise=noise.astype(np.int64))
        return execute.inputs(plan, home, noise)

    def run(
        ctx: Context, plan: Plan, mine: Array | None, phase: Callable[[str], None], ranks: Sequence[Ranks], seed: bytes | None
    ) -> list[list[int]] | None:
        opened = execute.execute(ctx, plan, mine, phase, ranks, seed)
        if opened is not None:
            with (directory / f"{plan.query.name}.opened").open("a") as file:
                file.write(json.dumps(opened) + "\n")
            if (directory / CRASH).exists():
                (directory / CRASH).unlink()
                os.kill(os.getpid(), signal.SIGKILL)
        return opened

    setattr(release, "inputs", inputs)  # noqa: B010
    setattr(query, "execute", run)  # noqa: B010


if __name__ == "__main__":
    logs.start("text")
    collude(Path(sys.argv[1]))
    serve(Path(sys.argv[1]))
    sys.stderr.flush()
    os._exit(0)
