"""The shared spec: one TOML file that all companies approve, and the SQL subset in it."""
