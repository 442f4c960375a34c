"""The sources of triples that a spec can name."""

from mpc.context import TripleSource
from mpc.triples.dealer import DealerTriples


def triple_source(name: str | None) -> TripleSource | None:
    """A new one, for one session: "ot" or "dealer". None where shares are multiplied without triples."""
    if name == "ot":
        from mpc.triples.ot import (
            ObliviousTriples,  # its compiled loops take a second to load, which most commands need not
        )

        return ObliviousTriples()
    if name == "dealer":
        return DealerTriples()
    if name is not None:
        raise ValueError(f"there is no source of triples called {name!r}")
    return None
