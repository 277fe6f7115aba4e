"""What every store of what sources remember promises."""

from dataclasses import replace

import pytest

from flight_core.adapters.catalog.source_memories import SqlSourceMemoryRepository
from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import Conflict
from flight_core.domain.source_state import Remembered, SourceMemory, SourceState

NAME = DatasetName("Flights")
STATE = SourceState({"etag": '"ä"', "urls": {"a": [1, None]}}, {"since": "2026-01-31"})


@pytest.fixture
def memories(database):
    return SqlSourceMemoryRepository(database)


def test_nothing_is_known_of_a_new_source(memories):
    assert memories.find(NAME, "f1") == SourceMemory(NAME, "f1")


def test_a_memory_comes_back_as_it_was_saved(memories):
    settled = Remembered("j1", STATE, "r", "d1", 4)
    saved = memories.save(replace(memories.find(NAME, "f1"), settled=settled))
    assert memories.find(DatasetName("flights"), "f1").settled == settled
    again = memories.save(replace(saved, pending=Remembered("j2", SourceState(), "r")))
    found = memories.find(NAME, "f1")
    assert (found, found.revision) == (again, 2)
    assert memories.save(replace(found, pending=None)).pending is None
    assert memories.find(NAME, "f1").pending is None


def test_sources_and_datasets_are_kept_apart(memories):
    memories.save(replace(memories.find(NAME, "f1"), settled=Remembered("j1", STATE, "r")))
    assert memories.find(NAME, "f2").revision == 0
    assert memories.find(DatasetName("other"), "f1").revision == 0


@pytest.mark.parametrize("stored", [0, 1])
def test_of_two_that_save_at_once_one_fails(memories, stored):
    memory = memories.find(NAME, "f1")
    for _ in range(stored):
        memory = memories.save(memory)
    first = memories.save(replace(memory, settled=Remembered("j1", STATE, "r")))
    with pytest.raises(Conflict, match="Flights"):
        memories.save(replace(memory, settled=Remembered("j2", STATE, "r")))
    assert memories.find(NAME, "f1") == first
