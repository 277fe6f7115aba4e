"""What the control plane is given: limits, names, and the use cases it opens to the network."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi.telemetry import TelemetryConfig
from prometheus_client import CollectorRegistry

from flight_core.application.access.audit import ReadAudit
from flight_core.application.access.gate import Gate
from flight_core.application.access.tokens import CreateToken, ListTokens, RevokeToken
from flight_core.application.access.users import AddUser, ChangePassword, ListUsers, RemoveUser
from flight_core.application.contracts.checks import CheckDataset
from flight_core.application.contracts.contracts import (
    DescribeContract,
    ListContracts,
    SetContract,
    WithdrawContract,
)
from flight_core.application.contracts.proposal import InferContract
from flight_core.application.datasets.annotations import AnnotateDataset
from flight_core.application.datasets.describe import DescribeDataset, GetDataset, ListDatasets
from flight_core.application.datasets.diff import DiffVersions
from flight_core.application.datasets.drop import DropDataset
from flight_core.application.datasets.lineage import TraceLineage
from flight_core.application.datasets.usage import GetUsage
from flight_core.application.datasets.versions import (
    GetRetention,
    ListTags,
    ReadHistory,
    RemoveTag,
    RestoreVersion,
    SetRetention,
    TagVersion,
)
from flight_core.application.derived.definitions import DefineDerivation, RemoveDerivation, ResumeDerivation
from flight_core.application.derived.refresh import RefreshDataset
from flight_core.application.derived.runs import Refresh
from flight_core.application.derived.status import InspectDerivations
from flight_core.application.follow_events import FollowEvents
from flight_core.application.ingestion.ingestions import GetIngestion, RetryIngestion, StartIngestion
from flight_core.application.ingestion.preview import PreviewIngestion
from flight_core.application.ingestion.replay import ReplayRejects
from flight_core.application.ingestion.schedules import (
    AddSchedule,
    ChangeSchedule,
    GetSchedule,
    ListSchedules,
    RemoveSchedule,
    RunSchedule,
)
from flight_core.application.ingestion.uploads import (
    CreateUpload,
    DeleteUpload,
    GetUpload,
    ListUploads,
    ReceivePart,
    UploadLimits,
)
from flight_core.application.jobs.jobs import CancelJob, GetJob, ListJobs, ReadJobLog
from flight_core.application.maintenance.start import StartMaintenance
from flight_core.application.ports.clock import Clock
from flight_core.application.ports.engine import EngineUsage
from flight_core.application.ports.events import EventFeed
from flight_core.application.ports.results import ResultCache
from flight_core.application.ports.steps import Steps
from flight_core.application.ports.tracing import UNTRACED, Tracer
from flight_core.application.profiles.profile import ProfileDataset
from flight_core.application.queries.admission import Admission
from flight_core.application.queries.inspect import ClassifyStatement
from flight_core.application.queries.live import FollowQuery
from flight_core.application.queries.log import CancelQuery, QueryLog
from flight_core.application.queries.reads import OpenQuery
from flight_core.application.writes.deletions import DeleteRows
from flight_core.application.writes.statements import RunStatement
from flight_core.domain.repositories.events import EventRepository
from flight_core.domain.repositories.idempotency import IdempotencyRepository

# Raises where the part it looks at does not work; may block for a while.
Check = Callable[[], object]


@dataclass(frozen=True, slots=True)
class ControlOptions:
    """`hosts` are the host names, without ports, that requests may name ("*": any); `origins` the
    origins of web pages elsewhere that may use the API. A client that takes nothing for
    `stall_timeout_s` loses its result, one that is behind with events for `event_timeout_s` its
    connection.
    """

    version: str = "0"
    flight_uri: str = ""
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "[::1]")
    origins: tuple[str, ...] = ()
    max_body_bytes: int = 4 << 20
    stall_timeout_s: float = 600.0
    heartbeat_s: float = 15.0
    event_timeout_s: float = 30.0
    check_timeout_s: float = 5.0
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    telemetry: TelemetryConfig | None = None  # of FastAPI, for traces of requests
    tracer: Tracer = UNTRACED


@dataclass(frozen=True, slots=True)
class DatasetUseCases:
    list: ListDatasets
    get: GetDataset
    describe: DescribeDataset
    profile: ProfileDataset
    get_usage: GetUsage
    annotate: AnnotateDataset
    delete_rows: DeleteRows
    drop: DropDataset


@dataclass(frozen=True, slots=True)
class IngestionUseCases:
    """`sources` maps each source kind to the JSON schema of its fields."""

    start: StartIngestion
    get: GetIngestion
    retry: RetryIngestion
    refresh: RefreshDataset
    preview: PreviewIngestion
    sources: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class JobUseCases:
    get: GetJob
    list: ListJobs
    cancel: CancelJob
    read_log: ReadJobLog
    start_maintenance: StartMaintenance


@dataclass(frozen=True, slots=True)
class QueryUseCases:
    open: OpenQuery
    follow: FollowQuery
    classify: ClassifyStatement
    run: RunStatement
    cancel: CancelQuery
    log: QueryLog
    results: ResultCache | None
    admission: Admission


@dataclass(frozen=True, slots=True)
class EventUseCases:
    log: EventRepository
    feed: EventFeed
    follow: FollowEvents


@dataclass(frozen=True, slots=True)
class UploadUseCases:
    limits: UploadLimits
    create: CreateUpload
    get: GetUpload
    list: ListUploads
    receive: ReceivePart
    delete: DeleteUpload


@dataclass(frozen=True, slots=True)
class VersionUseCases:
    history: ReadHistory
    diff: DiffVersions
    restore: RestoreVersion
    list_tags: ListTags
    tag: TagVersion
    remove_tag: RemoveTag
    get_retention: GetRetention
    set_retention: SetRetention


@dataclass(frozen=True, slots=True)
class ContractUseCases:
    """What there is to do with what rows have to be like."""

    set: SetContract
    describe: DescribeContract
    list: ListContracts
    withdraw: WithdrawContract
    infer: InferContract
    check: CheckDataset
    replay: ReplayRejects


@dataclass(frozen=True, slots=True)
class DerivationUseCases:
    define: DefineDerivation
    inspect: InspectDerivations
    remove: RemoveDerivation
    resume: ResumeDerivation
    refresh: Refresh
    lineage: TraceLineage
    steps: Steps


@dataclass(frozen=True, slots=True)
class ScheduleUseCases:
    add: AddSchedule
    change: ChangeSchedule
    remove: RemoveSchedule
    get: GetSchedule
    list: ListSchedules
    run: RunSchedule


@dataclass(frozen=True, slots=True)
class AccessUseCases:
    create_token: CreateToken
    list_tokens: ListTokens
    revoke_token: RevokeToken
    add_user: AddUser
    list_users: ListUsers
    remove_user: RemoveUser
    change_password: ChangePassword
    read_audit: ReadAudit


@dataclass(frozen=True, slots=True)
class Resources:
    """What this process uses, and what is left of the disk of the data directory."""

    engine: EngineUsage
    disk_free_bytes: int


@dataclass(frozen=True, slots=True)
class ControlUseCases:
    """A bundle for each subject; `checks` says what readiness depends on."""

    gate: Gate
    datasets: DatasetUseCases
    versions: VersionUseCases
    contracts: ContractUseCases
    derivations: DerivationUseCases
    ingestions: IngestionUseCases
    uploads: UploadUseCases
    schedules: ScheduleUseCases
    jobs: JobUseCases
    queries: QueryUseCases
    access: AccessUseCases
    events: EventUseCases
    idempotency: IdempotencyRepository
    clock: Clock
    resources: Callable[[], Resources]
    checks: Mapping[str, Check]
