"""Schedules."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from flight_core.adapters.catalog.events import append_event
from flight_core.adapters.catalog.job_rows import asked_with, request_document, request_of, values_of
from flight_core.adapters.catalog.tables import jobs, schedules
from flight_core.domain.access import rights_document
from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import Conflict, ScheduleExists, ScheduleNotFound, ScheduleRunning
from flight_core.domain.events import Event
from flight_core.domain.ingestion import Ingestion, IngestionRequest
from flight_core.domain.job import JobState
from flight_core.domain.schedule import Cron, Interval, Schedule
from flight_core.infrastructure.database import Database

_ENDED = tuple(str(state) for state in JobState if state.final)


@dataclass(frozen=True, slots=True)
class SqlScheduleRepository:
    """See `ScheduleRepository`."""

    database: Database

    def add(self, schedule: Schedule, event: Event) -> None:
        try:
            with self.database.write() as connection:
                connection.execute(schedules.insert().values(_values(schedule)))
                append_event(connection, event)
        except IntegrityError:
            raise ScheduleExists(
                f"schedule '{schedule.name}' exists already; change or remove it, or choose another name",
                name=schedule.name,
            ) from None

    def get(self, name: str) -> Schedule:
        with self.database.read() as connection:
            return _schedule(_row(connection, name))

    def list(self) -> Sequence[Schedule]:
        with self.database.read() as connection:
            return [
                _schedule(row) for row in connection.execute(schedules.select().order_by(schedules.c.key))
            ]

    def due(self, now: datetime) -> Sequence[Schedule]:
        ended = sa.or_(jobs.c.id.is_(None), jobs.c.state.in_(_ENDED))
        statement = (
            sa.select(schedules)
            .outerjoin(jobs, jobs.c.id == schedules.c.last_job)
            .where(schedules.c.next_at <= now, ended)
            .order_by(schedules.c.next_at, schedules.c.key)
        )
        with self.database.read() as connection:
            return [_schedule(row) for row in connection.execute(statement)]

    def save(self, schedule: Schedule, event: Event) -> Schedule:
        with self.database.write() as connection:
            saved = _save(connection, schedule)
            append_event(connection, event)
        return saved

    def fire(self, schedule: Schedule, ingestion: Ingestion, event: Event) -> None:
        with self.database.write() as connection:
            last_job = _row(connection, schedule.name, lock=True).last_job
            last = connection.execute(sa.select(jobs.c.state).where(jobs.c.id == last_job)).scalar()
            if last is not None and last not in _ENDED:
                raise ScheduleRunning(
                    f"the last job of schedule '{schedule.name}' has not ended; wait for it, or cancel it",
                    ingestion=last_job,
                )
            _save(connection, schedule)
            connection.execute(jobs.insert().values(values_of(ingestion)))
            append_event(connection, event)

    def remove(self, name: str, event: Event) -> None:
        with self.database.write() as connection:
            _row(connection, name, lock=True)
            connection.execute(schedules.delete().where(schedules.c.key == name.lower()))
            append_event(connection, event)


def _save(connection: sa.Connection, schedule: Schedule) -> Schedule:
    """
    Raises:
        ScheduleNotFound
        Conflict: the stored schedule has another revision.
    """
    _row(connection, schedule.name, lock=True)
    new = replace(schedule, revision=schedule.revision + 1)
    mine = sa.and_(schedules.c.key == schedule.name.lower(), schedules.c.revision == schedule.revision)
    if not connection.execute(schedules.update().where(mine).values(_values(new))).rowcount:
        raise Conflict(f"schedule '{schedule.name}' was changed or run meanwhile; try again")
    return new


def _row(connection: sa.Connection, name: str, *, lock: bool = False) -> sa.Row[Any]:
    statement = schedules.select().where(schedules.c.key == name.lower())
    row = connection.execute(statement.with_for_update() if lock else statement).one_or_none()
    if row is None:
        raise ScheduleNotFound(
            f"schedule '{name[:128]}' does not exist; see 'skein schedule list'", name=name[:128]
        )
    return row


def _values(schedule: Schedule) -> dict[str, object]:
    timing = schedule.timing
    return {
        "key": schedule.name.lower(),
        "name": schedule.name,
        "request": request_document(schedule.request),
        "every_s": timing.every_s if isinstance(timing, Interval) else None,
        "cron": timing.expression if isinstance(timing, Cron) else None,
        "timezone": timing.timezone if isinstance(timing, Cron) else None,
        "created_at": schedule.created_at,
        "actor": schedule.actor,
        "rights": rights_document(schedule.rights),
        "next_at": schedule.next_at,
        "last_job": schedule.last_job,
        "last_at": schedule.last_at,
        "revision": schedule.revision,
        "pause_reason": schedule.pause_reason or None,
        "reads": sorted(name.value for name in schedule.reads) or None,
    }


def _schedule(row: sa.Row[Any]) -> Schedule:
    return Schedule(
        name=row.name,
        request=_request(row.request),
        timing=Interval(row.every_s) if row.cron is None else Cron(row.cron, row.timezone),
        created_at=row.created_at,
        actor=row.actor,
        rights=asked_with(row),
        next_at=row.next_at,
        last_job=row.last_job,
        last_at=row.last_at,
        revision=row.revision,
        pause_reason=row.pause_reason or "",
        reads=frozenset(map(DatasetName, row.reads or ())),
    )


def _request(document: dict[str, Any]) -> IngestionRequest:
    """The request from JSON. Fields that did not exist when it was stored get their defaults."""
    return request_of(SimpleNamespace(**{**_DEFAULTS, **document}))


_DEFAULTS: dict[str, Any] = {
    "mode": "append",
    "keys": [],
    "schema_policy": "refuse",
    "format": None,
    "options": {},
    "force": False,
    "priority": 0,
    "message": "",
}
