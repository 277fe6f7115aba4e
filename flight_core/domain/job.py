"""Jobs: durable work on a dataset, done by the worker that holds the job's lease."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from flight_core.domain.access import ALL_RIGHTS, Rights
from flight_core.domain.dataset import DatasetName


class Task(StrEnum):
    """What a job does with its dataset."""

    INGEST = "ingest"
    COMPACT = "compact"
    VACUUM = "vacuum"
    PROFILE = "profile"
    CHECK = "check"
    INFER = "infer"


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class Phase(StrEnum):
    """What a running job is doing. The byte counts of its progress are those of the phase."""

    FETCHING = "fetching"
    PARSING = "parsing"
    COMMITTING = "committing"
    COMPACTING = "compacting"
    VACUUMING = "vacuuming"
    PROFILING = "profiling"


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress within a phase. The rates are those of the last seconds; None: not known yet."""

    phase: Phase | None = None
    done_bytes: int = 0
    total_bytes: int | None = None  # None: unknown
    rows: int = 0
    bytes_per_s: float | None = None
    rows_per_s: float | None = None

    @property
    def eta_s(self) -> float | None:
        """Seconds until the phase ends, at the current rate."""
        if self.total_bytes is None or not self.bytes_per_s:
            return None
        return max(0, self.total_bytes - self.done_bytes) / self.bytes_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(ABC):
    """The durable record of a job. Immutable: changes make a new record.

    `rights` are those of the credential that asked for it.
    """

    id: str
    state: JobState
    created_at: datetime
    actor: str = "local"
    rights: Rights = ALL_RIGHTS
    attempt: int = 0
    progress: Progress = field(default_factory=Progress)
    started_at: datetime | None = None
    finished_at: datetime | None = None
    version: int | None = None  # the version that it committed
    unchanged: bool = False  # it succeeded without a commit, because there was nothing to do
    error_code: str | None = None
    error_message: str | None = None
    cancel_requested: bool = False
    retry_of: str | None = None  # the failed job that this one repeats

    @property
    @abstractmethod
    def task(self) -> Task: ...

    @property
    @abstractmethod
    def dataset(self) -> DatasetName: ...

    @property
    @abstractmethod
    def priority(self) -> int:
        """Higher runs first."""

    @property
    @abstractmethod
    def exclusive(self) -> bool:
        """Whether no other job of its dataset may run at the same time: it waits for earlier ones, and later
        ones wait for it."""


MAINTENANCE_PRIORITY = -10  # after all jobs that somebody waits for


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintenance(Job):
    """Maintenance or analysis of a dataset. It does not change rows, so other jobs do not wait for it."""

    maintains: DatasetName
    does: Task
    options: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] | None = None  # such as the number of deleted files; None: it has not succeeded

    @property
    def task(self) -> Task:
        return self.does

    @property
    def dataset(self) -> DatasetName:
        return self.maintains

    @property
    def priority(self) -> int:
        return 0 if self.does in (Task.PROFILE, Task.CHECK, Task.INFER) else MAINTENANCE_PRIORITY

    @property
    def exclusive(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class JobFilter:
    """None matches everything."""

    dataset: DatasetName | None = None
    states: frozenset[JobState] | None = None
    tasks: frozenset[Task] | None = None


class LogLevel(StrEnum):
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a job's log. Never contains a path of the server or a secret."""

    at: datetime
    message: str
    level: LogLevel = LogLevel.INFO
    phase: Phase | None = None
    attempt: int = 1
