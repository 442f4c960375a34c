"""Kinds of correlated randomness: values that nobody knows, of which some are random and the others follow from them.

Each kind says what it is made of; every source of it (mpc/triples) hands out shares of the same parts, those that are drawn
first, then those that follow.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import reduce
from math import prod
from typing import ClassVar, NamedTuple

import numpy as np

from mpc.algebra import Algebra, Array, Shape
from mpc.algebra.words import WORDS, transposed
from mpc.errors import ProtocolError
from mpc.randomness import Stream
from mpc.schemes import PartyId, Scheme
from mpc.schemes.words import boolean
from mpc.share import Share

LARGEST_REQUEST = 1 << 24
"""Elements of the largest part that can be asked for at once."""
LARGEST_WORK = 1 << 32
"""Products of elements that one request for matrices may take: 1,625 x 1,625 times 1,625 x 1,625."""


class Part(NamedTuple):
    """An array of secrets."""

    scheme: Scheme
    shape: Shape

    def uniform(self, stream: Stream) -> Array:
        """A random share."""
        return self.scheme.algebra.uniform(self.shape, stream)


class Kind(ABC):
    """So and so many of a kind. `scheme` is the session's."""

    @property
    def name(self) -> str:
        return type(self).__name__.lower()

    @property
    @abstractmethod
    def dimensions(self) -> tuple[int, ...]: ...

    @abstractmethod
    def drawn(self, scheme: Scheme) -> tuple[Part, ...]:
        """The parts that are uniform and independent."""

    @abstractmethod
    def following(self, scheme: Scheme) -> tuple[Part, ...]:
        """The other parts."""

    @abstractmethod
    def values(self, scheme: Scheme, *drawn: Array) -> tuple[Array, ...]:
        """The other parts' values, from those of the parts drawn."""

    def parts(self, scheme: Scheme) -> tuple[Part, ...]:
        """All, in the order in which a source hands them out."""
        return *self.drawn(scheme), *self.following(scheme)

    def pieces(self, size: int) -> "Sequence[Kind]":
        """The same in pieces whose largest part has at most `size` elements, where it can be cut."""
        return (self,)


@dataclass(frozen=True)
class Row(Kind):
    """`count` of the same, side by side: the first axis of every part. They can be made at any time, and used one by one."""

    count: int
    EACH: ClassVar[int] = 1
    """For how many one counts: a word of bits is 64."""
    WIDTH: ClassVar[int] = 1
    """Elements of the largest part for each."""

    @property
    def dimensions(self) -> tuple[int, ...]:
        return (self.count,)

    def pieces(self, size: int) -> "Sequence[Row]":
        step = size // self.WIDTH
        return [replace(self, count=min(step, self.count - start)) for start in range(0, self.count, step)]


@dataclass(frozen=True)
class Triples(Row):
    """a, b, a * b under the session's scheme; parts (count,). [Beaver91]"""

    def drawn(self, scheme: Scheme) -> tuple[Part, ...]:
        return Part(scheme, (self.count,)), Part(scheme, (self.count,))

    def following(self, scheme: Scheme) -> tuple[Part, ...]:
        return (Part(scheme, (self.count,)),)

    def values(self, scheme: Scheme, *drawn: Array) -> tuple[Array, ...]:
        return (scheme.algebra.multiply(*drawn),)


@dataclass(frozen=True)
class Ands(Row):
    """Triples of words of 64 bits, x, y, x & y, under `boolean(scheme)`; parts (count,)."""

    EACH = 64

    def drawn(self, scheme: Scheme) -> tuple[Part, ...]:
        return Triples(self.count).drawn(boolean(scheme))

    def following(self, scheme: Scheme) -> tuple[Part, ...]:
        return Triples(self.count).following(boolean(scheme))

    def values(self, scheme: Scheme, *drawn: Array) -> tuple[Array, ...]:
        return (WORDS.multiply(*drawn),)


@dataclass(frozen=True)
class Squares(Row):
    """a, a * a; parts (count,)."""

    def drawn(self, scheme: Scheme) -> tuple[Part, ...]:
        return (Part(scheme, (self.count,)),)

    def following(self, scheme: Scheme) -> tuple[Part, ...]:
        return (Part(scheme, (self.count,)),)

    def values(self, scheme: Scheme, *drawn: Array) -> tuple[Array, ...]:
        return (scheme.algebra.multiply(drawn[0], drawn[0]),)


