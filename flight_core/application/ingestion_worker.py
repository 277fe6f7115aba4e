"""Running ingestions: claim a job, hold its lease, run it, store how it ended."""

import itertools
import logging
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import anyio
import anyio.to_thread

from flight_core.application.ingestion import Wakeup, event_of
from flight_core.application.ingestion_run import Outcome, RunIngestion
from flight_core.application.ports.clock import Clock
from flight_core.domain.contract import report_of
from flight_core.domain.errors import Conflict, FlightCoreError
from flight_core.domain.events import EventKind
from flight_core.domain.ingestion import Ingestion, IngestionState, Progress
from flight_core.domain.repositories import EventRepository, IngestionRepository

logger = logging.getLogger(__name__)

_INTERNAL_ERROR = "internal error; the server's log has it under this ingestion's id"
_GIVEN_UP = "given up after {} attempts: the server ended each time while this job ran"
_FINISHED = {
    IngestionState.SUCCEEDED: EventKind.INGESTION_SUCCEEDED,
    IngestionState.FAILED: EventKind.INGESTION_FAILED,
    IngestionState.CANCELLED: EventKind.INGESTION_CANCELLED,
}


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """`name` tells this worker from all others that share the catalog."""

    name: str
    scratch: Path
    concurrency: int = 2
    max_attempts: int = 3
    lease_s: float = 10.0  # another worker may take the job after that much silence
    heartbeat_s: float = 1.0
    progress_s: float = 0.25
    poll_s: float = 1.0  # how soon jobs queued by other processes are noticed
    release_s: float = 5.0  # for giving jobs back at shutdown


class _Lease:
    """A job that was claimed as `holder`: its latest progress, and how it ended."""

    def __init__(self, ingestion: Ingestion, holder: str) -> None:
        self.ingestion = ingestion
        self.holder = holder
        self.progress = ingestion.progress
        self.stored = ingestion.progress
        self.cancelled = ingestion.cancel_requested
        self.final: Ingestion | None = None
        self.context = {
            "ingestion": ingestion.id,
            "dataset": ingestion.request.dataset.value,
            "attempt": ingestion.attempt,
        }

    async def report(self, progress: Progress) -> None:
        self.progress = progress


