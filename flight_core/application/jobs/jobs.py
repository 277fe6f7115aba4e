"""Listing, watching and cancelling jobs of every kind. `worker` runs them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import anyio

from flight_core.application.access.rights import readable_job, require, seen_job
from flight_core.application.ports.clock import Clock
from flight_core.domain.access import Actor, Scope
from flight_core.domain.errors import PermissionDenied
from flight_core.domain.events import Event, EventKind
from flight_core.domain.ingestion import Ingestion
from flight_core.domain.job import Job, JobFilter, JobState, LogLine
from flight_core.domain.repositories.events import EventRepository
from flight_core.domain.repositories.jobs import EVERY_JOB, JobRepository


class Wakeup:
    """Wakes the worker of this process when there may be a job. `notify` works from any thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event = asyncio.Event()

    def listen(self) -> None:
        """Called once by the worker, in its event loop, before it looks for jobs."""
        self._loop = asyncio.get_running_loop()

    def notify(self) -> None:
        """Wake the worker; does nothing if there is none."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._event.set)

    async def wait(self, timeout_s: float) -> None:
        """Wait for the next `notify` (or an earlier one during which nobody waited), at most `timeout_s`
        seconds."""
        with anyio.move_on_after(timeout_s):
            await self._event.wait()
        self._event.clear()


@dataclass(frozen=True, slots=True)
class GetJob:
    """The job as it is now; raises IngestionNotFound, PermissionDenied."""

    jobs: JobRepository

    def __call__(self, job_id: str, *, actor: Actor) -> Job:
        return readable_job(self.jobs.get(job_id), actor)


@dataclass(frozen=True, slots=True)
class ListJobs:
    """Those of datasets that the actor sees, newest first. Raises as `JobRepository.list`."""

    jobs: JobRepository

    def __call__(
        self, wanted: JobFilter = EVERY_JOB, *, actor: Actor, limit: int = 100, before: str | None = None
    ) -> Sequence[Job]:
        require(actor, Scope.READ)
        found: list[Job] = []
        while len(found) < limit:
            page = self.jobs.list(wanted, limit=limit, before=before)
            found += [job for job in page if actor.sees(job.dataset)]
            if len(page) < limit:
                break
            before = page[-1].id
        return found[:limit]


@dataclass(frozen=True, slots=True)
class ReadJobLog:
    """The log of a job, oldest lines first. Raises as `JobRepository.read_log`; and PermissionDenied."""

    jobs: JobRepository

    def __call__(
        self, job_id: str, *, actor: Actor, after: int = 0, limit: int = 1000
    ) -> Sequence[tuple[int, LogLine]]:
        readable_job(self.jobs.get(job_id), actor)
        return self.jobs.read_log(job_id, after=after, limit=limit)


@dataclass(frozen=True, slots=True)
class CancelJob:
    """Ask a job to stop: a queued one is cancelled at once, a running one within two seconds.

    A job that is already committing may still succeed.

    Raises:
        IngestionNotFound, IngestionFinished.
        PermissionDenied: it is somebody else's.
    """

    jobs: JobRepository
    events: EventRepository
    clock: Clock
    wakeup: Wakeup

    def __call__(self, job_id: str, *, actor: Actor) -> Job:
        require(actor, Scope.INGEST)
        require_owner(seen_job(self.jobs.get(job_id), actor), actor)
        job = self.jobs.request_cancel(job_id)
        if job.state is JobState.CANCELLED:
            self.events.append(event_of(JobState.CANCELLED, job, self.clock))
        self.wakeup.notify()
        return job


def require_owner(job: Job, actor: Actor) -> None:
    """
    Raises:
        PermissionDenied: it is somebody else's, and the actor is no administrator.
    """
    if not actor.looks_after(job.actor):
        raise PermissionDenied(f"ingestion '{job.id}' belongs to another user")


def event_of(happened: str, job: Job, clock: Clock) -> Event:
    """An event about a job. All have the same fields, which are None if unknown.

    `happened` is the part of the event's kind after the dot.
    """
    progress, dataset = job.progress, job.dataset.value
    more: dict[str, object] = {}
    if isinstance(job, Ingestion):
        more = {
            "ingestion": job.id,
            "schedule": job.schedule,
            "rejected_rows": 0 if job.check is None else job.check.rejected_rows,
        }
    return Event(
        kind=EventKind(f"{'ingestion' if more else 'maintenance'}.{happened}"),
        subject=dataset,
        data={
            "job": job.id,
            "task": str(job.task),
            "dataset": dataset,
            "state": str(job.state),
            "phase": None if progress.phase is None else str(progress.phase),
            "done_bytes": progress.done_bytes,
            "total_bytes": progress.total_bytes,
            "rows": progress.rows,
            "bytes_per_s": _rounded(progress.bytes_per_s),
            "rows_per_s": _rounded(progress.rows_per_s),
            "eta_s": _rounded(progress.eta_s),
            "version": job.version,
            "unchanged": job.unchanged,
            "error_code": job.error_code,
            "error_message": job.error_message,
            **more,
        },
        occurred_at=clock(),
    )


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 1)
