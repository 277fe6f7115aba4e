"""An ingestion: one job that turns a source into a new version of a dataset."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar

from flight_core.domain.contract import CheckReport
from flight_core.domain.dataset import DatasetName, SchemaPolicy, WriteMode, WriteRule


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """Where the data comes from: a registered kind and that kind's own fields."""

    kind: str
    fields: Mapping[str, object]


class IngestionState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self in (IngestionState.SUCCEEDED, IngestionState.FAILED, IngestionState.CANCELLED)


class Phase(StrEnum):
    """What a running ingestion is doing; `total_bytes` of its progress belongs to the phase."""

    FETCHING = "fetching"
    PARSING = "parsing"
    COMMITTING = "committing"


@dataclass(frozen=True, slots=True)
class Progress:
    phase: Phase | None = None
    done_bytes: int = 0
    total_bytes: int | None = None  # None: unknown
    rows: int = 0


@dataclass(frozen=True, slots=True)
class IngestionRequest:
    dataset: DatasetName
    source: SourceSpec
    mode: WriteMode = WriteMode.APPEND
    format: str | None = None  # None: found out from the content
    options: Mapping[str, object] = field(default_factory=dict)
    force: bool = False  # fetch everything, whatever the source's state says
    keys: tuple[str, ...] = ()  # see `WriteRule`
    schema_policy: SchemaPolicy = SchemaPolicy.REFUSE

    @property
    def rule(self) -> WriteRule:
        """Raises InvalidOption: mode and keys do not go together."""
        return WriteRule(self.mode, self.keys, self.schema_policy)


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A name that an actor gave to a request, so that sending it again starts nothing again.

    `fingerprint` is the same for requests that ask for the same.
    """

    KEPT: ClassVar[timedelta] = timedelta(hours=24)

    actor: str
    value: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Reading:
    """How a source was read: what the request said, and what was found out where it said nothing."""

    format: str
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ingestion:
    """The durable record of a job. Replaced, never changed in place."""

    id: str
    request: IngestionRequest
    state: IngestionState
    created_at: datetime
    actor: str = "local"
    attempt: int = 0
    progress: Progress = field(default_factory=Progress)
    started_at: datetime | None = None
    finished_at: datetime | None = None
    version: int | None = None  # the version it committed
    unchanged: bool = False  # it succeeded without a commit: the source had nothing new
    reading: Reading | None = None  # None: not parsed yet, or by an earlier attempt
    error_code: str | None = None
    error_message: str | None = None
    cancel_requested: bool = False
    check: CheckReport | None = None  # None: there was no contract, or nothing was checked yet
