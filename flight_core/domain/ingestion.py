"""An ingestion: one job that turns a source into a new version of a dataset."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from flight_core.domain.contract import REJECTS_KIND, CheckReport
from flight_core.domain.dataset import DatasetName, SchemaPolicy, WriteMode, WriteRule
from flight_core.domain.job import Job, Task

# Starts the job ids of commits of rows that a client sent, without a job.
WRITE_ID_PREFIX = "write-"


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """Where data comes from: the kind of source, and the fields of that kind."""

    kind: str
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class IngestionRequest:
    dataset: DatasetName
    source: SourceSpec
    mode: WriteMode = WriteMode.APPEND
    format: str | None = None  # None: detected from the content
    options: Mapping[str, object] = field(default_factory=dict)
    force: bool = False  # fetch everything, even if the source has not changed
    priority: int = 0  # higher runs first
    keys: tuple[str, ...] = ()  # see `WriteRule`
    schema_policy: SchemaPolicy = SchemaPolicy.REFUSE
    message: str = ""  # the reason, for the dataset's history

    @property
    def rule(self) -> WriteRule:
        """Raises InvalidOption if mode and keys do not fit together."""
        allow_lossy = bool(self.options.get("allow_lossy"))
        return WriteRule(self.mode, self.keys, self.schema_policy, allow_lossy)


@dataclass(frozen=True, slots=True)
class Reading:
    """How a source was parsed: the format and options of the request, completed by what was detected."""

    format: str
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingestion(Job):
    """A job that writes the data of a source into its dataset."""

    request: IngestionRequest
    reading: Reading | None = None  # None: not parsed yet, or in an earlier attempt
    schedule: str | None = None  # the schedule that queued it
    check: CheckReport | None = None  # None: there is no contract, or nothing was checked yet

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
        """Appends may run side by side; all other modes, and replays, depend on the rows that are there."""
        return self.request.mode is not WriteMode.APPEND or self.request.source.kind == REJECTS_KIND
