"""Each algebra against exact Python integers: the fast ones on limbs, the wide ones on objects, by the same tests."""

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from mpc.algebra import integers
from mpc.algebra.field import FIELD
from mpc.algebra.ring import RING
from mpc.algebra.wide import FIELD127, RING128, Wide
from mpc.randomness import Stream
from mpc.schemes.shamir import lagrange

ALGEBRAS = [RING, FIELD, RING128, FIELD127]
MODULI = {"Z_2^64": 2**64, "GF(2^61-1)": 2**61 - 1, "Z_2^128": 2**128, "GF(2^127-1)": 2**127 - 1}

every_algebra = pytest.mark.parametrize("algebra", ALGEBRAS, ids=lambda algebra: algebra.name)


def edges(modulus: int) -> list[int]:
    """Residues where carries, reductions and signs go wrong: around 0, limbs, halves and the modulus."""
    around = [0, 1 << 29, 1 << 32, 1 << 61, 1 << 63, 1 << 64, modulus // 2, modulus >> 3, modulus]
    return sorted({(x + d) % modulus for x in around for d in (-2, -1, 0, 1, 2)})


def residues(modulus: int) -> st.SearchStrategy[int]:
    return st.sampled_from(edges(modulus)) | st.integers(0, modulus - 1)


def pairs(modulus: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    return st.lists(st.tuples(residues(modulus), residues(modulus)), min_size=1, max_size=20)


def array(algebra, values):
    """Residues as an array of the algebra's own dtype, without its help."""
    return np.array(values, dtype=object if isinstance(algebra, Wide) else np.uint64)


def signed(residue: int, modulus: int) -> int:
    return residue - modulus if residue > (modulus - 1) // 2 else residue


def check(algebra, got, expected):
    expected_dtype = np.dtype(object) if isinstance(algebra, Wide) else np.dtype(np.uint64)
    assert isinstance(got, np.ndarray)
    assert got.dtype == expected_dtype
    assert [int(v) for v in got.flat] == list(expected)


@every_algebra
def test_modulus_is_the_named_one_and_fields_are_prime(algebra):
    assert algebra.modulus == MODULI[algebra.name]
    assert algebra.is_field == sympy.isprime(algebra.modulus)
    assert algebra.element_bytes == -(-(algebra.modulus - 1).bit_length() // 8)
    assert 2 * algebra.bound <= algebra.modulus // 2 + 1  # a sum of two such values does not wrap


@every_algebra
@given(data=st.data())
def test_add_subtract_multiply_equal_exact_integers(algebra, data):
    m = algebra.modulus
    drawn = data.draw(pairs(m))
    xs, ys = [x for x, _ in drawn], [y for _, y in drawn]
    x, y = array(algebra, xs), array(algebra, ys)
    check(algebra, algebra.add(x, y), [(a + b) % m for a, b in drawn])
    check(algebra, algebra.subtract(x, y), [(a - b) % m for a, b in drawn])
    check(algebra, algebra.multiply(x, y), [a * b % m for a, b in drawn])
    assert list(map(int, x)) == xs  # operands are left as they were
    assert list(map(int, y)) == ys


@every_algebra
def test_every_pair_of_edges_adds_subtracts_and_multiplies_exactly(algebra):
    m = algebra.modulus
    drawn = [(a, b) for a in edges(m) for b in edges(m)]
    x, y = (array(algebra, side) for side in zip(*drawn, strict=True))
    check(algebra, algebra.add(x, y), [(a + b) % m for a, b in drawn])
    check(algebra, algebra.subtract(x, y), [(a - b) % m for a, b in drawn])
    check(algebra, algebra.multiply(x, y), [a * b % m for a, b in drawn])


@pytest.mark.filterwarnings("error")
@every_algebra
def test_arrays_without_dimensions_compute_without_warnings(algebra):
    # numpy turns them into scalars, whose wrapping arithmetic warns where that of arrays does not
    m = algebra.modulus
    for a in edges(m):
        for b in (1, m // 2, m - 1):
            x, y = array(algebra, a), array(algebra, b)
            assert int(algebra.add(x, y)) == (a + b) % m
            assert int(algebra.subtract(x, y)) == (a - b) % m
            assert int(algebra.multiply(x, y)) == a * b % m
            assert int(algebra.decode(x)) == signed(a, m)


@every_algebra
def test_a_single_element_spreads_over_an_array(algebra):
    m = algebra.modulus
    x, y = array(algebra, edges(m)), array(algebra, m - 2)
    check(algebra, algebra.multiply(x, y), [a * (m - 2) % m for a in edges(m)])
    check(algebra, algebra.add(x, y), [(a + m - 2) % m for a in edges(m)])


@every_algebra
@given(data=st.data())
def test_total_equals_the_exact_sum_along_each_axis(algebra, data):
    m = algebra.modulus
    rows, columns = data.draw(st.integers(0, 5)), data.draw(st.integers(1, 5))
    values = data.draw(st.lists(residues(m), min_size=rows * columns, max_size=rows * columns))
    x = array(algebra, values).reshape(rows, columns)
    table = [values[r * columns : (r + 1) * columns] for r in range(rows)]
    check(algebra, algebra.total(x, 0), [sum(row[c] for row in table) % m for c in range(columns)])
    check(algebra, algebra.total(x, 1), [sum(row) % m for row in table])


@pytest.mark.parametrize("algebra", [RING, FIELD], ids=lambda algebra: algebra.name)
def test_total_of_many_largest_elements_does_not_lose_a_carry(algebra):
    count = (1 << 20) + 3
    x = np.full(count, algebra.modulus - 1, dtype=np.uint64)
    assert int(algebra.total(x, 0)) == (algebra.modulus - 1) * count % algebra.modulus


@pytest.mark.parametrize("algebra", [FIELD, FIELD127], ids=lambda algebra: algebra.name)
@given(data=st.data())
def test_fermat_holds_in_the_fields(algebra, data):
    # x^(p-1) by the algebra's own products: a chain of 60 to 126 squarings, so any wrong product shows
    m = algebra.modulus
    base = data.draw(residues(m).filter(bool))
    power, result, exponent = array(algebra, [base]), array(algebra, [1]), m - 1
    while exponent:
        if exponent & 1:
            result = algebra.multiply(result, power)
        power, exponent = algebra.multiply(power, power), exponent >> 1
    assert int(result[0]) == 1


@every_algebra
@given(data=st.data())
def test_encode_and_decode_round_trip_and_represent_the_residue(algebra, data):
    m = algebra.modulus
    lowest, highest = (-(m // 2), (m - 1) // 2) if not algebra.is_field else (-(m // 2), m // 2)
    at = [0, 1, -1, lowest, lowest + 1, highest, highest - 1, algebra.bound, -algebra.bound]
    values = data.draw(st.lists(st.sampled_from(at) | st.integers(lowest, highest), min_size=1, max_size=20))
    encoded = algebra.encode(values)
    check(algebra, encoded, [v % m for v in values])
    assert [int(v) for v in algebra.decode(encoded)] == values
    assert algebra.decode(encoded).dtype == (object if isinstance(algebra, Wide) else np.int64)


@every_algebra
@given(data=st.data())
def test_decode_of_any_residue_is_its_signed_representative(algebra, data):
    m = algebra.modulus
    values = data.draw(st.lists(residues(m), min_size=1, max_size=20))
    assert [int(v) for v in algebra.decode(array(algebra, values))] == [signed(v, m) for v in values]


@every_algebra
def test_beyond_half_the_modulus_is_refused_not_wrapped(algebra):
    m = algebra.modulus
    for value in ((m - 1) // 2 + 1, -(m // 2) - 1, m, -m, 1 << 200):
        with pytest.raises(OverflowError):
            algebra.encode([0, value])
        with pytest.raises(OverflowError):
            algebra.encode(np.array([value], dtype=object))
    if m <= 1 << 64:  # numpy would make a negative int64 of it without a word
        for value in (m // 2 + 1, (1 << 64) - 1):
            with pytest.raises(OverflowError):
                algebra.encode(np.array([value], dtype=np.uint64))


@every_algebra
@pytest.mark.parametrize(
    "values",
    [[1.0], [1, 2.5], np.array([1.0]), 0.5, float("nan"), ["1"], "1", None, [None], [1j], np.array(["2020-01-01"], "M8[D]")],
    ids=repr,
)
def test_what_is_no_integer_is_refused(algebra, values):
    with pytest.raises(TypeError):
        algebra.encode(values)


@every_algebra
@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64, object, bool])
def test_every_integer_dtype_encodes_exactly(algebra, dtype):
    if dtype in (object, bool):
        values = [0, 1] if dtype is bool else [-3, 0, 2**59]
    else:
        info = np.iinfo(dtype)
        values = [v for v in (int(info.min), 0, 1, int(info.max)) if -(algebra.modulus // 2) < v < algebra.modulus // 2]
    encoded = algebra.encode(np.array(values, dtype=dtype))
    assert [int(v) for v in algebra.decode(encoded)] == values


@every_algebra
def test_unsigned_and_signed_integers_never_meet_as_floats(algebra):
    # numpy makes float64 of uint64 with int64, and of a list that straddles both, which would round
    assert (np.array([1], np.uint64) + np.array([-1], np.int64)).dtype == np.float64
    big = (1 << 59) - 1  # a float64 would make 2^59 of it
    mixed = np.array([np.uint64(big), np.int64(-1), 7], dtype=object)
    assert [int(v) for v in algebra.decode(algebra.encode(mixed))] == [big, -1, 7]
    assert integers([-1, 1 << 63]).tolist() == [-1, 1 << 63]
    with pytest.raises(TypeError):
        algebra.encode(np.array([big], np.uint64) + np.array([-1], np.int64))


@every_algebra
def test_a_strided_or_transposed_array_encodes_as_its_values(algebra):
    table = np.arange(-6, 6).reshape(3, 4)
    for view in (table.T, table[::-1, ::2], table[:, 1]):
        encoded = algebra.encode(view)
        assert algebra.decode(encoded).tolist() == view.tolist()
        assert algebra.from_bytes(algebra.to_bytes(encoded), view.shape).tolist() == encoded.tolist()
        sliced = algebra.encode(table).T  # not contiguous itself
        assert algebra.from_bytes(algebra.to_bytes(sliced), sliced.shape).tolist() == sliced.tolist()


@every_algebra
@given(data=st.data())
def test_bytes_are_little_endian_residues_and_round_trip(algebra, data):
    values = data.draw(st.lists(residues(algebra.modulus), max_size=20))
    x = array(algebra, values)
    raw = bytes(algebra.to_bytes(x))
    assert raw == b"".join(v.to_bytes(algebra.element_bytes, "little") for v in values)
    for buffer in (raw, bytearray(raw), memoryview(raw)):
        check(algebra, algebra.from_bytes(buffer, (len(values),)), values)


@every_algebra
def test_bytes_of_a_table_come_back_in_its_shape(algebra):
    x = algebra.encode([[1, -2, 3], [-4, 5, -6]])
    back = algebra.from_bytes(algebra.to_bytes(x), (2, 3))
    assert back.shape == (2, 3)
    assert back.tolist() == x.tolist()
    assert algebra.from_bytes(algebra.to_bytes(x[:1, 0].reshape(())), ()).shape == ()


@every_algebra
def test_wrong_lengths_are_refused(algebra):
    raw = bytes(algebra.to_bytes(algebra.encode([1, 2, 3])))
    for buffer, shape in [(raw[:-1], (3,)), (raw + b"\0", (3,)), (raw, (2,)), (raw, (4,)), (raw, (2, 2)), (b"", (1,)), (raw, (0,))]:
        with pytest.raises(ValueError):
            algebra.from_bytes(buffer, shape)


@pytest.mark.parametrize("algebra", [FIELD, FIELD127], ids=lambda algebra: algebra.name)
def test_elements_that_are_no_residues_are_refused(algebra):
    width = algebra.element_bytes
    good = (algebra.modulus - 1).to_bytes(width, "little")
    assert int(algebra.from_bytes(good, (1,))[0]) == algebra.modulus - 1
    for value in (algebra.modulus, algebra.modulus + 1, (1 << 8 * width) - 1):
        with pytest.raises(ValueError, match="not in"):
            algebra.from_bytes(good + value.to_bytes(width, "little"), (2,))


@every_algebra
def test_uniform_draws_residues_of_the_shape_and_the_same_from_the_same_seed(algebra):
    first, second = (algebra.uniform((3, 5), Stream(bytes(range(32)))) for _ in range(2))
    assert first.shape == (3, 5)
    assert first.tolist() == second.tolist()
    many = [int(v) for v in algebra.uniform((2000,), Stream(bytes(32)))]
    assert all(0 <= v < algebra.modulus for v in many)
    assert len(set(many)) == len(many)  # a repetition has probability below 2^-39
    assert max(many) > algebra.modulus * 0.99 > algebra.modulus * 0.01 > min(many)  # each but for (0.99)^2000 < 2e-9


@every_algebra
def test_empty_arrays_pass_through(algebra):
    empty = algebra.encode([])
    assert algebra.from_bytes(algebra.to_bytes(empty), (0,)).shape == (0,)
    assert algebra.uniform((0,), Stream(bytes(32))).shape == (0,)
    assert algebra.decode(algebra.add(empty, empty)).shape == (0,)


def test_wide_algebra_accepts_powers_of_two_and_mersenne_numbers_alone():
    # only for those are k random bits uniform
    for modulus in (2**64 + 1, 2**127 - 3, 10**30):
        with pytest.raises(ValueError):
            Wide("odd", modulus, is_field=False)
    assert Wide("Z_2^72", 1 << 72, is_field=False).element_bytes == 9


@given(data=st.data())
def test_wide_algebra_over_the_small_moduli_equals_the_fast_ones(data):
    for fast, wide in ((RING, Wide("Z_2^64", 2**64, is_field=False)), (FIELD, Wide("GF(2^61-1)", 2**61 - 1, is_field=True))):
        drawn = data.draw(pairs(fast.modulus))
        xs, ys = ([pair[k] for pair in drawn] for k in (0, 1))
        for operation in ("add", "subtract", "multiply"):
            got = getattr(fast, operation)(array(fast, xs), array(fast, ys))
            expected = getattr(wide, operation)(array(wide, xs), array(wide, ys))
            assert [int(v) for v in got] == list(expected)


@pytest.mark.parametrize("algebra", [FIELD, FIELD127], ids=lambda algebra: algebra.name)
def test_lagrange_weights_equal_sympys_interpolation(algebra):
    m = algebra.modulus
    x = sympy.Symbol("x")
    polynomial = sympy.Poly(7 * x**2 - 5 * x + 11, x)
    for points in ((1, 2, 3), (2, 5, 4), (1, 3, 0)):
        for at in (0, 4, 6):
            weights = lagrange(points, at, m)
            got = sum(w * int(polynomial.eval(k)) for w, k in zip(weights, points, strict=True)) % m
            assert got == int(polynomial.eval(at)) % m
            interpolated = sympy.interpolate([(k, polynomial.eval(k)) for k in points], x).subs(x, at)
            assert got == int(interpolated) % m
