"""Named locks across all processes, for the few things that cannot be decided by a single statement."""

from __future__ import annotations

import hashlib

from sqlalchemy import Connection, bindparam, func, select

_HOLD = select(func.pg_advisory_xact_lock(bindparam("key")))


def hold(connection: Connection, name: str) -> None:
    """Hold the lock `name` until this transaction ends, once no other one holds it.

    In a transaction of `Database.write`; what is read afterwards stays true if everyone who changes it holds the same
    name. SQLite's transactions hold the write lock anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_HOLD, {"key": compute_key(name)})


def compute_key(name: str) -> int:
    """Compute the 64 bits by which PostgreSQL knows an advisory lock; other programs in the database have others."""
    return int.from_bytes(hashlib.sha256(f"interlock {name}".encode()).digest()[:8], signed=True)
