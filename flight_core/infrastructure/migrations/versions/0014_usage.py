"""How many queries of whom have read each dataset."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "dataset_usage",
        sa.Column("dataset_id", sa.String(64), primary_key=True),
        sa.Column("actor", sa.Text, primary_key=True),
        sa.Column("queries", sa.BigInteger, nullable=False),
        sa.Column("last_at", sa.DateTime, nullable=False),
    )
