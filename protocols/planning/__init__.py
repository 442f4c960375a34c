"""The plan of a query: what runs where, what is opened, what it costs; and its execution."""
