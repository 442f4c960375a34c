"""Not collected: run by test_planted.py, which sees that what this test lets a log show fails the run."""

import logging

import planted


def test_that_leaks() -> None:
    logging.getLogger("comity").warning("a row with %s", planted.TEXT)
