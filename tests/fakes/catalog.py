"""A catalog and a table store in memory, for tests of the use cases that join the two."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from flight_core.application.ports.storage import ColumnStatistics, OnStep, TableFiles
from flight_core.domain.dataset import (
    Dataset,
    DatasetName,
    DatasetVersion,
    LakeEntry,
    LakeState,
    VersionRef,
    WriteMode,
    WriteRule,
    dataset_not_found,
)
from flight_core.domain.errors import CommitConflict, DatasetExists, VersionNotFound
from flight_core.domain.events import Event
from flight_core.domain.versions import Tag


class SteadyClock:
    """A second passes with every look."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


class MemoryDatasets:
    """See `DatasetRepository`."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._names: dict[str, tuple[DatasetName, str]] = {}
        self._published: dict[str, Dataset] = {}
        self._dropped: dict[str, datetime] = {}
        self._revision = 0

    def get(self, name: DatasetName) -> Dataset:
        dataset = self.find(name)
        if dataset is None:
            raise dataset_not_found(name.value, [found.name.key for found in self.list()])
        return dataset

    def find(self, name: DatasetName) -> Dataset | None:
        _name, dataset_id = self._names.get(name.key, (None, ""))
        return self._published.get(dataset_id)

    def list(self) -> Sequence[Dataset]:
        return sorted(self._published.values(), key=lambda dataset: dataset.name.key)

    def lake_state(self) -> LakeState:
        entries = {found.name.key: LakeEntry(found.name, found.current.ref) for found in self.list()}
        return LakeState(self._revision, entries)

    def reserve(self, name: DatasetName, dataset_id: str) -> str:
        return self._names.setdefault(name.key, (name, dataset_id))[1]

    def reservations(self) -> Sequence[tuple[DatasetName, str]]:
        return [(name, id) for name, id in self._names.values() if id not in self._published]

    def publish(self, name: DatasetName, version: DatasetVersion, event: Event) -> Dataset:
        dataset_id = version.ref.dataset_id
        if dataset_id in self._dropped:
            raise CommitConflict("dropped meanwhile")
        if self.reserve(name, dataset_id) != dataset_id:
            raise DatasetExists("the name is taken")
        old = self._published.get(dataset_id)
        if old is None or old.version < version.ref.version:
            spelling, created_at = (old.name, old.created_at) if old else (name, version.committed_at)
            self._published[dataset_id] = Dataset(dataset_id, spelling, version, created_at)
            self._revision += 1
            self.events.append(event)
        return self._published[dataset_id]

    def annotate(self, dataset: Dataset, event: Event) -> Dataset:
        if self.get(dataset.name).notes_revision != dataset.notes_revision:
            raise CommitConflict("changed meanwhile")
        changed = replace(dataset, notes_revision=dataset.notes_revision + 1)
        self._published[dataset.id] = changed
        self.events.append(event)
        return changed

    def drop(self, name: DatasetName, event: Event, *, seen: Dataset | None = None) -> Dataset:
        dataset = self.get(name)
        if seen is not None and seen != dataset:
            raise CommitConflict("it has changed")
        del self._names[name.key]
        del self._published[dataset.id]
        self._dropped[dataset.id] = event.occurred_at
        self._revision += 1
        self.events.append(event)
        return dataset

    def dropped(self, *, before: datetime) -> Sequence[str]:
        return [dataset_id for dataset_id, moment in self._dropped.items() if moment < before]


class MemoryTables:
    """See `TableStore`; every version is a list of batches. `deleted` and `swept` tell what was asked."""

    def __init__(self, clock: SteadyClock) -> None:
        self.clock = clock
        self.open_writes = 0
        self.deleted: list[str] = []
        self.swept: list[datetime] = []
        self._rows: dict[VersionRef, list[pa.RecordBatch]] = {}
        self._versions: dict[str, list[DatasetVersion]] = {}
        self._jobs: dict[tuple[str, str], DatasetVersion] = {}

    def rows(self, ref: VersionRef) -> pa.Table:
        return pa.Table.from_batches(self._rows[ref])

    def stage(self, dataset_id: str, schema: pa.Schema | None, rule: WriteRule) -> "MemoryWrite":
        self.open_writes += 1
        return MemoryWrite(self, dataset_id, rule.mode)

    def commit(
        self,
        dataset_id: str,
        mode: WriteMode,
        batches: Sequence[pa.RecordBatch],
        *,
        job_id: str | None,
        info: Mapping[str, str],
    ) -> DatasetVersion:
        if job_id is not None and (dataset_id, job_id) in self._jobs:
            return self._jobs[dataset_id, job_id]
        versions = self._versions.setdefault(dataset_id, [])
        if versions and mode is WriteMode.CREATE:
            raise DatasetExists("somebody else was first")
        kept = self._rows[versions[-1].ref] if versions and mode is WriteMode.APPEND else []
        rows = [*kept, *batches]
        version = DatasetVersion(
            ref=VersionRef(dataset_id, len(versions)),
            schema=rows[0].schema,
            row_count=sum(batch.num_rows for batch in rows),
            size_bytes=sum(batch.nbytes for batch in rows),
            committed_at=self.clock(),
            operation=str(mode) if versions else "create",
            commit_info=info,
            added_rows=sum(batch.num_rows for batch in batches),
        )
        versions.append(version)
        self._rows[version.ref] = rows
        if job_id is not None:
            self._jobs[dataset_id, job_id] = version
        return version

    def files(self, ref: VersionRef) -> TableFiles:
        raise NotImplementedError

    def latest(self, dataset_id: str) -> DatasetVersion | None:
        return next(iter(self.history(dataset_id)), None)

    def history(self, dataset_id: str) -> Sequence[DatasetVersion]:
        return self._versions.get(dataset_id, [])[::-1]

    def version_at(self, dataset_id: str, moment: datetime) -> int:
        for version in self.history(dataset_id):
            if version.committed_at <= moment:
                return version.ref.version
        raise VersionNotFound("there was none yet")

    def committed_by(self, dataset_id: str, job_id: str) -> DatasetVersion | None:
        return self._jobs.get((dataset_id, job_id))

    def scan(self, ref: VersionRef) -> Iterator[pa.RecordBatch]:
        yield from self.rows(ref).to_batches()

    def attachment(self, ref: VersionRef) -> Path | None:
        return None

    def statistics(self, ref: VersionRef) -> Sequence[ColumnStatistics]:
        return [
            ColumnStatistics(field.name, str(field.type), field.nullable, None, None, None, 0)
            for field in self.rows(ref).schema
        ]

    def delete(self, dataset_id: str) -> None:
        self.deleted.append(dataset_id)

    def sweep(self, *, before: datetime) -> None:
        self.swept.append(before)


class NoProfiles:
    """The part of `ProfileRepository` that reads."""

    def find(self, ref: VersionRef) -> None:
        return None


class NoTags:
    """The part of `VersionRepository` that finding a version uses: there are none."""

    def tags(self, dataset_id: str) -> Sequence[Tag]:
        return ()


class MemoryWrite:
    """See `StagedWrite`."""

    def __init__(self, tables: MemoryTables, dataset_id: str, mode: WriteMode) -> None:
        self._tables = tables
        self._dataset_id = dataset_id
        self._mode = mode
        self._batches: list[pa.RecordBatch] = []

    def write(self, batch: pa.RecordBatch) -> None:
        self._batches.append(batch)

    @property
    def folder(self) -> Path:
        raise NotImplementedError

    def adopt(self, files: Sequence[Path], *, nan_columns=None) -> None:
        raise NotImplementedError

    @property
    def row_count(self) -> int:
        return sum(batch.num_rows for batch in self._batches)

    def attach(self, file: Path) -> None:
        raise NotImplementedError

    def commit(
        self,
        *,
        job_id: str | None = None,
        info: Mapping[str, str] | None = None,
        base_version: int | None = None,
        on_rows: OnStep = lambda _: None,
    ) -> DatasetVersion:
        return self._tables.commit(
            self._dataset_id, self._mode, self._batches, job_id=job_id, info=info or {}
        )

    def close(self) -> None:
        self._tables.open_writes -= 1


def numbered_ids(prefix: str = "id") -> Iterator[str]:
    number = 0
    while True:
        number += 1
        yield f"{prefix}{number}"
