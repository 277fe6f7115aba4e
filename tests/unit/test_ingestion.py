"""Asking for ingestions: what is refused before there is a job, who may do what, who hears of it."""

import itertools
import threading
from datetime import UTC, datetime

import anyio
import pyarrow as pa
import pytest

from flight_core.application.ingestion.ingestions import GetIngestion, RetryIngestion, StartIngestion
from flight_core.application.jobs.jobs import CancelJob, ListJobs, Wakeup
from flight_core.domain.access import LOCAL, Actor, Scope
from flight_core.domain.dataset import DatasetName, DatasetVersion, VersionRef, WriteMode
from flight_core.domain.errors import (
    DatasetExists,
    IngestionFinished,
    IngestionNotFound,
    InvalidOption,
    InvalidSource,
    NotRetryable,
    PermissionDenied,
    SourceNotAllowed,
)
from flight_core.domain.events import Event, EventKind
from flight_core.domain.ingestion import IngestionRequest, SourceSpec
from flight_core.domain.job import JobFilter, JobState
from tests.fakes.catalog import MemoryDatasets, SteadyClock
from tests.fakes.ingestions import Judge, MemoryEvents, MemoryIngestions, NoDerivations

READER = Actor("reader", frozenset({Scope.READ}))
WRITER = Actor("writer", frozenset({Scope.READ, Scope.WRITE}))
OTHER = Actor("other", frozenset({Scope.READ, Scope.WRITE}))
REQUEST = IngestionRequest(DatasetName("Codes"), SourceSpec("file", {"path": "x"}), format="csv")


class Desk:
    """The use cases around one memory of jobs."""

    def __init__(self) -> None:
        self.events = MemoryEvents()
        self.jobs = MemoryIngestions(self.events)
        self.datasets = MemoryDatasets()
        self.source, self.parser = Judge(), Judge()
        clock, wakeup = SteadyClock(), Wakeup()
        ids = map(str, itertools.count(1))
        sources = {"file": self.source}
        self.start = StartIngestion(
            self.jobs,
            self.datasets,
            sources,
            self.parser,
            clock,
            lambda: next(ids),
            wakeup,
            {},
            NoDerivations(),
        )
        self.cancel = CancelJob(self.jobs, self.events, clock, wakeup)
        self.get = GetIngestion(self.jobs)
        self.list = ListJobs(self.jobs)
        self.retry = RetryIngestion(self.jobs, self.start)

    def publish(self, name: str) -> None:
        now = datetime(2026, 1, 1, tzinfo=UTC)
        dataset_id = self.datasets.reserve(DatasetName(name), "d1")
        version = DatasetVersion(VersionRef(dataset_id, 0), pa.schema([]), 0, 0, now)
        self.datasets.publish(DatasetName(name), version, Event(EventKind.DATASET_COMMITTED, name, {}, now))

    @property
    def told(self) -> list[EventKind]:
        return [stored.event.kind for stored in self.events.stored]


@pytest.fixture
def desk():
    return Desk()


def test_a_job_is_queued_and_everybody_hears_of_it(desk):
    job = desk.start(REQUEST, actor=WRITER)
    assert (job.state, job.actor, job.attempt) == (JobState.QUEUED, "writer", 0)
    assert desk.get(job.id, actor=READER) == job
    (stored,) = desk.events.stored
    assert (stored.event.kind, stored.event.subject) == (EventKind.INGESTION_QUEUED, "Codes")
    assert stored.event.data["ingestion"] == job.id
    assert stored.event.data["state"] == "queued"


def test_source_and_parser_judge_the_request_first(desk):
    desk.start(REQUEST, actor=WRITER)
    assert desk.source.asked == [REQUEST.source]
    assert desk.parser.asked == [("csv", {})]


@pytest.mark.parametrize(
    ("judge", "failure"),
    [("source", SourceNotAllowed("no")), ("source", InvalidSource("no")), ("parser", InvalidOption("no"))],
)
def test_what_they_refuse_is_never_queued(desk, judge, failure):
    getattr(desk, judge).failure = failure
    with pytest.raises(type(failure)):
        desk.start(REQUEST, actor=WRITER)
    assert (desk.list(actor=READER), desk.told) == ([], [])


def test_an_unknown_kind_is_refused_with_those_there_are(desk):
    request = IngestionRequest(DatasetName("c"), SourceSpec("sftp", {}))
    with pytest.raises(InvalidSource, match="'sftp' is not a source kind; use one of: file"):
        desk.start(request, actor=WRITER)


