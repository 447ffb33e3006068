"""The tables of the files that were made before there were migrations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001_first"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "approvals",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("turn", sa.String(), nullable=False),
        sa.Column("thread", sa.String(), nullable=False),
        sa.Column("call_id", sa.String(), nullable=False),
        sa.Column("graph", sa.String(), nullable=False),
        sa.Column("snapshot", sa.String(), nullable=False),
        sa.Column("tool", sa.String(), nullable=False),
        sa.Column("args", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("caller_owner", sa.String(), nullable=False),
        sa.Column("caller", sa.String(), nullable=False),
        sa.Column("approver", sa.String(), nullable=True),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("expires", sa.Float(), nullable=True),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("decided", sa.Float(), nullable=True),
        sa.Column("decided_by", sa.String(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("used", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("call_id"),
    )
    op.create_index("approvals_by_created", "approvals", ["created"], unique=False)
    op.create_index("approvals_by_owner", "approvals", ["caller_owner", "created"], unique=False)
    op.create_index("approvals_by_status", "approvals", ["status", "created"], unique=False)
    op.create_index(op.f("ix_approvals_turn"), "approvals", ["turn"], unique=False)
    op.create_table(
        "journal",
        sa.Column("call_id", sa.String(), nullable=False),
        sa.Column("thread", sa.String(), nullable=False),
        sa.Column("tool", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("claimed", sa.Float(), nullable=False),
        sa.Column("finished", sa.Boolean(), nullable=False),
        sa.Column("failed", sa.Boolean(), nullable=False),
        sa.Column("result", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("call_id"),
    )
    op.create_index(op.f("ix_journal_claimed"), "journal", ["claimed"], unique=False)
    op.create_table(
        "turn_calls",
        sa.Column("call_id", sa.String(), nullable=False),
        sa.Column("turn", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("call_id", "turn"),
    )
    op.create_index("turn_calls_by_turn", "turn_calls", ["turn"], unique=False)
    op.create_table(
        "turns",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("parent", sa.String(), nullable=True),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("chat", sa.String(), nullable=True),
        sa.Column("message", sa.String(), nullable=True),
        sa.Column("graph", sa.String(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("base", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("user_digest", sa.String(), nullable=False),
        sa.Column("messages", sa.Text(), nullable=False),
        sa.Column("thread", sa.String(), nullable=True),
        sa.Column("request", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("turns_by_base", "turns", ["owner", "base", "status", "created"], unique=False)
    op.create_index(
        "turns_by_chat",
        "turns",
        ["owner", "chat", "digest", "created"],
        unique=False,
        sqlite_where=sa.text("chat IS NOT NULL"),
        postgresql_where=sa.text("chat IS NOT NULL"),
    )
    op.create_index("turns_by_created", "turns", ["created"], unique=False)
    op.create_index("turns_by_digest", "turns", ["owner", "digest", "created", "user_digest"], unique=False)
    op.create_index(
        "turns_by_message",
        "turns",
        ["owner", "message"],
        unique=False,
        sqlite_where=sa.text("message IS NOT NULL"),
        postgresql_where=sa.text("message IS NOT NULL"),
    )
