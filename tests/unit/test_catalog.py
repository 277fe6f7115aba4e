"""Writing, describing and dropping datasets, with a catalog and a store in memory."""

from datetime import timedelta
from functools import partial

import pyarrow as pa
import pytest

from flight_core.application.datasets.describe import DescribeDataset, GetDataset, ListDatasets
from flight_core.application.datasets.drop import DropDataset, SweepOrphans
from flight_core.application.datasets.find_version import FindVersion
from flight_core.application.writes.open_write import OpenWrite, Publish, Reconcile
from flight_core.application.writes.rows import NewRows, TakeRows, WriteDataset
from flight_core.domain.access import LOCAL, Actor, Scope
from flight_core.domain.dataset import DatasetName, WriteMode, WriteRule
from flight_core.domain.errors import (
    CommitConflict,
    DatasetExists,
    DatasetNotFound,
    PermissionDenied,
    VersionNotFound,
)
from flight_core.domain.events import EventKind
from tests.fakes.catalog import MemoryDatasets, MemoryTables, NoProfiles, NoTags, SteadyClock, numbered_ids

FLIGHTS = DatasetName("Flights")
READER = Actor("reader", frozenset({Scope.READ}))
STRANGER = Actor("stranger", frozenset())


def rows(*numbers: int) -> pa.Table:
    return pa.table({"n": pa.array(numbers, pa.int64())})


class Catalog:
    """The use cases over one catalog and one store."""

    def __init__(self) -> None:
        self.clock = SteadyClock()
        self.datasets = MemoryDatasets()
        self.tables = MemoryTables(self.clock)
        publish = Publish(self.datasets, self.clock)
        self.open_write = OpenWrite(self.datasets, self.tables, publish, partial(next, numbered_ids()))
        self.write_dataset = WriteDataset(TakeRows(self.open_write))
        self.drop = DropDataset(self.datasets, self.clock)
        self.describe = DescribeDataset(
            self.datasets, self.tables, FindVersion(self.tables, NoTags()), NoProfiles()
        )
        self.reconcile = Reconcile(self.datasets, self.tables, publish)
        self.sweep = SweepOrphans(self.datasets, self.tables, self.clock, grace=timedelta(hours=1))

    def write(self, table, mode=WriteMode.APPEND, name=FLIGHTS, actor=LOCAL):
        return self.write_dataset(
            name, NewRows(table.schema, table.to_batches(), "a test"), WriteRule(mode), actor=actor
        )

    def write_and_die(self, table, name=FLIGHTS, mode=WriteMode.APPEND, job_id=None):
        """Commit to storage as a process does that dies before it tells the catalog."""
        write = self.open_write(name, table.schema, WriteRule(mode), actor=LOCAL, job_id=job_id)
        for batch in table.to_batches():
            write.staged.write(batch)
        return write.staged.commit(job_id=job_id)

    def current(self, name=FLIGHTS):
        return self.tables.rows(self.datasets.get(name).current.ref)


@pytest.fixture
def catalog():
    return Catalog()


def test_the_first_write_makes_the_dataset_and_tells_about_it(catalog):
    version = catalog.write(rows(1, 2, 3))
    assert catalog.current() == rows(1, 2, 3)
    [event] = catalog.datasets.events
    assert (event.kind, event.subject) == (EventKind.DATASET_COMMITTED, "Flights")
    assert event.data == {
        "dataset": "Flights",
        "version": version.ref.version,
        "rows": 3,
        "added_rows": 3,
        "operation": "create",
        "size_bytes": version.size_bytes,
    }
    assert version.commit_info == {"actor": "local", "source": "a test", "mode": "append"}


def test_append_adds_rows_and_replace_leaves_only_the_new_ones(catalog):
    catalog.write(rows(1))
    catalog.write(rows(2), WriteMode.APPEND)
    assert catalog.current()["n"].to_pylist() == [1, 2]
    catalog.write(rows(7), WriteMode.REPLACE)
    assert catalog.current()["n"].to_pylist() == [7]
    assert [event.data["added_rows"] for event in catalog.datasets.events] == [1, 1, 1]
    assert [event.data["rows"] for event in catalog.datasets.events] == [1, 2, 1]


