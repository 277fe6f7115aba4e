"""Which datasets the source of a schedule reads; not known of those made before."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.add_column("schedules", sa.Column("reads", sa.JSON))
