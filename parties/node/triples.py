"""Where this node's triples come from."""

from mpc.context import TripleSource
from mpc.triples.named import triple_source


def source_of_triples(name: str | None) -> TripleSource | None:
    """For one session, of the name that its companies agreed on; None where shares are multiplied without triples. Base
    transfers are made in each session anew."""
    return triple_source(name)
