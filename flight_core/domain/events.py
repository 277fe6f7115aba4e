"""Events: what has happened, stored in order for others to react to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from flight_core.domain.dataset import DatasetName


class EventKind(StrEnum):
    DATASET_COMMITTED = "dataset.committed"
    DATASET_DROPPED = "dataset.dropped"
    DATASET_ANNOTATED = "dataset.annotated"
    DERIVATION_SET = "derivation.set"
    DERIVATION_CHANGED = "derivation.changed"  # paused or resumed
    DERIVATION_REMOVED = "derivation.removed"
    CONTRACT_SET = "contract.set"
    CONTRACT_WITHDRAWN = "contract.withdrawn"
    DATASET_TAGGED = "dataset.tagged"
    DATASET_UNTAGGED = "dataset.untagged"
    DATASET_RETENTION_SET = "dataset.retention_set"
    DATASET_EXPIRED = "dataset.expired"  # some of its versions
    SCHEDULE_ADDED = "schedule.added"
    SCHEDULE_CHANGED = "schedule.changed"
    SCHEDULE_REMOVED = "schedule.removed"
    INGESTION_QUEUED = "ingestion.queued"
    INGESTION_STARTED = "ingestion.started"
    INGESTION_PROGRESSED = "ingestion.progressed"
    INGESTION_SUCCEEDED = "ingestion.succeeded"
    INGESTION_FAILED = "ingestion.failed"
    INGESTION_CANCELLED = "ingestion.cancelled"
    MAINTENANCE_QUEUED = "maintenance.queued"
    MAINTENANCE_STARTED = "maintenance.started"
    MAINTENANCE_PROGRESSED = "maintenance.progressed"
    MAINTENANCE_SUCCEEDED = "maintenance.succeeded"
    MAINTENANCE_FAILED = "maintenance.failed"
    MAINTENANCE_CANCELLED = "maintenance.cancelled"


@dataclass(frozen=True, slots=True)
class Event:
    """`subject` is the dataset's name; `data` holds JSON values only."""

    kind: EventKind
    subject: str
    data: Mapping[str, object]
    occurred_at: datetime


def dataset_event(kind: EventKind, name: DatasetName, at: datetime, **data: object) -> Event:
    return Event(kind, name.value, {"dataset": name.value, **data}, at)


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """`seq` grows by one with every event."""

    seq: int
    event: Event = field(hash=False)
