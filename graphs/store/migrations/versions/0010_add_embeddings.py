"""Add embeddings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010_add_embeddings"
down_revision = "0009_add_memories"


def upgrade() -> None:
    op.add_column("memories", sa.Column("embedding", sa.LargeBinary(), nullable=True))
    op.add_column("memories", sa.Column("embedding_model", sa.String(), nullable=True))
    op.add_column("memories", sa.Column("embedded", sa.Float(), nullable=True))
