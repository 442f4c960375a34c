"""A company's node: the life of a session, from the agreement to the report."""
