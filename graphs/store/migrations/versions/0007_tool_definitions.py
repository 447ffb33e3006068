"""Approvals know the definition of their tool."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007_tool_definitions"
down_revision = "0006_add_delivered"


def upgrade() -> None:
    op.add_column("approvals", sa.Column("definition", sa.String(), nullable=True))
