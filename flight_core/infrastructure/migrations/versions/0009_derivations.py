"""Derived datasets."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "derivations",
        sa.Column("key", sa.String(128), primary_key=True),
        sa.Column("target", sa.String(128), nullable=False),
        sa.Column("definition", sa.JSON, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("attempted", sa.JSON),
        sa.Column("run", sa.String(64)),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
