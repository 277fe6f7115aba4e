"""What every register of jobs promises."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from flight_core.adapters.catalog.ingestions import SqlIngestionRepository
from flight_core.adapters.catalog.jobs import LeaseWatch, SqlJobRepository
from flight_core.domain.access import Rights, Scope
from flight_core.domain.dataset import DatasetName, SchemaPolicy, WriteMode
from flight_core.domain.errors import Conflict, IdempotencyKeyReused, IngestionFinished, IngestionNotFound
from flight_core.domain.events import Event, EventKind
from flight_core.domain.idempotency import IdempotencyKey
from flight_core.domain.ingestion import Ingestion, IngestionRequest, Reading, SourceSpec
from flight_core.domain.job import JobFilter, JobState, LogLevel, LogLine, Maintenance, Phase, Progress, Task

NOW = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)
LEASE = timedelta(seconds=10)


class HeldClock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock():
    return HeldClock()


@pytest.fixture
def jobs(database, clock):
    return SqlJobRepository(database, clock)


@pytest.fixture
def ingestions(database, clock):
    return SqlIngestionRepository(database, clock)


def job(id="j1", dataset="Flights", *, mode=WriteMode.APPEND, priority=0):
    request = IngestionRequest(
        dataset=DatasetName(dataset),
        source=SourceSpec("http", {"url": "https://example.org/f.csv", "headers": {"a": ["b", None]}}),
        mode=mode,
        priority=priority,
        format="csv",
        options={"delimiter": ";", "null_values": ["", "NA"], "limit": 5},
        keys=("Id", "day"),
        schema_policy=SchemaPolicy.WIDEN,
    )
    rights = Rights(frozenset({Scope.INGEST}), ("flights*",))
    return Ingestion(
        id=id, request=request, state=JobState.QUEUED, created_at=NOW, actor="ann", rights=rights
    )


def event(kind=EventKind.INGESTION_QUEUED):
    return Event(kind, "Flights", {}, NOW)


def finished(ingestion, state=JobState.SUCCEEDED, **changes):
    return replace(ingestion, state=state, finished_at=NOW + timedelta(seconds=5), **changes)


def test_a_job_comes_back_as_it_was_added(jobs, events, ingestions):
    ingestions.add(job(), event())
    assert jobs.get("j1") == job()
    assert [stored.event for stored in events.after(0)] == [event()]


def test_an_unknown_job_is_a_failure_everywhere(jobs):
    for use in (
        lambda: jobs.get("j9"),
        lambda: jobs.request_cancel("j9"),
        lambda: jobs.report("j9", Progress(), worker="w", lease_until=NOW),
        lambda: jobs.finish(finished(job("j9")), event()),
    ):
        with pytest.raises(IngestionNotFound, match="j9"):
            use()


def test_jobs_are_listed_newest_first_up_to_a_limit_and_by_dataset(jobs, ingestions):
    for id, dataset in (("j1", "a"), ("j2", "B"), ("j3", "a")):
        ingestions.add(job(id, dataset), event())
    assert [found.id for found in jobs.list()] == ["j3", "j2", "j1"]
    assert [found.id for found in jobs.list(limit=2)] == ["j3", "j2"]
    assert [found.id for found in jobs.list(JobFilter(dataset=DatasetName("b")))] == ["j2"]


def test_the_oldest_queued_job_is_claimed_first_and_only_once(jobs, ingestions):
    for id in ("j1", "j2"):
        ingestions.add(job(id), event())
    claimed = [jobs.claim(worker="w", lease_until=NOW + LEASE) for _ in range(3)]
    assert [found.id if found else None for found in claimed] == ["j1", "j2", None]
    assert claimed[0].state is JobState.RUNNING
    assert (claimed[0].attempt, claimed[0].started_at) == (1, NOW)
    assert jobs.get("j1") == claimed[0]


def test_of_many_workers_one_gets_the_job(jobs, ingestions):
    for number in range(10):
        ingestions.add(job(f"j{number}"), event())
    claimed: list[str] = []

    def work(worker: str) -> None:
        while (found := jobs.claim(worker=worker, lease_until=NOW + LEASE)) is not None:
            claimed.append(found.id)

    workers = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert sorted(claimed) == [f"j{number}" for number in range(10)]


def test_a_job_whose_lease_ran_out_goes_to_another_worker_and_starts_over(jobs, clock, ingestions):
    ingestions.add(job(), event())
    jobs.claim(worker="w1", lease_until=NOW + LEASE)
    jobs.report("j1", Progress(Phase.PARSING, rows=5), worker="w1", lease_until=NOW + LEASE)
    clock.now = NOW + LEASE
    assert jobs.claim(worker="w2", lease_until=NOW + 2 * LEASE) is None
    clock.now += timedelta(microseconds=1)
    again = jobs.claim(worker="w2", lease_until=NOW + 2 * LEASE)
    assert (again.id, again.attempt, again.progress, again.started_at) == ("j1", 2, Progress(), NOW)


def test_a_lease_that_nobody_extends_runs_out_though_the_clock_goes_back(database, clock, ingestions):
    seconds = [100.0]
    jobs = SqlJobRepository(database, clock, LeaseWatch(lambda: seconds[0]))
    ingestions.add(job(), event())
    jobs.claim(worker="w1", lease_until=NOW + LEASE)
    clock.now = NOW - 100 * LEASE
    for passed, extended in ((0, False), (10, True), (10, False)):
        seconds[0] += passed
        assert jobs.claim(worker="w2", lease_until=clock.now + LEASE) is None
        if extended:
            jobs.report("j1", Progress(rows=5), worker="w1", lease_until=clock.now + LEASE)
            clock.now -= LEASE
            assert jobs.claim(worker="w2", lease_until=clock.now + LEASE) is None
    seconds[0] += 1
    assert jobs.claim(worker="w2", lease_until=clock.now + LEASE).attempt == 2


def test_a_report_stores_progress_and_extends_the_lease(jobs, clock, ingestions):
    ingestions.add(job(), event())
    jobs.claim(worker="w1", lease_until=NOW + LEASE)
    progress = Progress(Phase.FETCHING, done_bytes=5_000_000_000, total_bytes=None, rows=3)
    reported = jobs.report("j1", progress, worker="w1", lease_until=NOW + 3 * LEASE)
    assert reported.progress == progress
    assert not reported.cancel_requested
    clock.now = NOW + 2 * LEASE
    assert jobs.claim(worker="w2", lease_until=NOW + 9 * LEASE) is None


def test_a_worker_that_lost_its_job_can_neither_report_nor_finish_it(jobs, clock, events, ingestions):
    ingestions.add(job(), event())
    stale = jobs.claim(worker="w1", lease_until=NOW)
    clock.now = NOW + LEASE
    jobs.claim(worker="w2", lease_until=NOW + 2 * LEASE)
    with pytest.raises(Conflict):
        jobs.report("j1", Progress(rows=1), worker="w1", lease_until=NOW + 9 * LEASE)
    with pytest.raises(Conflict):
        jobs.finish(finished(stale), event(EventKind.INGESTION_SUCCEEDED))
    assert jobs.get("j1").state is JobState.RUNNING
    assert len(events.after(0)) == 1


def test_a_finished_job_tells_how_it_ended(jobs, events, ingestions):
    ingestions.add(job(), event())
    claimed = jobs.claim(worker="w", lease_until=NOW + LEASE)
    end = finished(
        claimed,
        progress=Progress(Phase.COMMITTING, 10, 10, 99),
        version=4,
        reading=Reading("csv", {"delimiter": ";"}),
    )
    jobs.finish(end, event(EventKind.INGESTION_SUCCEEDED))
    assert jobs.get("j1") == end
    assert [stored.event.kind for stored in events.after(0)] == [
        EventKind.INGESTION_QUEUED,
        EventKind.INGESTION_SUCCEEDED,
    ]
    ingestions.add(job("j2"), event())
    claimed = jobs.claim(worker="w", lease_until=NOW + LEASE)
    failed = finished(claimed, JobState.FAILED, error_code="unreadable_data", error_message="row 7")
    jobs.finish(failed, event(EventKind.INGESTION_FAILED))
    assert jobs.get("j2") == failed


def test_a_final_state_never_changes(jobs, clock, events, ingestions):
    ingestions.add(job(), event())
    end = finished(jobs.claim(worker="w", lease_until=NOW))
    jobs.finish(end, event(EventKind.INGESTION_SUCCEEDED))
    clock.now = NOW + LEASE
    assert jobs.claim(worker="w2", lease_until=NOW + 2 * LEASE) is None
    with pytest.raises(IngestionFinished):
        jobs.request_cancel("j1")
    with pytest.raises(Conflict):
        jobs.finish(finished(end, JobState.FAILED), event(EventKind.INGESTION_FAILED))
    with pytest.raises(Conflict):
        jobs.report("j1", Progress(rows=1), worker="w", lease_until=NOW + 2 * LEASE)
    jobs.release("j1", worker="w")
    assert jobs.get("j1") == end
    assert len(events.after(0)) == 2


def test_a_queued_job_is_cancelled_at_once(jobs, clock, ingestions):
    ingestions.add(job(), event())
    clock.now = NOW + LEASE
    cancelled = jobs.request_cancel("j1")
    assert (cancelled.state, cancelled.finished_at) == (JobState.CANCELLED, NOW + LEASE)
    assert jobs.claim(worker="w", lease_until=NOW + 2 * LEASE) is None


def test_a_running_job_is_told_to_stop_with_its_next_report(jobs, ingestions):
    ingestions.add(job(), event())
    jobs.claim(worker="w", lease_until=NOW + LEASE)
    asked = jobs.request_cancel("j1")
    assert (asked.state, asked.cancel_requested) == (JobState.RUNNING, True)
    assert jobs.report("j1", Progress(), worker="w", lease_until=NOW + LEASE).cancel_requested


def test_a_job_that_was_given_back_is_queued_again_and_the_attempt_does_not_count(jobs, ingestions):
    ingestions.add(job(), event())
    jobs.claim(worker="w1", lease_until=NOW + LEASE)
    jobs.release("j1", worker="somebody else")
    assert jobs.get("j1").state is JobState.RUNNING
    jobs.release("j1", worker="w1")
    assert (jobs.get("j1").state, jobs.get("j1").attempt) == (JobState.QUEUED, 0)
    assert jobs.claim(worker="w2", lease_until=NOW + LEASE).attempt == 1


# Idempotency keys

KEY = IdempotencyKey("ann", "first try", "f" * 64)


def test_a_key_stands_for_the_job_that_it_was_added_with(jobs, events, ingestions):
    assert ingestions.started_with(KEY) is None
    assert ingestions.add(job("j1"), event(), key=KEY) == job("j1")
    assert ingestions.started_with(KEY) == job("j1")
    assert ingestions.add(job("j2"), event(), key=KEY) == job("j1")
    assert [ingestion.id for ingestion in jobs.list()] == ["j1"]
    assert events.bounds() == (1, 1)


def test_a_key_tells_how_its_job_is_doing_now(jobs, ingestions):
    ingestions.add(job("j1"), event(), key=KEY)
    running = jobs.claim(worker="w", lease_until=NOW + LEASE)
    assert ingestions.started_with(KEY) == running


def test_a_key_of_another_request_is_refused_and_adds_nothing(jobs, events, ingestions):
    ingestions.add(job("j1"), event(), key=KEY)
    other = replace(KEY, fingerprint="0" * 64)
    with pytest.raises(IdempotencyKeyReused, match="first try"):
        ingestions.started_with(other)
    with pytest.raises(IdempotencyKeyReused, match="first try"):
        ingestions.add(job("j2"), event(), key=other)
    assert [ingestion.id for ingestion in jobs.list()] == ["j1"]
    assert events.bounds() == (1, 1)


def test_actors_do_not_share_their_keys(ingestions):
    ingestions.add(job("j1"), event(), key=KEY)
    assert ingestions.add(job("j2"), event(), key=replace(KEY, actor="bob")).id == "j2"


def test_a_key_is_forgotten_after_its_time(clock, ingestions):
    ingestions.add(job("j1"), event(), key=KEY)
    clock.now = NOW + KEY.KEPT
    assert ingestions.started_with(KEY) is None
    later = replace(job("j2"), created_at=clock.now)
    assert ingestions.add(later, event(), key=replace(KEY, fingerprint="0" * 64)) == later
    assert ingestions.started_with(replace(KEY, fingerprint="0" * 64)) == later


def test_of_many_who_come_at_once_with_one_key_all_get_the_same_job(jobs, ingestions):
    gate = threading.Barrier(8)
    answers = []

    def add(number):
        gate.wait(30)
        answers.append(ingestions.add(job(f"j{number}"), event(), key=KEY).id)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 8
    assert len(set(answers)) == 1
    assert [ingestion.id for ingestion in jobs.list()] == [answers[0]]


# -- whose turn it is --------------------------------------------------------------------------


def claimed(jobs, count):
    """The ids of the next jobs that are claimed, none of which ends."""
    found = [jobs.claim(worker="w", lease_until=NOW + LEASE) for _ in range(count)]
    return [job.id if job else None for job in found]


def done(jobs, id):
    jobs.finish(finished(jobs.get(id)), event(EventKind.INGESTION_SUCCEEDED))


def test_higher_priority_goes_first_and_order_of_arrival_within(jobs, ingestions):
    for id, priority in (("low", -5), ("a", 0), ("b", 0), ("high", 7)):
        ingestions.add(job(id, id, priority=priority), event())
    assert claimed(jobs, 5) == ["high", "a", "b", "low", None]


def test_a_flood_for_one_dataset_does_not_keep_others_waiting(jobs, ingestions):
    for number in range(20):
        ingestions.add(job(f"flood{number}", "flood"), event())
    ingestions.add(job("other", "other"), event())
    assert claimed(jobs, 3) == ["flood0", "other", "flood1"]
    ingestions.add(job("third", "third"), event())
    assert claimed(jobs, 2) == ["third", "flood2"]


def test_appends_to_a_dataset_run_side_by_side(jobs, ingestions):
    for id in ("a", "b"):
        ingestions.add(job(id), event())
    assert claimed(jobs, 2) == ["a", "b"]


@pytest.mark.parametrize("mode", [mode for mode in WriteMode if mode is not WriteMode.APPEND])
def test_other_modes_wait_for_those_before_and_are_waited_for(jobs, ingestions, mode):
    for id, each in (("a", WriteMode.APPEND), ("b", mode), ("c", WriteMode.APPEND), ("d", mode)):
        ingestions.add(job(id, mode=each), event())
    ingestions.add(job("elsewhere", "elsewhere"), event())
    for id, following in (("a", ["elsewhere", None]), ("b", [None]), ("c", [None]), ("d", [None])):
        assert claimed(jobs, 1 + len(following)) in ([id, *following], ["elsewhere", id, None])
        done(jobs, id)


def test_a_job_that_waits_for_its_dataset_keeps_its_place_when_its_server_dies(jobs, ingestions, clock):
    for id in ("a", "b"):
        ingestions.add(job(id, mode=WriteMode.REPLACE), event())
    assert claimed(jobs, 2) == ["a", None]
    clock.now = NOW + 2 * LEASE
    found = jobs.claim(worker="w2", lease_until=NOW + 3 * LEASE)
    assert (found.id, found.attempt) == ("a", 2)
    assert jobs.claim(worker="w2", lease_until=NOW + 3 * LEASE) is None


# -- lists, logs, maintenance ------------------------------------------------------------------


def maintenance(id="m1", task=Task.COMPACT, dataset="Flights"):
    return Maintenance(
        id=id, maintains=DatasetName(dataset), does=task, state=JobState.QUEUED, created_at=NOW, actor="ann"
    )


def test_maintenance_comes_back_as_it_was_added_and_as_it_ended(jobs, ingestions):
    assert jobs.request_maintenance(maintenance(), event()) == maintenance()
    assert jobs.get("m1") == maintenance()
    with pytest.raises(IngestionNotFound, match="m1"):
        ingestions.get("m1")
    running = jobs.claim(worker="w", lease_until=NOW + LEASE)
    end = finished(running, version=4, result={"files": 12})
    jobs.finish(end, event(EventKind.MAINTENANCE_SUCCEEDED))
    assert jobs.get("m1") == end


def test_maintenance_of_a_kind_is_wanted_once_at_a_time(jobs, events):
    jobs.request_maintenance(maintenance("m1"), event())
    assert jobs.request_maintenance(maintenance("m2"), event()).id == "m1"
    assert jobs.request_maintenance(maintenance("m3", Task.VACUUM), event()).id == "m3"
    assert jobs.request_maintenance(maintenance("m4", dataset="other"), event()).id == "m4"
    assert len(events.after(0)) == 3
    assert claimed(jobs, 1) == ["m1"]
    assert jobs.request_maintenance(maintenance("m5"), event()).id == "m1"
    done(jobs, "m1")
    assert jobs.request_maintenance(maintenance("m6"), event()).id == "m6"


def test_workers_that_ask_at_once_get_a_job_each_and_none_of_a_dataset_that_is_taken(jobs, ingestions):
    for number in range(3):
        ingestions.add(job(f"only-{number}", f"d{number}", mode=WriteMode.REPLACE), event())
        ingestions.add(job(f"next-{number}", f"d{number}", mode=WriteMode.REPLACE), event())
    with ThreadPoolExecutor(4) as workers:
        found = list(workers.map(lambda n: jobs.claim(worker=f"w{n}", lease_until=NOW + LEASE), range(4)))
    assert {each and each.id for each in found} == {"only-0", "only-1", "only-2", None}


def test_maintenance_that_is_asked_for_at_once_is_done_once(jobs):
    with ThreadPoolExecutor(4) as callers:
        found = callers.map(lambda n: jobs.request_maintenance(maintenance(f"m{n}"), event()), range(4))
        assert len({each.id for each in found}) == 1
    assert len(jobs.list()) == 1


def test_maintenance_lets_ingestions_of_its_dataset_pass(jobs, ingestions):
    jobs.request_maintenance(maintenance(), event())
    ingestions.add(job("replace", mode=WriteMode.REPLACE), event())
    assert claimed(jobs, 1) == ["replace"]


def test_lists_have_filters_and_pages(jobs, ingestions):
    for number in range(5):
        ingestions.add(job(f"j{number}"), event())
    jobs.request_maintenance(maintenance(), event())
    claimed(jobs, 2)

    def ids(**wanted):
        return [found.id for found in jobs.list(JobFilter(**wanted))]

    assert ids(tasks=frozenset({Task.COMPACT})) == ["m1"]
    assert ids(states=frozenset({JobState.RUNNING})) == ["j1", "j0"]
    assert [found.id for found in jobs.list(limit=2, before="j3")] == ["j2", "j1"]
    with pytest.raises(IngestionNotFound):
        jobs.list(before="nobody")


def test_a_log_is_read_in_order_and_in_parts(jobs, ingestions):
    ingestions.add(job(), event())
    lines = [
        LogLine(NOW, "fetching", phase=Phase.FETCHING),
        LogLine(NOW + LEASE, "ends", LogLevel.ERROR, attempt=2),
    ]
    jobs.write_log("j1", lines[:1])
    jobs.write_log("other", lines)
    jobs.write_log("j1", lines[1:])
    (first, _), (second, _) = read = jobs.read_log("j1")
    assert [line for _, line in read] == lines
    assert jobs.read_log("j1", after=first) == [(second, lines[1])]
    assert [line for _, line in jobs.read_log("j1", limit=1)] == lines[:1]
    with pytest.raises(IngestionNotFound):
        jobs.read_log("nobody")


def test_old_jobs_are_forgotten_with_their_logs_once_they_have_ended(jobs, ingestions, database):
    for id in ("old", "waits", "newer", "newest"):
        ingestions.add(job(id, id, priority=-1 if id == "waits" else 0), event())
        jobs.write_log(id, [LogLine(NOW, id)])
    for id in claimed(jobs, 3):
        done(jobs, id)
    assert jobs.prune(keep=2) == 1
    assert [found.id for found in jobs.list()] == ["newest", "newer", "waits"]
    with database.read() as connection:
        kept = connection.execute(sa.text("SELECT job_id FROM job_log ORDER BY number")).scalars().all()
    assert kept == ["waits", "newer", "newest"]
