"""The SQL catalog on a real database file: migrations, processes, speed of the hot path."""

import sqlite3
import subprocess
import sys
import textwrap
import threading
from contextlib import closing
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from flight_core.adapters.catalog.datasets import SqlDatasetRepository
from flight_core.adapters.catalog.events import SqlEventRepository
from flight_core.adapters.catalog.ingestions import SqlIngestionRepository
from flight_core.domain.dataset import DatasetName, DatasetVersion, VersionRef
from flight_core.domain.errors import DependencyFailed, OutOfDisk, Unsupported
from flight_core.domain.events import Event, EventKind
from flight_core.domain.ingestion import SourceSpec
from flight_core.domain.job import JobState
from flight_core.infrastructure.database import Database
from tests.catalogs import open_catalog

NOW = datetime(2026, 3, 4, tzinfo=UTC)
EVENT = Event(EventKind.DATASET_COMMITTED, "x", {}, NOW)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "catalog.sqlite"


@pytest.fixture
def database(path):
    made = Database(f"sqlite:///{path}")
    made.migrate()
    yield made
    made.close()


def version(dataset_id, number=0):
    return DatasetVersion(VersionRef(dataset_id, number), pa.schema([("a", pa.int64())]), 1, 1, NOW)


def run(program, *arguments):
    return subprocess.Popen([sys.executable, "-P", "-c", textwrap.dedent(program), *map(str, arguments)])


def test_what_the_first_catalog_held_survives_all_migrations(path):
    values = {
        "at": "2026-03-04 00:00:00.000000",
        "schema": pa.schema([("a", pa.int64())]).serialize().to_pybytes(),
        "source": '{"kind": "file", "fields": {"path": "/x.csv"}}',
    }
    config = Config()
    config.set_main_option("script_location", "flight_core.infrastructure:migrations")
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for statement in (
            "INSERT INTO datasets VALUES ('d1', 'birds', 'Birds', 'of the north', '[\"wild\"]', :at, NULL, 3,"
            " :schema, 7, 99, 7, :at, 'create', '{}')",
            "INSERT INTO ingestions VALUES (1, 'j1', 'birds', 'Birds', :source, 'append', 'csv', '{}', 'ann',"
            " 'succeeded', :at, 1, NULL, NULL, false, NULL, 5, 5, 7, :at, :at, 3, NULL, NULL)",
            "INSERT INTO events VALUES (1, 'dataset.committed', 'Birds', '{}', :at)",
        ):
            connection.execute(sa.text(statement), values)
    engine.dispose()
    with closing(open_catalog(path.parent)) as database:
        dataset = SqlDatasetRepository(database).get(DatasetName("birds"))
        assert (dataset.name.value, dataset.version, dataset.current.row_count) == ("Birds", 3, 7)
        assert (dataset.description, [*dataset.tags]) == ("of the north", ["wild"])
        assert dataset.current.schema == pa.schema([("a", pa.int64())])
        job = SqlIngestionRepository(database, lambda: NOW).get("j1")
        assert (job.state, job.actor, job.progress.rows, job.version) == (JobState.SUCCEEDED, "ann", 7, 3)
        assert job.request.source == SourceSpec("file", {"path": "/x.csv"})
        assert [each.seq for each in SqlEventRepository(database).after(0)] == [1]


def test_migrating_again_changes_nothing(database, path):
    SqlEventRepository(database).append(EVENT)
    database.migrate()
    assert SqlEventRepository(database).bounds() == (1, 1)


def test_processes_that_start_at_once_migrate_once(path):
    program = """
        import sys
        from flight_core.infrastructure.database import Database
        Database(sys.argv[1]).migrate()
    """
    starters = [run(program, f"sqlite:///{path}") for _ in range(4)]
    assert [starter.wait(60) for starter in starters] == [0, 0, 0, 0]
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM counters").fetchone() == (4,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_catalog_of_a_newer_skein_is_refused(database):
    with database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Unsupported, match="newer Skein"):
        database.migrate()


