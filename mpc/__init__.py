"""Floor 0: what a share is. Algebra, schemes, randomness, preprocessing, the channel. No files, sockets or clocks."""
