"""Ingestions."""

from dataclasses import dataclass

from flight_core.adapters.catalog import idempotency
from flight_core.adapters.catalog.events import append_event
from flight_core.adapters.catalog.job_rows import ingestion_of, row_of, values_of
from flight_core.adapters.catalog.tables import jobs
from flight_core.application.ports.clock import Clock
from flight_core.domain.errors import IngestionNotFound
from flight_core.domain.events import Event
from flight_core.domain.idempotency import IdempotencyKey
from flight_core.domain.ingestion import Ingestion
from flight_core.domain.job import Task
from flight_core.infrastructure.database import Database


@dataclass(frozen=True, slots=True)
class SqlIngestionRepository:
    """See `IngestionRepository`."""

    database: Database
    clock: Clock

    def add(self, ingestion: Ingestion, event: Event, *, key: IdempotencyKey | None = None) -> Ingestion:
        with self.database.write() as connection:
            earlier = (
                None
                if key is None
                else idempotency.claim(connection, key, ingestion.id, now=ingestion.created_at)
            )
            if earlier is not None:
                return ingestion_of(row_of(connection, earlier))
            connection.execute(jobs.insert().values(values_of(ingestion)))
            append_event(connection, event)
        return ingestion

    def started_with(self, key: IdempotencyKey) -> Ingestion | None:
        with self.database.read() as connection:
            found = idempotency.holder(connection, key, now=self.clock())
            return None if found is None else ingestion_of(row_of(connection, found))

    def get(self, ingestion_id: str) -> Ingestion:
        with self.database.read() as connection:
            row = row_of(connection, ingestion_id)
        if row.task != Task.INGEST:
            raise IngestionNotFound(
                f"job '{ingestion_id[:64]}' is no ingestion; look at /api/v1/jobs", id=ingestion_id[:64]
            )
        return ingestion_of(row)
