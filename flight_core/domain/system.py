"""System tables: what the server knows about its datasets, for SQL (`skein.versions` and others)."""

from collections.abc import Mapping

import pyarrow as pa

# The catalog that has them, in its schema `main`. In SQL either may be left out of `skein.main.versions`.
SYSTEM = "skein"
SYSTEM_SCHEMA = "main"

_TEXT, _TEXTS = pa.string(), pa.list_(pa.string())
_NUMBER, _TRUTH = pa.int64(), pa.bool_()
_MOMENT = pa.timestamp("us", tz="UTC")


def _columns(**types: pa.DataType) -> pa.Schema:
    return pa.schema(list(types.items()))


SYSTEM_TABLES: Mapping[str, pa.Schema] = {
    # One row per dataset, with its current version.
    "datasets": _columns(
        dataset=_TEXT,
        id=_TEXT,
        version=_NUMBER,
        rows=_NUMBER,
        size_bytes=_NUMBER,
        created_at=_MOMENT,
        updated_at=_MOMENT,
        description=_TEXT,
        tags=_TEXTS,
        owners=_TEXTS,
    ),
    # One row per version, including expired ones.
    "versions": _columns(
        dataset=_TEXT,
        version=_NUMBER,
        committed_at=_MOMENT,
        operation=_TEXT,
        rows=_NUMBER,
        added_rows=_NUMBER,
        removed_rows=_NUMBER,
        size_bytes=_NUMBER,
        added_bytes=_NUMBER,
        actor=_TEXT,
        message=_TEXT,
        source=_TEXT,
        checksum=_TEXT,
        job_id=_TEXT,
        state=_TEXT,
        tags=_TEXTS,
        info=pa.map_(_TEXT, _TEXT),
    ),
    # One row for each version that a version was made from. The `kind` is `input` for one that was read, and
    # `previous` for the version before, if its rows were kept.
    "lineage": _columns(
        dataset=_TEXT,
        version=_NUMBER,
        parent_dataset=_TEXT,
        parent_version=_NUMBER,
        kind=_TEXT,
        parent_dropped=_TRUTH,
    ),
    # One row per job, as long as its record is kept.
    "jobs": _columns(
        job_id=_TEXT,
        task=_TEXT,
        dataset=_TEXT,
        state=_TEXT,
        actor=_TEXT,
        source_kind=_TEXT,
        mode=_TEXT,
        schedule=_TEXT,
        version=_NUMBER,
        unchanged=_TRUTH,
        attempt=_NUMBER,
        created_at=_MOMENT,
        started_at=_MOMENT,
        finished_at=_MOMENT,
        error_code=_TEXT,
        error_message=_TEXT,
    ),
}


def no_rows(table: str) -> pa.Table:
    """The empty system table."""
    return SYSTEM_TABLES[table].empty_table()
