"""`python -m graphs.store.migrations NAME` writes the next migration. See this package's docstring."""

from __future__ import annotations

import re
import subprocess
import sys

from alembic import command
from alembic.script import Script
from sqlalchemy import create_engine

from graphs.store.migrations import list_revisions
from graphs.store.migrations.upgrade import build_config, upgrade


def write_migration(name: str) -> str:
    """Write the migration from the newest one to the tables, and return its path."""
    last = list_revisions()
    revision = f"{int(last[-1][:4]) + 1 if last else 1:04}_{name}"
    with create_engine("sqlite://").connect() as connection:
        upgrade(connection)
        script = command.revision(build_config(connection), name.replace("_", " ").capitalize(), True, rev_id=revision)
    if not isinstance(script, Script):
        raise TypeError(f"Alembic wrote {script!r}, not one migration")
    subprocess.run([sys.executable, "-m", "ruff", "format", "--quiet", script.path], check=True)  # noqa: S603
    return script.path


if __name__ == "__main__":
    # Alembic's column for the revision has room for 32 characters.
    if len(sys.argv) != 2 or not re.fullmatch(r"[a-z0-9_]{1,27}", sys.argv[1]):
        sys.exit("usage: python -m graphs.store.migrations NAME (a-z, 0-9 and _, at most 27 characters)")
    print(write_migration(sys.argv[1]))
