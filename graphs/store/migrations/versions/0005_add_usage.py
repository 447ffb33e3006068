"""Add usage."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005_add_usage"
down_revision = "0004_add_worker"


def upgrade() -> None:
    op.create_table(
        "usage",
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("requests", sa.Text(), nullable=False),
        sa.Column("tokens", sa.Text(), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "role"),
    )
    op.create_index(op.f("ix_usage_until"), "usage", ["until"], unique=False)
