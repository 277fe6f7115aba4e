"""Jobs that ingest."""

from typing import Protocol

from flight_core.domain.events import Event
from flight_core.domain.idempotency import IdempotencyKey
from flight_core.domain.ingestion import Ingestion


class IngestionRepository(Protocol):
    """Jobs that ingest. `JobRepository` has these and all others."""

    def add(self, ingestion: Ingestion, event: Event, *, key: IdempotencyKey | None = None) -> Ingestion:
        """Store the job and append `event`; nothing of it if `key` has a job, which is the answer then.

        Raises:
            IdempotencyKeyReused: see `started_with`.
        """

    def started_with(self, key: IdempotencyKey) -> Ingestion | None:
        """The job that was added with the key, less than `IdempotencyKey.KEPT` ago.

        Raises:
            IdempotencyKeyReused: that job was asked for by another request.
        """

    def get(self, ingestion_id: str) -> Ingestion:
        """
        Raises:
            IngestionNotFound: no such job, or it does something else.
        """