@pytest.mark.parametrize(("mode", "refused"), [("create", True), ("append", False), ("replace", False)])
def test_only_create_minds_that_the_name_is_taken(desk, mode, refused):
    desk.publish("codes")
    request = IngestionRequest(REQUEST.dataset, REQUEST.source, WriteMode(mode))
    if refused:
        with pytest.raises(DatasetExists, match="'Codes' exists already; append"):
            desk.start(request, actor=WRITER)
    else:
        assert desk.start(request, actor=WRITER).state is JobState.QUEUED


def test_starting_and_cancelling_take_the_write_scope_looking_takes_read(desk):
    with pytest.raises(PermissionDenied):
        desk.start(REQUEST, actor=READER)
    job = desk.start(REQUEST, actor=WRITER)
    with pytest.raises(PermissionDenied):
        desk.cancel(job.id, actor=READER)
    nobody = Actor("nobody", frozenset())
    for look in (lambda: desk.get(job.id, actor=nobody), lambda: desk.list(actor=nobody)):
        with pytest.raises(PermissionDenied):
            look()


def test_lists_are_newest_first_and_can_be_narrowed(desk):
    other = IngestionRequest(DatasetName("other"), REQUEST.source)
    jobs = [desk.start(request, actor=WRITER) for request in (REQUEST, other, REQUEST)]
    assert desk.list(actor=READER) == jobs[::-1]
    assert desk.list(actor=READER, limit=1) == [jobs[2]]
    assert desk.list(JobFilter(dataset=other.dataset), actor=READER) == [jobs[1]]


def test_a_queued_job_is_cancelled_at_once_and_everybody_hears_of_it(desk):
    job = desk.start(REQUEST, actor=WRITER)
    assert desk.cancel(job.id, actor=WRITER).state is JobState.CANCELLED
    assert desk.told == [EventKind.INGESTION_QUEUED, EventKind.INGESTION_CANCELLED]


def test_a_running_job_is_asked_and_its_worker_tells_when_it_has_stopped(desk):
    job = desk.start(REQUEST, actor=WRITER)
    desk.jobs.set_state(job.id, JobState.RUNNING)
    cancelled = desk.cancel(job.id, actor=WRITER)
    assert (cancelled.state, cancelled.cancel_requested) == (JobState.RUNNING, True)
    assert desk.told == [EventKind.INGESTION_QUEUED]


def test_other_peoples_jobs_are_for_administrators(desk):
    job = desk.start(REQUEST, actor=WRITER)
    with pytest.raises(PermissionDenied, match="belongs to another user"):
        desk.cancel(job.id, actor=OTHER)
    assert desk.cancel(job.id, actor=LOCAL).state is JobState.CANCELLED


def test_what_is_over_or_unknown_cannot_be_cancelled(desk):
    job = desk.start(REQUEST, actor=WRITER)
    desk.jobs.set_state(job.id, JobState.SUCCEEDED)
    with pytest.raises(IngestionFinished):
        desk.cancel(job.id, actor=WRITER)
    with pytest.raises(IngestionNotFound):
        desk.cancel("nothing", actor=WRITER)


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED])
def test_a_job_that_failed_is_tried_again_as_a_new_job(desk, state):
    job = desk.start(REQUEST, actor=WRITER)
    desk.jobs.set_state(job.id, state)
    again = desk.retry(job.id, actor=WRITER)
    assert (again.request, again.state, again.retry_of) == (REQUEST, JobState.QUEUED, job.id)
    assert again.id != job.id
    assert desk.get(job.id, actor=READER).state is state


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED])
def test_what_has_not_failed_is_not_tried_again(desk, state):
    job = desk.start(REQUEST, actor=WRITER)
    desk.jobs.set_state(job.id, state)
    with pytest.raises(NotRetryable, match=state):
        desk.retry(job.id, actor=WRITER)


def test_other_peoples_jobs_are_tried_again_by_administrators_alone(desk):
    job = desk.start(REQUEST, actor=WRITER)
    desk.jobs.set_state(job.id, JobState.FAILED)
    with pytest.raises(PermissionDenied, match="belongs to another user"):
        desk.retry(job.id, actor=OTHER)
    assert desk.retry(job.id, actor=LOCAL).actor == LOCAL.name


def test_a_notice_from_any_thread_wakes_whoever_waits():
    async def main():
        wakeup = Wakeup()
        wakeup.listen()
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wakeup.wait, 1000.0)
                await anyio.wait_all_tasks_blocked()
                threading.Thread(target=wakeup.notify).start()

    anyio.run(main)


def test_a_notice_that_nobody_waited_for_is_not_lost():
    async def main():
        wakeup = Wakeup()
        wakeup.listen()
        wakeup.notify()
        with anyio.fail_after(20):
            await wakeup.wait(1000.0)

    anyio.run(main)


def test_notices_without_a_worker_are_harmless():
    wakeup = Wakeup()
    wakeup.notify()

    async def main():
        wakeup.listen()

    anyio.run(main)
    wakeup.notify()
