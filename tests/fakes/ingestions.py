"""Jobs, events, sources and parsers in memory, for tests of the use cases that ask for ingestions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import (
    FlightCoreError,
    IdempotencyKeyReused,
    IngestionFinished,
    IngestionNotFound,
)
from flight_core.domain.events import Event, StoredEvent
from flight_core.domain.idempotency import IdempotencyKey
from flight_core.domain.ingestion import Ingestion, SourceSpec
from flight_core.domain.job import JobFilter, JobState
from flight_core.domain.repositories.jobs import EVERY_JOB


class MemoryEvents:
    """The part of `EventRepository` that writes."""

    def __init__(self) -> None:
        self.stored: list[StoredEvent] = []

    def append(self, event: Event) -> StoredEvent:
        self.stored.append(StoredEvent(len(self.stored) + 1, event))
        return self.stored[-1]


class NoDerivations:
    """The part of `DerivationRepository` that writers ask."""

    def find(self, target: DatasetName) -> None:
        return None


class MemoryIngestions:
    """`IngestionRepository`, and the part of `JobRepository` that users reach; `set_state` is what
    workers do."""

    def __init__(self, events: MemoryEvents) -> None:
        self._events = events
        self._jobs: dict[str, Ingestion] = {}
        self._keys: dict[tuple[str, str], tuple[IdempotencyKey, str]] = {}

    def add(self, ingestion: Ingestion, event: Event, *, key: IdempotencyKey | None = None) -> Ingestion:
        if key is not None and (earlier := self.started_with(key)) is not None:
            return earlier
        if key is not None:
            self._keys[key.actor, key.value] = (key, ingestion.id)
        self._jobs[ingestion.id] = ingestion
        self._events.append(event)
        return ingestion

    def started_with(self, key: IdempotencyKey) -> Ingestion | None:
        known, ingestion_id = self._keys.get((key.actor, key.value), (key, None))
        if known != key:
            raise IdempotencyKeyReused(f"'{key.value}' came with another request")
        return None if ingestion_id is None else self.get(ingestion_id)

    def get(self, ingestion_id: str) -> Ingestion:
        if ingestion_id not in self._jobs:
            raise IngestionNotFound(f"ingestion '{ingestion_id}' does not exist")
        return self._jobs[ingestion_id]

    def list(
        self, wanted: JobFilter = EVERY_JOB, *, limit: int = 100, before: str | None = None
    ) -> Sequence[Ingestion]:
        assert before is None
        found = [job for job in self._jobs.values() if wanted.dataset in (None, job.dataset)]
        return found[::-1][:limit]

    def request_cancel(self, ingestion_id: str) -> Ingestion:
        job = self.get(ingestion_id)
        if job.state.final:
            raise IngestionFinished(f"ingestion '{ingestion_id}' has ended")
        state = JobState.CANCELLED if job.state is JobState.QUEUED else job.state
        self._jobs[ingestion_id] = replace(job, state=state, cancel_requested=True)
        return self._jobs[ingestion_id]

    def set_state(self, ingestion_id: str, state: JobState) -> None:
        self._jobs[ingestion_id] = replace(self.get(ingestion_id), state=state)


class Judge:
    """The checking part of a source and of a parser: raises what it is told to."""

    def __init__(self, failure: FlightCoreError | None = None) -> None:
        self.failure = failure
        self.asked: list[object] = []

    def check(
        self,
        spec: SourceSpec | None = None,
        *,
        format: str | None = None,
        options: Mapping[str, object] | None = None,
    ) -> None:
        self.asked.append(spec or (format, options))
        if self.failure is not None:
            raise self.failure
