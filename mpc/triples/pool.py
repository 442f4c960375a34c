"""What was made and not used yet."""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mpc.algebra import Array
from mpc.correlations import Row
from mpc.schemes import Scheme


class Pool:
    """Of one kind: a column for each part, taken in the order in which they were put, each once."""

    def __init__(self) -> None:
        self._batches: deque[list[Array]] = deque()
        self.size = 0

    def __repr__(self) -> str:
        return f"<pool of {self.size}>"

    def put(self, batch: Sequence[Array]) -> None:
        if len(batch[0]):
            self._batches.append(list(batch))
            self.size += len(batch[0])

    def take(self, count: int) -> list[Array]:
        """The next `count` of each column; there must be as many."""
        parts: list[list[Array]] = []
        self.size -= count
        while count:
            batch = self._batches.popleft()
            parts.append([x[:count] for x in batch])
            left = [x[count:] for x in batch]
            if len(left[0]):
                self._batches.appendleft(left)
            count -= len(parts[-1][0])
        return [np.concatenate(xs) if len(xs) > 1 else xs[0] for xs in zip(*parts, strict=True)]


class Pools:
    """Of all kinds, in one session."""

    def __init__(self) -> None:
        self._pools: dict[tuple[object, ...], Pool] = {}

    def of(self, kind: Row, scheme: Scheme) -> Pool:
        """That of the kind under `scheme`; ANDs are the same whether one asks under the session's scheme or that of words."""
        return self._pools.setdefault((replace(kind, count=1), *(part.scheme for part in kind.parts(scheme))), Pool())
