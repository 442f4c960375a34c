"""Triples that were made and not used yet."""

from collections import deque
from collections.abc import Sequence

import numpy as np

from mpc.algebra import Array


class Pool:
    """Columns of equally many rows (a, b and c of triples), taken in the order in which they were put, each once."""

    def __init__(self) -> None:
        self._batches: deque[list[Array]] = deque()
        self.size = 0

    def __repr__(self) -> str:
        return f"<pool of {self.size}>"

    def put(self, batch: Sequence[Array]) -> None:
        if batch[0].size:
            self._batches.append(list(batch))
            self.size += batch[0].size

    def take(self, count: int) -> list[Array]:
        """The next `count` of each column; there must be as many."""
        parts: list[list[Array]] = []
        self.size -= count
        while count:
            batch = self._batches.popleft()
            parts.append([x[:count] for x in batch])
            left = [x[count:] for x in batch]
            if left[0].size:
                self._batches.appendleft(left)
            count -= parts[-1][0].size
        return [np.concatenate(xs) if len(xs) > 1 else xs[0] for xs in zip(*parts, strict=True)]
