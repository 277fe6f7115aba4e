"""An ingestion: one job that turns a source into a new version of a dataset."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from flight_core.domain.contract import REJECTS_KIND, CheckReport
from flight_core.domain.dataset import DatasetName, SchemaPolicy, WriteMode, WriteRule
from flight_core.domain.job import Job, Task

# Of commits that no job made, but a client that sent rows: told apart from the ids of jobs.
WRITE_ID_PREFIX = "write-"


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """Where the data comes from: a registered kind and that kind's own fields."""

    kind: str
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class IngestionRequest:
    dataset: DatasetName
    source: SourceSpec
    mode: WriteMode = WriteMode.APPEND
    format: str | None = None  # None: found out from the content
    options: Mapping[str, object] = field(default_factory=dict)
    force: bool = False  # fetch everything, whatever the source's state says
    priority: int = 0  # higher goes first
    keys: tuple[str, ...] = ()  # see `WriteRule`
    schema_policy: SchemaPolicy = SchemaPolicy.REFUSE
    message: str = ""  # why, for the dataset's history

    @property
    def rule(self) -> WriteRule:
        """Raises InvalidOption: mode and keys do not go together."""
        allow_lossy = bool(self.options.get("allow_lossy"))
        return WriteRule(self.mode, self.keys, self.schema_policy, allow_lossy)


@dataclass(frozen=True, slots=True)
class Reading:
    """How a source was read: what the request said, and what was found out where it said nothing."""

    format: str
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingestion(Job):
    """A job that writes what a source has into its dataset."""

    request: IngestionRequest
    reading: Reading | None = None  # None: not parsed yet, or by an earlier attempt
    schedule: str | None = None  # the schedule that asked for it
    check: CheckReport | None = None  # None: there was no contract, or nothing was checked yet

    @property
    def task(self) -> Task:
        return Task.INGEST

    @property
    def dataset(self) -> DatasetName:
        return self.request.dataset

    @property
    def priority(self) -> int:
        return self.request.priority

    @property
    def exclusive(self) -> bool:
        """Rows that are added go together with others; what was there before is another matter."""
        return self.request.mode is not WriteMode.APPEND or self.request.source.kind == REJECTS_KIND
