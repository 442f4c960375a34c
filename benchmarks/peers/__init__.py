"""The same work in other systems. `beside.py` installs and runs them; each `in_*.py` is one party in one of them, run in that
system's own virtual environment, so it and `party.py` import nothing of Comity."""
