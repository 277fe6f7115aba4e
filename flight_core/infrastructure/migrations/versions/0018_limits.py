"""What single tokens and users may use."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.add_column("api_tokens", sa.Column("limits", sa.JSON))
    op.add_column("users", sa.Column("limits", sa.JSON))
