"""Files that are there whole, or not at all, after a crash."""

import os
from collections.abc import Callable
from pathlib import Path


def publish(target: Path, fill: Callable[[Path], None]) -> None:
    """`target` as `fill` makes it: whole, or not there; durable on return."""
    draft = target.with_name(f".{target.name}.draft")
    for left in (draft, draft.with_name(f"{draft.name}-journal")):
        left.unlink(missing_ok=True)
    fill(draft)
    draft.replace(target)
    sync(target.parent)


def sync(folder: Path) -> None:
    """What was made, renamed or removed in `folder` is so after a loss of power, too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_new(file: Path, content: bytes) -> None:
    """A new file, mode 600."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
