"""Our tables and their indexes. Who changes them adds a migration: see `migrations/__init__.py`."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

import orjson
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Row,
    Select,
    String,
    Table,
    Text,
    TypeDecorator,
    false,
)

from graphs.text import make_storable

AnyRow: TypeAlias = Row[*tuple[Any, ...]]
AnySelect: TypeAlias = Select[*tuple[Any, ...]]


class StorableText(TypeDecorator[str]):
    """A column for text of people and models: lone surrogates and NUL are replaced, so that they fail no turn."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else make_storable(value)


class Json(TypeDecorator[Any]):
    """A column for JSON, kept as text. `None` is NULL."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any | None, dialect: Dialect) -> str | None:
        return None if value is None else _dumps(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else _loads(value)


def _dumps(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        # Integers beyond 64 bits and lone surrogates: legal in JSON, and a model may well write them.
        return json.dumps(value)


def _loads(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)


metadata = MetaData()

schema = Table(
    "interlock_schema",
    metadata,
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="interlock_schema_pkc"),
)
"""The revision that the database is at. Alembic's own table, whose columns it prescribes."""

legacy_schema = Table(schema.name, MetaData(), Column("version", Integer, nullable=False))
"""The same in files that were made before there were migrations."""

turns = Table(
    "turns",
    metadata,
    Column("id", String, primary_key=True),
    Column("parent", String),
    Column("owner", String, nullable=False),
    Column("chat", String),
    Column("message", String),
    Column("graph", String, nullable=False),
    Column("created", Float, nullable=False),
    Column("status", String, nullable=False),
    Column("base", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("text", StorableText, nullable=False),
    Column("user_digest", String, nullable=False),
    Column("messages", Json, nullable=False),
    Column("thread", String),
    Column("request", Json),
    Column("story", Json),
    Column("worker", String),
    Column("delivered", Boolean),
    Index("turns_by_digest", "owner", "digest", "created", "user_digest"),
    Index("turns_by_base", "owner", "base", "status", "created"),
    Index("turns_by_created", "created"),
    Index("turns_by_owner", "owner", "created"),
)
# Only rows of clients that name their chats and messages are worth an entry.
Index(
    "turns_by_chat",
    turns.c.owner,
    turns.c.chat,
    turns.c.digest,
    turns.c.created,
    sqlite_where=turns.c.chat.is_not(None),
    postgresql_where=turns.c.chat.is_not(None),
)
Index(
    "turns_by_message",
    turns.c.owner,
    turns.c.message,
    sqlite_where=turns.c.message.is_not(None),
    postgresql_where=turns.c.message.is_not(None),
)
# Only a moment passes between a turn's end and its delivery: what stays here was cut off.
Index(
    "turns_undelivered",
    turns.c.owner,
    turns.c.base,
    sqlite_where=turns.c.delivered.is_(false()),
    postgresql_where=turns.c.delivered.is_(false()),
)

turn_calls = Table(
    "turn_calls",
    metadata,
    Column("call_id", String, primary_key=True),
    Column("turn", String, primary_key=True),
    Index("turn_calls_by_turn", "turn"),
)

approvals = Table(
    "approvals",
    metadata,
    Column("id", String, primary_key=True),
    Column("turn", String, nullable=False, index=True),
    Column("thread", String, nullable=False),
    Column("call_id", String, nullable=False, unique=True),
    Column("graph", String, nullable=False),
    Column("snapshot", String, nullable=False),
    Column("tool", String, nullable=False),
    Column("args", Json, nullable=False),
    Column("digest", String, nullable=False),
    Column("rule", StorableText, nullable=False),
    Column("caller_owner", String, nullable=False),
    Column("caller", String, nullable=False),
    Column("approver", String),
    Column("created", Float, nullable=False),
    Column("expires", Float),
    Column("status", String, nullable=False),
    Column("decided", Float),
    Column("decided_by", String),
    Column("note", StorableText),
    Column("used", Float),
    Column("definition", String),
    Column("reason", StorableText),
    Index("approvals_by_status", "status", "created"),
    Index("approvals_by_owner", "caller_owner", "created"),
    Index("approvals_by_created", "created"),
)

questions = Table(
    "questions",
    metadata,
    Column("id", String, primary_key=True),
    Column("place", String, nullable=False, unique=True),
    Column("turn", String, nullable=False),
    Column("thread", String, nullable=False, index=True),
    Column("graph", String, nullable=False),
    Column("snapshot", String, nullable=False),
    Column("node", String, nullable=False),
    Column("text", StorableText, nullable=False),
    Column("fields", Json, nullable=False),
    Column("caller_owner", String, nullable=False),
    Column("caller", String, nullable=False),
    Column("role", String),
    Column("created", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Column("status", String, nullable=False),
    Column("given", Json, nullable=False),
    Column("misses", Integer, nullable=False),
    Column("problem", StorableText, nullable=False),
    Column("answered", Float),
    Column("answered_by", StorableText),
    Column("channel", String),
    Index("questions_by_status", "status", "created"),
    Index("questions_by_owner", "caller_owner", "created"),
    Index("questions_by_created", "created"),
)
"""Not kept among the approvals: whatever reads those, an older replica included, never finds a question there."""

notifications = Table(
    "notifications",
    metadata,
    Column("id", String, primary_key=True),
    Column("event", String, nullable=False),
    Column("destination", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("outcome", String),
    Column("created", Float, nullable=False, index=True),
    Column("due", Float, nullable=False),
    Column("status", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("addressees", String),
)
"""What is to be sent to people; see `notifications.py`."""
# Only a moment passes until most are sent: what waits is looked for every second.
Index(
    "notifications_waiting",
    notifications.c.destination,
    notifications.c.due,
    sqlite_where=notifications.c.status == "waiting",
    postgresql_where=notifications.c.status == "waiting",
)

notification_addressees = Table(
    "notification_addressees",
    metadata,
    Column("destination", String, nullable=False),
    Column("addressee", String, nullable=False),
    Column("since", Float, nullable=False),
    PrimaryKeyConstraint("destination", "addressee", name="notification_addressees_pk"),
)
"""Since when a destination sends to an addressee."""

memories = Table(
    "memories",
    metadata,
    Column("owner", String, nullable=False),
    Column("graph", String, nullable=False),
    Column("scope", String, nullable=False),
    Column("key", StorableText, nullable=False),
    Column("value", Json),
    Column("words", StorableText, nullable=False),
    Column("written", Float, nullable=False, index=True),
    Column("expires", Float, nullable=False, index=True),
    Column("embedding", LargeBinary),
    Column("embedding_model", String),
    # The `written` of the value that it is of: a process without these columns writes a value, and leaves them be.
    Column("embedded", Float),
    # No index may begin with the graph: SQLite would read all owners of it for the entries of one.
    PrimaryKeyConstraint("owner", "graph", "scope", "key", name="memories_pk"),
)
"""What graphs remember beyond a turn; see `memories.py`."""

journal = Table(
    "journal",
    metadata,
    Column("call_id", String, primary_key=True),
    Column("thread", String, nullable=False),
    Column("tool", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("claimed", Float, nullable=False, index=True),
    Column("finished", Boolean, nullable=False),
    Column("failed", Boolean, nullable=False),
    Column("result", Json),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("time", Float, nullable=False, index=True),
    Column("kind", String, nullable=False),
    Column("turn", String, nullable=False),
    Column("thread", String, nullable=False),
    Column("user", String, nullable=False),
    Column("owner", String, nullable=False),
    Column("key", String, nullable=False),
    Column("role", String, nullable=False),
    Column("graph", String, nullable=False),
    Column("snapshot", String, nullable=False),
    Column("node", String, nullable=False),
    Column("tool", String, nullable=False),
    Column("call_id", String, nullable=False, index=True),
    Column("args_digest", String, nullable=False),
    Column("args", Text),
    Column("verdict", String, nullable=False),
    Column("rule", Text, nullable=False),
    Column("approval", String),
    Column("note", Text),
    Column("outcome", String),
    Column("seconds", Float),
    Column("previous", String, nullable=False),
    Column("hash", String, nullable=False),
    Index("audit_by_turn", "turn", "seq"),
    Index("audit_by_owner", "owner", "seq"),
)

audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", String, nullable=False),
)
"""One row: the newest record. It gives the next one its place, and shows where the newest ones were removed."""

usage = Table(
    "usage",
    metadata,
    Column("owner", String, primary_key=True),
    Column("role", String, primary_key=True),
    Column("requests", Json, nullable=False),
    Column("endpoint_requests", Json, nullable=False, server_default="[]"),
    Column("tokens", Json, nullable=False),
    Column("until", Float, nullable=False, index=True),
)
"""What limits are held against; see `usage.py`."""
