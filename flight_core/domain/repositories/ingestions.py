"""Repository of ingestions."""

from typing import Protocol

from flight_core.domain.events import Event
from flight_core.domain.idempotency import IdempotencyKey
from flight_core.domain.ingestion import Ingestion


class IngestionRepository(Protocol):
    """Ingestions only; `JobRepository` has jobs of every kind."""

    def add(self, ingestion: Ingestion, event: Event, *, key: IdempotencyKey | None = None) -> Ingestion:
        """Store the job and append `event`. If `key` has a job already, returns that instead.

        Raises:
            IdempotencyKeyReused: see `started_with`.
        """

    def started_with(self, key: IdempotencyKey) -> Ingestion | None:
        """The job that was added with the key, less than `IdempotencyKey.KEPT` ago; None if there is none.

        Raises:
            IdempotencyKeyReused: the key was used for another request.
        """

    def get(self, ingestion_id: str) -> Ingestion:
        """
        Raises:
            IngestionNotFound: there is no such job, or it is not an ingestion.
        """
