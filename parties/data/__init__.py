"""One company's own data: read in a locked DuckDB, checked against the agreed table, and aggregated at home.

`source.py` opens the file, `encode.py` turns declared columns into exact integers, `render.py` turns row expressions
into SQL trees, `home.py` computes what the company shares, `pooled.py` is the oracle for tests and the demo.
"""
