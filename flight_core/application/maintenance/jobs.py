"""Compaction and vacuum as jobs: asked for by people, or due by themselves."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

from flight_core.application.access.rights import get_seen, require
from flight_core.application.jobs.jobs import Wakeup, event_of
from flight_core.application.maintenance.maintenance import (
    CompactDataset,
    MaintenanceOptions,
    Report,
    Step,
    VacuumDataset,
    due,
)
from flight_core.application.ports import sources
from flight_core.application.ports.clock import Clock, NewId
from flight_core.application.ports.storage import TableStore
from flight_core.application.queries.cancellation import Cancellation
from flight_core.domain.access import ITSELF, Actor, Scope
from flight_core.domain.dataset import Dataset, DatasetName, DatasetVersion
from flight_core.domain.errors import CommitConflict, FlightCoreError, InvalidRequest
from flight_core.domain.job import Job, JobFilter, JobState, Maintenance, Phase, Progress, Task
from flight_core.domain.repositories import DatasetRepository, JobRepository

_ATTEMPTS = 3
_TELL_S = 0.2

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StartMaintenance:
    """Queue a compaction, a vacuum or a check; one that is alike, and waits or runs already, is the answer.

    Raises:
        DatasetNotFound
        InvalidRequest: `options` name a column that there is not.
        PermissionDenied
    """

    jobs: JobRepository
    datasets: DatasetRepository
    clock: Clock
    new_id: NewId
    wakeup: Wakeup

    def __call__(
        self,
        name: DatasetName,
        task: Task,
        *,
        actor: Actor,
        options: Mapping[str, object] | None = None,
        scope: Scope = Scope.WRITE,
    ) -> Maintenance:
        require(actor, scope)
        dataset = get_seen(self.datasets, name, actor)
        _check_columns(dataset, options or {})
        return self.queue(dataset.name, task, actor=actor, options=options or {})

    def queue(
        self, name: DatasetName, task: Task, *, actor: Actor, options: Mapping[str, object]
    ) -> Maintenance:
        """The same, for what has been checked."""
        job = Maintenance(
            id=self.new_id(),
            maintains=name,
            does=task,
            options=options,
            state=JobState.QUEUED,
            created_at=self.clock(),
            actor=actor.name,
        )
        job = self.jobs.request_maintenance(job, event_of(JobState.QUEUED, job, self.clock))
        self.wakeup.notify()
        return job


def _check_columns(dataset: Dataset, options: Mapping[str, Any]) -> None:
    known = {column.lower() for column in dataset.current.schema.names}
    for column in options.get("sort_by", ()):
        if column.lower() not in known:
            raise InvalidRequest(
                f"dataset '{dataset.name}' has no column '{column[:100]}' to sort by", column=column[:100]
            )


@dataclass(frozen=True, slots=True)
class MaintenanceOutcome:
    """How maintenance ended well. `version` None: nothing was committed."""

    version: DatasetVersion | None = None
    result: Mapping[str, Any] = field(default_factory=dict)

    def onto(self, job: Maintenance) -> Maintenance:
        return replace(
            job, result=self.result, unchanged=self.version is None and not any(self.result.values())
        )


class Unexplained:
    """A `Runner` whose failures know nothing but why."""

    def explained(self, job: Maintenance, _error: FlightCoreError) -> Maintenance:
        return job


@dataclass(frozen=True)
class RunCompaction(Unexplained):
    """See `Runner`. Rows that were replaced meanwhile make it begin again, a few times."""

    compact: CompactDataset
    datasets: DatasetRepository
    store: TableStore

    async def __call__(self, job: Maintenance, _folder: Path, report: sources.Report) -> MaintenanceOutcome:
        """Raises as `CompactDataset`."""
        committed = await anyio.to_thread.run_sync(self.committed_before, job)
        if committed is not None:
            return committed
        dataset = await anyio.to_thread.run_sync(self.datasets.get, job.dataset)
        size_bytes = dataset.current.size_bytes

        def progress(step: Step) -> Progress:
            done_bytes = int(size_bytes * step.done / step.total) if step.total else 0
            return Progress(Phase.COMPACTING, done_bytes, size_bytes, step.done)

        return await stoppable(partial(self._compact, job), progress, report)

    def _compact(self, job: Maintenance, tell: Report, stop: Cancellation) -> MaintenanceOutcome:
        for attempt in range(_ATTEMPTS):
            before = self.datasets.get(job.dataset)
            try:
                version = self.compact(
                    job.dataset,
                    actor=Actor(job.actor),
                    job_id=job.id,
                    report=tell,
                    cancellation=stop,
                    **job.options,  # checked at the door
                )
            except CommitConflict:
                if attempt + 1 == _ATTEMPTS:
                    raise
            else:
                break
        if version.ref.version == before.version:
            return MaintenanceOutcome()
        files = {"files_before": self._files(before.current), "files_after": self._files(version)}
        return MaintenanceOutcome(version, files)

    def _files(self, version: DatasetVersion) -> int:
        return len(self.store.files(version.ref).uris)

    def committed_before(self, job: Maintenance) -> MaintenanceOutcome | None:
        dataset = self.datasets.find(job.dataset)
        version = None if dataset is None else self.store.committed_by(dataset.id, job.id)
        if version is None:
            return None
        self.compact.publish(job.dataset, version)
        return MaintenanceOutcome(version, {"files_after": self._files(version)})


@dataclass(frozen=True)
class RunVacuum(Unexplained):
    """See `Runner`."""

    vacuum: VacuumDataset

    async def __call__(self, job: Maintenance, _folder: Path, report: sources.Report) -> MaintenanceOutcome:
        """Raises as `VacuumDataset`."""
        return await stoppable(partial(self._vacuum, job), lambda _: Progress(Phase.VACUUMING), report)

    def _vacuum(self, job: Maintenance, tell: Report, stop: Cancellation) -> MaintenanceOutcome:
        done = self.vacuum(job.dataset, actor=Actor(job.actor), report=tell, cancellation=stop, **job.options)
        return MaintenanceOutcome(
            result={
                "expired_versions": len(done.expired),
                "deleted_versions": len(done.deleted),
                "deleted_files": done.removed.files,
                "freed_bytes": done.removed.size_bytes,
            }
        )

    def committed_before(self, _job: Maintenance) -> None:
        """Whatever was deleted, it was no version."""


async def stoppable(
    work: Callable[[Report, Cancellation], T], progress: Callable[[Step], Progress], report: sources.Report
) -> T:
    """The result of `work`, which runs in a thread. Being cancelled asks it to stop, and waits for that."""
    stop = Cancellation()
    latest = Step(0)

    def tell(step: Step) -> None:
        nonlocal latest
        latest = step

    async def keep_telling() -> None:
        try:
            while True:
                await report(progress(latest))
                await anyio.sleep(_TELL_S)
        finally:
            stop.request()

    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keep_telling)
        try:
            result = await anyio.to_thread.run_sync(work, tell, stop)
            await report(progress(latest))
        except Exception as error:  # raised below: the group would wrap it
            await anyio.lowlevel.checkpoint_if_cancelled()  # by us: what is to be heard of is our own end
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return result


class RequestDueMaintenance:
    """Queue the maintenance that is due; the number of jobs. Called every now and then.

    Datasets with many small files are compacted once they have changed; all are vacuumed at intervals.
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
        needed = due(
            self._options,
            small_files=self._store.small_files(dataset.current.ref) if changed else 0,
            last_vacuum_at=self._last_vacuum_at(dataset),
            now=self._clock(),
        )
        self._seen[dataset.id] = dataset.version
        tasks = [Task.COMPACT] * needed.compact + [Task.VACUUM] * needed.vacuum
        for task in tasks:
            self._start(dataset.name, task, actor=ITSELF)
        return len(tasks)

    def _last_vacuum_at(self, dataset: Dataset) -> Any:
        wanted = JobFilter(dataset=dataset.name, tasks=frozenset({Task.VACUUM}))
        done = (job for job in self._start.jobs.list(wanted) if not _is_dry(job))
        return next((job.created_at for job in done), dataset.created_at)


def _is_dry(job: Job) -> bool:
    return isinstance(job, Maintenance) and bool(job.options.get("dry_run"))
