"""Arrow IPC files and streams, as the engine takes them: read anew in each pass, a batch at a time."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset

_FILE_MAGIC = b"ARROW1"


def open_file(path: Path) -> Any:
    """What the engine can register. None where the file is no Arrow file."""
    try:
        with path.open("rb") as file:
            is_file = file.read(len(_FILE_MAGIC)) == _FILE_MAGIC
        if is_file:
            return pyarrow.dataset.dataset(path, format="ipc")
        stream = _Stream(path)
        stream.__arrow_c_stream__()
        return stream
    except (pa.ArrowException, OSError):
        return None


@dataclass(frozen=True)
class _Stream:
    """The engine asks for the stream once in each pass."""

    path: Path

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return pa.ipc.open_stream(pa.OSFile(str(self.path))).__arrow_c_stream__(requested_schema)
