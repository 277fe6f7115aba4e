"""What is known of sources."""

from typing import Protocol

from flight_core.domain.dataset import DatasetName
from flight_core.domain.source_state import SourceMemory


class SourceMemoryRepository(Protocol):
    def find(self, dataset: DatasetName, fingerprint: str) -> SourceMemory:
        """An empty one of revision 0 if nothing is known."""

    def save(self, memory: SourceMemory) -> SourceMemory:
        """Store it if nobody has since `memory.revision`; comes back with the next revision.

        Raises:
            Conflict: somebody has.
        """
