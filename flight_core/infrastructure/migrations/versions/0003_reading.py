"""How the source of an ingestion was read."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("ingestions", sa.Column("reading", sa.JSON))