@dataclass(frozen=True)
class Bits(Row):
    """Random bits in both domains (daBits): words of 64 under `boolean(scheme)`, (count,), then each bit, the lowest first,
    as 0 or 1 under the session's scheme, (count, 64). [RW19]"""

    EACH = WIDTH = 64

    def drawn(self, scheme: Scheme) -> tuple[Part, ...]:
        return (Part(boolean(scheme), (self.count,)),)

    def following(self, scheme: Scheme) -> tuple[Part, ...]:
        return (Part(scheme, (self.count, 64)),)

    def values(self, scheme: Scheme, *drawn: Array) -> tuple[Array, ...]:
        return (scheme.algebra.encode(unpacked(drawn[0])),)


@dataclass(frozen=True)
class Masks(Row):
    """Random numbers with their bits (edaBits), 64 side by side, to open x + r and go on with the bits of r, as comparison and
    truncation do. [EGKRS20] Under `boolean(scheme)`: word i has bit i of each of the 64, (count, bits); products of bits in
    fours, (count, fours, 11), so that a comparison of four bits of r with public ones is local: `PRODUCTS` says of which.
    Then the numbers r under the session's scheme, (count, 64).

    There are as many bits as the modulus has: 64, 61, 128 or 127. In a field of p = 2^k - 1, k ones stand for p, which is 0:
    so 0 comes twice as often as it should, a distance of 2^-k from uniform, as of every random element (`Field61.uniform`).
    """

    EACH = 64
    WIDTH = 352  # the products of 128 bits

    def drawn(self, scheme: Scheme) -> tuple[Part, ...]:
        return (Part(boolean(scheme), (self.count, bit_length(scheme.algebra))),)

    def following(self, scheme: Scheme) -> tuple[Part, ...]:
        fours = -(-bit_length(scheme.algebra) // 4)
        return Part(boolean(scheme), (self.count, fours, len(PRODUCTS))), Part(scheme, (self.count, 64))

    def values(self, scheme: Scheme, *drawn: Array) -> tuple[Array, ...]:
        return in_products(drawn[0]), np.ascontiguousarray(_in_numbers(drawn[0], scheme.algebra))


@dataclass(frozen=True)
class Truncations(Masks):
    """`Masks` for x + r whose lowest `shift` bits are dropped: products are those of these bits alone, (count, fours, 11); and besides
    the numbers r there are what remains of them without these bits, and their highest bit, (count, 3, 64)."""

    shift: int

    def following(self, scheme: Scheme) -> tuple[Part, ...]:
        products = Part(boolean(scheme), (self.count, -(-self.shift // 4), len(PRODUCTS)))
        return products, Part(scheme, (self.count, 3, 64))

    def values(self, scheme: Scheme, *drawn: Array) -> tuple[Array, ...]:
        (words,) = drawn
        numbers = [_in_numbers(cut, scheme.algebra) for cut in (words, words[:, self.shift :], words[:, -1:])]
        return in_products(words[:, : self.shift]), np.stack(numbers, axis=1)


@dataclass(frozen=True)
class Matrices(Kind):
    """A (m, k), B (k, n), A B (m, n): a triple for the product of two secret matrices of these shapes. [MZ17]"""

    m: int
    k: int
    n: int

    @property
    def dimensions(self) -> tuple[int, ...]:
        return self.m, self.k, self.n

    def drawn(self, scheme: Scheme) -> tuple[Part, ...]:
        return Part(scheme, (self.m, self.k)), Part(scheme, (self.k, self.n))

    def following(self, scheme: Scheme) -> tuple[Part, ...]:
        return (Part(scheme, (self.m, self.n)),)

    def values(self, scheme: Scheme, *drawn: Array) -> tuple[Array, ...]:
        return (matrix_product(scheme.algebra, *drawn),)


PRODUCTS = (3, 12, 5, 6, 7, 9, 10, 11, 13, 14, 15)
"""Of a four of bits, those that are multiplied: bit i stands for the i-th. The first two are of neighbours, the others of one
of bit 0, bit 1 and their product with one of bit 2, bit 3 and theirs."""


ROWS: tuple[type[Row], ...] = (Triples, Ands, Squares, Bits, Masks)
"""Those that can be kept: each is of use to whatever asks for it."""
KINDS: tuple[type[Row] | type[Matrices], ...] = (*ROWS, Matrices, Truncations)
"""In the order of the numbers by which a dealer is asked for them."""


def numbered(kind: Kind) -> tuple[int, ...]:
    """The number of the kind, and three dimensions, 0 those that it has not."""
    dimensions = tuple(getattr(kind, field.name) for field in fields(kind))  # type: ignore[arg-type]  # each kind is a dataclass
    return KINDS.index(type(kind)), *dimensions, *[0] * (3 - len(dimensions))


def of_number(number: int, *numbers: int) -> Kind:
    """The kind of which `numbered` gives this. ProtocolError where there is none."""
    if number < len(KINDS):
        make = KINDS[number]
        kind = make(*numbers[: len(fields(make))])
        if numbered(kind) == (number, *numbers):
            return kind
    raise ProtocolError("no kind of triples has this number and dimensions")


def triples(scheme: Scheme, count: int) -> Row:
    """What `count` products of elements under `scheme` take."""
    return Ands(count) if scheme.algebra is WORDS else Triples(count)


def check(kind: Kind, scheme: Scheme) -> None:
    """ProtocolError unless so much of this kind can be made at once under `scheme`."""
    numbers = kind.dimensions
    asked, limit = " x ".join(map(str, numbers)), LARGEST_REQUEST // kind.WIDTH if isinstance(kind, Row) else LARGEST_REQUEST
    if scheme.algebra is WORDS and not isinstance(kind, Ands):
        raise ProtocolError(f"there are no {kind.name} over {WORDS.name}")
    largest = max(x * y for x, y in itertools.combinations(numbers, 2)) if len(numbers) > 1 else numbers[0]
    if min(numbers) < 1 or largest > limit:
        raise ProtocolError(f"between 1 and {limit} {kind.name} can be asked for at once, not {asked}")
    if isinstance(kind, Truncations) and not 0 < kind.shift <= bit_length(scheme.algebra) - 2:
        raise ProtocolError(f"of a number over {scheme.algebra.name} 1 to {bit_length(scheme.algebra) - 2} bits can be dropped, not {kind.shift}")
    if prod(numbers) > LARGEST_WORK:
        raise ProtocolError(f"matrices of at most {LARGEST_WORK} products can be asked for at once, not {asked}")


def shared(
    kind: Kind, scheme: Scheme, draw: Callable[[PartyId, Part], Array]
) -> Iterator[tuple[Part, dict[PartyId, Array], dict[PartyId, Array]]]:
    """Each part, with the shares that are drawn, by `draw(party, part)`, and those that follow from them."""
    values = []
    for part in kind.drawn(scheme):
        drawn = {i: draw(i, part) for i in part.scheme.seeded(random=True)}
        value, rest = part.scheme.complete(drawn)
        values.append(value)
        yield part, drawn, rest
    for part, value in zip(kind.following(scheme), kind.values(scheme, *values), strict=True):
        drawn = {i: draw(i, part) for i in part.scheme.seeded()}
        yield part, drawn, part.scheme.complete(drawn, value)[1]


def shares(kind: Kind, scheme: Scheme, me: PartyId, columns: Sequence[Array]) -> tuple[Share, ...]:
    """Of each part what party `me` holds."""
    return tuple(Share(x, part.scheme, me) for part, x in zip(kind.parts(scheme), columns, strict=True))


def bit_length(algebra: Algebra) -> int:
    """Bits of the largest element."""
    return (algebra.modulus - 1).bit_length()


def unpacked(words: Array) -> Array:
    """The 64 bits of each word, lowest first, along a new last axis: `uint8`."""
    flat = np.ascontiguousarray(words, "<u8").reshape(-1, 1).view(np.uint8)
    return np.unpackbits(flat, axis=-1, bitorder="little").reshape(*words.shape, 64)


def in_fours(words: Array) -> Array:
    """Along the last axis four by four, (..., fours, 4), with zeros for what the last four lacks."""
    lacking = -words.shape[-1] % 4
    padded = np.concatenate([words, np.zeros((*words.shape[:-1], lacking), words.dtype)], axis=-1) if lacking else words
    return padded.reshape(*words.shape[:-1], -1, 4)


def in_products(words: Array) -> Array:
    """The products of the bits (words, bits) in fours: (words, fours, 11)."""
    bits = np.moveaxis(in_fours(words), 2, 0)
    return np.stack([reduce(np.bitwise_and, (bits[i] for i in range(4) if subset >> i & 1)) for subset in PRODUCTS], axis=-1)


def _in_numbers(words: Array, algebra: Algebra) -> Array:
    """The numbers of which words (words, bits) have the bits, 64 side by side: (words, 64)."""
    numbers = transposed(words[:, :64].T).T
    if algebra.modulus < 1 << 64:
        return numbers % np.uint64(algebra.modulus)
    if algebra.modulus > 1 << 64:
        numbers = numbers.astype(object)
        if words.shape[1] > 64:
            numbers = numbers + (transposed(words[:, 64:].T).T.astype(object) << 64)
        return np.asarray(numbers % algebra.modulus)
    return numbers


def matrix_product(algebra: Algebra, x: Array, y: Array) -> Array:
    """x (m, k) times y (k, n), a column of y at a time."""
    columns = [algebra.total(algebra.multiply(x, column), 1) for column in np.ascontiguousarray(y.T)]
    return np.stack(columns, axis=1)
