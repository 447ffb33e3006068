"""Count requests that are passed on to the model endpoint beside those that are answered by graphs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013_count_endpoint_requests"
down_revision = "0012_add_addressees"


def upgrade() -> None:
    # With a default, so that a replica of the version before can add rows meanwhile.
    op.add_column("usage", sa.Column("endpoint_requests", sa.Text(), nullable=False, server_default="[]"))
