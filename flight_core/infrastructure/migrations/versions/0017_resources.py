"""Idempotency keys of requests that make other things than one job."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    with op.batch_alter_table("idempotency_keys") as table:
        table.alter_column("ingestion_id", type_=sa.Text)
