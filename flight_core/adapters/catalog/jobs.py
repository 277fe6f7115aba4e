"""Jobs of every kind: the queue, leases, and logs."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa

from flight_core.adapters.catalog import counters
from flight_core.adapters.catalog.events import append_event
from flight_core.adapters.catalog.job_rows import job_of, outcome_values, progress_values, row_of, values_of
from flight_core.adapters.catalog.tables import job_log, jobs
from flight_core.application.ports.clock import Clock
from flight_core.domain.errors import Conflict, IngestionFinished
from flight_core.domain.events import Event
from flight_core.domain.job import Job, JobFilter, JobState, LogLevel, LogLine, Maintenance, Phase, Progress
from flight_core.domain.repositories.jobs import EVERY_JOB
from flight_core.infrastructure.database import Database

_QUEUED, _RUNNING = str(JobState.QUEUED), str(JobState.RUNNING)
_UNFINISHED = (_QUEUED, _RUNNING)
_BATCH = 500  # ids in one statement


@dataclass(frozen=True, slots=True)
class SqlJobRepository:
    """See `JobRepository`. Only the latest claim of a job, with the stored `attempt`, is valid."""

    database: Database
    clock: Clock
    watch: "LeaseWatch" = field(default_factory=lambda: LeaseWatch())

    def request_maintenance(self, job: Maintenance, event: Event) -> Maintenance:
        alike = jobs.select().where(
            jobs.c.dataset_key == job.dataset.key,
            jobs.c.task == str(job.task),
            jobs.c.state.in_(_UNFINISHED),
        )
        with self.database.write() as connection:
            counters.lock(connection, counters.EVENT)
            for row in connection.execute(alike):
                if row.options == dict(job.options):
                    return cast(Maintenance, job_of(row))
            connection.execute(jobs.insert().values(values_of(job)))
            append_event(connection, event)
        return job

    def get(self, job_id: str) -> Job:
        with self.database.read() as connection:
            return job_of(row_of(connection, job_id))

    def list(
        self, wanted: JobFilter = EVERY_JOB, *, limit: int = 100, before: str | None = None
    ) -> Sequence[Job]:
        statement = jobs.select().order_by(jobs.c.number.desc()).limit(limit)
        if wanted.dataset is not None:
            statement = statement.where(jobs.c.dataset_key == wanted.dataset.key)
        if wanted.states is not None:
            statement = statement.where(jobs.c.state.in_(map(str, wanted.states)))
        if wanted.tasks is not None:
            statement = statement.where(jobs.c.task.in_(map(str, wanted.tasks)))
        with self.database.read() as connection:
            if before is not None:
                statement = statement.where(jobs.c.number < row_of(connection, before).number)
            return [job_of(row) for row in connection.execute(statement)]

    def claim(self, *, worker: str, lease_until: datetime) -> Job | None:
        now = self.clock()
        with self.database.read() as connection:  # frequent, so without making writers wait
            free = sa.or_(_free(now), self.watch.silent(connection, (lease_until - now).total_seconds()))
            if connection.execute(_next(free)).first() is None:
                return None
        with self.database.write() as connection:
            counters.lock(connection, counters.EVENT)  # concurrent workers see each other's claims
            number = connection.execute(_next(free)).scalar()
            locked = jobs.select().where(jobs.c.number == number, free)
            found = connection.execute(locked.with_for_update(skip_locked=True)).one_or_none()
            if found is None:
                return None
            _update(
                connection,
                found.id,
                state=_RUNNING,
                attempt=found.attempt + 1,
                worker=worker,
                lease_until=lease_until,
                started_at=found.started_at or now,
                **progress_values(Progress()),
            )
            return job_of(row_of(connection, found.id))

    def report(self, job_id: str, progress: Progress, *, worker: str, lease_until: datetime) -> Job:
        with self.database.write() as connection:
            if not _held_by(row_of(connection, job_id, lock=True), worker):
                raise Conflict(f"job '{job_id}' is not held by worker '{worker}' any more")
            _update(connection, job_id, lease_until=lease_until, **progress_values(progress))
            return job_of(row_of(connection, job_id))

    def release(self, job_id: str, *, worker: str) -> None:
        with self.database.write() as connection:
            row = row_of(connection, job_id, lock=True)
            if _held_by(row, worker):
                given_back = {"state": _QUEUED, "attempt": row.attempt - 1}
                _update(connection, job_id, worker=None, lease_until=None, **given_back)

    def request_cancel(self, job_id: str) -> Job:
        with self.database.write() as connection:
            row = _unfinished(connection, job_id)
            if row.state == _QUEUED:
                cancelled = str(JobState.CANCELLED)
                _update(connection, job_id, state=cancelled, finished_at=self.clock())
            _update(connection, job_id, cancel_requested=True)
            return job_of(row_of(connection, job_id))

    def finish(self, job: Job, event: Event) -> None:
        with self.database.write() as connection:
            row = _unfinished(connection, job.id)
            if row.state != _RUNNING or row.attempt != job.attempt:
                raise Conflict(f"job '{job.id}' is in other hands by now")
            _update(
                connection,
                job.id,
                state=str(job.state),
                worker=None,
                lease_until=None,
                **progress_values(job.progress),
                **outcome_values(job),
            )
            append_event(connection, event)

    def write_log(self, job_id: str, lines: Sequence[LogLine]) -> None:
        if not lines:
            return
        rows = [
            {
                "job_id": job_id,
                "at": line.at,
                "level": str(line.level),
                "phase": None if line.phase is None else str(line.phase),
                "attempt": line.attempt,
                "message": line.message,
            }
            for line in lines
        ]
        with self.database.write() as connection:
            connection.execute(job_log.insert(), rows)

    def read_log(self, job_id: str, *, after: int = 0, limit: int = 1000) -> Sequence[tuple[int, LogLine]]:
        statement = (
            job_log.select()
            .where(job_log.c.job_id == job_id, job_log.c.number > after)
            .order_by(job_log.c.number)
            .limit(limit)
        )
        with self.database.read() as connection:
            row_of(connection, job_id)
            return [(row.number, _line(row)) for row in connection.execute(statement)]

    def prune(self, *, keep: int) -> int:
        ended = sa.select(jobs.c.id).where(jobs.c.state.not_in(_UNFINISHED))
        old = ended.order_by(jobs.c.number.desc()).offset(keep).limit(_BATCH)
        deleted = 0
        while True:
            with self.database.write() as connection:
                ids = list(connection.execute(old).scalars())
                connection.execute(job_log.delete().where(job_log.c.job_id.in_(ids)))
                connection.execute(jobs.delete().where(jobs.c.id.in_(ids)))
            deleted += len(ids)
            if len(ids) < _BATCH:
                return deleted


@dataclass(slots=True)
class LeaseWatch:
    """Detects leases that were not extended for the duration of a lease. They are over whatever their time
    says: if the clock was set back, the lease of a dead worker would last longer.

    `steady` is a monotonic clock in seconds.
    """

    steady: Callable[[], float] = time.monotonic
    _since: dict[tuple[str, datetime], float] = field(default_factory=dict)

    def silent(self, connection: sa.Connection, lease_s: float) -> sa.ColumnElement[bool]:
        """The condition for jobs with such a lease."""
        now = self.steady()
        held = sa.select(jobs.c.id, jobs.c.lease_until).where(jobs.c.state == _RUNNING)
        leases = [(row.id, row.lease_until) for row in connection.execute(held)]
        self._since = {lease: self._since.get(lease, now) for lease in leases}
        silent = [lease for lease, since in self._since.items() if now - since > lease_s]
        return sa.or_(
            sa.false(), *(sa.and_(jobs.c.id == id, jobs.c.lease_until == until) for id, until in silent)
        )


def _free(now: datetime) -> sa.ColumnElement[bool]:
    """The condition for jobs that no worker holds."""
    abandoned = sa.and_(jobs.c.state == _RUNNING, jobs.c.lease_until < now)
    return sa.or_(jobs.c.state == _QUEUED, abandoned)


def _next(free: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Selects the number of the next job among those that are `free`; see `JobRepository.claim`."""
    running = sa.case((jobs.c.state == _RUNNING, 1), else_=0)
    line: dict[str, Any] = {
        "partition_by": jobs.c.dataset_key,
        "order_by": (running.desc(), jobs.c.priority.desc(), jobs.c.number),
    }
    exclusive = sa.case((jobs.c.exclusive, 1), else_=0)
    waiting = (
        sa.select(
            jobs.c.number,
            jobs.c.priority,
            jobs.c.exclusive,
            running.label("running"),
            free.label("free"),
            sa.func.row_number().over(**line).label("place"),
            sa.func.sum(exclusive).over(**line, rows=(None, 0)).label("exclusives"),
        )
        .where(jobs.c.state.in_(_UNFINISHED))
        .subquery()
    )
    alone = waiting.c.place == 1
    in_company = sa.and_(sa.not_(waiting.c.exclusive), waiting.c.exclusives == 0)
    return (
        sa.select(waiting.c.number)
        .where(waiting.c.free, sa.or_(waiting.c.running == 1, alone, in_company))
        .order_by(waiting.c.running.desc(), waiting.c.priority.desc(), waiting.c.place, waiting.c.number)
        .limit(1)
    )


def _unfinished(connection: sa.Connection, job_id: str) -> sa.Row[Any]:
    row = row_of(connection, job_id, lock=True)
    if JobState(row.state).final:
        raise IngestionFinished(
            f"ingestion '{job_id}' has ended ({row.state}); start a new one", state=row.state
        )
    return row


def _held_by(row: sa.Row[Any], worker: str) -> bool:
    return bool(row.state == _RUNNING and row.worker == worker)


def _update(connection: sa.Connection, job_id: str, **values: object) -> None:
    connection.execute(jobs.update().where(jobs.c.id == job_id).values(values))


def _line(row: sa.Row[Any]) -> LogLine:
    phase = None if row.phase is None else Phase(row.phase)
    return LogLine(row.at, row.message, LogLevel(row.level), phase, row.attempt)
