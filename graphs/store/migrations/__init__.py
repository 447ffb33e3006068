"""The migrations of our tables, one file in `versions/` each, and how to add one.

1. Change the tables in `graphs/store/tables.py` (or a module beside it that uses its `metadata`).
2. Run `.venv/bin/python -m graphs.store.migrations NAME`, such as `… add_workers`. It writes `versions/NNNN_NAME.py`
   from the difference between the newest migration and the tables.
3. Read what it wrote. It must work on SQLite and PostgreSQL, keep every row, and need no class of ours: a table or
   a nullable column added is fine as written; a column that may not be NULL needs a `server_default`.
4. `tests/engine/store/test_store_shape.py` fails until migrations and tables agree, on both databases.

A new database is made from the tables at once; migrations are for those that have rows. They run in one transaction,
under a lock that keeps other processes out, and only forwards: a version that does not know a database's shape refuses
it. While replicas are replaced one by one, old ones go on with the new shape: add first, remove a version later.
Two branches that each added the same number: rename the later one, file and `revision`, and set its `down_revision`.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
FIRST = "0001_first"


def list_revisions() -> list[str]:
    """List all revisions, oldest first: the names of the files."""
    return sorted(path.stem for path in (FOLDER / "versions").glob("[0-9]*.py"))


def find_newest_revision() -> str:
    """Find the revision whose tables are those of `tables.py`."""
    return list_revisions()[-1]
