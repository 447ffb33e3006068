"""A copy of the SQLite file by SQLite's own online backup, while others read and write it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import create_engine
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from graphs.errors import StorageError
from graphs.store.backup.description import DatabaseDescription, describe_database

WAIT_SECONDS = 30.0
"""Seconds for which another process may hold the whole file."""
LEFTOVERS = ("", "-wal", "-shm", "-journal", ".workers")
"""What may stand behind the name of a database's file, beside it."""


def copy_sqlite(path: Path, target: Path) -> DatabaseDescription:
    """Copy the database into the new file `target`, and say what the copy holds.

    All pages are copied in one step, which sees one state: it lets others write, and is not begun anew when they do.
    The database is not migrated. Raises StorageError if it cannot be read, or is damaged.
    """
    if not path.is_file():
        raise StorageError(f"there is no database {path}; nothing has been stored there")
    try:
        source = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, timeout=WAIT_SECONDS)
        with closing(source), closing(sqlite3.connect(target)) as copy:
            source.backup(copy, pages=-1)
            # One file, without a log beside it.
            copy.execute("PRAGMA journal_mode=DELETE")
            fault = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        raise StorageError(f"the database {path} cannot be backed up: {error}") from error
    if fault != "ok":
        raise StorageError(f"the database {path} is damaged, and was not backed up: {fault}")
    engine = create_engine(URL.create("sqlite", database=str(target)), poolclass=NullPool)
    with engine.connect() as connection:
        return describe_database(connection, "sqlite", sqlite3.sqlite_version, str(path))


def check_sqlite_vacancy(path: Path, data: Path) -> None:
    """Check that a database and its data folder can be restored there. Raises StorageError for a folder that is not
    empty: a restore replaces nothing."""
    found = [path.name + end for end in LEFTOVERS if path.with_name(path.name + end).exists()]
    if path.parent.absolute() == data.absolute() and data.is_dir():
        found = sorted(entry.name for entry in data.iterdir())
    if found:
        listed = ", ".join(found[:3]) + (" …" if len(found) > 3 else "")
        raise StorageError(
            f"{path.parent} is not empty (it has {listed}), and a restore replaces nothing: "
            "name an empty folder with INTERLOCK_DATA, or move these away"
        )
