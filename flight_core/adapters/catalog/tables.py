"""The tables of the catalog. The migrations create them."""

from datetime import UTC, datetime

import sqlalchemy as sa


class Moment(sa.types.TypeDecorator[datetime]):
    """An aware UTC datetime, stored without its zone."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: sa.Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, _dialect: sa.Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


_BIG_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")

metadata = sa.MetaData()

# `revision` grows with every change of `LakeState`; `event` is the number of the newest event.
# An increment locks the row until the transaction ends, so the numbers are in commit order.
counters = sa.Table(
    "counters",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)

# A row with a key but no version is a name reserved for a first write; one without a key was dropped.
datasets = sa.Table(
    "datasets",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("key", sa.String(128), unique=True),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("tags", sa.JSON, nullable=False),
    sa.Column("created_at", Moment),
    sa.Column("dropped_at", Moment),
    sa.Column("version", sa.BigInteger),
    sa.Column("schema", sa.LargeBinary),
    sa.Column("row_count", sa.BigInteger),
    sa.Column("size_bytes", sa.BigInteger),
    sa.Column("added_rows", sa.BigInteger),
    sa.Column("removed_rows", sa.BigInteger),
    sa.Column("added_bytes", sa.BigInteger),
    sa.Column("job_id", sa.String(64)),
    sa.Column("committed_at", Moment),
    sa.Column("operation", sa.String(32)),
    sa.Column("commit_info", sa.JSON),
    sa.Column("first_kept", sa.BigInteger),  # versions before it are kept only while they have a tag
    sa.Column("owners", sa.JSON(none_as_null=True)),
    sa.Column("column_descriptions", sa.JSON(none_as_null=True)),
    sa.Column("notes_revision", sa.BigInteger),
)

version_tags = sa.Table(
    "version_tags",
    metadata,
    sa.Column("dataset_id", sa.String(64), primary_key=True),
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("tagged_at", Moment, nullable=False),
)

# Datasets without a row have the default policy.
retention_policies = sa.Table(
    "retention_policies",
    metadata,
    sa.Column("dataset_id", sa.String(64), primary_key=True),
    sa.Column("keep_versions", sa.BigInteger),
    sa.Column("keep_s", sa.Float),
)

# Expired versions whose files may still exist.
expired_versions = sa.Table(
    "expired_versions",
    metadata,
    sa.Column("dataset_id", sa.String(64), primary_key=True),
    sa.Column("version", sa.BigInteger, primary_key=True),
    sa.Column("expired_at", Moment, nullable=False),
)

# The latest report of each process about its open reads, see `docs/explanation/consistency.md`.
open_reads = sa.Table(
    "readers",
    metadata,
    sa.Column("process", sa.String(64), primary_key=True),
    sa.Column("beat_at", Moment, nullable=False),
    sa.Column("oldest_reads", sa.JSON, nullable=False),
)

# Columns that only ingestions have are NULL for other jobs.
jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("number", _BIG_ID, primary_key=True),  # in the order in which they were added
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("dataset_key", sa.String(128), nullable=False, index=True),
    sa.Column("dataset", sa.String(128), nullable=False),
    sa.Column("task", sa.String(16), nullable=False, server_default="ingest"),
    sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
    sa.Column("exclusive", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("source", sa.JSON(none_as_null=True)),
    sa.Column("mode", sa.String(32)),
    sa.Column("keys", sa.JSON, nullable=False, server_default="[]"),
    sa.Column("schema_policy", sa.String(16), nullable=False, server_default="refuse"),
    sa.Column("format", sa.String(32)),
    sa.Column("options", sa.JSON, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("worker", sa.Text),
    sa.Column("lease_until", Moment),
    sa.Column("cancel_requested", sa.Boolean, nullable=False),
    sa.Column("phase", sa.String(16)),
    sa.Column("done_bytes", sa.BigInteger, nullable=False),
    sa.Column("total_bytes", sa.BigInteger),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("bytes_per_s", sa.Float),
    sa.Column("rows_per_s", sa.Float),
    sa.Column("started_at", Moment),
    sa.Column("finished_at", Moment),
    sa.Column("version", sa.BigInteger),
    sa.Column("retry_of", sa.String(64)),
    sa.Column("schedule", sa.String(128)),
    sa.Column("result", sa.JSON(none_as_null=True)),
    sa.Column("force", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("unchanged", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("error_code", sa.String(64)),
    sa.Column("error_message", sa.Text),
    sa.Column("reading", sa.JSON(none_as_null=True)),
    sa.Column("check_report", sa.JSON(none_as_null=True)),
    sa.Column("message", sa.Text),
    sa.Column("rights", sa.JSON(none_as_null=True)),
)

schedules = sa.Table(
    "schedules",
    metadata,
    sa.Column("key", sa.String(128), primary_key=True),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("request", sa.JSON, nullable=False),
    sa.Column("every_s", sa.Float),
    sa.Column("cron", sa.Text),
    sa.Column("timezone", sa.String(64)),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("next_at", Moment, index=True),  # NULL: paused
    sa.Column("last_job", sa.String(64)),
    sa.Column("last_at", Moment),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("pause_reason", sa.Text),
    sa.Column("reads", sa.JSON(none_as_null=True)),
    sa.Column("rights", sa.JSON(none_as_null=True)),
)

job_log = sa.Table(
    "job_log",
    metadata,
    sa.Column("number", _BIG_ID, primary_key=True),
    sa.Column("job_id", sa.String(64), nullable=False, index=True),
    sa.Column("at", Moment, nullable=False),
    sa.Column("level", sa.String(16), nullable=False),
    sa.Column("phase", sa.String(16)),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
)

# The state of sources, see `SourceMemory`.
source_memories = sa.Table(
    "source_memories",
    metadata,
    sa.Column("dataset_key", sa.String(128), primary_key=True),
    sa.Column("fingerprint", sa.String(64), primary_key=True),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("settled", sa.JSON),
    sa.Column("pending", sa.JSON),
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("actor", sa.Text, primary_key=True),
    sa.Column("value", sa.String(255), primary_key=True),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("ingestion_id", sa.Text, key="resource", nullable=False),  # empty: not created yet
    sa.Column("created_at", Moment, nullable=False, index=True),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("subject", sa.String(128), nullable=False),
    sa.Column("data", sa.JSON, nullable=False),
    sa.Column("occurred_at", Moment, nullable=False),
)

# The newest version is the current contract of a dataset; without a document it was withdrawn.
contracts = sa.Table(
    "contracts",
    metadata,
    sa.Column("dataset_key", sa.String(128), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("dataset", sa.String(128), nullable=False),
    sa.Column("document", sa.JSON(none_as_null=True)),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
)

derivations = sa.Table(
    "derivations",
    metadata,
    sa.Column("key", sa.String(128), primary_key=True),
    sa.Column("target", sa.String(128), nullable=False),
    sa.Column("definition", sa.JSON, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("attempted", sa.JSON(none_as_null=True)),
    sa.Column("run", sa.String(64)),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("pause_reason", sa.Text),
    sa.Column("rights", sa.JSON(none_as_null=True)),
)

api_tokens = sa.Table(
    "api_tokens",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("digest", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("datasets", sa.JSON, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("expires_at", Moment),
    sa.Column("revoked_at", Moment),
    sa.Column("last_used_at", Moment),
    sa.Column("limits", sa.JSON(none_as_null=True)),
)

users = sa.Table(
    "users",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("datasets", sa.JSON, nullable=False),
    sa.Column("password_hash", sa.Text, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("password_changed_at", Moment, nullable=False),
    sa.Column("removed_at", Moment),
    sa.Column("limits", sa.JSON(none_as_null=True)),
)

seen = sa.Table(
    "seen",
    metadata,
    sa.Column("name", sa.String(160), primary_key=True),
    sa.Column("issuer", sa.Text, nullable=False),
    sa.Column("grant", sa.Text, nullable=False),
    sa.Column("until", Moment, nullable=False),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("at", Moment, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("door", sa.String(16), nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("credential", sa.Text, nullable=False),
    sa.Column("action", sa.String(64), nullable=False),
    sa.Column("decision", sa.String(16), nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("datasets", sa.JSON, nullable=False),
    sa.Column("code", sa.String(64), nullable=False),
    sa.Column("count", sa.BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

# Profiles are stored when they are first requested, and never change.
profiles = sa.Table(
    "profiles",
    metadata,
    sa.Column("dataset_id", sa.String(64), primary_key=True),
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("document", sa.JSON, nullable=False),
)

# The number of queries of each actor that have read a dataset; kept as long as the dataset exists.
dataset_usage = sa.Table(
    "dataset_usage",
    metadata,
    sa.Column("dataset_id", sa.String(64), primary_key=True),
    sa.Column("actor", sa.Text, primary_key=True),
    sa.Column("queries", sa.BigInteger, nullable=False),
    sa.Column("last_at", Moment, nullable=False),
)

# The names of the users' own tables, in lower case.
own_tables = sa.Table("own_tables", metadata, sa.Column("name", sa.Text, primary_key=True))
