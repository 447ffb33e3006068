"""Add the addressees of notifications."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012_add_addressees"
down_revision = "0011_add_notifications"


def upgrade() -> None:
    op.add_column("notifications", sa.Column("addressees", sa.String(), nullable=True))
    op.create_table(
        "notification_addressees",
        sa.Column("destination", sa.String(), nullable=False),
        sa.Column("addressee", sa.String(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("destination", "addressee", name="notification_addressees_pk"),
    )
