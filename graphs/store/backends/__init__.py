"""The databases behind the store, SQLite and PostgreSQL, with what only one of them needs."""
