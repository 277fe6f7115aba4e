"""Datasets and their current versions."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from flight_core.adapters.catalog import counters
from flight_core.adapters.catalog.cached_read import CachedRead
from flight_core.adapters.catalog.events import append_event
from flight_core.adapters.catalog.tables import (
    dataset_usage,
    datasets,
    expired_versions,
    profiles,
    retention_policies,
    version_tags,
)
from flight_core.domain.dataset import (
    Dataset,
    DatasetName,
    DatasetVersion,
    LakeEntry,
    LakeState,
    VersionRef,
    dataset_not_found,
)
from flight_core.domain.errors import CommitConflict, DatasetExists
from flight_core.domain.events import Event
from flight_core.infrastructure.database import Database

_ENTRIES = tuple(
    datasets.c[name] for name in ("key", "name", "id", "version", "first_kept", "column_descriptions")
)
_published = sa.and_(datasets.c.key.is_not(None), datasets.c.version.is_not(None))


class SqlDatasetRepository:
    """See `DatasetRepository`. Writers are serialized by the lock on the revision counter."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lake_state = CachedRead(database, counters.REVISION, _lake_state)

    def get(self, name: DatasetName) -> Dataset:
        with self._database.read() as connection:
            return _get(connection, name)

    def find(self, name: DatasetName) -> Dataset | None:
        with self._database.read() as connection:
            return _find(connection, name)

    def list(self) -> Sequence[Dataset]:
        statement = datasets.select().where(_published).order_by(datasets.c.key)
        with self._database.read() as connection:
            return [_dataset(row) for row in connection.execute(statement)]

    def lake_state(self) -> LakeState:
        return self._lake_state()

    def reserve(self, name: DatasetName, dataset_id: str) -> str:
        with self._database.read() as connection:
            row = _by_key(connection, name)
        if row is None:
            with self._database.write() as connection:
                counters.lock(connection, counters.REVISION)
                row = _by_key(connection, name)
                if row is None:
                    _bind(connection, name, dataset_id)
        return dataset_id if row is None else str(row.id)

    def reservations(self) -> Sequence[tuple[DatasetName, str]]:
        statement = sa.select(datasets.c.name, datasets.c.id).where(
            datasets.c.key.is_not(None), datasets.c.version.is_(None)
        )
        with self._database.read() as connection:
            return [(DatasetName(name), dataset_id) for name, dataset_id in connection.execute(statement)]

    def publish(self, name: DatasetName, version: DatasetVersion, event: Event) -> Dataset:
        with self._database.write() as connection:
            counters.lock(connection, counters.REVISION)
            row = _owned(connection, name, version.ref.dataset_id)
            if row is None:
                _bind(connection, name, version.ref.dataset_id)
            if row is None or row.version is None or row.version < version.ref.version:
                spelling = row.name if row is not None and row.version is not None else name.value
                created_at = row.created_at if row is not None else None
                statement = datasets.update().where(datasets.c.id == version.ref.dataset_id)
                values = _version_values(version)
                connection.execute(
                    statement.values(name=spelling, created_at=created_at or version.committed_at, **values)
                )
                counters.count(connection, counters.REVISION)
                append_event(connection, event)
            return _get(connection, name)

    def annotate(self, dataset: Dataset, event: Event) -> Dataset:
        with self._database.write() as connection:
            counters.lock(connection, counters.REVISION)
            current = _get(connection, dataset.name)
            if (current.id, current.notes_revision) != (dataset.id, dataset.notes_revision):
                raise _changed(dataset.name)
            values = {
                "description": dataset.description,
                "tags": list(dataset.tags),
                "owners": list(dataset.owners),
                "column_descriptions": dict(dataset.column_descriptions),
                "notes_revision": dataset.notes_revision + 1,
            }
            connection.execute(datasets.update().where(datasets.c.id == dataset.id).values(values))
            counters.count(connection, counters.REVISION)
            append_event(connection, event)
            return _get(connection, dataset.name)

    def drop(self, name: DatasetName, event: Event, *, seen: Dataset | None = None) -> Dataset:
        with self._database.write() as connection:
            counters.lock(connection, counters.REVISION)
            dataset = _get(connection, name)
            if seen is not None and _state(dataset) != _state(seen):
                raise _changed(name)
            statement = datasets.update().where(datasets.c.id == dataset.id)
            connection.execute(statement.values(key=None, dropped_at=event.occurred_at))
            own = (version_tags, retention_policies, expired_versions, dataset_usage, profiles)
            for table in own:
                connection.execute(table.delete().where(table.c.dataset_id == dataset.id))
            counters.count(connection, counters.REVISION)
            append_event(connection, event)
            return dataset

    def dropped(self, *, before: datetime) -> Sequence[str]:
        statement = sa.select(datasets.c.id).where(datasets.c.dropped_at < before)
        with self._database.read() as connection:
            return connection.execute(statement).scalars().all()