def test_create_refuses_a_name_that_exists_in_any_spelling(catalog):
    catalog.write(rows(1))
    with pytest.raises(DatasetExists, match="'Flights' exists"):
        catalog.write(rows(2), WriteMode.CREATE, name=DatasetName("FLIGHTS"))
    assert catalog.current() == rows(1)


def test_the_spelling_given_first_is_kept_also_in_events(catalog):
    catalog.write(rows(1))
    catalog.write(rows(2), name=DatasetName("flights"))
    assert [str(found.name) for found in catalog.datasets.list()] == ["Flights"]
    assert [event.subject for event in catalog.datasets.events] == ["Flights", "Flights"]


def test_a_write_that_fails_leaves_nothing_but_a_reserved_name(catalog):
    def broken():
        yield rows(1).to_batches()[0]
        raise ValueError("the client went away")

    with pytest.raises(ValueError, match="went away"):
        catalog.write_dataset(
            FLIGHTS, NewRows(rows().schema, broken()), WriteRule(WriteMode.APPEND), actor=LOCAL
        )
    assert catalog.tables.open_writes == 0
    assert catalog.datasets.list() == []
    assert catalog.datasets.events == []


def test_two_creators_meet_in_one_table_and_one_of_them_wins(catalog):
    first = catalog.open_write(FLIGHTS, rows().schema, WriteRule(WriteMode.CREATE), actor=LOCAL)
    second = catalog.open_write(FLIGHTS, rows().schema, WriteRule(WriteMode.CREATE), actor=LOCAL)
    second.staged.write(rows(2).to_batches()[0])
    second.commit()
    first.staged.write(rows(1).to_batches()[0])
    with pytest.raises(DatasetExists):
        first.commit()
    assert catalog.current() == rows(2)


def test_two_first_appenders_both_get_their_rows_in(catalog):
    first = catalog.open_write(FLIGHTS, rows().schema, WriteRule(WriteMode.APPEND), actor=LOCAL)
    second = catalog.open_write(FLIGHTS, rows().schema, WriteRule(WriteMode.APPEND), actor=LOCAL)
    for write, number in ((second, 2), (first, 1)):
        write.staged.write(rows(number).to_batches()[0])
        write.commit()
    assert catalog.current()["n"].to_pylist() == [2, 1]


def test_a_version_that_storage_has_and_the_catalog_lacks_is_published_at_start(catalog):
    catalog.write(rows(1))
    catalog.write_and_die(rows(2))
    other = DatasetName("other")
    catalog.write_and_die(rows(9), name=other)
    assert catalog.current() == rows(1)
    assert catalog.reconcile() == 2
    assert catalog.current()["n"].to_pylist() == [1, 2]
    assert catalog.current(other) == rows(9)
    assert catalog.reconcile() == 0


def test_the_next_write_publishes_what_a_dead_writer_left(catalog):
    catalog.write(rows(1))
    catalog.write_and_die(rows(2))
    catalog.write(rows(3))
    assert catalog.current()["n"].to_pylist() == [1, 2, 3]
    assert [event.data["version"] for event in catalog.datasets.events] == [0, 1, 2]


@pytest.mark.parametrize("mode", [WriteMode.CREATE, WriteMode.APPEND, WriteMode.REPLACE])
def test_a_job_commits_once_however_often_it_is_attempted(catalog, mode):
    if mode is not WriteMode.CREATE:
        catalog.write(rows(0))
    lost = catalog.write_and_die(rows(1), mode=mode, job_id="job-1")
    with catalog.open_write(FLIGHTS, None, WriteRule(mode), actor=LOCAL, job_id="job-1") as write:
        assert write.committed == lost
        assert write.commit() == lost
    assert catalog.datasets.get(FLIGHTS).current == lost
    assert catalog.tables.open_writes == 1  # the dead writer's


