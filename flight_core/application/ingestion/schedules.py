"""Managing and running schedules."""

import logging
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from flight_core.application.access.owners import ActAsOwner
from flight_core.application.access.rights import require, seen_schedule
from flight_core.application.ingestion.ingestions import StartIngestion
from flight_core.application.jobs.jobs import Wakeup, event_of
from flight_core.application.ports.clock import Clock, NewId
from flight_core.domain.access import Actor, Scope
from flight_core.domain.dataset import DatasetName, WriteMode
from flight_core.domain.errors import Conflict, InvalidOption, PermissionDenied, ScheduleNotFound
from flight_core.domain.events import Event, EventKind
from flight_core.domain.ingestion import Ingestion, IngestionRequest
from flight_core.domain.job import JobState
from flight_core.domain.repositories.schedules import ScheduleRepository
from flight_core.domain.schedule import Cron, Interval, Schedule, Timing

logger = logging.getLogger(__name__)

# The next time of a cron expression after a given time; raises InvalidOption if it is invalid or has none.
CronTimes = Callable[[Cron, datetime], datetime]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_\-]{0,127}")


@dataclass(frozen=True, slots=True)
class ScheduleDesk:
    """What the use cases about schedules share."""

    schedules: ScheduleRepository
    start: StartIngestion
    cron_times: CronTimes
    clock: Clock
    new_id: NewId
    wakeup: Wakeup

    def owned(self, name: str, actor: Actor) -> Schedule:
        """
        Raises:
            ScheduleNotFound
            PermissionDenied: it belongs to another user, and the actor is not an administrator.
        """
        require(actor, Scope.INGEST)
        schedule = seen_schedule(self.schedules.get(name), actor)
        if not actor.looks_after(schedule.actor):
            raise PermissionDenied(f"schedule '{schedule.name}' belongs to another user")
        return schedule

    def next_at(self, timing: Timing, created_at: datetime) -> datetime:
        """When the schedule is due next."""
        if isinstance(timing, Interval):
            return timing.next_after(self.clock(), anchor=created_at)
        return self.cron_times(timing, self.clock())

    def check(self, request: IngestionRequest, actor: Actor) -> frozenset[DatasetName]:
        """Check the request; returns the datasets that its source reads. Raises as `StartIngestion`."""
        if request.mode is WriteMode.CREATE:
            raise InvalidOption("a schedule repeats, so its mode cannot be 'create'; use another one")
        return self.start.check_all(request, actor=actor)

    def job(self, schedule: Schedule) -> tuple[Ingestion, Event]:
        ingestion = Ingestion(
            id=self.new_id(),
            request=schedule.request,
            state=JobState.QUEUED,
            created_at=self.clock(),
            actor=schedule.actor,
            rights=schedule.rights,
            schedule=schedule.name,
        )
        return ingestion, event_of(JobState.QUEUED, ingestion, self.clock)

    def event(self, kind: EventKind, schedule: Schedule) -> Event:
        dataset, next_at = schedule.request.dataset.value, schedule.next_at
        data = {
            "schedule": schedule.name,
            "dataset": dataset,
            "paused": schedule.paused,
            "pause_reason": schedule.pause_reason or None,
            "next_at": None if next_at is None else next_at.isoformat(),
        }
        return Event(kind, dataset, data, self.clock())


@dataclass(frozen=True, slots=True)
class AddSchedule:
    """Add a schedule. An interval is due at once, a cron expression at its next time. It may start paused.

    Raises:
        ScheduleExists: the name is taken.
        InvalidOption: the timing is invalid, or the mode is 'create'.
        and as `StartIngestion`.
    """

    desk: ScheduleDesk

    def __call__(
        self, name: str, request: IngestionRequest, timing: Timing, *, actor: Actor, paused: bool = False
    ) -> Schedule:
        require(actor, Scope.INGEST)
        if not _NAME.fullmatch(name):
            raise InvalidOption(
                f"{name[:140]!r} is not the name of a schedule: use 1 to 128 letters, digits, '_' or '-',"
                " starting with a letter or '_'"
            )
        reads = self.desk.check(request, actor)
        now = self.desk.clock()
        due = now if isinstance(timing, Interval) else self.desk.next_at(timing, now)
        schedule = Schedule(
            name,
            request,
            timing,
            now,
            actor.name,
            next_at=None if paused else due,
            reads=reads,
            rights=actor.rights,
        )
        self.desk.schedules.add(schedule, self.desk.event(EventKind.SCHEDULE_ADDED, schedule))
        return schedule