def _by_key(connection: sa.Connection, name: DatasetName) -> sa.Row[Any] | None:
    return connection.execute(datasets.select().where(datasets.c.key == name.key)).one_or_none()


def _find(connection: sa.Connection, name: DatasetName) -> Dataset | None:
    row = _by_key(connection, name)
    return None if row is None or row.version is None else _dataset(row)


def _get(connection: sa.Connection, name: DatasetName) -> Dataset:
    dataset = _find(connection, name)
    if dataset is None:
        known = connection.execute(sa.select(datasets.c.key).where(_published)).scalars()
        raise dataset_not_found(name.value, known)
    return dataset


def _state(dataset: Dataset) -> tuple[str, int, int]:
    return dataset.id, dataset.version, dataset.notes_revision


def _changed(name: DatasetName) -> CommitConflict:
    return CommitConflict(
        f"somebody else changed dataset '{name}'; look at it, and try again", name=name.value
    )


def _owned(connection: sa.Connection, name: DatasetName, dataset_id: str) -> sa.Row[Any] | None:
    """The row of that name and id; None if neither is used yet."""
    row = _by_key(connection, name)
    if row is not None and row.id == dataset_id:
        return row
    if connection.execute(datasets.select().where(datasets.c.id == dataset_id)).one_or_none():
        raise CommitConflict(
            f"dataset '{name}' was dropped while it was written to, and the new rows with it; write again",
            name=name.value,
        )
    if row is not None:
        raise DatasetExists(
            f"the name '{name}' belongs to another dataset; choose another name", name=name.value
        )
    return None


def _bind(connection: sa.Connection, name: DatasetName, dataset_id: str) -> None:
    connection.execute(
        datasets.insert().values(id=dataset_id, key=name.key, name=name.value, description="", tags=[])
    )


def _lake_state(connection: sa.Connection, revision: int) -> LakeState:
    return LakeState(revision, _entries(connection))


def _entries(connection: sa.Connection) -> dict[str, LakeEntry]:
    tags: dict[str, dict[str, int]] = {}
    for tag in connection.execute(version_tags.select()):
        tags.setdefault(tag.dataset_id, {})[tag.key] = tag.version
    rows = connection.execute(sa.select(*_ENTRIES).where(_published))
    return {
        key: LakeEntry(
            DatasetName(name),
            VersionRef(dataset_id, version),
            first_kept or 0,
            tags.get(dataset_id, {}),
            descriptions or {},
        )
        for key, name, dataset_id, version, first_kept, descriptions in rows
    }


def _version_values(version: DatasetVersion) -> dict[str, object]:
    return {
        "version": version.ref.version,
        "schema": version.schema.serialize().to_pybytes(),
        "row_count": version.row_count,
        "size_bytes": version.size_bytes,
        "added_rows": version.added_rows,
        "removed_rows": version.removed_rows,
        "added_bytes": version.added_bytes,
        "job_id": version.job_id,
        "committed_at": version.committed_at,
        "operation": version.operation,
        "commit_info": dict(version.commit_info),
    }


def _dataset(row: sa.Row[Any]) -> Dataset:
    current = DatasetVersion(
        ref=VersionRef(row.id, row.version),
        schema=pa.ipc.read_schema(pa.py_buffer(row.schema)),
        row_count=row.row_count,
        size_bytes=row.size_bytes,
        committed_at=row.committed_at,
        operation=row.operation,
        commit_info=row.commit_info,
        added_rows=row.added_rows,
        removed_rows=row.removed_rows or 0,  # NULL in rows from before there was a column for it, as below
        added_bytes=row.added_bytes or 0,
        job_id=row.job_id,
    )
    return Dataset(
        id=row.id,
        name=DatasetName(row.name),
        current=current,
        created_at=row.created_at,
        description=row.description,
        tags=tuple(row.tags),
        first_kept=row.first_kept or 0,
        owners=tuple(row.owners or ()),
        column_descriptions=row.column_descriptions or {},
        notes_revision=row.notes_revision or 0,
    )
