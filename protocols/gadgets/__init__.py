"""Gadgets: what costs a round. One a file, each with its declared cost beside it."""

from protocols.gadgets.multiply import multiply, multiply_cost
from protocols.gadgets.reveal import reveal, reveal_cost
from protocols.gadgets.share import share, share_cost

__all__ = ["multiply", "multiply_cost", "reveal", "reveal_cost", "share", "share_cost"]
