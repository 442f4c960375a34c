"""Gadgets: what costs a round. One a file, each with its declared cost beside it."""

from protocols.gadgets.bits import (
    BitShare,
    all_of,
    all_of_cost,
    as_numbers,
    as_numbers_cost,
    both,
    both_cost,
    reveal_bits,
    reveal_bits_cost,
)
from protocols.gadgets.compact import compact, compact_cost
from protocols.gadgets.compare import (
    equal,
    is_zero,
    is_zero_cost,
    less,
    negative,
    negative_cost,
)
from protocols.gadgets.decompose import compose, compose_cost, decompose, decompose_cost
from protocols.gadgets.fixed_point import (
    divide,
    divide_cost,
    exponential,
    exponential_cost,
    logarithm,
    logarithm_cost,
    square_root,
    square_root_cost,
)
from protocols.gadgets.merge import merge, merge_cost
from protocols.gadgets.multiply import dot, dot_cost, multiply, multiply_cost, square, square_cost
from protocols.gadgets.noise import gaussian, gaussian_cost
from protocols.gadgets.quotient import quotient, quotient_cost
from protocols.gadgets.reveal import reveal, reveal_cost, reveal_each, reveal_each_cost
from protocols.gadgets.select import select, select_cost
from protocols.gadgets.share import share, share_cost
from protocols.gadgets.thresholds import histogram, histogram_cost, reached, reached_cost
from protocols.gadgets.truncate import truncate, truncate_cost

__all__ = [
    "BitShare", "all_of", "all_of_cost", "as_numbers", "as_numbers_cost", "both", "both_cost", "compact", "compact_cost", "compose", "compose_cost", "decompose",
    "decompose_cost", "divide", "divide_cost", "dot", "dot_cost", "equal", "exponential", "exponential_cost", "gaussian", "gaussian_cost", "histogram", "histogram_cost", "is_zero", "is_zero_cost", "less", "logarithm",
    "logarithm_cost", "merge", "merge_cost", "multiply", "multiply_cost", "negative", "negative_cost", "quotient",
    "quotient_cost", "reached", "reached_cost", "reveal", "reveal_bits", "reveal_bits_cost", "reveal_cost", "reveal_each", "reveal_each_cost", "select",
    "select_cost", "share", "share_cost", "square", "square_cost", "square_root", "square_root_cost", "truncate", "truncate_cost",
]  # fmt: skip
