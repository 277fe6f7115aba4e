"""What every catalog of datasets promises."""

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from flight_core.adapters.catalog.datasets import SqlDatasetRepository
from flight_core.domain.dataset import DatasetName, DatasetVersion, VersionRef
from flight_core.domain.errors import CommitConflict, DatasetExists, DatasetNotFound
from flight_core.domain.events import Event, EventKind
from flight_core.infrastructure.database import Database
from tests.catalogs import KEY
from tests.fakes.catalog import MemoryDatasets

NOW = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)
FLIGHTS = DatasetName("Flights")
SCHEMA = pa.schema(
    [
        pa.field("n", pa.int64(), metadata={"skein.source_type": "uint32"}),
        pa.field("at", pa.timestamp("us", "UTC")),
        pa.field("tags", pa.list_(pa.struct([("k", pa.decimal128(20, 0))]))),
    ]
)


@pytest.fixture(params=["memory", "sqlite_url", "postgresql_url"])
def repository(request):
    if request.param == "memory":
        yield MemoryDatasets()
        return
    with closing(Database(request.getfixturevalue(request.param), KEY)) as database:
        yield SqlDatasetRepository(database)


def version(dataset_id="id1", number=0, **changes):
    made = DatasetVersion(
        ref=VersionRef(dataset_id, number),
        schema=SCHEMA,
        row_count=3_000_000_000,
        size_bytes=5_000_000_000,
        committed_at=NOW + timedelta(seconds=number),
        operation="create" if number == 0 else "append",
        commit_info={"actor": "ann", "source": "flights.csv", "mode": "append"},
        added_rows=7,
    )
    return replace(made, **changes)


def event(kind=EventKind.DATASET_COMMITTED):
    return Event(kind, "Flights", {"version": 1}, NOW)


def test_what_was_published_comes_back_in_full(repository):
    published = repository.publish(FLIGHTS, version(), event())
    found = repository.get(FLIGHTS)
    assert found == published
    assert (found.id, found.name, found.current, found.created_at) == ("id1", FLIGHTS, version(), NOW)
    assert found.current.schema.equals(SCHEMA, check_metadata=True)


def test_names_are_found_in_any_case_and_keep_the_first_spelling(repository):
    repository.publish(FLIGHTS, version(), event())
    repository.publish(DatasetName("FLIGHTS"), version(number=1), event())
    found = repository.find(DatasetName("fLiGhTs"))
    assert (str(found.name), found.version) == ("Flights", 1)


def test_a_missing_dataset_is_none_or_a_failure_with_the_nearest_name(repository):
    repository.publish(FLIGHTS, version(), event())
    assert repository.find(DatasetName("sales")) is None
    with pytest.raises(DatasetNotFound, match="did you mean 'flights'"):
        repository.get(DatasetName("flight"))


def test_datasets_are_listed_by_name_without_case(repository):
    for number, name in enumerate(("b", "A", "c", "_")):
        repository.publish(DatasetName(name), version(f"id{number}"), event())
    assert [str(found.name) for found in repository.list()] == ["_", "A", "b", "c"]


def test_publishing_an_older_or_equal_version_changes_nothing(repository):
    repository.publish(FLIGHTS, version(number=2), event())
    before = repository.lake_state()
    for number in (2, 1):
        assert repository.publish(FLIGHTS, version(number=number, row_count=1), event()).version == 2
    assert repository.get(FLIGHTS).current == version(number=2)
    assert repository.lake_state() == before


def test_a_later_version_keeps_the_day_of_creation(repository):
    repository.publish(FLIGHTS, version(), event())
    assert repository.publish(FLIGHTS, version(number=4), event()).created_at == NOW


def test_a_name_belongs_to_one_dataset(repository):
    repository.publish(FLIGHTS, version("id1"), event())
    with pytest.raises(DatasetExists):
        repository.publish(DatasetName("flights"), version("id2", 9), event())
    assert repository.get(FLIGHTS).id == "id1"


