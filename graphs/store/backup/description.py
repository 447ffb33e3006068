"""What is in the copy of a database: its shape and the head of its audit."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, inspect

from graphs.errors import StorageError
from graphs.store import migrations, tables
from graphs.store.audit.chain import ChainHead
from graphs.store.audit.log import find_head
from graphs.store.backends.schema_version import read_revision
from graphs.store.backup.manifest import DatabaseKind


@dataclass(frozen=True, kw_only=True)
class DatabaseDescription:
    """What the copy of a database holds."""

    kind: DatabaseKind
    version: str
    """Of SQLite's library, or of the PostgreSQL server."""
    revision: str
    audit_head: ChainHead


def describe_database(connection: Connection, kind: DatabaseKind, version: str, place: str) -> DatabaseDescription:
    """Read the shape of the tables and the head of the audit, in the transaction of `connection`; `place` is for
    messages. Raises StorageError for a database that is not Interlock's."""
    revision = read_revision(connection)
    if revision is None:
        raise StorageError(f"{place} holds no tables of Interlock, so there is nothing to back up")
    # The first shapes had no audit.
    head = find_head(connection) if inspect(connection).has_table(tables.audit_head.name) else None
    return DatabaseDescription(kind=kind, version=version, revision=revision, audit_head=head or ChainHead())


def check_revision(revision: str) -> None:
    """Check that this program knows a shape of the tables. Raises StorageError for that of a newer one."""
    # The shape before there were migrations has a number of its own, which this program knows as the oldest.
    if "_" in revision and revision not in migrations.list_revisions():
        raise StorageError(
            f"the backup has shape {revision}, this Interlock knows {migrations.find_newest_revision()}: "
            "restore it with the version that made it, or a newer one"
        )
