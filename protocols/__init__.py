"""Floor 1: what is computed on shares, and the plan of a query. No files, sockets or clocks."""
