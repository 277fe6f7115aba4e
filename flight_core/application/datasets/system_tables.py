"""The rows of the system tables, see `flight_core.domain.system`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from flight_core.application.access.rights import list_seen
from flight_core.application.datasets.lineage import parents
from flight_core.application.datasets.versions import HistoryEntry, ReadHistory
from flight_core.application.jobs.jobs import ListJobs
from flight_core.domain.access import Actor
from flight_core.domain.dataset import Dataset
from flight_core.domain.ingestion import Ingestion
from flight_core.domain.job import Job
from flight_core.domain.lineage import INPUTS
from flight_core.domain.repositories.datasets import DatasetRepository
from flight_core.domain.system import SYSTEM_TABLES

_ALL = 1 << 31

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ReadSystemTable:
    """The current rows of a system table, for datasets that the actor sees."""

    datasets: DatasetRepository
    history: ReadHistory
    list_jobs: ListJobs

    def __call__(self, table: str, *, actor: Actor) -> pa.Table:
        rows = {
            "datasets": self._datasets,
            "versions": self._versions,
            "lineage": self._lineage,
            "jobs": self._jobs,
        }[table](actor)
        return pa.Table.from_pylist(list(rows), SYSTEM_TABLES[table])

    def _datasets(self, actor: Actor) -> Iterator[Row]:
        return map(_dataset, list_seen(self.datasets, actor))

    def _versions(self, actor: Actor) -> Iterator[Row]:
        for dataset in list_seen(self.datasets, actor):
            for entry in self.history.of(dataset):
                yield {"dataset": dataset.name.value, **_version(entry)}

    def _lineage(self, actor: Actor) -> Iterator[Row]:
        names = {dataset.id: dataset.name for dataset in list_seen(self.datasets, actor)}
        for dataset_id, name in names.items():
            for version in self.history.store.history(dataset_id):
                for parent, kind in parents(version, name, actor):
                    present = names.get(parent.ref.dataset_id)
                    yield {
                        "dataset": name.value,
                        "version": version.ref.version,
                        "parent_dataset": (present or parent.name).value,
                        "parent_version": parent.ref.version,
                        "kind": kind,
                        "parent_dropped": present is None,
                    }

    def _jobs(self, actor: Actor) -> Iterator[Row]:
        return map(_job, self.list_jobs(actor=actor, limit=_ALL))


def _dataset(dataset: Dataset) -> Row:
    current = dataset.current
    return {
        "dataset": dataset.name.value,
        "id": dataset.id,
        "version": dataset.version,
        "rows": current.row_count,
        "size_bytes": current.size_bytes,
        "created_at": dataset.created_at,
        "updated_at": current.committed_at,
        "description": dataset.description or None,
        "tags": dataset.tags,
        "owners": dataset.owners,
    }


def _version(entry: HistoryEntry) -> Row:
    version, info = entry.version, entry.version.commit_info
    told = {name: info.get(name) or None for name in ("actor", "message", "source", "checksum")}
    return {
        "version": version.ref.version,
        "committed_at": version.committed_at,
        "operation": version.operation,
        "rows": version.row_count,
        "added_rows": version.added_rows,
        "removed_rows": version.removed_rows,
        "size_bytes": version.size_bytes,
        "added_bytes": version.added_bytes,
        **told,
        "job_id": version.job_id,
        "state": entry.state.value,
        "tags": [tag.value for tag in entry.tags],
        "info": [item for item in info.items() if item[0] != INPUTS],  # they are rows of `lineage`
    }


def _job(job: Job) -> Row:
    """Without the fields of the source, which may contain secrets."""
    row = {
        "job_id": job.id,
        "task": job.task.value,
        "dataset": job.dataset.value,
        "state": job.state.value,
        "actor": job.actor,
        "version": job.version,
        "unchanged": job.unchanged,
        "attempt": job.attempt,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "error_code": job.error_code,
        "error_message": job.error_message,
    }
    if isinstance(job, Ingestion):
        request = job.request
        row |= {
            "source_kind": request.source.kind,
            "mode": request.mode.value,
            "schedule": job.schedule,
        }
    return row
