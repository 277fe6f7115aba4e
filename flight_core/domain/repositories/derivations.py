"""What makes derived datasets."""

from collections.abc import Sequence
from typing import Protocol

from flight_core.domain.dataset import DatasetName
from flight_core.domain.derivation import Derivation
from flight_core.domain.events import Event
from flight_core.domain.ingestion import Ingestion


class DerivationRepository(Protocol):
    def find(self, target: DatasetName) -> Derivation | None:
        """By a name that compares without case."""

    def list(self) -> Sequence[Derivation]:
        """Ordered by the name of the target."""

    def put(self, derivation: Derivation, event: Event) -> Derivation:
        """Store a definition if the stored one is still at `derivation.revision` (0: none); it comes back
        with the next revision.

        Raises:
            Conflict: somebody else changed it.
        """

    def remove(self, target: DatasetName, event: Event) -> bool:
        """Whether there was one."""

    def start(self, derivation: Derivation, ingestion: Ingestion, event: Event) -> bool:
        """Queue the run that `derivation` names, if the stored one is still at its revision; False if it
        is not. Atomic: of several processes one does it."""
