"""Add memories."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009_add_memories"
down_revision = "0008_add_questions"


def upgrade() -> None:
    op.create_table(
        "memories",
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("graph", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=True),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("written", sa.Float(), nullable=False),
        sa.Column("expires", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "graph", "scope", "key", name="memories_pk"),
    )
    op.create_index(op.f("ix_memories_expires"), "memories", ["expires"], unique=False)
    op.create_index(op.f("ix_memories_written"), "memories", ["written"], unique=False)