def test_the_state_of_the_lake_sees_what_another_process_published(database, path):
    repository = SqlDatasetRepository(database)
    assert repository.lake_state().datasets == {}
    program = """
        import sys
        from datetime import UTC, datetime
        import pyarrow as pa
        from flight_core.adapters.catalog.datasets import SqlDatasetRepository
        from flight_core.domain.dataset import DatasetName, DatasetVersion, VersionRef
        from flight_core.domain.events import Event, EventKind
        from flight_core.infrastructure.database import Database
        now = datetime.now(UTC)
        made = DatasetVersion(VersionRef("id1", 0), pa.schema([("a", pa.int64())]), 1, 1, now)
        SqlDatasetRepository(Database(sys.argv[1])).publish(
            DatasetName("flights"), made, Event(EventKind.DATASET_COMMITTED, "flights", {}, now)
        )
    """
    assert run(program, f"sqlite:///{path}").wait(60) == 0
    assert repository.lake_state().datasets["flights"].ref == VersionRef("id1", 0)


def test_an_unchanged_lake_is_the_same_object_and_at_most_one_question(database):
    repository = SqlDatasetRepository(database)
    for number in range(50):
        repository.publish(DatasetName(f"d{number}"), version(f"id{number}"), EVENT)
    first = repository.lake_state()
    statements: list[str] = []
    sa.event.listen(database._engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    assert repository.lake_state() is first
    assert statements == []  # nobody committed anything
    SqlEventRepository(database).append(EVENT)
    statements.clear()
    assert repository.lake_state() is first
    assert len([text for text in statements if text.startswith("SELECT")]) == 1


def test_threads_that_publish_at_once_all_succeed(database):
    repository = SqlDatasetRepository(database)
    failures: list[BaseException] = []

    def publish(worker):
        try:
            for number in range(10):
                repository.publish(DatasetName("shared"), version("id", worker + 4 * number), EVENT)
                repository.publish(DatasetName(f"own{worker}"), version(f"own{worker}", number), EVENT)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=publish, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert repository.get(DatasetName("shared")).version == 39
    assert [repository.get(DatasetName(f"own{worker}")).version for worker in range(4)] == [9] * 4


def test_the_event_is_stored_if_and_only_if_the_change_is(database):
    repository, events = SqlDatasetRepository(database), SqlEventRepository(database)
    unstorable = Event(EventKind.DATASET_COMMITTED, "x", {"not json": object()}, NOW)
    with pytest.raises(sa.exc.StatementError):
        repository.publish(DatasetName("flights"), version("id1"), unstorable)
    assert repository.find(DatasetName("flights")) is None
    assert repository.lake_state().revision == 0
    assert events.append(EVENT).seq == 1


def test_moments_are_utc_whatever_zone_they_came_in(database):
    events = SqlEventRepository(database)
    local = datetime(2026, 7, 1, 12, 0, tzinfo=ZoneInfo("Europe/Prague"))
    events.append(Event(EventKind.DATASET_DROPPED, "x", {}, local))
    [stored] = events.after(0)
    assert stored.event.occurred_at == local
    assert stored.event.occurred_at.utcoffset().total_seconds() == 0


def test_a_full_disk_is_told_as_such(database):
    events = SqlEventRepository(database)
    with database.write() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    sa.event.listen(
        database._engine,
        "checkout",
        lambda raw, *_: raw.execute(f"PRAGMA max_page_count = {pages}"),
    )
    big = Event(EventKind.DATASET_COMMITTED, "x", {"text": "x" * 100_000}, NOW)
    with pytest.raises(OutOfDisk):
        events.append(big)
    assert events.bounds() == (0, 0)


def test_a_catalog_that_is_gone_is_a_failure_of_ours(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/missing/catalog.sqlite")
    with pytest.raises(DependencyFailed) as failure:
        database.migrate()
    assert str(tmp_path) not in str(failure.value)


def test_a_damaged_catalog_is_told_at_once(tmp_path):
    path = tmp_path / "catalog.sqlite"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(DependencyFailed, match="damaged; restore the data directory from a backup"):
        Database(f"sqlite:///{path}").migrate()
