"""The audit: its records, their chain of hashes, and how both are read."""
