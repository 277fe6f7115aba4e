"""Automatic maintenance."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from flight_core.application.maintenance.start import StartMaintenance
from flight_core.application.ports.clock import Clock
from flight_core.application.ports.storage import TableStore
from flight_core.domain.access import ITSELF
from flight_core.domain.dataset import Dataset
from flight_core.domain.job import Job, JobFilter, Maintenance, Task


@dataclass(frozen=True, slots=True)
class MaintenanceOptions:
    """Datasets with `compact_files` small files are compacted; all are vacuumed every `vacuum_every`. None:
    never automatically."""

    compact_files: int | None = 100
    vacuum_every: timedelta | None = timedelta(days=1)


def due(
    options: MaintenanceOptions, *, small_files: int, last_vacuum_at: datetime, now: datetime
) -> Iterator[Task]:
    """The maintenance that a dataset needs now. `small_files` as `TableStore.small_files` counts them."""
    if options.compact_files is not None and small_files >= options.compact_files:
        yield Task.COMPACT
    if options.vacuum_every is not None and now - last_vacuum_at >= options.vacuum_every:
        yield Task.VACUUM


class RequestDueMaintenance:
    """Queue the maintenance that is due; returns the number of jobs. Called periodically.

    Small files are only counted after a dataset has changed.
    """

    def __init__(
        self, start: StartMaintenance, store: TableStore, options: MaintenanceOptions, clock: Clock
    ) -> None:
        self._start = start
        self._store = store
        self._options = options
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[str, int] = {}  # the version of each dataset whose files were counted

    def __call__(self) -> int:
        with self._lock:
            return sum(self._request(dataset) for dataset in self._start.datasets.list())

    def _request(self, dataset: Dataset) -> int:
        changed = self._seen.get(dataset.id) != dataset.version
        tasks = list(
            due(
                self._options,
                small_files=self._store.small_files(dataset.current.ref) if changed else 0,
                last_vacuum_at=self._last_vacuum_at(dataset),
                now=self._clock(),
            )
        )
        self._seen[dataset.id] = dataset.version
        for task in tasks:
            self._start(dataset.name, task, actor=ITSELF)
        return len(tasks)

    def _last_vacuum_at(self, dataset: Dataset) -> datetime:
        """The time of the last vacuum, or of the dataset's creation."""
        wanted = JobFilter(dataset=dataset.name, tasks=frozenset({Task.VACUUM}))
        done = (job for job in self._start.jobs.list(wanted) if not _is_dry(job))
        return next((job.created_at for job in done), dataset.created_at)


def _is_dry(job: Job) -> bool:
    return isinstance(job, Maintenance) and bool(job.options.get("dry_run"))
