"""What sources remember, and jobs that found nothing new."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for name in ("force", "unchanged"):
        op.add_column("ingestions", sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "source_memories",
        sa.Column("dataset_key", sa.String(128), primary_key=True),
        sa.Column("fingerprint", sa.String(64), primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("settled", sa.JSON),
        sa.Column("pending", sa.JSON),
    )
