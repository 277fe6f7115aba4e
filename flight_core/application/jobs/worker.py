"""Running jobs: claim one, hold its lease, run it, store how it ended."""

import itertools
import logging
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from flight_core.application.access.owners import ActAsOwner
from flight_core.application.jobs.jobs import Wakeup, event_of
from flight_core.application.jobs.lease import Lease
from flight_core.application.jobs.runner import JobOutcome, Runner
from flight_core.application.ports.clock import Clock
from flight_core.application.ports.tracing import UNTRACED, Fields, Span, Tracer
from flight_core.domain.errors import (
    AttemptsExhausted,
    Conflict,
    FlightCoreError,
    IngestionNotFound,
)
from flight_core.domain.job import Job, JobState, LogLevel, Maintenance, Task
from flight_core.domain.repositories.events import EventRepository
from flight_core.domain.repositories.jobs import JobRepository
from flight_core.domain.system_errors import system_failure

logger = logging.getLogger(__name__)

_INTERNAL = (FlightCoreError.code, "internal error; the server's log has it under this job's id")
_UNTOLD = 0.2  # the part of a job's time, at most, of which nobody knows yet
_GIVEN_UP = (
    "the server ended {} times while this job ran, which may be why; see its log and whether the machine has"
    " memory left, then retry the job"
)


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """`name` tells this worker from all others that share the catalog."""

    name: str
    scratch: Path
    concurrency: int = 2
    max_attempts: int = 3
    lease_s: float = 10.0  # another worker may take the job after that much silence
    heartbeat_s: float = 1.0
    progress_s: float = 0.25  # at first; less often the longer a job takes
    poll_s: float = 1.0  # how soon jobs queued by other processes are noticed
    release_s: float = 5.0  # for giving jobs back at shutdown


