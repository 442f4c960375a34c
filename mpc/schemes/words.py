"""How words of 64 bits are shared beside numbers."""

from mpc.algebra.words import WORDS
from mpc.schemes import Scheme
from mpc.schemes.additive import Additive
from mpc.schemes.replicated import Replicated


def boolean(scheme: Scheme) -> Scheme:
    """How words are shared in a session under `scheme`: each is the XOR of all parties' shares, or of three components."""
    if isinstance(scheme, Replicated):
        return Replicated(WORDS)
    return Additive(scheme.parties, WORDS, scheme.privacy_threshold)
