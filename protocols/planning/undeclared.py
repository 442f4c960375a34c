"""Group keys that the spec does not declare: found by the companies, counted together with noise, and opened only where the count with its noise reaches a threshold.

Each company brings one row for each different text that it has, and rows of none up to a fixed number, in the order of a hash of the text; the hash, the text and its totals are shared. On shares the companies' sorted lists
are merged (`merge`), the totals of rows that are alike in the hash are added up, noise is added to each, and rows are kept that are the last of their text, are of one at all, and whose count of rows with its noise is large enough.
Those come to the front (`compact`) and are opened, with their texts; all others are zeros by then. [KKMN09]

Guarantee: the totals with their noise cost the budget as those of declared groups would: noise is added to every place, whatever is there. That a text is there at all could only be seen of one that a single unit brought: it is counted at most
`unit.rows` times at each company that the unit is at, and the threshold is so far above that that noise alone reaches it with probability at most 2^-40 over all texts of a unit; so much is added to delta. The tail is that of
a sub-Gaussian variable, P(noise >= t) <= exp(-t^2 / (2 variance)), which discrete Gaussians and their sums have [CKS20, Cor. 17].

What is public: how many texts a company may have (`keys` of the spec, a power of two), how long they may be, and how many are opened. Two texts of one hash, of which 2^58 are told apart, would be counted as one.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt

import numpy as np

from mpc.algebra import Array
from mpc.context import Context, Costed
from mpc.cost import Cost
from mpc.schemes import PartyId, Scheme
from mpc.share import Share, concatenate
from protocols.gadgets import (
    as_numbers,
    as_numbers_cost,
    compact,
    compact_cost,
    is_zero,
    is_zero_cost,
    merge,
    merge_cost,
    multiply,
    multiply_cost,
    negative,
    negative_cost,
)
from protocols.planning.privacy import Noise
from protocols.tables import WORD_BYTES, Column, Unit

NONE = 1 << 58
"""The hash of no text: that of any is below."""
UNLIKELY = 40
"""A text that only one unit brought is opened with probability 2^-40 at most."""


@dataclass(frozen=True)
class Word:
    """What is opened of a text: its bytes from `WORD_BYTES * number` on, as many as a word has."""

    column: Column
    number: int

    def __str__(self) -> str:
        return f"bytes {WORD_BYTES * self.number + 1} to {WORD_BYTES * (self.number + 1)} of {self.column.name}"


@dataclass(frozen=True)
class Undeclared:
    """The texts of `column` of so many companies, each with `factors`, by what its totals are multiplied before noise is added. The total with number `count` is that of its rows: it is kept from `threshold` on, in units of
    the noise."""

    column: Column
    companies: int
    factors: tuple[int, ...]
    count: int
    threshold: int

    @property
    def lists(self) -> int:
        """A power of two."""
        return 1 << (self.companies - 1).bit_length()

    @property
    def places(self) -> int:
        """There is room for so many texts."""
        return self.lists * self.column.size

    @property
    def columns(self) -> int:
        """The hash, the words of a text, and the totals."""
        return 1 + self.column.words + len(self.factors)

    @property
    def rows(self) -> int:
        """About so many rows a text must have."""
        return -(-self.threshold // self.factors[self.count])

    def __str__(self) -> str:
        return f"at least about {self.rows:,} rows by a count with noise"

    def ranges(self, noisy: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
        """The greatest magnitude of what is compared, given that of each total with its noise."""
        what, largest = noisy[self.count]
        return [(f"{what}, less what it must reach", largest + self.threshold), (f"the hash of {self.column.name}", NONE)]

    @property
    def compared(self) -> int:
        """Comparisons in all."""
        return self._merged + 3 * self.places

    @property
    def multiplied(self) -> int:
        """More multiplications than there are, but not many more."""
        steps = self.places.bit_length() - 1
        return self.columns * self._merged + self.places * ((self.companies + steps) * self.columns + steps**2 + 2)

    @property
    def _merged(self) -> int:
        """Comparisons of two rows."""
        return sum(range(self.column.size.bit_length(), self.places.bit_length())) * self.places // 2


def threshold(unit: Unit, noise: Noise, minimum: int) -> int:
    """What a count with `noise` must reach, in units of the noise: `minimum` rows, and more than what a unit alone would reach by chance."""
    alone = unit.companies * unit.rows * noise.factor
    texts = 2 * unit.companies * unit.groups  # of one unit, or of another in its place
    chance = math.ceil(math.log(texts) + UNLIKELY * math.log(2))
    return max(alone + isqrt(math.ceil(2 * noise.variance * chance)) + 1, minimum * noise.factor)


def coded(column: Column, totals: Mapping[str, Sequence[int]], measures: int) -> Array:
    """What a company shares of its `totals` by text, of which there are at most `column.size`: by measure those of each text, then the hashes, then each word of the texts; in the order of the hashes, those of no text last."""
    size, ordered = column.size, sorted((_hash(text), text) for text in totals)
    made: Array = np.zeros((measures + 1 + column.words, size), dtype=object)
    made[measures] = NONE
    for place, (number, text) in enumerate(ordered):
        ended = text.encode() + b"\x01"
        made[:measures, place] = totals[text]
        made[measures, place] = number
        made[measures + 1 :, place] = [int.from_bytes(ended[WORD_BYTES * k : WORD_BYTES * (k + 1)], "little") for k in range(column.words)]
    return made.reshape(-1)


def text_of(words: Sequence[int]) -> str | None:
    """The text that was opened, with marks for what cannot be printed: it is another company's, and may move no cursor. None where there is none."""
    ended = b"".join(word.to_bytes(WORD_BYTES, "little") for word in words).rstrip(b"\0")
    if not ended:
        return None
    text = ended[:-1].decode(errors="replace")
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def find(ctx: Context, undeclared: Undeclared, companies: Sequence[Share], noise: Share) -> Share:
    """Of all texts that are kept the totals with noise, and the words, (totals + words) x places, flat; then zeros. `companies` are what each shares, as `coded`; `noise` is, by total, that of each place. Discloses nothing; costs `find_cost`.

    Rounds: those of `merge`, `is_zero`, `as_numbers`, a multiplication for each company but one, `negative`, `as_numbers`, two multiplications, and those of `compact`."""
    places, measures = undeclared.places, len(undeclared.factors)
    rows = merge(ctx, _lists(undeclared, companies))
    hashes, words, totals = rows[0], rows[1 : 1 + undeclared.column.words], rows[1 + undeclared.column.words :]
    none = 0 * hashes[:1]
    is_like_next = as_numbers(ctx, is_zero(ctx, concatenate([hashes[1:] - hashes[:-1], none + 1])))
    is_like_last = concatenate([none, is_like_next[:-1]])
    # of rows that are alike the last has the total of all: one company has a text once
    added = totals
    for _ in range(undeclared.companies - 1):
        before = concatenate([none, added.reshape(-1)[:-1]])
        added = totals + multiply(ctx, _repeated(is_like_last, measures), before).reshape(measures, places)
    factors = np.repeat(np.array(undeclared.factors, dtype=object), places).reshape(measures, places)
    noisy = added * factors + noise.reshape(measures, places)
    compared = as_numbers(ctx, negative(ctx, concatenate([noisy[undeclared.count] - undeclared.threshold, hashes - NONE])))
    is_small, is_text = compared[:places], compared[places:]
    kept = multiply(ctx, multiply(ctx, 1 - is_small, is_text), 1 - is_like_next)
    return compact(ctx, kept, concatenate([noisy, words]).reshape(measures + undeclared.column.words, places)).reshape(-1)


