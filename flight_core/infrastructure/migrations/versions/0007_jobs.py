"""Jobs of every kind in one table, with priorities, rates and logs."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_BIG_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    with op.batch_alter_table("ingestions") as table:  # what jobs of other kinds do not have
        table.alter_column("source", existing_type=sa.JSON, nullable=True)
        table.alter_column("mode", existing_type=sa.String(32), nullable=True)
        table.add_column(sa.Column("task", sa.String(16), nullable=False, server_default="ingest"))
        table.add_column(sa.Column("priority", sa.Integer, nullable=False, server_default="0"))
        table.add_column(sa.Column("exclusive", sa.Boolean, nullable=False, server_default=sa.false()))
        table.add_column(sa.Column("bytes_per_s", sa.Float))
        table.add_column(sa.Column("rows_per_s", sa.Float))
        table.add_column(sa.Column("retry_of", sa.String(64)))
        table.add_column(sa.Column("result", sa.JSON))
    for column in ("dataset_key", "state"):
        op.drop_index(f"ix_ingestions_{column}", "ingestions")
        op.create_index(f"ix_jobs_{column}", "ingestions", [column])
    op.rename_table("ingestions", "jobs")
    op.execute("UPDATE jobs SET exclusive = (mode <> 'append')")
    op.create_table(
        "job_log",
        sa.Column("number", _BIG_ID, primary_key=True),
        sa.Column("job_id", sa.String(64), nullable=False, index=True),
        sa.Column("at", sa.DateTime, nullable=False),
        sa.Column("level", sa.String(16), nullable=False),
        sa.Column("phase", sa.String(16)),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
    )