class JobWorker:
    """Claims jobs and runs up to `concurrency` of them at a time, until `stop`.

    Any number of workers, in any number of processes, may share a catalog: a job belongs to whoever
    holds its lease. What a worker that died held is taken up again when the lease runs out.
    """

    def __init__(
        self,
        runners: Mapping[Task, Runner],
        *,
        jobs: JobRepository,
        events: EventRepository,
        clock: Clock,
        wakeup: Wakeup,
        act_as_owner: ActAsOwner,
        options: WorkerOptions,
        tracer: Tracer = UNTRACED,
    ) -> None:
        self._runners = runners
        self._jobs = jobs
        self._events = events
        self._clock = clock
        self._wakeup = wakeup
        self._act_as_owner = act_as_owner
        self._options = options
        self._tracer = tracer
        self._scope = anyio.CancelScope()
        self._claims = itertools.count(1)
        # Of its own: heartbeats must not queue behind other people's threads.
        self._threads = anyio.CapacityLimiter(options.concurrency + 1)

    async def run(self) -> None:
        """Work until `stop` is called or the caller's scope is cancelled. Running jobs are then
        given back, to be started again by the next worker."""
        self._wakeup.listen()
        await anyio.to_thread.run_sync(self._sweep, limiter=self._threads)
        slots = anyio.Semaphore(self._options.concurrency)
        with self._scope:
            async with anyio.create_task_group() as tasks:
                while True:
                    await slots.acquire()
                    lease = await self._claim()
                    if lease is None:
                        slots.release()
                        await self._wakeup.wait(self._options.poll_s)
                    else:
                        tasks.start_soon(self._work, lease, slots.release)

    def _sweep(self) -> None:
        """Delete the scratch of jobs whose server died between their end and the cleaning up."""
        try:
            for folder in self._options.scratch.iterdir():
                if not self._is_wanted(folder.name):
                    shutil.rmtree(folder, ignore_errors=True)
        except Exception:
            logger.exception("the scratch of earlier jobs was not cleaned up")

    def _is_wanted(self, job_id: str) -> bool:
        try:
            return not self._jobs.get(job_id).state.final
        except IngestionNotFound:
            return False

    def stop(self) -> None:
        """Let go of everything; `run` returns within `release_s` seconds. Call it in the worker's loop."""
        self._scope.cancel()

    async def _claim(self) -> Lease | None:
        try:
            return await anyio.to_thread.run_sync(self._claim_now, limiter=self._threads)
        except Exception:
            logger.exception("the catalog could not be asked for work")
            return None

    def _claim_now(self) -> Lease | None:
        holder = f"{self._options.name}-{next(self._claims)}"
        job = self._jobs.claim(worker=holder, lease_until=self._lease_until())
        if job is None:
            return None
        self._events.append(event_of("started", job, self._clock))
        about: Fields = {
            "job_id": job.id,
            "dataset": job.dataset.value,
            "attempt": job.attempt,
            "actor": job.actor,
        }
        lease = Lease(job, holder, self._clock, self._tracer.start(f"job {job.task}", about))
        earlier = "; the one before ended without a word" if job.attempt > 1 else ""
        lease.log.add(f"attempt {job.attempt} of {self._options.max_attempts}{earlier}")
        return lease

    async def _work(self, lease: Lease, done: Callable[[], None]) -> None:
        try:
            with lease.span.current():
                await self._see_through(lease)
        finally:
            _end(lease.span, lease.final)
            done()

    async def _see_through(self, lease: Lease) -> None:
        job = lease.job
        folder = self._options.scratch / job.id / str(job.attempt)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._hold, lease, tasks.cancel_scope)
                lease.final = await self._attempt(lease, folder)
                tasks.cancel_scope.cancel()
            if lease.final is None and lease.cancelled:
                lease.final = self._ended(lease, JobState.CANCELLED)
        finally:
            with anyio.move_on_after(self._options.release_s, shield=True):
                await anyio.to_thread.run_sync(
                    self._settle, lease, folder, limiter=self._threads, abandon_on_cancel=True
                )

    async def _hold(self, lease: Lease, scope: anyio.CancelScope) -> None:
        """Store progress and extend the lease, until the job is over, cancelled, or somebody else's.

        Each time is a transaction, so it is done less often the longer the job takes.
        """
        silent_s = 0.0
        while True:
            pause_s = max(self._options.progress_s, lease.elapsed_s * _UNTOLD)
            pause_s = min(pause_s, self._options.heartbeat_s)
            await anyio.sleep(pause_s)
            silent_s += pause_s
            if lease.progress is lease.stored and silent_s < self._options.heartbeat_s:
                continue
            silent_s = 0.0
            try:
                record = await anyio.to_thread.run_sync(self._store_progress, lease, limiter=self._threads)
            except Conflict:
                logger.warning("lost the lease of a job", extra=lease.context)
                scope.cancel()
            except Exception:
                logger.exception("progress could not be stored", extra=lease.context)
            else:
                if record.cancel_requested:
                    lease.cancelled = True
                    scope.cancel()

    def _store_progress(self, lease: Lease) -> Job:
        progress = lease.progress
        record = self._jobs.report(
            lease.job.id, lease.paced(), worker=lease.holder, lease_until=self._lease_until()
        )
        self._jobs.write_log(lease.job.id, lease.log.take())
        if progress is not lease.stored:
            lease.stored = progress
            self._events.append(event_of("progressed", record, self._clock))
        return record

    async def _attempt(self, lease: Lease, folder: Path) -> Job:
        """The job's final record, whatever happened."""
        try:
            with lease.log.listening():
                outcome = await self._outcome(lease, folder)
        except FlightCoreError as error:
            logger.warning("job failed", extra={**lease.context, "error": str(error)})
            failed = self._failed(lease, error.code, error.message)
            return self._runners[failed.task].explained(failed, error)
        except Exception as error:
            failure = system_failure(error)
            if failure is None:
                logger.exception("job failed", extra=lease.context)
                return self._failed(lease, *_INTERNAL)
            logger.warning("job failed", extra={**lease.context, "error": str(error)})
            return self._failed(lease, failure.code, failure.message)
        if outcome is not None:
            return self._succeeded(lease, outcome)
        if lease.cancelled:
            return self._ended(lease, JobState.CANCELLED)
        return self._failed(lease, AttemptsExhausted.code, _GIVEN_UP.format(self._options.max_attempts))

    async def _outcome(self, lease: Lease, folder: Path) -> JobOutcome | None:
        """How the job succeeded, now or earlier; None if it did not and is not to be tried again."""
        job, run = lease.job, self._runners[lease.job.task]
        last = lease.cancelled or job.attempt > self._options.max_attempts
        if last or job.attempt > 1:
            committed = await anyio.to_thread.run_sync(run.committed_before, job)
            if last or committed is not None:
                return committed
        await anyio.to_thread.run_sync(self._act_as_owner, job)
        await anyio.to_thread.run_sync(_prepare, folder)
        return await run(job, folder, lease.report)

    def _succeeded(self, lease: Lease, outcome: JobOutcome) -> Job:
        version = outcome.version
        if version is not None:
            lease.progress = replace(lease.progress, rows=version.added_rows)
        ended = self._ended(
            lease,
            JobState.SUCCEEDED,
            version=None if version is None else version.ref.version,
            unchanged=version is None,
        )
        return outcome.onto(ended)

    def _failed(self, lease: Lease, code: str, message: str) -> Job:
        return self._ended(lease, JobState.FAILED, error_code=code, error_message=message)

    def _ended(self, lease: Lease, state: JobState, **outcome: Any) -> Job:
        return replace(
            lease.job,
            state=state,
            progress=lease.overall(),
            finished_at=self._clock(),
            cancel_requested=lease.cancelled,
            **outcome,
        )

    def _settle(self, lease: Lease, folder: Path) -> None:
        """Store how the job ended, or give it back; clean up."""
        shutil.rmtree(folder, ignore_errors=True)
        try:
            if lease.final is None:
                lease.log.add("given back: the server stops")
                self._jobs.write_log(lease.job.id, lease.log.take())
                self._jobs.release(lease.job.id, worker=lease.holder)
            else:
                lease.log.add(*_last_words(lease.final, lease.elapsed_s))
                self._jobs.write_log(lease.job.id, lease.log.take())
                event = event_of(lease.final.state, lease.final, self._clock)
                self._jobs.finish(lease.final, event)
                shutil.rmtree(folder.parent, ignore_errors=True)  # of earlier attempts, too
        except Exception:  # the lease runs out, and the next attempt sees what was committed
            logger.exception("a job's end was not stored", extra=lease.context)
        with suppress(OSError):  # another attempt may be at work there
            folder.parent.rmdir()

    def _lease_until(self) -> datetime:
        return self._clock() + timedelta(seconds=self._options.lease_s)