def find_cost(scheme: Scheme, me: PartyId, source: Costed | None, undeclared: Undeclared) -> Cost:
    """What one `find` costs party `me`."""
    places, measures, words = undeclared.places, len(undeclared.factors), undeclared.column.words
    cost = merge_cost(scheme, me, source, undeclared.columns, undeclared.lists, undeclared.column.size)
    cost += is_zero_cost(scheme, me, source, places) + as_numbers_cost(scheme, me, source, places)
    for _ in range(undeclared.companies - 1):
        cost += multiply_cost(scheme, me, source, measures * places)
    cost += negative_cost(scheme, me, source, 2 * places) + as_numbers_cost(scheme, me, source, 2 * places)
    cost += multiply_cost(scheme, me, source, places) + multiply_cost(scheme, me, source, places)
    return cost + compact_cost(scheme, me, source, measures + words, places)


def _lists(undeclared: Undeclared, companies: Sequence[Share]) -> Share:
    """(columns, lists, size): the hash first, then words, then totals; lists of no text where there are no more companies."""
    measures, size, columns = len(undeclared.factors), undeclared.column.size, undeclared.columns
    flat = concatenate([*companies, 0 * companies[0][:1], 0 * companies[0][:1] + NONE])
    order = np.roll(np.arange(columns), -measures)
    places = np.arange(len(companies) * columns * size).reshape(-1, columns, size)[:, order]
    missing = np.full((undeclared.lists - len(companies), columns, size), flat.size - 2)
    missing[:, 0] = flat.size - 1
    return flat[np.concatenate([places, missing]).transpose(1, 0, 2)]


def _repeated(row: Share, times: int) -> Share:
    return row.reshape(1, row.size).broadcast_to((times, row.size)).reshape(-1)


def _hash(text: str) -> int:
    """58 bits."""
    return int.from_bytes(hashlib.sha256(b"comity group key 1\0" + text.encode()).digest()[:8], "big") >> 6
