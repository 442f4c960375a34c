"""Compiled loops of the OT extension, for whole arrays of 64-bit words; each is one pass over memory that stays in a
core's cache. Importing this module costs half a second (the compiled code is kept on disk).

Row j of a block belongs to OT j; bit j % 64 of word j // 64 of a packed column belongs to it, too.
"""

from typing import Any

import numba
import numpy as np

from mpc.algebra.kernels import P as _P
from mpc.algebra.kernels import once as _once
from mpc.correlations import PRODUCTS

_TILE = 64  # words of each leaf that are folded at once: 16 leaves are 8 KiB
_LANES = 16  # 64 x 64 transpositions side by side, two cache lines of a column

_0, _1, _32, _64 = np.uint64(0), np.uint64(1), np.uint64(32), np.uint64(64)
_UPPER = np.uint64(0xFFFFFFFF00000000)
_PLACES = np.array(PRODUCTS)


# Loops run over slices from 0 to their size: with an index that could be negative, the compiler does not vectorise them.


@numba.njit("void(uint64[:,::1], uint64, uint64[::1])", cache=True)
def counters(seeds: Any, first: Any, out: Any) -> None:
    """Each of `seeds` (n, 2) plus each of as many counters from `first` on as fit: out (n * counters * 2)."""
    size = out.size // seeds.shape[0]
    for leaf in range(seeds.shape[0]):
        low, high = seeds[leaf, 0], seeds[leaf, 1]
        row = out[leaf * size : (leaf + 1) * size]
        for i in range(size // 2):
            row[2 * i] = low ^ (first + np.uint64(i))
            row[2 * i + 1] = high


@numba.njit(inline="always")
def _sum4(a: Any, b: Any, c: Any, d: Any, low: Any, high: Any, out: Any) -> None:
    for i in range(out.size):
        odd, upper = b[i] ^ d[i], c[i] ^ d[i]
        low[i] ^= odd
        high[i] ^= upper
        out[i] = a[i] ^ b[i] ^ upper


@numba.njit(inline="always")
def _fill(pair: Any, out: Any) -> None:
    for i in range(out.size // 2):
        out[2 * i], out[2 * i + 1] = pair[0], pair[1]


@numba.njit("void(uint64[::1], int64, uint64[:,::1], uint64[:,::1], uint64[:,::1], uint64[:,::1])", cache=True)
def fold(leaves: Any, count: Any, first_sums: Any, first_totals: Any, sums: Any, totals: Any) -> None:
    """sums[t * k + b] = the sum of those leaves of tree t whose number has bit b, and totals[t] that of all; to every two
    words of row r, first_sums[r] or first_totals[r] is added. k is even; leaves (trees * count * words,), words even."""
    words = totals.shape[1]
    k = sums.shape[0] // totals.shape[0]
    scratch = np.empty(count // 2 * _TILE, np.uint64)
    for tree in range(totals.shape[0]):
        for start in range(0, words, _TILE):
            size = min(_TILE, words - start)
            source, first, apart, free = leaves, tree * count * words + start, words, 0
            four, level = count // 4, tree * k
            for row in range(level, level + k):
                _fill(first_sums[row], sums[row, start : start + size])
            while four:
                low, high = sums[level, start : start + size], sums[level + 1, start : start + size]
                for x in range(four):
                    at = first + 4 * x * apart
                    a, b = source[at : at + size], source[at + apart : at + apart + size]
                    c, d = source[at + 2 * apart : at + 2 * apart + size], source[at + 3 * apart : at + 3 * apart + size]
                    out = scratch[free + x * _TILE : free + x * _TILE + size]
                    if four == 1:
                        out = totals[tree, start : start + size]
                    _sum4(a, b, c, d, low, high, out)
                if four == 1:
                    for i in range(size // 2):
                        out[2 * i] ^= first_totals[tree, 0]
                        out[2 * i + 1] ^= first_totals[tree, 1]
                source, first, apart, free = scratch, free, _TILE, free + four * _TILE
                four //= 4
                level += 2


@numba.njit(inline="always")
def _swap(p: Any, q: Any, shift: Any, mask: Any) -> None:
    for i in range(p.size):
        swap = ((p[i] >> shift) ^ q[i]) & mask
        p[i] ^= swap << shift
        q[i] ^= swap


@numba.njit("void(uint64[::1])", cache=True, nogil=True)
def _transpose(a: Any) -> None:
    """64 x 64 bits in place, as many side by side as there are lanes, bit j of word i to bit i of word j: swaps of ever
    smaller squares. (section 7-3) [Warren13]"""
    step, mask = 32, np.uint64(0x00000000FFFFFFFF)
    while step:
        half = step * _LANES
        for base in range(0, 64 * _LANES, 2 * half):
            _swap(a[base : base + half], a[base + half : base + 2 * half], np.uint64(step), mask)
        step //= 2
        mask ^= mask << np.uint64(step)


@numba.njit("void(uint64[:,::1], int64, uint64, uint64, uint64[:,::1], uint64[:,::1])", cache=True, nogil=True)
def rows(columns: Any, words: Any, d0: Any, d1: Any, out: Any, other: Any) -> None:
    """The rows of a bit matrix of 128 packed columns, of which the first `words` words count, under the orthomorphism
    (l, h) -> (l + h, l): out (64 * words, 2). The same plus (d0, d1) in `other`, unless it is empty."""
    low, high = np.empty(64 * _LANES, np.uint64), np.empty(64 * _LANES, np.uint64)
    for first in range(0, words, _LANES):
        lanes = min(_LANES, words - first)
        for column in range(64):
            low[column * _LANES : column * _LANES + lanes] = columns[column, first : first + lanes]
            high[column * _LANES : column * _LANES + lanes] = columns[column + 64, first : first + lanes]
        _transpose(low)
        _transpose(high)
        for lane in range(lanes):
            to = out[64 * (first + lane) : 64 * (first + lane) + 64]
            for row in range(64):
                word = low[row * _LANES + lane]
                to[row, 0] = word ^ high[row * _LANES + lane]
                to[row, 1] = word
            if other.size:
                more = other[64 * (first + lane) : 64 * (first + lane) + 64]
                for row in range(64):
                    more[row, 0] = to[row, 0] ^ d0
                    more[row, 1] = to[row, 1] ^ d1


@numba.njit("void(uint64[:,::1], int64, uint64[:,::1])", cache=True, nogil=True)
def tweak(keys: Any, first: Any, blocks: Any) -> None:
    """blocks (n, 2 * count): block l of row j is keys[j] + (first + l, 0)."""
    for j in range(len(keys)):
        low, high = keys[j, 0], keys[j, 1]
        for l in range(blocks.shape[1] // 2):  # noqa: E741
            blocks[j, 2 * l] = low ^ np.uint64(first + l)
            blocks[j, 2 * l + 1] = high


@numba.njit("void(uint64[:,::1], uint64[:,::1])", cache=True, nogil=True)
def whiten(keys: Any, blocks: Any) -> None:
    """Adds keys[j] to each block of row j."""
    for j in range(len(keys)):
        low, high = keys[j, 0], keys[j, 1]
        for l in range(blocks.shape[1] // 2):  # noqa: E741
            blocks[j, 2 * l] ^= low
            blocks[j, 2 * l + 1] ^= high


# Products. The transfers of word t are 64 t to 64 t + 63, one for each bit of the chooser's word b[t]. The sender's keys
# are x0 + y0 and x1 + y1, the chooser's x + y, of which the low words are used. With m0, m1 the keys of bit i, the sender
# corrects by m0 - m1 + a: the chooser has m0 or m0 + a. Weighted with 2^i that adds up to a b, less what the sender keeps.

_WORDS = numba.types.Array(numba.uint64, 1, "C", readonly=True)
_VECTOR, _ROWS = numba.uint64[::1], numba.uint64[:, ::1]
_SEND = numba.void(_ROWS, _ROWS, _ROWS, _ROWS, _WORDS, _VECTOR, _ROWS)
_CHOOSE = numba.void(_ROWS, _ROWS, _WORDS, _ROWS, _VECTOR)


@numba.njit(_SEND, cache=True, nogil=True)
def send_ring(x0: Any, y0: Any, x1: Any, y1: Any, a: Any, kept: Any, corrections: Any) -> None:
    """Z_2^64. Of the correction of bit i only the low 64 - i bits count: those of i and of 64 - i fill one word, in
    corrections (t, 33); the last, of bit 32, fills half of its own."""
    for t in range(a.size):
        total, first = np.uint64(0), 64 * t
        for i in range(64):
            total -= (x0[first + i, 0] ^ y0[first + i, 0]) << np.uint64(i)
        kept[t] = total
        corrections[t, 0] = (x0[first, 0] ^ y0[first, 0]) - (x1[first, 0] ^ y1[first, 0]) + a[t]
        for i in range(1, 33):
            p, q, shift = first + i, first + 64 - i, np.uint64(i)
            high = (x0[p, 0] ^ y0[p, 0]) - (x1[p, 0] ^ y1[p, 0]) + a[t]
            low = (x0[q, 0] ^ y0[q, 0]) - (x1[q, 0] ^ y1[q, 0]) + a[t]
            corrections[t, i] = high << shift | low & ((_1 << shift) - _1)


@numba.njit(_CHOOSE, cache=True, nogil=True)
def choose_ring(x: Any, y: Any, b: Any, corrections: Any, had: Any) -> None:
    for t in range(b.size):
        total, first, bits = np.uint64(0), 64 * t, b[t]
        for i in range(64):
            total += (x[first + i, 0] ^ y[first + i, 0]) << np.uint64(i)
        total += corrections[t, 0] & (_0 - (bits & _1))
        for i in range(1, 33):
            shift = np.uint64(i)
            low = (_1 << shift) - _1
            total += corrections[t, i] & ~low & (_0 - (bits >> shift & _1))
            if i < 32:
                total += (corrections[t, i] & low) << (_64 - shift) & (_0 - (bits >> (_64 - shift) & _1))
        had[t] = total


@numba.njit(_SEND, cache=True, nogil=True)
def send_field(x0: Any, y0: Any, x1: Any, y1: Any, a: Any, kept: Any, corrections: Any) -> None:
    """GF(2^61-1), with corrections (t, 61)."""
    for t in range(a.size):
        total = np.uint64(0)
        for i in range(60, -1, -1):
            at = 64 * t + i
            m0, m1 = _once((x0[at, 0] ^ y0[at, 0]) & _P), _once((x1[at, 0] ^ y1[at, 0]) & _P)
            total = _once(_once(total + total) + m0)
            corrections[t, i] = _once(_once(m0 + (_P - m1)) + a[t])
        kept[t] = _once(_P - total)


@numba.njit(_CHOOSE, cache=True, nogil=True)
def choose_field(x: Any, y: Any, b: Any, corrections: Any, had: Any) -> None:
    for t in range(b.size):
        total = np.uint64(0)
        for i in range(60, -1, -1):
            m = _once((x[64 * t + i, 0] ^ y[64 * t + i, 0]) & _P)
            chosen = corrections[t, i] & (_0 - (b[t] >> np.uint64(i) & _1))
            total = _once(_once(total + total) + _once(m + chosen))
        had[t] = total


@numba.njit(_SEND, cache=True, nogil=True)
def send_words(x0: Any, y0: Any, x1: Any, y1: Any, a: Any, kept: Any, corrections: Any) -> None:
    """GF(2)^64: bit i of a times bit i of b, from the lowest bits of the keys; corrections (t, 1)."""
    for t in range(a.size):
        m0, m1 = np.uint64(0), np.uint64(0)
        for i in range(64):
            at, shift = 64 * t + i, np.uint64(i)
            m0 |= ((x0[at, 0] ^ y0[at, 0]) & _1) << shift
            m1 |= ((x1[at, 0] ^ y1[at, 0]) & _1) << shift
        kept[t] = m0
        corrections[t, 0] = m0 ^ m1 ^ a[t]


@numba.njit(_CHOOSE, cache=True, nogil=True)
def choose_words(x: Any, y: Any, b: Any, corrections: Any, had: Any) -> None:
    for t in range(b.size):
        m = np.uint64(0)
        for i in range(64):
            m |= ((x[64 * t + i, 0] ^ y[64 * t + i, 0]) & _1) << np.uint64(i)
        had[t] = m ^ corrections[t, 0] & b[t]


# One-of-sixteen transfers. GF(16) is GF(4)[Y] / (Y^2 + Y + omega), and 128 bits (l, h) are 32 of its elements: omega (l, h) is (l + h, l), the
# orthomorphism of `rows`, and the upper halves of l and h are the coefficients of Y. So sums with factors from GF(16) keep rows under it.


@numba.njit(inline="always")
def _times_y(low: Any, high: Any) -> Any:
    """Y (c + d Y) = omega d + (c + d) Y."""
    return ((low ^ high) >> _32) | ((low << _32) ^ (low & _UPPER)), (low >> _32) | ((high << _32) ^ (high & _UPPER))


@numba.njit("void(uint64[:,::1], int64, int64, uint64[:,::1])", cache=True, nogil=True)
def combined(keys: Any, bits: Any, used: Any, out: Any) -> None:
    """Of each group of `bits` times 64 rows, those of the first `used` bits four by four: Y q0 + omega Y q1 + q2 + omega q3, out (groups * fours * 64, 2);
    what the last four lacks counts as zero. Of a single bit that is no row that has a key of its own."""
    fours = (used + 3) // 4
    for group in range(out.shape[0] // (64 * fours)):
        for four in range(fours):
            to = out[64 * (fours * group + four) : 64 * (fours * group + four) + 64]
            first, there = 64 * (bits * group + 4 * four), min(used - 4 * four, 4)
            for row in range(64):
                low, high = keys[first + row, 0], keys[first + row, 1]
                if there > 1:
                    low, high = low ^ keys[first + 64 + row, 0] ^ keys[first + 64 + row, 1], high ^ keys[first + 64 + row, 0]
                low, high = _times_y(low, high)
                if there > 2:
                    low, high = low ^ keys[first + 128 + row, 0], high ^ keys[first + 128 + row, 1]
                if there > 3:
                    low, high = low ^ keys[first + 192 + row, 0] ^ keys[first + 192 + row, 1], high ^ keys[first + 192 + row, 0]
                to[row, 0], to[row, 1] = low, high


@numba.njit("void(uint64[:,::1], uint64[:,::1], uint64[:,::1])", cache=True, nogil=True)
def spread(keys: Any, multiples: Any, out: Any) -> None:
    """out (n * 16, 2): each of `keys` (n, 2) plus each of 16 `multiples`."""
    for row in range(keys.shape[0]):
        low, high, to = keys[row, 0], keys[row, 1], out[16 * row : 16 * row + 16]
        for number in range(16):
            to[number, 0], to[number, 1] = low ^ multiples[number, 0], high ^ multiples[number, 1]


_CUBES = numba.uint64[:, :, ::1]


@numba.njit(numba.void(_ROWS, _ROWS, _ROWS, _ROWS, _CUBES), cache=True, nogil=True)
def send_fours(x: Any, y: Any, bits: Any, products: Any, corrections: Any) -> None:
    """GF(2)^64: `bits` (fours, 4) and `products` (fours, 11), as PRODUCTS has them, are shares of the bits of numbers and of their products. For each number that the other end may
    add, what becomes of the products, under the key of that number and what is kept, which takes their place: corrections (fours, 15, 11), for all numbers but 0.
    The keys x + y are (fours * 64 * 16, 2)."""
    a, terms = np.empty(64 * _LANES, np.uint64), np.empty(16, np.uint64)
    for four in range(bits.shape[0]):
        first = 64 * 16 * four
        for i in range(a.size):
            a[i] = x[first + i, 0] ^ y[first + i, 0]
        _transpose(a)
        terms[0] = _0  # of what it adds by itself, the other end knows the products
        for i in range(4):
            terms[1 << i] = bits[four, i]
        for place in range(_PLACES.size):
            terms[_PLACES[place]] = products[four, place]
            products[four, place] ^= a[place * 16]
        for step in range(1, 16):  # in Gray's order: with one bit added or taken away, a product takes up, or loses, that of its other bits
            bit = step & -step
            number = step ^ step >> 1
            for subset in range(16):
                if subset & bit:
                    terms[subset] ^= terms[subset ^ bit]
            for place in range(_PLACES.size):
                corrections[four, number - 1, place] = a[place * 16 + number] ^ terms[_PLACES[place]] ^ products[four, place]


@numba.njit(numba.void(_ROWS, _ROWS, _ROWS, _CUBES, _ROWS), cache=True, nogil=True)
def choose_fours(x: Any, y: Any, bits: Any, corrections: Any, had: Any) -> None:
    """The other end: `bits` (fours, 4) are the numbers, the keys x + y (fours * 64, 2). What it gets is added to `had` (fours, 11)."""
    a, chosen = np.empty(64 * _LANES, np.uint64), np.empty(16, np.uint64)
    for start in range(0, bits.shape[0], _LANES):
        lanes = min(_LANES, bits.shape[0] - start)
        for lane in range(lanes):
            first = 64 * (start + lane)
            for row in range(64):
                a[row * _LANES + lane] = x[first + row, 0] ^ y[first + row, 0]
        _transpose(a)
        for lane in range(lanes):
            four = start + lane
            chosen[0] = ~_0
            for i in range(4):
                bit = bits[four, i]
                for number in range(1 << i):
                    chosen[number + (1 << i)] = chosen[number] & bit
                    chosen[number] &= ~bit
            for place in range(_PLACES.size):
                word = a[place * _LANES + lane]
                for number in range(1, 16):
                    word ^= chosen[number] & corrections[four, number - 1, place]
                had[four, place] ^= word


# Products of vectors and numbers, added up over t: of the sender's vectors a (t, m) and the chooser's words b (t,). The keys
# m0 and m1, or m, are (64 t, m) or more; the corrections are in the same words as above, (33 or 61, t, m).

_SEND_VECTORS = numba.void(_ROWS, _ROWS, _ROWS, _VECTOR, numba.uint64[:, :, ::1])
_CHOOSE_VECTORS = numba.void(_ROWS, _WORDS, numba.uint64[:, :, ::1], _VECTOR)


@numba.njit(_SEND_VECTORS, cache=True, nogil=True)
def send_ring_vectors(m0: Any, m1: Any, a: Any, kept: Any, corrections: Any) -> None:
    kept[:] = 0
    for t in range(len(a)):
        first, vector = 64 * t, a[t]
        p0, p1, out = m0[first], m1[first], corrections[0, t]
        for j in range(vector.size):
            kept[j] -= p0[j]
            out[j] = p0[j] - p1[j] + vector[j]
        for i in range(1, 33):
            shift = np.uint64(i)
            up, mask = _64 - shift, (_1 << shift) - _1
            p0, p1, q0, q1 = m0[first + i], m1[first + i], m0[first + 64 - i], m1[first + 64 - i]
            out, once_more = corrections[i, t], np.uint64(i != 32)
            for j in range(vector.size):
                kept[j] -= (p0[j] << shift) + (q0[j] << up) * once_more
                out[j] = (p0[j] - p1[j] + vector[j]) << shift | (q0[j] - q1[j] + vector[j]) & mask


@numba.njit(_CHOOSE_VECTORS, cache=True, nogil=True)
def choose_ring_vectors(m: Any, b: Any, corrections: Any, had: Any) -> None:
    had[:] = 0
    for t in range(b.size):
        first, bits = 64 * t, b[t]
        p, given, chosen = m[first], corrections[0, t], _0 - (bits & _1)
        for j in range(had.size):
            had[j] += p[j] + (given[j] & chosen)
        for i in range(1, 33):
            shift = np.uint64(i)
            up, mask = _64 - shift, (_1 << shift) - _1
            once_more = np.uint64(i != 32)
            high, low = _0 - (bits >> shift & _1), (_0 - (bits >> up & _1)) * once_more
            p, q, given = m[first + i], m[first + 64 - i], corrections[i, t]
            for j in range(had.size):
                had[j] += (p[j] << shift) + (q[j] << up) * once_more
                had[j] += (given[j] & ~mask & high) + ((given[j] & mask & low) << up)


@numba.njit(_SEND_VECTORS, cache=True, nogil=True)
def send_field_vectors(m0: Any, m1: Any, a: Any, kept: Any, corrections: Any) -> None:
    kept[:] = 0
    total = np.empty_like(kept)
    for t in range(len(a)):
        vector = a[t]
        total[:] = 0
        for i in range(60, -1, -1):
            p0, p1, out = m0[64 * t + i], m1[64 * t + i], corrections[i, t]
            for j in range(vector.size):
                x0, x1 = _once(p0[j] & _P), _once(p1[j] & _P)
                total[j] = _once(_once(total[j] + total[j]) + x0)
                out[j] = _once(_once(x0 + (_P - x1)) + vector[j])
        for j in range(vector.size):
            kept[j] = _once(kept[j] + (_P - total[j]))


@numba.njit(_CHOOSE_VECTORS, cache=True, nogil=True)
def choose_field_vectors(m: Any, b: Any, corrections: Any, had: Any) -> None:
    had[:] = 0
    total = np.empty_like(had)
    for t in range(b.size):
        total[:] = 0
        for i in range(60, -1, -1):
            p, given, chosen = m[64 * t + i], corrections[i, t], _0 - (b[t] >> np.uint64(i) & _1)
            for j in range(had.size):
                x = _once(_once(p[j] & _P) + (given[j] & chosen))
                total[j] = _once(_once(total[j] + total[j]) + x)
        for j in range(had.size):
            had[j] = _once(had[j] + total[j])
