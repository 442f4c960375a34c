"""One company's node. `parties.join` runs a protocol of one's own between nodes."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parties.node.library import join

__all__ = ["join"]


def __getattr__(name: str) -> Any:
    """Imports `join` at its first use: the command line must not wait for gRPC to print its help."""
    if name == "join":
        from parties.node.library import join

        return join
    raise AttributeError(f"module 'parties' has no attribute {name!r}")
