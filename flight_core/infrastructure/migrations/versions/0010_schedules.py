"""Ingestions that repeat."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("schedule", sa.String(128)))
    op.create_table(
        "schedules",
        sa.Column("key", sa.String(128), primary_key=True),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("every_s", sa.Float),
        sa.Column("cron", sa.Text),
        sa.Column("timezone", sa.String(64)),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("next_at", sa.DateTime, index=True),
        sa.Column("last_job", sa.String(64)),
        sa.Column("last_at", sa.DateTime),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
