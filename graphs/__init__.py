"""The engine: YAML in, events out. It has never heard of HTTP serving."""
