"""Sources of multiplication triples, one a file. A triple is shares of random a, b and of c = a * b. [Beaver91]"""
