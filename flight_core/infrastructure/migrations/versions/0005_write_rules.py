"""Keys and schema policies of ingestions, and the names that requests were given."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    with op.batch_alter_table("ingestions") as table:  # SQLite has to copy it for that
        table.alter_column("mode", existing_type=sa.String(16), existing_nullable=False, type_=sa.String(32))
        table.add_column(sa.Column("keys", sa.JSON, nullable=False, server_default="[]"))
        table.add_column(sa.Column("schema_policy", sa.String(16), nullable=False, server_default="refuse"))
    op.create_table(
        "idempotency_keys",
        sa.Column("actor", sa.Text, primary_key=True),
        sa.Column("value", sa.String(255), primary_key=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("ingestion_id", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False, index=True),
    )
