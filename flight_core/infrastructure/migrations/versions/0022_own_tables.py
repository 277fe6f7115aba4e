"""The names that the users' own tables take, for processes that do not have these."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.create_table("own_tables", sa.Column("name", sa.Text, primary_key=True))