def test_a_dataset_that_was_dropped_while_it_was_written_to_stays_dropped(catalog):
    catalog.write(rows(1))
    with catalog.open_write(FLIGHTS, None, WriteRule(WriteMode.APPEND), actor=LOCAL) as write:
        write.staged.write(rows(2).to_batches()[0])
        catalog.drop(FLIGHTS, actor=LOCAL)
        with pytest.raises(CommitConflict):
            write.commit()
    assert catalog.datasets.list() == []


def test_a_name_that_was_dropped_can_be_used_again_and_is_another_dataset(catalog):
    old = catalog.write(rows(1)).ref
    catalog.drop(FLIGHTS, actor=LOCAL)
    new = catalog.write(rows(2)).ref
    assert new.dataset_id != old.dataset_id
    assert catalog.current() == rows(2)
    assert [event.kind for event in catalog.datasets.events] == [
        EventKind.DATASET_COMMITTED,
        EventKind.DATASET_DROPPED,
        EventKind.DATASET_COMMITTED,
    ]


def test_a_description_is_of_the_version_asked_for(catalog):
    versions = [catalog.write(rows(number)) for number in (1, 2, 3)]
    assert catalog.describe(FLIGHTS, actor=LOCAL).version == versions[2]
    assert catalog.describe(FLIGHTS, actor=LOCAL, at=0).version == versions[0]
    assert catalog.describe(FLIGHTS, actor=LOCAL, at=versions[1].committed_at).version == versions[1]
    description = catalog.describe(FLIGHTS, actor=LOCAL)
    assert list(description.versions) == versions[::-1]
    assert [column.name for column in description.columns] == ["n"]


def test_a_version_that_does_not_exist_is_not_described(catalog):
    first = catalog.write(rows(1))
    with pytest.raises(VersionNotFound, match="'Flights' has no version 4; the newest is 0"):
        catalog.describe(FLIGHTS, actor=LOCAL, at=4)
    with pytest.raises(VersionNotFound):
        catalog.describe(FLIGHTS, actor=LOCAL, at=first.committed_at - timedelta(seconds=1))


def test_an_unknown_name_is_answered_with_the_nearest_one(catalog):
    catalog.write(rows(1))
    with pytest.raises(DatasetNotFound, match="did you mean 'flights'"):
        GetDataset(catalog.datasets)(DatasetName("flihgts"), actor=LOCAL)


def test_only_what_was_dropped_before_the_grace_is_deleted(catalog):
    dropped = [catalog.write(rows(1), name=DatasetName(name)).ref.dataset_id for name in ("old", "new")]
    kept = catalog.write(rows(1)).ref.dataset_id
    catalog.drop(DatasetName("old"), actor=LOCAL)
    catalog.clock.now += timedelta(hours=1)
    catalog.drop(DatasetName("new"), actor=LOCAL)
    catalog.sweep()
    assert catalog.tables.deleted == dropped[:1]
    assert kept not in catalog.tables.deleted
    assert catalog.tables.swept == [catalog.clock.now - timedelta(hours=1)]


def test_who_may_only_read_can_neither_write_nor_drop(catalog):
    catalog.write(rows(1))
    with pytest.raises(PermissionDenied):
        catalog.write(rows(2), actor=READER)
    with pytest.raises(PermissionDenied):
        catalog.drop(FLIGHTS, actor=READER)
    assert catalog.current() == rows(1)
    assert [found.name for found in ListDatasets(catalog.datasets)(actor=READER)] == [FLIGHTS]


def test_who_may_not_read_sees_no_dataset(catalog):
    catalog.write(rows(1))
    for use in (
        lambda: ListDatasets(catalog.datasets)(actor=STRANGER),
        lambda: GetDataset(catalog.datasets)(FLIGHTS, actor=STRANGER),
        lambda: catalog.describe(FLIGHTS, actor=STRANGER),
    ):
        with pytest.raises(PermissionDenied):
            use()