def test_a_reserved_name_is_bound_and_invisible_until_it_is_published(repository):
    assert repository.reserve(FLIGHTS, "id1") == "id1"
    assert repository.reserve(DatasetName("flights"), "id2") == "id1"
    assert list(repository.reservations()) == [(FLIGHTS, "id1")]
    assert repository.find(FLIGHTS) is None
    assert list(repository.list()) == []
    assert repository.lake_state().datasets == {}
    with pytest.raises(DatasetExists):
        repository.publish(FLIGHTS, version("id2"), event())
    repository.publish(FLIGHTS, version("id1"), event())
    assert list(repository.reservations()) == []
    assert repository.reserve(FLIGHTS, "id3") == "id1"


def test_a_dropped_dataset_is_forgotten_and_its_name_is_free(repository):
    repository.publish(FLIGHTS, version("id1"), event())
    assert repository.drop(DatasetName("FLIGHTS"), event(EventKind.DATASET_DROPPED)).id == "id1"
    assert repository.find(FLIGHTS) is None
    assert list(repository.list()) == []
    with pytest.raises(DatasetNotFound):
        repository.drop(FLIGHTS, event(EventKind.DATASET_DROPPED))
    assert repository.reserve(FLIGHTS, "id2") == "id2"
    assert repository.publish(FLIGHTS, version("id2"), event()).id == "id2"


def test_a_dataset_is_dropped_only_as_it_was_seen(repository):
    seen = repository.publish(FLIGHTS, version("id1"), event())
    current = repository.publish(FLIGHTS, version("id1", 1), event())
    described = repository.annotate(replace(current, description="busy"), event())
    for stale in (seen, current):
        with pytest.raises(CommitConflict):
            repository.drop(FLIGHTS, event(EventKind.DATASET_DROPPED), seen=stale)
    assert repository.get(FLIGHTS).description == "busy"
    repository.drop(FLIGHTS, event(EventKind.DATASET_DROPPED), seen=described)
    assert repository.find(FLIGHTS) is None


def test_nothing_can_be_published_into_a_dropped_dataset(repository):
    repository.publish(FLIGHTS, version("id1"), event())
    repository.drop(FLIGHTS, event(EventKind.DATASET_DROPPED))
    with pytest.raises(CommitConflict):
        repository.publish(FLIGHTS, version("id1", 1), event())
    repository.publish(FLIGHTS, version("id2"), event())
    with pytest.raises(CommitConflict):
        repository.publish(FLIGHTS, version("id1", 1), event())


def test_it_remembers_when_what_was_dropped(repository):
    repository.publish(FLIGHTS, version("id1"), event())
    repository.drop(FLIGHTS, event(EventKind.DATASET_DROPPED))
    assert list(repository.dropped(before=NOW)) == []
    assert list(repository.dropped(before=NOW + timedelta(microseconds=1))) == ["id1"]


def test_the_state_of_the_lake_has_a_new_revision_after_every_change(repository):
    states = [repository.lake_state()]
    changes = (
        lambda: repository.publish(FLIGHTS, version("id1"), event()),
        lambda: repository.publish(FLIGHTS, version("id1", 1), event()),
        lambda: repository.publish(DatasetName("b"), version("id2"), event()),
        lambda: repository.drop(FLIGHTS, event(EventKind.DATASET_DROPPED)),
    )
    for change in changes:
        change()
        states.append(repository.lake_state())
    revisions = [state.revision for state in states]
    assert revisions == sorted(set(revisions))
    assert [sorted(state.datasets) for state in states] == [
        [],
        ["flights"],
        ["flights"],
        ["b", "flights"],
        ["b"],
    ]
    assert states[2].datasets["flights"].ref == VersionRef("id1", 1)
    assert states[2].datasets["flights"].name == FLIGHTS
    assert states[1].datasets["flights"].ref == VersionRef("id1", 0), "a state that was handed out changed"
