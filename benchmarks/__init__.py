"""What it costs: measured beside declared, and beside plain numpy in the same run."""
