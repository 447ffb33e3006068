"""Alembic's entry point: it runs migrations on the connection, and in the transaction, that it is given."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from sqlalchemy import TypeDecorator

# Every module that has tables must be imported here, so that `python -m graphs.store.migrations` sees them.
from graphs.store import tables


def render_plain_type(kind: str, item: Any, _: Any) -> str | Literal[False]:
    """Write a type for a migration: without our classes, which may change later."""
    if kind == "type" and isinstance(item, TypeDecorator):
        return f"sa.{item.impl!r}"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.metadata,
    version_table=tables.schema.name,
    render_item=render_plain_type,
    transactional_ddl=True,
)
context.run_migrations()
