"""Who owns datasets, and what their columns are."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("datasets", sa.Column("owners", sa.JSON))
    op.add_column("datasets", sa.Column("column_descriptions", sa.JSON))
    op.add_column("datasets", sa.Column("notes_revision", sa.BigInteger))
