"""The rights of the credentials that asked for background work; not known of what was asked for before."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    for table in ("jobs", "schedules", "derivations"):
        op.add_column(table, sa.Column("rights", sa.JSON))
