"""Backups of the store: the database, copied while others write, and key files in one archive; and their restore."""
