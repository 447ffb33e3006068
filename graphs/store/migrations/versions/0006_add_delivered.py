"""Turns know whether their answer was delivered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006_add_delivered"
down_revision = "0005_add_usage"


def upgrade() -> None:
    op.add_column("turns", sa.Column("delivered", sa.Boolean(), nullable=True))
    op.create_index(
        "turns_undelivered",
        "turns",
        ["owner", "base"],
        unique=False,
        sqlite_where=sa.text("delivered IS 0"),
        postgresql_where=sa.text("delivered IS false"),
    )