@dataclass(frozen=True, slots=True)
class ChangeSchedule:
    """Change a schedule; None leaves a value as it is. Runs missed during a pause are not made up for.

    Whoever changes more than to pause it could have made it: nobody may use the rights of others. Whoever
    changes the request, or resumes a schedule that was paused because its owner had lost the rights it needs,
    becomes its owner.

    Raises:
        ScheduleNotFound, PermissionDenied, InvalidOption; and as `StartIngestion`.
    """

    desk: ScheduleDesk

    def __call__(
        self,
        name: str,
        *,
        actor: Actor,
        request: IngestionRequest | None = None,
        timing: Timing | None = None,
        paused: bool | None = None,
    ) -> Schedule:
        old = self.desk.owned(name, actor)
        new = replace(old, request=request or old.request, timing=timing or old.timing)
        if request or timing or paused is False:
            reads = self.desk.check(new.request, actor)
        if new.request != old.request or (paused is False and old.pause_reason):
            new = replace(new, actor=actor.name, rights=actor.rights, pause_reason="", reads=reads)
        due = self.desk.next_at(new.timing, old.created_at)
        if old.paused if paused is None else paused:
            new = replace(new, next_at=None)
        elif old.next_at is None or timing is not None:
            new = replace(new, next_at=due)
        return self.desk.schedules.save(new, self.desk.event(EventKind.SCHEDULE_CHANGED, new))


@dataclass(frozen=True, slots=True)
class RemoveSchedule:
    """Remove a schedule, but not its jobs. Raises ScheduleNotFound, PermissionDenied."""

    desk: ScheduleDesk

    def __call__(self, name: str, *, actor: Actor) -> None:
        schedule = self.desk.owned(name, actor)
        self.desk.schedules.remove(schedule.name, self.desk.event(EventKind.SCHEDULE_REMOVED, schedule))


@dataclass(frozen=True, slots=True)
class GetSchedule:
    """Raises ScheduleNotFound."""

    schedules: ScheduleRepository

    def __call__(self, name: str, *, actor: Actor) -> Schedule:
        require(actor, Scope.READ)
        return seen_schedule(self.schedules.get(name), actor)


@dataclass(frozen=True, slots=True)
class ListSchedules:
    """The schedules for datasets that the actor sees, ordered by name."""

    schedules: ScheduleRepository

    def __call__(self, *, actor: Actor) -> Sequence[Schedule]:
        require(actor, Scope.READ)
        return [each for each in self.schedules.list() if actor.sees(each.request.dataset)]


@dataclass(frozen=True, slots=True)
class RunSchedule:
    """Queue a job now, even if the schedule is paused. The time when it is due next does not change.

    The job is that of the schedule's owner, but the actor needs the rights for it, too.

    Raises:
        ScheduleNotFound, PermissionDenied; and as `StartIngestion`.
        ScheduleRunning: its last job has not ended.
    """

    desk: ScheduleDesk

    def __call__(self, name: str, *, actor: Actor) -> Ingestion:
        schedule = self.desk.owned(name, actor)
        self.desk.check(schedule.request, actor)
        ingestion, event = self.desk.job(schedule)
        fired = replace(schedule, last_job=ingestion.id, last_at=ingestion.created_at)
        self.desk.schedules.fire(fired, ingestion, event)
        self.desk.wakeup.notify()
        return ingestion


@dataclass(frozen=True, slots=True)
class FireDueSchedules:
    """Queue a job for each schedule that is due; returns their number. Call it often, in any number of
    processes.

    Only one process takes each due time. Missed times are made up for by a single run. A schedule whose owner
    has lost the rights it needs is paused instead.
    """

    desk: ScheduleDesk
    act_as_owner: ActAsOwner

    def __call__(self) -> int:
        due = self.desk.schedules.due(self.desk.clock())
        fired = sum(self._fire(schedule) for schedule in due)
        if fired:
            self.desk.wakeup.notify()
        return fired

    def _fire(self, schedule: Schedule) -> bool:
        try:
            self.act_as_owner.allowed(
                schedule.actor,
                schedule.rights,
                Scope.INGEST,
                schedule.request.dataset,
                inputs=schedule.reads,
            )
        except PermissionDenied as refusal:
            self._pause(schedule, refusal.message)
            return False
        ingestion, event = self.desk.job(schedule)
        following = self.desk.next_at(schedule.timing, schedule.created_at)
        fired = replace(schedule, next_at=following, last_job=ingestion.id, last_at=ingestion.created_at)
        try:
            self.desk.schedules.fire(fired, ingestion, event)
        except Conflict:  # another process was faster, or somebody changed it
            return False
        return True

    def _pause(self, schedule: Schedule, reason: str) -> None:
        paused = replace(schedule, next_at=None, pause_reason=reason)
        with suppress(Conflict, ScheduleNotFound):  # as above
            self.desk.schedules.save(paused, self.desk.event(EventKind.SCHEDULE_CHANGED, paused))
            logger.warning("a schedule is paused", extra={"schedule": schedule.name, "reason": reason})
