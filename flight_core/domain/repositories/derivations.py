"""Repository of derivations."""

from collections.abc import Sequence
from typing import Protocol

from flight_core.domain.dataset import DatasetName
from flight_core.domain.derivation import Derivation
from flight_core.domain.events import Event
from flight_core.domain.ingestion import Ingestion


class DerivationRepository(Protocol):
    def find(self, target: DatasetName) -> Derivation | None:
        """The derivation of that dataset, ignoring case."""

    def list(self) -> Sequence[Derivation]:
        """Ordered by the name of the target."""

    def put(self, derivation: Derivation, event: Event) -> Derivation:
        """Store a derivation if the stored one still has the revision `derivation.revision` (0: none);
        returns it with the next revision.

        Raises:
            Conflict: somebody else changed it.
        """

    def remove(self, target: DatasetName, event: Event) -> bool:
        """Remove the derivation and append `event`; False if there is none."""

    def start(self, derivation: Derivation, ingestion: Ingestion, event: Event) -> bool:
        """Store the derivation and queue its run, if the stored one still has its revision; False if not.
        Atomic: of several processes only one succeeds."""
