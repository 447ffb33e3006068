"""The version of our tables in a database: made where there are none, migrated where they are older."""

from __future__ import annotations

from sqlalchemy import Connection, insert, inspect, select

from graphs.errors import StorageError
from graphs.store import migrations, tables

PRE_MIGRATION_VERSION = "1"
"""What the files say that were made before there were migrations. Their shape is that of `migrations.FIRST`."""


def is_newest(connection: Connection) -> bool:
    """Whether the tables are those of this program."""
    return read_revision(connection) == migrations.find_newest_revision()


def prepare(connection: Connection) -> None:
    """Make or migrate the tables, in the transaction of `connection`, which must keep other processes out.

    Raises StorageError for a database that a newer version wrote.
    """
    found = read_revision(connection)
    if found == migrations.find_newest_revision():
        return
    if found is None:
        # From the newest tables at once: Alembic takes longer to import than all of this. A test holds the two equal.
        tables.metadata.create_all(connection, checkfirst=False)
        connection.execute(insert(tables.schema), {"version_num": migrations.find_newest_revision()})
        return
    if found == PRE_MIGRATION_VERSION:
        # By the name that they know, so that the version that made the file refuses it from now on.
        tables.schema.drop(connection)
        tables.schema.create(connection)
        connection.execute(insert(tables.schema), {"version_num": migrations.FIRST})
    elif found not in migrations.list_revisions():
        raise StorageError(
            f"the database has shape {found}, this Interlock knows {migrations.find_newest_revision()}: "
            "start the version that wrote it, or let `storage` name another database"
        )
    # Not above, because it takes 0.4 s and is needed once in the life of a shape.
    from graphs.store.migrations.upgrade import upgrade  # noqa: PLC0415

    upgrade(connection)


def read_revision(connection: Connection) -> str | None:
    """Read the revision that the database says it has; None if it is empty."""
    inspector = inspect(connection)
    if not inspector.has_table(tables.schema.name):
        return None
    columns = {column["name"] for column in inspector.get_columns(tables.schema.name)}
    column = tables.schema.c.version_num if "version_num" in columns else tables.legacy_schema.c.version
    return str(connection.scalar(select(column)))
