"""People of an issuer, whose work goes on after a restart."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.create_table(
        "seen",
        sa.Column("name", sa.String(160), primary_key=True),
        sa.Column("issuer", sa.Text, nullable=False),
        sa.Column("grant", sa.Text, nullable=False),
        sa.Column("until", sa.DateTime, nullable=False),
    )
