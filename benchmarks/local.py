"""What one company computes at home, by itself: `python -m benchmarks.local FOLDER QUERY`. For each line on stdin it
computes once, and prints the seconds: the floor of a whole query."""

import sys
import time
from pathlib import Path

from parties.governance.approval import Approval
from parties.node.config import read_config
from parties.node.query import home_vectors
from parties.wire import identity


def main() -> None:
    folder, query = Path(sys.argv[1]), sys.argv[2]
    config = read_config(folder)
    member = Approval(folder, config.name, identity.load(folder)).current()
    for _ in sys.stdin:
        start = time.perf_counter()
        home_vectors(member.spec.plans[query], member.me, config.tables, ranks=[])
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
