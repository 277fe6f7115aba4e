"""What every store of schedules promises."""

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from flight_core.adapters.catalog.events import SqlEventRepository
from flight_core.adapters.catalog.ingestions import SqlIngestionRepository
from flight_core.adapters.catalog.jobs import SqlJobRepository
from flight_core.adapters.catalog.schedules import SqlScheduleRepository
from flight_core.domain.access import Rights, Scope
from flight_core.domain.dataset import DatasetName, SchemaPolicy, WriteMode
from flight_core.domain.errors import Conflict, ScheduleExists, ScheduleNotFound, ScheduleRunning
from flight_core.domain.events import Event, EventKind
from flight_core.domain.ingestion import Ingestion, IngestionRequest, SourceSpec
from flight_core.domain.job import JobState
from flight_core.domain.schedule import Cron, Interval, Schedule
from flight_core.infrastructure.database import Database
from tests.catalogs import KEY

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
REQUEST = IngestionRequest(
    DatasetName("Orders"),
    SourceSpec("http", {"url": "https://example.org/x", "headers": {"A": {"secret": "s"}}}),
    WriteMode.UPSERT,
    "csv",
    {"delimiter": ";", "types": {"zip": "string"}},
    force=True,
    priority=3,
    keys=("id", "day"),
    schema_policy=SchemaPolicy.WIDEN,
    message="nightly",
)


def schedule(name="s", next_at=NOON, timing=None, **fields):
    reads = frozenset({DatasetName("Input")})
    return Schedule(name, REQUEST, timing or Interval(60), NOON, "ann", next_at, reads=reads, **fields)


def event(kind=EventKind.SCHEDULE_CHANGED, **data):
    return Event(kind, "Orders", data, NOON)


def job(id="j1", state=JobState.QUEUED):
    return Ingestion(id=id, request=REQUEST, state=state, created_at=NOON, actor="ann", schedule="s")


@pytest.fixture
def schedules(database):
    return SqlScheduleRepository(database)


@pytest.fixture
def jobs(database):
    return SqlJobRepository(database, lambda: NOON)


@pytest.fixture
def told(database):
    return lambda: [stored.event.kind for stored in SqlEventRepository(database).after(0)]


def test_sources_that_were_stored_in_the_clear_are_encrypted_by_a_newer_skein(tmp_path):
    path = tmp_path / "catalog.sqlite"
    url = f"sqlite:///{path}"
    with closing(Database(url)) as database:  # without a key, as it was
        database.migrate()
        SqlScheduleRepository(database).add(schedule(), event())
        SqlIngestionRepository(database, lambda: NOON).add(job(), event())
        with database.write() as connection:
            for table in ("jobs", "schedules", "derivations"):
                connection.execute(sa.text(f"ALTER TABLE {table} DROP COLUMN rights"))
            connection.execute(sa.text("UPDATE alembic_version SET version_num = '0022'"))
    assert b"example.org" in path.read_bytes()
    with closing(Database(url, KEY)) as database:
        database.migrate()
        assert SqlScheduleRepository(database).get("s") == schedule()
        assert SqlJobRepository(database, lambda: NOON).get("j1") == job()
    assert b"example.org" not in path.read_bytes()


def test_a_schedule_comes_back_as_it_was_added(schedules, told):
    by_interval = schedule("Interval", timing=Interval(90.5), last_job="j0", last_at=NOON)
    rights = Rights(frozenset({Scope.READ, Scope.INGEST}), ("sales*", "orders"))
    by_cron = schedule("cron", None, Cron("0 6 * * *", "Europe/Berlin"), pause_reason="gone", rights=rights)
    for each in (by_interval, by_cron):
        schedules.add(each, event(EventKind.SCHEDULE_ADDED))
    assert schedules.get("INTERVAL") == by_interval
    assert schedules.list() == [by_cron, by_interval]
    assert told() == [EventKind.SCHEDULE_ADDED] * 2


