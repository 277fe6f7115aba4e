"""What every catalog of derivations promises."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from flight_core.adapters.catalog.derivations import SqlDerivationRepository
from flight_core.adapters.catalog.events import SqlEventRepository
from flight_core.adapters.catalog.jobs import SqlJobRepository
from flight_core.application.derived.refuse import refuse_derived
from flight_core.domain.access import Rights, Scope
from flight_core.domain.dataset import DatasetName, VersionRef
from flight_core.domain.derivation import Derivation, RefreshPolicy
from flight_core.domain.errors import Conflict, DatasetDerived, IngestionNotFound
from flight_core.domain.events import Event, EventKind
from flight_core.domain.ingestion import Ingestion, IngestionRequest, SourceSpec
from flight_core.domain.job import JobState

NOW = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
DELAYS = DatasetName("Delays")
DERIVATION = Derivation(
    target=DELAYS,
    sql="SELECT avg(delay) AS delay FROM Flights WHERE day > $day",
    params={"day": "2026-01-01"},
    policy=RefreshPolicy.MANUAL,
    inputs=frozenset({DatasetName("Flights")}),
    actor="ann",
    rights=Rights(frozenset({Scope.WRITE}), ("flights*", "delays")),
    created_at=NOW,
    fixed={"airports@v3": VersionRef("id2", 3)},
    step="resample",
    incremental=True,
    pause_reason="gone",
)


class Catalog:
    def __init__(self, database):
        self.database = database
        self.derivations = SqlDerivationRepository(self.database)
        self.jobs = SqlJobRepository(self.database, lambda: NOW)
        self.events = SqlEventRepository(self.database)

    @property
    def told(self):
        return [stored.event.kind for stored in self.events.after(0)]


@pytest.fixture
def catalog(database):
    return Catalog(database)


def event(kind=EventKind.DERIVATION_SET):
    return Event(kind, "Delays", {}, NOW)


def run(job_id):
    request = IngestionRequest(DELAYS, SourceSpec("derived", {"sql": DERIVATION.sql}))
    return Ingestion(id=job_id, request=request, state=JobState.QUEUED, created_at=NOW)


def begun(derivation, job_id):
    return replace(derivation, attempted={"flights": VersionRef("id1", 7)}, run=job_id)


def test_what_was_put_is_found_by_its_name_without_case(catalog):
    stored = catalog.derivations.put(DERIVATION, event())
    assert stored == replace(DERIVATION, revision=1)
    assert catalog.derivations.find(DatasetName("dELAYS")) == stored
    assert catalog.derivations.find(DatasetName("flights")) is None
    assert catalog.told == [EventKind.DERIVATION_SET]


def test_they_are_listed_by_name_and_gone_once_removed(catalog):
    for name in ("b", "C", "a"):
        catalog.derivations.put(replace(DERIVATION, target=DatasetName(name), params=(1, None)), event())
    assert [each.target.value for each in catalog.derivations.list()] == ["a", "b", "C"]
    assert catalog.derivations.list()[0].params == [1, None]
    removed = event(EventKind.DERIVATION_REMOVED)
    assert catalog.derivations.remove(DatasetName("c"), removed)
    assert not catalog.derivations.remove(DatasetName("c"), removed)
    assert [each.target.value for each in catalog.derivations.list()] == ["a", "b"]
    assert catalog.told.count(EventKind.DERIVATION_REMOVED) == 1


def test_the_list_knows_what_others_did_since(catalog):
    assert not catalog.derivations.list()
    others = SqlDerivationRepository(catalog.database)
    stored = others.put(DERIVATION, event())
    assert list(catalog.derivations.list()) == [stored]
    assert others.start(begun(stored, "j1"), run("j1"), event(EventKind.INGESTION_QUEUED))
    assert [each.run for each in catalog.derivations.list()] == ["j1"]
    assert others.remove(DELAYS, event(EventKind.DERIVATION_REMOVED))
    assert not catalog.derivations.list()


def test_who_read_an_older_revision_changes_nothing(catalog):
    first = catalog.derivations.put(DERIVATION, event())
    second = catalog.derivations.put(replace(first, sql="SELECT 2 AS two FROM Flights"), event())
    for stale in (DERIVATION, first):
        with pytest.raises(Conflict):
            catalog.derivations.put(stale, event())
    assert not catalog.derivations.start(begun(first, "j1"), run("j1"), event(EventKind.INGESTION_QUEUED))
    with pytest.raises(IngestionNotFound):
        catalog.jobs.get("j1")
    assert catalog.derivations.find(DELAYS) == second
    assert catalog.told == [EventKind.DERIVATION_SET] * 2


def test_of_many_that_start_a_run_at_once_one_does(catalog):
    stored = catalog.derivations.put(DERIVATION, event())

    def start(number):
        job_id = f"j{number}"
        return catalog.derivations.start(
            begun(stored, job_id), run(job_id), event(EventKind.INGESTION_QUEUED)
        )

    with ThreadPoolExecutor(8) as threads:
        started = list(threads.map(start, range(8)))
    assert started.count(True) == 1
    winner = f"j{started.index(True)}"
    assert [job.id for job in catalog.jobs.list()] == [winner]
    assert catalog.derivations.find(DELAYS) == replace(begun(stored, winner), revision=2)
    assert catalog.told.count(EventKind.INGESTION_QUEUED) == 1


def test_its_latest_run_alone_may_write_to_the_target(catalog):
    refuse_derived(catalog.derivations, DELAYS)
    stored = catalog.derivations.put(DERIVATION, event())
    for job_id in (None, "j1"):
        with pytest.raises(DatasetDerived, match="Delays"):
            refuse_derived(catalog.derivations, DELAYS, job_id=job_id)
    catalog.derivations.start(begun(stored, "j1"), run("j1"), event(EventKind.INGESTION_QUEUED))
    refuse_derived(catalog.derivations, DELAYS, job_id="j1")
    with pytest.raises(DatasetDerived):
        refuse_derived(catalog.derivations, DELAYS, job_id="j0")
