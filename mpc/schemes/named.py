"""The schemes by the name that a spec gives, each over every algebra it can use."""

from mpc.algebra.field import FIELD
from mpc.algebra.ring import RING
from mpc.algebra.wide import FIELD127, RING128
from mpc.schemes import Scheme
from mpc.schemes.additive import Additive
from mpc.schemes.plaintext import Plaintext
from mpc.schemes.replicated import PARTIES, Replicated
from mpc.schemes.shamir import Shamir


def schemes(name: str, parties: int, colluding: int) -> tuple[Scheme, ...]:
    """The scheme `name` over each of its algebras, smallest first. ValueError where `parties` are too few for it."""
    if name == "additive":
        if not 1 <= colluding < parties:
            raise ValueError("additive sharing needs 1 <= colluding < parties")
        return Additive(parties, RING), Additive(parties, RING128)
    if name == "shamir":
        return Shamir(parties, colluding, FIELD), Shamir(parties, colluding, FIELD127)
    if name == "replicated":
        if parties != PARTIES or colluding != 1:
            raise ValueError("replicated sharing needs 3 parties, and colluding = 1")
        return Replicated(RING), Replicated(RING128)
    if name == "plaintext":
        return Plaintext(parties, RING), Plaintext(parties, RING128)
    raise ValueError(f"no sharing scheme is called {name!r}")