def _end(span: Span, job: Job | None) -> None:
    if job is None:  # given back
        span.end({"state": str(JobState.QUEUED)})
        return
    outcome: Fields = {"state": str(job.state), "rows": job.progress.rows, "version": job.version}
    span.end(outcome, error=job.error_code)


def _last_words(job: Job, elapsed_s: float) -> tuple[str, LogLevel]:
    if job.state is JobState.FAILED:
        return f"failed: [{job.error_code}] {job.error_message}", LogLevel.ERROR
    if job.state is JobState.CANCELLED:
        return "cancelled", LogLevel.WARNING
    if job.unchanged:
        return f"there was nothing to do, found in {elapsed_s:.1f} s", LogLevel.INFO
    if isinstance(job, Maintenance):
        counts = {what: count for what, count in (job.result or {}).items() if isinstance(count, int)}
        done = ", ".join(f"{what.replace('_', ' ')} {count:,}" for what, count in counts.items())
        return f"done in {elapsed_s:.1f} s: {done}", LogLevel.INFO
    return f"version {job.version}, {job.progress.rows:,} rows in {elapsed_s:.1f} s", LogLevel.INFO


def _prepare(folder: Path) -> None:
    """Make it, without what earlier attempts of the job may have left beside it."""
    shutil.rmtree(folder.parent, ignore_errors=True)
    folder.mkdir(parents=True)