class IngestionWorker:
    """Claims jobs and runs up to `concurrency` of them at a time, until `stop`.

    Any number of workers, in any number of processes, may share a catalog: a job belongs to whoever
    holds its lease. What a worker that died held is taken up again when the lease runs out.
    """

    def __init__(
        self,
        run_ingestion: RunIngestion,
        *,
        ingestions: IngestionRepository,
        events: EventRepository,
        clock: Clock,
        wakeup: Wakeup,
        options: WorkerOptions,
    ) -> None:
        self._run_ingestion = run_ingestion
        self._ingestions = ingestions
        self._events = events
        self._clock = clock
        self._wakeup = wakeup
        self._options = options
        self._scope = anyio.CancelScope()
        self._claims = itertools.count(1)
        # Of its own: heartbeats must not queue behind other people's threads.
        self._threads = anyio.CapacityLimiter(options.concurrency + 1)

    async def run(self) -> None:
        """Work until `stop` is called or the caller's scope is cancelled. Running jobs are then
        given back, to be started again by the next worker."""
        self._wakeup.listen()
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

    def stop(self) -> None:
        """Let go of everything; `run` returns within `release_s` seconds. Call it in the worker's loop."""
        self._scope.cancel()

    async def _claim(self) -> _Lease | None:
        try:
            return await anyio.to_thread.run_sync(self._claim_now, limiter=self._threads)
        except Exception:
            logger.exception("the catalog could not be asked for work")
            return None

    def _claim_now(self) -> _Lease | None:
        holder = f"{self._options.name}-{next(self._claims)}"
        ingestion = self._ingestions.claim(worker=holder, lease_until=self._lease_until())
        if ingestion is None:
            return None
        self._events.append(event_of(EventKind.INGESTION_STARTED, ingestion, self._clock))
        return _Lease(ingestion, holder)

    async def _work(self, lease: _Lease, done: Callable[[], None]) -> None:
        ingestion = lease.ingestion
        folder = self._options.scratch / ingestion.id / str(ingestion.attempt)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._hold, lease, tasks.cancel_scope)
                lease.final = await self._attempt(lease, folder)
                tasks.cancel_scope.cancel()
            if lease.final is None and lease.cancelled:
                lease.final = self._ended(lease, IngestionState.CANCELLED)
        finally:
            with anyio.move_on_after(self._options.release_s, shield=True):
                await anyio.to_thread.run_sync(
                    self._settle, lease, folder, limiter=self._threads, abandon_on_cancel=True
                )
            done()

    async def _hold(self, lease: _Lease, scope: anyio.CancelScope) -> None:
        """Store progress and extend the lease, until the job is over, cancelled, or somebody else's."""
        silent_s = 0.0
        while True:
            await anyio.sleep(self._options.progress_s)
            silent_s += self._options.progress_s
            if lease.progress is lease.stored and silent_s < self._options.heartbeat_s:
                continue
            silent_s = 0.0
            try:
                record = await anyio.to_thread.run_sync(self._store_progress, lease, limiter=self._threads)
            except Conflict:
                logger.warning("lost the lease of an ingestion", extra=lease.context)
                scope.cancel()
            except Exception:
                logger.exception("progress could not be stored", extra=lease.context)
            else:
                if record.cancel_requested:
                    lease.cancelled = True
                    scope.cancel()

    def _store_progress(self, lease: _Lease) -> Ingestion:
        progress = lease.progress
        record = self._ingestions.report(
            lease.ingestion.id, progress, worker=lease.holder, lease_until=self._lease_until()
        )
        if progress is not lease.stored:
            lease.stored = progress
            self._events.append(event_of(EventKind.INGESTION_PROGRESSED, record, self._clock))
        return record

    async def _attempt(self, lease: _Lease, folder: Path) -> Ingestion:
        """The job's final record, whatever happened."""
        try:
            outcome = await self._outcome(lease, folder)
        except FlightCoreError as error:
            logger.info("ingestion failed", extra={**lease.context, "error": str(error)})
            return _with_report(self._failed(lease, error.code, error.message), error)
        except Exception:
            logger.exception("ingestion failed", extra=lease.context)
            return self._failed(lease, FlightCoreError.code, _INTERNAL_ERROR)
        if outcome is not None:
            return self._succeeded(lease, outcome)
        if lease.cancelled:
            return self._ended(lease, IngestionState.CANCELLED)
        return self._failed(lease, FlightCoreError.code, _GIVEN_UP.format(self._options.max_attempts))

    async def _outcome(self, lease: _Lease, folder: Path) -> Outcome | None:
        """How the job succeeded, now or earlier; None if it did not and is not to be tried again."""
        ingestion = lease.ingestion
        if lease.cancelled or ingestion.attempt > self._options.max_attempts:
            version = await anyio.to_thread.run_sync(self._run_ingestion.committed_before, ingestion)
            return None if version is None else Outcome(version)
        await anyio.to_thread.run_sync(_prepare, folder)
        return await self._run_ingestion(ingestion, folder, lease.report)

    def _succeeded(self, lease: _Lease, outcome: Outcome) -> Ingestion:
        version = outcome.version
        if version is None:
            return self._ended(lease, IngestionState.SUCCEEDED, unchanged=True)
        lease.progress = replace(lease.progress, rows=version.added_rows)
        ended = self._ended(lease, IngestionState.SUCCEEDED, version=version.ref.version)
        return replace(ended, reading=outcome.reading, check=outcome.check)

    def _failed(self, lease: _Lease, code: str, message: str) -> Ingestion:
        return self._ended(lease, IngestionState.FAILED, error_code=code, error_message=message)

    def _ended(
        self,
        lease: _Lease,
        state: IngestionState,
        *,
        version: int | None = None,
        unchanged: bool = False,
        error_code: str | None = None,
        error_message: str | None = None,
    ) -> Ingestion:
        return replace(
            lease.ingestion,
            state=state,
            progress=lease.progress,
            finished_at=self._clock(),
            version=version,
            unchanged=unchanged,
            error_code=error_code,
            error_message=error_message,
            cancel_requested=lease.cancelled,
        )

    def _settle(self, lease: _Lease, folder: Path) -> None:
        """Store how the job ended, or give it back; clean up."""
        shutil.rmtree(folder, ignore_errors=True)
        try:
            if lease.final is None:
                self._ingestions.release(lease.ingestion.id, worker=lease.holder)
            else:
                event = event_of(_FINISHED[lease.final.state], lease.final, self._clock)
                self._ingestions.finish(lease.final, event)
                shutil.rmtree(folder.parent, ignore_errors=True)  # of earlier attempts, too
        except Exception:  # the lease runs out, and the next attempt sees what was committed
            logger.exception("an ingestion's end was not stored", extra=lease.context)
        with suppress(OSError):  # another attempt may be at work there
            folder.parent.rmdir()

    def _lease_until(self) -> datetime:
        return self._clock() + timedelta(seconds=self._options.lease_s)


def _with_report(ingestion: Ingestion, error: FlightCoreError) -> Ingestion:
    """What a check has found that let the job fail."""
    report = error.details.get("report")
    return replace(ingestion, check=report_of(report)) if isinstance(report, Mapping) else ingestion


def _prepare(folder: Path) -> None:
    """Make it, without what earlier attempts of the job may have left beside it."""
    shutil.rmtree(folder.parent, ignore_errors=True)
    folder.mkdir(parents=True)
