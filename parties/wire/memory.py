"""Memory of large messages, which a node gets and frees all the time."""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # the numbers of glibc's mallopt(3)
_KEPT = 256 << 20
_MAPPED = 32 << 20


def keep_freed_memory() -> None:
    """Has glibc keep what is freed, up to 256 MiB at the end of a heap, and map only blocks above 32 MiB anew. By default it
    gives the memory of a message back to the system, and has the next one's mapped and zeroed, which takes longer than
    copying it. Elsewhere, nothing happens."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _MAPPED)
        mallopt(_TRIM_THRESHOLD, _KEPT)
