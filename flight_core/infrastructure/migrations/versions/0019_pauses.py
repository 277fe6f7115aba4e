"""Why Skein itself has paused a schedule or a derivation."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.add_column("schedules", sa.Column("pause_reason", sa.Text))
    op.add_column("derivations", sa.Column("pause_reason", sa.Text))
