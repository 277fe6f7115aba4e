"""Idempotency keys of requests that make other things than one job."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":  # which has no lengths
        op.alter_column("idempotency_keys", "ingestion_id", type_=sa.Text)
