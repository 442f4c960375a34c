"""What a protocol costs one party: declared by formula, measured by the context; a test holds the two together."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """`rounds`: exchanges one after another in which this party sends or receives. `bytes`: payload it sends.
    `triples`: multiplication triples used up."""

    rounds: int = 0
    bytes: int = 0
    triples: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.rounds + other.rounds, self.bytes + other.bytes, self.triples + other.triples)
