"""Turns know the process that runs them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004_add_worker"
down_revision = "0003_stories"


def upgrade() -> None:
    op.add_column("turns", sa.Column("worker", sa.String(), nullable=True))