def test_the_fields_of_sources_are_stored_sealed(schedules, database, catalog_url):
    schedules.add(schedule(), event())
    schedules.fire(schedules.get("s"), job(), event())
    with database.read() as connection:
        stored = [
            *connection.execute(sa.text("SELECT CAST(request AS TEXT) FROM schedules")).scalars(),
            *connection.execute(sa.text("SELECT CAST(source AS TEXT) FROM jobs")).scalars(),
        ]
    assert len(stored) == 2
    assert "nightly" in stored[0]
    assert not any("example.org" in text for text in stored)
    with closing(Database(catalog_url, bytes(32))) as other:
        assert SqlScheduleRepository(other).get("s").request.source == SourceSpec("http", {})


def test_a_name_is_taken_once_in_whatever_case(schedules, told):
    schedules.add(schedule("Orders"), event())
    with pytest.raises(ScheduleExists, match="'orders'"):
        schedules.add(schedule("orders"), event())
    assert len(told()) == 1


def test_what_is_not_there_is_not_found(schedules):
    for use in (
        lambda: schedules.get("s"),
        lambda: schedules.save(schedule(), event()),
        lambda: schedules.fire(schedule(), job(), event()),
        lambda: schedules.remove("s", event()),
    ):
        with pytest.raises(ScheduleNotFound, match="'s'"):
            use()


def test_due_is_what_waits_with_nothing_running_the_longest_first(schedules, jobs):
    for name, next_at in (
        ("late", NOON - timedelta(hours=2)),
        ("later", NOON - timedelta(hours=3)),
        ("now", NOON),
        ("soon", NOON + timedelta(seconds=1)),
        ("paused", None),
        ("forgotten", NOON - timedelta(hours=1)),
    ):
        schedules.add(schedule(name, next_at, last_job="gone" if name == "forgotten" else None), event())
    schedules.fire(replace(schedules.get("later"), last_job="j1"), job(), event())
    assert [each.name for each in schedules.due(NOON)] == ["late", "forgotten", "now"]
    claimed = jobs.claim(worker="w", lease_until=NOON + timedelta(hours=1))
    jobs.finish(replace(claimed, state=JobState.FAILED), event())
    assert [each.name for each in schedules.due(NOON)] == ["later", "late", "forgotten", "now"]


def test_a_change_counts_only_on_top_of_the_latest_one(schedules, told):
    schedules.add(schedule(), event())
    first = schedules.get("s")
    second = schedules.save(replace(first, timing=Cron("0 6 * * *")), event())
    assert second == schedules.get("s")
    assert second.revision > first.revision
    for outdated in (
        lambda: schedules.save(replace(first, next_at=None), event()),
        lambda: schedules.fire(first, job(), event()),
    ):
        with pytest.raises(Conflict):
            outdated()
    assert schedules.get("s") == second
    assert len(told()) == 2


def test_firing_adds_the_job_and_moves_the_schedule_or_does_neither(schedules, jobs, told):
    schedules.add(schedule(), event())
    fired = replace(schedules.get("s"), next_at=NOON + timedelta(minutes=1), last_job="j1", last_at=NOON)
    schedules.fire(fired, job(), event(EventKind.INGESTION_QUEUED))
    after = schedules.get("s")
    assert after == replace(fired, revision=after.revision)
    assert [(each.id, each.request, each.schedule) for each in jobs.list()] == [("j1", REQUEST, "s")]
    with pytest.raises(ScheduleRunning, match="'s' has not ended") as refused:
        schedules.fire(replace(after, last_job="j2"), job("j2"), event())
    assert refused.value.details["ingestion"] == "j1"
    assert schedules.get("s") == after
    assert told() == [EventKind.SCHEDULE_CHANGED, EventKind.INGESTION_QUEUED]


def test_what_is_removed_is_gone_and_its_jobs_stay(schedules, jobs, told):
    schedules.add(schedule(), event())
    schedules.fire(replace(schedules.get("s"), last_job="j1"), job(), event())
    schedules.remove("S", event(EventKind.SCHEDULE_REMOVED))
    assert schedules.list() == []
    assert [each.id for each in jobs.list()] == ["j1"]
    assert told()[-1] is EventKind.SCHEDULE_REMOVED
