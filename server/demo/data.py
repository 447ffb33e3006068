"""The demo's data: where it is kept, and the samples, which are made once, however many processes start together."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from importlib.resources import as_file, files
from pathlib import Path

SCHEMA_VERSION = 1


def find_data_folder(environ: Mapping[str, str]) -> Path:
    """Find the data folder: `$INTERLOCK_DATA`, or `data` in the working directory. Absolute; it need not exist."""
    return Path(environ.get("INTERLOCK_DATA") or "data").absolute()


def ensure_workspace(data: Path) -> Path:
    """Make DATA/workspace, filled with the sample files, if it is not there yet. Raises OSError."""
    folder = data / "workspace"
    if folder.exists():
        return folder
    data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".workspace-", dir=data) as scratch:
        copy = Path(scratch) / "workspace"
        with as_file(files("server.demo") / "sample" / "workspace") as sample:
            shutil.copytree(sample, copy, copy_function=shutil.copyfile)
        try:
            copy.rename(folder)
        except OSError:
            # Another process was first: a folder cannot be renamed onto one that holds files.
            if not folder.is_dir():
                raise
    return folder


def ensure_database(data: Path) -> Path:
    """Make DATA/demo.db, with the sample shop in it, if it is not there yet. Raises OSError, sqlite3.Error."""
    file = data / "demo.db"
    data.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file, timeout=30, isolation_level=None)) as connection:
        if _read_version(connection) == SCHEMA_VERSION:
            return file
        # One transaction holds the look and the writing, so a second process waits here and then finds it done.
        connection.execute("BEGIN IMMEDIATE")
        if _read_version(connection) == SCHEMA_VERSION:
            connection.execute("ROLLBACK")
            return file
        script = (files("server.demo") / "sample" / "shop.sql").read_text(encoding="utf-8")
        for statement in _split_statements(script):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    return file


def _read_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _split_statements(script: str) -> Iterator[str]:
    # `executescript` would commit first, and with that let a second process in between.
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
