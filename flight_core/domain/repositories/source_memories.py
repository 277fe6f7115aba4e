"""Repository of the state of sources."""

from typing import Protocol

from flight_core.domain.dataset import DatasetName
from flight_core.domain.source_state import SourceMemory


class SourceMemoryRepository(Protocol):
    def find(self, dataset: DatasetName, fingerprint: str) -> SourceMemory:
        """The stored state, or an empty one of revision 0."""

    def save(self, memory: SourceMemory) -> SourceMemory:
        """Store the state if the stored one still has the revision `memory.revision`; returns it with the
        next revision.

        Raises:
            Conflict: somebody else has changed it.
        """
