"""Schedules in a real catalog, with a clock that the test moves."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pyarrow as pa
import pytest

from flight_core.adapters.calendar.cron import next_cron_time
from flight_core.adapters.catalog.jobs import SqlJobRepository
from flight_core.adapters.catalog.schedules import SqlScheduleRepository
from flight_core.application.derived.refresh import RefreshDataset
from flight_core.application.derived.runs import Refresh
from flight_core.application.ingestion.ingestions import StartIngestion
from flight_core.application.ingestion.schedules import (
    AddSchedule,
    ChangeSchedule,
    FireDueSchedules,
    ListSchedules,
    RemoveSchedule,
    RunSchedule,
    ScheduleDesk,
)
from flight_core.application.jobs.jobs import Wakeup, event_of
from flight_core.domain.access import LOCAL, Actor, Scope
from flight_core.domain.dataset import DatasetName, WriteMode, WriteRule
from flight_core.domain.errors import (
    InvalidOption,
    InvalidRequest,
    InvalidSource,
    PermissionDenied,
    ScheduleNotFound,
    ScheduleRunning,
)
from flight_core.domain.events import EventKind
from flight_core.domain.ingestion import IngestionRequest, SourceSpec
from flight_core.domain.job import JobState
from flight_core.domain.schedule import Cron, Interval
from tests.adapters.ingestion_stack import IngestionStack

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
ANN = Actor("ann", frozenset({Scope.READ, Scope.WRITE}))


class Desk:
    """All use cases, at `now`."""

    def __init__(self, stack: IngestionStack) -> None:
        self.stack = stack
        self.now = NOON
        self.schedules = SqlScheduleRepository(stack.database)
        self.jobs = SqlJobRepository(stack.database, self._clock)
        ids = (f"job{number}" for number in count(1))
        lock = threading.Lock()

        def new_id() -> str:
            with lock:
                return next(ids)

        self.start = StartIngestion(
            stack.ingestions,
            stack.datasets,
            stack.sources,
            stack.parser,
            self._clock,
            new_id,
            Wakeup(),
            {},
            stack.derivations,
        )
        desk = ScheduleDesk(self.schedules, self.start, next_cron_time, self._clock, new_id, Wakeup())
        self.add_schedule = AddSchedule(desk)
        self.change = ChangeSchedule(desk)
        self.remove = RemoveSchedule(desk)
        self.run = RunSchedule(desk)
        self.fire = FireDueSchedules(desk, stack.act_as_owner)
        self.list = ListSchedules(self.schedules)
        stack.file("a.csv", b"n\n1\n")

    def _clock(self) -> datetime:
        return self.now

    def add(self, name="s", timing=None, *, actor=LOCAL, path="a.csv", mode=WriteMode.APPEND, **options):
        request = IngestionRequest(DatasetName("numbers"), SourceSpec("file", {"path": path}), mode)
        return self.add_schedule(name, request, timing or Interval(60), actor=actor, **options)

    def refresh(self) -> RefreshDataset:
        stack = self.stack
        derive = Refresh(
            stack.derivations,
            stack.datasets,
            stack.ingestions,
            self._clock,
            lambda: "d1",
            Wakeup(),
            stack.store,
        )
        return RefreshDataset(stack.datasets, self.jobs, self.start, derive)

    def end_jobs(self) -> None:
        """As a worker would: every job succeeds."""
        while (job := self.jobs.claim(worker="w", lease_until=self.now + timedelta(days=9))) is not None:
            done = replace(job, state=JobState.SUCCEEDED, finished_at=self.now)
            self.jobs.finish(done, event_of(JobState.SUCCEEDED, done, self._clock))

    def queued(self) -> int:
        return sum(job.state is JobState.QUEUED for job in self.jobs.list())

    def told(self) -> list[EventKind]:
        return [
            stored.event.kind
            for stored in self.stack.events.after(0)
            if stored.event.kind.startswith("schedule.")
        ]


@pytest.fixture
def desk(tmp_path):
    stack = IngestionStack(tmp_path)
    yield Desk(stack)
    stack.close()


def test_an_interval_starts_at_once_and_keeps_its_rhythm(desk):
    desk.add()
    assert desk.fire() == 1
    assert desk.fire() == 0
    (job,) = desk.jobs.list()
    assert (job.state, job.schedule, job.actor) == (JobState.QUEUED, "s", "local")
    desk.end_jobs()
    desk.now = NOON + timedelta(seconds=59)
    assert desk.fire() == 0
    desk.now = NOON + timedelta(seconds=75)
    assert desk.fire() == 1
    assert desk.schedules.get("s").next_at == NOON + timedelta(seconds=120)


def test_cron_starts_when_its_time_comes(desk):
    desk.add(timing=Cron("30 12 * * *"))
    assert desk.fire() == 0
    desk.now = NOON + timedelta(minutes=30)
    assert desk.fire() == 1
    assert desk.schedules.get("s").next_at == NOON + timedelta(days=1, minutes=30)


def test_runs_that_were_missed_are_made_up_for_by_one(desk):
    desk.add()
    desk.fire()
    desk.end_jobs()
    desk.now = NOON + timedelta(days=3, seconds=5)
    assert desk.fire() == 1
    desk.end_jobs()
    assert desk.fire() == 0
    assert desk.schedules.get("s").next_at == NOON + timedelta(days=3, seconds=60)


def test_runs_do_not_overlap_and_the_one_that_is_due_waits(desk):
    desk.add()
    desk.fire()
    desk.now = NOON + timedelta(minutes=5)
    assert desk.fire() == 0
    with pytest.raises(ScheduleRunning, match="'s' has not ended"):
        desk.run("s", actor=LOCAL)
    desk.end_jobs()
    assert desk.fire() == 1


def test_of_many_processes_one_fires(desk):
    for number in range(5):
        desk.add(f"s{number}")
    fired: list[int] = []
    threads = [threading.Thread(target=lambda: fired.append(desk.fire())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(fired) == desk.queued() == 5


def test_a_death_while_firing_leaves_it_due(desk, monkeypatch):
    desk.add()
    monkeypatch.setattr("flight_core.adapters.catalog.schedules.append_event", _die)
    with pytest.raises(KeyboardInterrupt):
        desk.fire()
    monkeypatch.undo()
    assert desk.queued() == 0
    assert desk.fire() == desk.queued() == 1


def _die(connection, event):
    raise KeyboardInterrupt


def test_a_pause_is_not_made_up_for(desk):
    desk.add(paused=True)
    desk.now = NOON + timedelta(days=1, seconds=10)
    assert desk.fire() == 0
    resumed = desk.change("s", actor=LOCAL, paused=False)
    assert resumed.next_at == NOON + timedelta(days=1, seconds=60)
    assert desk.fire() == 0
    assert desk.change("s", actor=LOCAL, paused=True).paused
    assert desk.change("s", actor=LOCAL, timing=Interval(5)).paused
    assert desk.told() == [EventKind.SCHEDULE_ADDED, *[EventKind.SCHEDULE_CHANGED] * 3]


def test_run_now_leaves_the_next_time_as_it_is(desk):
    made = desk.add(timing=Cron("0 6 * * *"))
    job = desk.run("s", actor=LOCAL)
    after = desk.schedules.get("s")
    assert (after.next_at, after.last_job, after.last_at) == (made.next_at, job.id, NOON)
    desk.end_jobs()
    desk.change("s", actor=LOCAL, paused=True)
    assert desk.run("s", actor=LOCAL).schedule == "s"


def test_a_removed_schedule_is_gone_and_its_jobs_stay(desk):
    desk.add()
    desk.fire()
    desk.remove("S", actor=LOCAL)
    with pytest.raises(ScheduleNotFound, match="'s'"):
        desk.schedules.get("s")
    with pytest.raises(ScheduleNotFound):
        desk.remove("s", actor=LOCAL)
    assert desk.queued() == 1
    assert desk.told()[-1] is EventKind.SCHEDULE_REMOVED


def test_names_are_plain_words(desk):
    with pytest.raises(InvalidOption, match="not the name"):
        desk.add("a b")


def test_what_cannot_work_is_refused_at_once(desk):
    with pytest.raises(InvalidOption, match="'create'"):
        desk.add(mode=WriteMode.CREATE)
    with pytest.raises(InvalidSource):
        desk.add(path="missing.csv")
    with pytest.raises(InvalidOption, match="cron"):
        desk.add(timing=Cron("often"))
    desk.add()
    with pytest.raises(InvalidOption):
        desk.change("s", actor=LOCAL, timing=Cron("often"))
    assert len(desk.list(actor=LOCAL)) == 1


def test_other_peoples_schedules_are_for_administrators(desk):
    desk.add(actor=LOCAL)
    for use in (
        lambda: desk.change("s", actor=ANN, paused=True),
        lambda: desk.remove("s", actor=ANN),
        lambda: desk.run("s", actor=ANN),
    ):
        with pytest.raises(PermissionDenied, match="another user"):
            use()
    desk.add("hers", actor=ANN)
    desk.change("hers", actor=LOCAL, paused=True)


# -- refresh ----------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_refresh_ingests_what_made_the_dataset_what_it_is(desk):
    stack = desk.stack
    refresh = desk.refresh()
    stack.file("b.csv", b"n\n2\n")
    stack.file("old.csv", b"n\n0\n")
    async with stack.working():
        for name, mode in (("old.csv", "append"), ("a.csv", "replace"), ("b.csv", "append")):
            await stack.until(stack.start("numbers", path=name, mode=WriteMode(mode)))
        stack.file("a.csv", b"n\n10\n")
        jobs = refresh(DatasetName("NUMBERS"), actor=LOCAL)
        for job in jobs:
            await stack.until(job)
    assert [job.request.source.fields["path"] for job in jobs] == ["a.csv", "b.csv"]
    assert stack.table("numbers")["n"].to_pylist() == [10, 2]


def test_a_dataset_that_nobody_ingested_cannot_be_refreshed(desk):
    stack, batch = desk.stack, pa.record_batch({"n": [1]})
    with stack.open_write(
        DatasetName("numbers"), batch.schema, WriteRule(WriteMode.CREATE), actor=LOCAL
    ) as write:
        write.staged.write(batch)
        write.commit()
    with pytest.raises(InvalidRequest, match="ingest a source first"):
        desk.refresh()(DatasetName("numbers"), actor=LOCAL)
