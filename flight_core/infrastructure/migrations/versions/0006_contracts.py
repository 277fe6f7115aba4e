"""Contracts of datasets, and what checking rows by them has found."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "contracts",
        sa.Column("dataset_key", sa.String(128), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("dataset", sa.String(128), nullable=False),
        sa.Column("document", sa.JSON),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
    )
    op.add_column("ingestions", sa.Column("check_report", sa.JSON))
