"""Oblivious transfer between pairs of parties, and products of their secrets from it: `base.py` makes 128 transfers with
a group, `extension.py` any number from them with AES alone, `products.py` shares of products a * b, in `kernels.py`'s
compiled loops."""
