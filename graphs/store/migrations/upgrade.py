"""Runs the migrations that a database lacks. Imported only where there are any: Alembic is slow to import."""

from __future__ import annotations

from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from graphs.store import migrations


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Migrate to `revision`, in the transaction of `connection`."""
    command.upgrade(build_config(connection), revision)


def build_config(connection: Connection) -> Config:
    """Build the settings by which Alembic finds the migrations and the database."""
    attributes: dict[str, Any] = {"connection": connection}
    found = Config(attributes=attributes)
    # Alembic fills in `%(…)s` here.
    found.set_main_option("script_location", str(migrations.FOLDER).replace("%", "%%"))
    found.set_main_option("file_template", "%%(rev)s")
    return found
