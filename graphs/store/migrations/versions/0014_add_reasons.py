"""Add the reasons of the rules that ask for approval."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014_add_reasons"
down_revision = "0013_count_endpoint_requests"


def upgrade() -> None:
    op.add_column("approvals", sa.Column("reason", sa.Text(), nullable=True))
