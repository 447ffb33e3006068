"""LangGraph's PostgreSQL saver inside a transaction of the store.

LangGraph's `PostgresSaver` holds a lock around its one connection (or pool), and `AsyncPostgresSaver` leaves a
connection in the middle of a statement when its task is cancelled. So there is one for each operation, around the
connection of the transaction under way: that costs microseconds, and checkpoints are kept together with what they
belong to.
"""

from __future__ import annotations

from typing import Any, cast

import psycopg
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.base import BasePostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from sqlalchemy import Connection, inspect, text


def get_driver_connection(connection: Connection) -> psycopg.Connection[Any]:
    """Get the driver's connection behind SQLAlchemy's."""
    return cast("psycopg.Connection[Any]", connection.connection.driver_connection)


def make_saver(connection: Connection, serde: SerializerProtocol) -> PostgresSaver:
    """Make a saver on a transaction under way; only its blocking methods are for use."""
    return PostgresSaver(get_driver_connection(connection), serde=serde)


def is_set_up(connection: Connection) -> bool:
    """Whether LangGraph's tables are there, in the shape that this version of it knows, or a newer one."""
    if not inspect(connection).has_table("checkpoint_migrations"):
        return False
    version = connection.scalar(text("SELECT max(v) FROM checkpoint_migrations"))
    return version is not None and version >= len(BasePostgresSaver.MIGRATIONS) - 1


def set_up(connection: psycopg.Connection[Any]) -> None:
    """Make or migrate LangGraph's tables, on a connection that commits each statement, by one process at a time."""
    PostgresSaver(connection).setup()
