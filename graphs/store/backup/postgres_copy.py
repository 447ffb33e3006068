"""A copy of the PostgreSQL database by PostgreSQL's own programs, pg_dump and pg_restore."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from graphs.errors import StorageError
from graphs.store.backends.address import PostgresAddress
from graphs.store.backup.description import DatabaseDescription, describe_database

_MAX_ERROR_LINES = 3
_FOREIGN = """
SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e') ORDER BY 1 LIMIT 4
"""
"""What a database holds that is neither PostgreSQL's own nor an extension's."""


def copy_postgres(address: PostgresAddress, target: Path) -> DatabaseDescription:
    """Dump the database into the new file `target`, and say what the dump holds: both see the same state.

    The database is not migrated. Raises StorageError if it cannot be read, or where there is no pg_dump for it.
    """
    with _connect(address) as connection:
        version = str(connection.scalar(text("SHOW server_version")))
        found = describe_database(connection, "postgresql", version, address.place)
        snapshot = connection.scalar(text("SELECT pg_export_snapshot()"))
        options = ["--format=custom", "--compress=0", "--no-owner", "--no-privileges", "--lock-wait-timeout=60s"]
        _run("pg_dump", [*options, f"--snapshot={snapshot}", f"--file={target}"], address, version)
    return found


def check_postgres_vacancy(address: PostgresAddress) -> None:
    """Check that the database is empty. Raises StorageError for one that holds tables: a restore replaces nothing."""
    with _connect(address) as connection:
        found = list(connection.scalars(text(_FOREIGN)))
    if found:
        listed = ", ".join(found[:3]) + (" …" if len(found) > 3 else "")
        raise StorageError(
            f"{address.place} is not empty (it has {listed}), and a restore replaces nothing: "
            "make an empty database, and name it in `storage` or INTERLOCK_STORAGE"
        )


def load_postgres(address: PostgresAddress, file: Path) -> None:
    """Load a dump into an empty database, in one transaction. Raises StorageError."""
    with _connect(address) as connection:
        version = str(connection.scalar(text("SHOW server_version")))
    options = ["--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges"]
    _run("pg_restore", [*options, str(file)], address, version)


@contextmanager
def _connect(address: PostgresAddress) -> Generator[Connection]:
    """Connect for one reading transaction, which may last as long as a dump. Raises StorageError."""
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(address.conninfo),
        poolclass=NullPool,
        hide_parameters=True,
    ).execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("SET idle_in_transaction_session_timeout = 0")
            yield connection
    except (DBAPIError, psycopg.Error) as error:
        said = " ".join(str(error.orig if isinstance(error, DBAPIError) else error).split())
        raise StorageError(f"{address.place} cannot be used: {_mask_password(said, address)}") from None


def _run(program: str, options: Sequence[str], address: PostgresAddress, server: str) -> None:
    """Run one of PostgreSQL's programs on the database; its password is in no argument, which others could see."""
    parts = conninfo_to_dict(address.conninfo)
    password = parts.pop("password", None)
    env = os.environ | ({} if password is None else {"PGPASSWORD": str(password)})
    command = [_find_program(program, server), *options, "--no-password", f"--dbname={make_conninfo('', **parts)}"]
    done = subprocess.run(  # noqa: S603  a program of PostgreSQL's, and arguments of ours
        command, env=env, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()][:_MAX_ERROR_LINES]
        said = _mask_password("; ".join(lines), address) or f"it ended with {done.returncode}"
        raise StorageError(f"{address.place}: {program} failed: {said}")


def _find_program(name: str, server: str) -> str:
    """Find the program on the PATH. Raises StorageError where there is none that is new enough for the server."""
    path = shutil.which(name)
    if path is None:
        raise StorageError(
            f"{name} is not on the PATH: install PostgreSQL's client programs, version {_read_major(server)} or newer"
        )
    printed = subprocess.run(  # noqa: S603  a program of PostgreSQL's
        [path, "--version"], capture_output=True, text=True, errors="replace", check=False
    ).stdout
    if 0 < _read_major(printed) < _read_major(server):
        raise StorageError(
            f"{path} is of version {_read_major(printed)}, the server of version {_read_major(server)}: "
            f"put a {name} of that version or a newer one first on the PATH"
        )
    return path


def _read_major(words: str) -> int:
    """Read the first number of a version; 0 where there is none."""
    found = re.search(r"\d+", words)
    return int(found[0]) if found else 0


def _mask_password(words: str, address: PostgresAddress) -> str:
    return words.replace(address.password, "***") if address.password else words
