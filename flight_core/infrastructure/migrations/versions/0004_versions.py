"""History in more detail; tags, retention, and who reads what."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("datasets", sa.Column("removed_rows", sa.BigInteger))
    op.add_column("datasets", sa.Column("added_bytes", sa.BigInteger))
    op.add_column("datasets", sa.Column("job_id", sa.String(64)))
    op.add_column("datasets", sa.Column("first_kept", sa.BigInteger))
    op.create_table(
        "version_tags",
        sa.Column("dataset_id", sa.String(64), primary_key=True),
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("tagged_at", sa.DateTime, nullable=False),
    )
    op.create_table(
        "retention_policies",
        sa.Column("dataset_id", sa.String(64), primary_key=True),
        sa.Column("keep_versions", sa.BigInteger),
        sa.Column("keep_s", sa.Float),
    )
    op.create_table(
        "expired_versions",
        sa.Column("dataset_id", sa.String(64), primary_key=True),
        sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("expired_at", sa.DateTime, nullable=False),
    )
    op.create_table(
        "readers",
        sa.Column("process", sa.String(64), primary_key=True),
        sa.Column("beat_at", sa.DateTime, nullable=False),
        sa.Column("oldest_reads", sa.JSON, nullable=False),
    )
