"""Settings -> adapters -> use cases -> servers. Nothing else knows every class."""

import shutil
from collections.abc import Callable, Iterator, Set
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path

import psutil
from fastapi import FastAPI

from control_api.app import create_app
from control_api.options import (
    ContractUseCases,
    ControlOptions,
    ControlUseCases,
    DerivationUseCases,
    ScheduleUseCases,
    TokenUseCases,
    UploadUseCases,
    VersionUseCases,
)
from flight_core.adapters.authentication.static import StaticAuthenticator
from flight_core.adapters.authentication.stored import StoredAuthenticator
from flight_core.adapters.calendar.cron import next_cron_time
from flight_core.adapters.catalog.contracts import SqlContractRepository
from flight_core.adapters.catalog.datasets import SqlDatasetRepository
from flight_core.adapters.catalog.derivations import SqlDerivationRepository
from flight_core.adapters.catalog.events import SqlEventRepository
from flight_core.adapters.catalog.ingestions import SqlIngestionRepository
from flight_core.adapters.catalog.jobs import SqlJobRepository
from flight_core.adapters.catalog.profiles import SqlProfileRepository
from flight_core.adapters.catalog.readers import SqlReaderRepository
from flight_core.adapters.catalog.schedules import SqlScheduleRepository
from flight_core.adapters.catalog.source_memories import SqlSourceMemoryRepository
from flight_core.adapters.catalog.tokens import SqlTokenRepository
from flight_core.adapters.catalog.versions import SqlVersionRepository
from flight_core.adapters.engines.duckdb.engine import DuckDbEngine
from flight_core.adapters.engines.duckdb.guarded.engine import GuardedDuckDbEngine
from flight_core.adapters.engines.duckdb.guarded.process import GuardedOptions
from flight_core.adapters.engines.duckdb.row_finder import DuckDbRowFinder
from flight_core.adapters.events.log import LogEventFeed
from flight_core.adapters.results.disk import DiskResultCache, ResultCacheOptions
from flight_core.adapters.sources.rejects import RejectsSource
from flight_core.adapters.storage.delta import DeltaTableStore
from flight_core.adapters.uploads.folder import FolderUploadStore
from flight_core.application.admission import Admission, AdmissionLimits
from flight_core.application.annotations import AnnotateDataset
from flight_core.application.catalog import (
    DescribeDataset,
    DropDataset,
    GetDataset,
    ListDatasets,
    OpenWrite,
    Publish,
    Reconcile,
    SweepOrphans,
    WriteDataset,
)
from flight_core.application.contracts import (
    CheckDataset,
    DescribeContract,
    GetContract,
    InferContract,
    PrepareCheck,
    SetContract,
    WithdrawContract,
)
from flight_core.application.deletions import DeleteRows, FindRowsToDelete
from flight_core.application.derivations import (
    DefineDerivation,
    InspectDerivations,
    Refresh,
    RefreshDue,
    RemoveDerivation,
)
from flight_core.application.diff import DiffVersions
from flight_core.application.find_version import FindVersion
from flight_core.application.ingestion import (
    GetIngestion,
    RetryIngestion,
    RowSources,
    Sources,
    StartIngestion,
)
from flight_core.application.ingestion_run import RunIngestion
from flight_core.application.job_worker import JobWorker, WorkerOptions
from flight_core.application.jobs import CancelJob, GetJob, ListJobs, ReadJobLog, Wakeup
from flight_core.application.lineage import TraceLineage
from flight_core.application.live import FollowQuery
from flight_core.application.maintenance import (
    CompactDataset,
    MaintenanceOptions,
    VacuumDataset,
    VacuumOptions,
)
from flight_core.application.maintenance_jobs import (
    RequestDueMaintenance,
    RunCompaction,
    RunVacuum,
    StartMaintenance,
)
from flight_core.application.parts import SplitPlan
from flight_core.application.ports.clock import new_id, utc_now
from flight_core.application.ports.parsing import Parser
from flight_core.application.ports.uploads import UploadStore
from flight_core.application.preview import PreviewIngestion
from flight_core.application.profile import ProfileDataset
from flight_core.application.quarantine import Quarantine
from flight_core.application.queries import OpenQuery, PlanQuery, QueryLog
from flight_core.application.reader import Reader
from flight_core.application.reads import OpenReads, ReadBeacon
from flight_core.application.refresh import RefreshDataset
from flight_core.application.replay import ReplayRejects
from flight_core.application.row_ingestion import StoreRows
from flight_core.application.schedules import (
    AddSchedule,
    ChangeSchedule,
    FireDueSchedules,
    GetSchedule,
    ListSchedules,
    RemoveSchedule,
    RunSchedule,
    ScheduleDesk,
)
from flight_core.application.session_registry import SessionRegistry
from flight_core.application.session_statements import (
    AnswerInSession,
    BrowseCatalog,
    InspectInSession,
    ReadInSession,
)
from flight_core.application.session_writes import LoadInSession, WriteDatasetInSession
from flight_core.application.sessions import SessionLimits
from flight_core.application.source_memory import RememberSources
from flight_core.application.statements import ClassifyStatement, InspectStatement, RunStatement
from flight_core.application.tokens import CreateToken, ListTokens, RevokeToken
from flight_core.application.uploads import (
    CreateUpload,
    DeleteUpload,
    GetUpload,
    ListUploads,
    ReceivePart,
    SweepUploads,
    UploadLimits,
)
from flight_core.application.versions import (
    GetRetention,
    ListTags,
    ReadHistory,
    RemoveTag,
    RestoreVersion,
    SetRetention,
    TagVersion,
)
from flight_core.domain.contract import REJECTS_KIND
from flight_core.domain.errors import InvalidOption, OutOfDisk
from flight_core.domain.job import Task
from flight_core.domain.query import Statement
from flight_core.domain.repositories import (
    DatasetRepository,
    EventRepository,
    IngestionRepository,
    JobRepository,
    VersionRepository,
)
from flight_core.domain.tokens import TokenRepository
from flight_core.domain.versions import RetentionPolicy
from flight_core.infrastructure.database import Database
from flight_core.infrastructure.duckdb_pool import DuckDbOptions
from flight_server.flight_sql.dispatch import FlightSql
from flight_server.flight_sql.use_cases import FlightSqlUseCases
from flight_server.options import FlightOptions, FlightUseCases
from flight_server.service import SkeinFlightServer
from skein.directory import DataDirectory, Role
from skein.registry import (
    Readers,
    build_parser,
    build_previewer,
    build_row_sources,
    build_sources,
    source_fields,
)
from skein.settings import Settings
from skein.tls import tls_options

VERSION = version("skein-flight")

_ROW_FINDER_BYTES = 1 << 30
_MIN_FREE_BYTES = 64 << 20
_TICKET_SLACK_S = 60.0  # between the check of a ticket and its first look at the catalog


@dataclass(frozen=True, slots=True, repr=False)
class Skein:
    """What one process can do, ready to be put behind servers."""

    settings: Settings
    directory: DataDirectory
    key: bytes
    flight: FlightUseCases
    flight_sql: FlightSqlUseCases
    control: ControlUseCases
    new_worker: Callable[[], JobWorker]  # call it in the event loop that will run the worker
    reconcile: Reconcile
    sweep_orphans: SweepOrphans
    sweep_uploads: SweepUploads
    beacon: ReadBeacon
    compact: CompactDataset
    vacuum: VacuumDataset
    maintain: RequestDueMaintenance
    refresh_due: RefreshDue
    events: EventRepository
    jobs: JobRepository
    fire_schedules: FireDueSchedules

    def tidy(self) -> None:
        """Delete what nobody needs any more."""
        self.sweep_orphans()
        self.sweep_uploads()
        self.events.prune(keep=self.settings.keep_events)
        self.jobs.prune(keep=self.settings.keep_jobs)


@contextmanager
def open_skein(settings: Settings, directory: DataDirectory, roles: Set[Role]) -> Iterator[Skein]:
    """Wire one process; the caller has claimed its roles in the directory.

    The file of the users' own tables can be open in one process only: it belongs to the one that
    serves Flight. Elsewhere such tables live in memory, and end with the process.
    """
    with ExitStack() as stack:
        parts = _parts(settings, directory, roles, stack)
        flight = _flight(parts)
        control = _control(parts, flight)
        yield Skein(
            settings=settings,
            directory=directory,
            key=parts.key,
            flight=flight,
            flight_sql=_flight_sql(parts, flight),
            control=control,
            refresh_due=RefreshDue(control.derivations.refresh, settings.refresh_delay_s),
            new_worker=partial(_worker, parts),
            reconcile=Reconcile(parts.datasets, parts.store, parts.open_write.publish),
            sweep_orphans=SweepOrphans(
                parts.datasets, parts.store, utc_now, grace=timedelta(seconds=settings.orphan_grace_s)
            ),
            sweep_uploads=SweepUploads(parts.uploads, _upload_limits(settings), utc_now),
            beacon=parts.beacon,
            compact=_compact(parts),
            vacuum=_vacuum(parts),
            maintain=RequestDueMaintenance(
                _start_maintenance(parts), parts.store, _maintenance_options(settings), utc_now
            ),
            events=parts.events,
            jobs=parts.jobs,
            fire_schedules=FireDueSchedules(_schedule_desk(parts, _start_ingestion(parts))),
        )


def flight_server(skein: Skein) -> SkeinFlightServer:
    """Listens from now on, until its `stop`."""
    settings = skein.settings
    options = FlightOptions(
        ticket_key=skein.key,
        host=settings.host,
        port=settings.flight_port,
        tls=tls_options(settings),
        version=VERSION,
        stall_timeout_s=settings.stall_timeout_s,
        ticket_ttl_s=settings.ticket_ttl_s,
    )
    return SkeinFlightServer(skein.flight, options, FlightSql(skein.flight_sql, options))


def http_app(skein: Skein, *, flight_uri: str) -> FastAPI:
    settings = skein.settings
    options = ControlOptions(
        version=VERSION,
        flight_uri=flight_uri,
        hosts=settings.hosts,
        origins=settings.allowed_origins,
        max_body_bytes=settings.max_body_bytes,
        stall_timeout_s=settings.stall_timeout_s,
    )
    return create_app(skein.control, options)


@dataclass(frozen=True, slots=True)
class _Parts:
    """The adapters, and what several use cases share."""

    settings: Settings
    directory: DataDirectory
    key: bytes
    database: Database
    store: DeltaTableStore
    engine: DuckDbEngine
    reader: Reader
    sessions: SessionRegistry
    datasets: DatasetRepository
    versions: VersionRepository
    reads: OpenReads
    beacon: ReadBeacon
    events: EventRepository
    tokens: TokenRepository
    ingestions: IngestionRepository
    jobs: JobRepository
    admission: Admission
    log: QueryLog
    open_write: OpenWrite
    sources: Sources
    parser: Parser
    wakeup: Wakeup
    uploads: UploadStore
    plan_query: PlanQuery
    open_query: OpenQuery
    row_sources: RowSources


def _parts(settings: Settings, directory: DataDirectory, roles: Set[Role], stack: ExitStack) -> _Parts:
    database = Database(_catalog_url(settings, directory))
    stack.callback(database.close)
    database.migrate()
    tokens = SqlTokenRepository(database)
    _require_credentials(settings, tokens)
    options = _duckdb_options(settings, directory, roles)
    store = DeltaTableStore(directory.lake, row_finder=_row_finder(options))
    engine = DuckDbEngine(options, store)
    stack.callback(engine.close)
    guarded = GuardedDuckDbEngine(_guarded_options(settings, directory, roles), store)
    stack.callback(guarded.close)
    sessions = SessionRegistry(engine, _session_limits(settings))
    stack.callback(sessions.close)
    datasets = SqlDatasetRepository(database)
    log = QueryLog(utc_now)
    reads = OpenReads(log, sessions, utc_now)
    readers = SqlReaderRepository(database)
    readers.leave(*roles)  # those that had the roles before are gone, however they ended
    beacon = ReadBeacon(reads, readers, utc_now, process=min(roles))
    stack.callback(beacon.close)
    admission = Admission(AdmissionLimits(settings.max_streams, settings.max_queue, settings.queue_timeout_s))
    reader = Reader(datasets, engine, guarded)
    results = _results(settings, directory, roles)
    plan_query = PlanQuery(reader, new_id, results)
    open_query = OpenQuery(reader, admission, log, utc_now, new_id, results)
    return _Parts(
        settings=settings,
        directory=directory,
        key=directory.secret_key(),
        database=database,
        store=store,
        engine=engine,
        reader=reader,
        sessions=sessions,
        datasets=datasets,
        versions=SqlVersionRepository(database),
        reads=reads,
        beacon=beacon,
        events=SqlEventRepository(database),
        tokens=tokens,
        ingestions=SqlIngestionRepository(database, utc_now),
        jobs=SqlJobRepository(database, utc_now),
        admission=admission,
        log=log,
        open_write=OpenWrite(datasets, store, Publish(datasets, utc_now), new_id),
        sources={**build_sources(settings, directory), REJECTS_KIND: RejectsSource(store)},
        parser=build_parser(settings),
        wakeup=Wakeup(),
        uploads=FolderUploadStore(directory.uploads),
        plan_query=plan_query,
        open_query=open_query,
        row_sources=build_row_sources(
            settings, directory, Readers(plan_query, replace(open_query, results=None))
        ),
    )


def _flight(parts: _Parts) -> FlightUseCases:
    datasets = parts.datasets
    return FlightUseCases(
        authenticator=_authenticator(parts),
        list_datasets=ListDatasets(datasets),
        get_dataset=GetDataset(datasets),
        describe_dataset=DescribeDataset(datasets, parts.store, _find(parts)),
        drop_dataset=DropDataset(datasets, utc_now),
        write_dataset=WriteDataset(_unchecked(parts)),
        plan_query=parts.plan_query,
        open_query=parts.open_query,
        inspect_statement=InspectStatement(parts.reader),
        run_statement=RunStatement(
            datasets, parts.engine, parts.admission, parts.log, utc_now, new_id, _delete_rows(parts)
        ),
        queries=parts.log,
        follow_query=FollowQuery(parts.reader, parts.store, parts.engine, parts.open_query),
    )


def _unchecked(parts: _Parts) -> OpenWrite:
    """For rows that come as they are."""
    return replace(parts.open_write, contracts=SqlContractRepository(parts.database))


def _authenticator(parts: _Parts) -> StoredAuthenticator:
    settings = parts.settings
    configured = StaticAuthenticator(
        settings.credentials("users"),
        settings.credentials("tokens"),
        key=parts.key,
        session_ttl_s=settings.session_ttl_s,
    )
    return StoredAuthenticator(configured, parts.tokens, utc_now)


def token_use_cases(tokens: TokenRepository) -> TokenUseCases:
    return TokenUseCases(
        CreateToken(tokens, utc_now, new_id), ListTokens(tokens), RevokeToken(tokens, utc_now)
    )


@contextmanager
def open_tokens(settings: Settings, directory: DataDirectory) -> Iterator[TokenUseCases]:
    """Beside the servers of the data directory, or before there are any."""
    database = Database(_catalog_url(settings, directory))
    with closing(database):
        database.migrate()
        yield token_use_cases(SqlTokenRepository(database))


def _require_credentials(settings: Settings, tokens: TokenRepository) -> None:
    """
    Raises:
        InvalidOption: others can reach the server, and nothing would keep them out.
    """
    if not (settings.loopback or settings.has_credentials or tokens.by_digest()):
        raise InvalidOption(
            f"SKEIN_HOST is '{settings.host}', which others can reach: make a token with"
            " 'skein token create NAME --offline', set SKEIN_TOKENS or SKEIN_USERS, or listen on 127.0.0.1"
        )


def _flight_sql(parts: _Parts, flight: FlightUseCases) -> FlightSqlUseCases:
    write = WriteDatasetInSession(parts.datasets, _unchecked(parts), flight.drop_dataset)
    return FlightSqlUseCases(
        sessions=parts.sessions,
        inspect=InspectInSession(parts.reader),
        answer=AnswerInSession(flight.plan_query, write, parts.log, utc_now),
        split=SplitPlan(parts.engine),
        read=ReadInSession(parts.datasets, flight.open_query),
        load=LoadInSession(write, parts.log, utc_now, new_id),
        catalog=BrowseCatalog(parts.reader),
        queries=parts.log,
    )


def _start_ingestion(parts: _Parts) -> StartIngestion:
    return StartIngestion(
        parts.ingestions,
        parts.datasets,
        parts.sources,
        parts.parser,
        utc_now,
        new_id,
        parts.wakeup,
        parts.row_sources,
    )


def _schedule_desk(parts: _Parts, start: StartIngestion) -> ScheduleDesk:
    schedules = SqlScheduleRepository(parts.database)
    return ScheduleDesk(schedules, start, next_cron_time, utc_now, new_id, parts.wakeup)


def _schedules(desk: ScheduleDesk) -> ScheduleUseCases:
    return ScheduleUseCases(
        add=AddSchedule(desk),
        change=ChangeSchedule(desk),
        remove=RemoveSchedule(desk),
        get=GetSchedule(desk.schedules),
        list=ListSchedules(desk.schedules),
        run=RunSchedule(desk),
    )


def _control(parts: _Parts, flight: FlightUseCases) -> ControlUseCases:
    start_ingestion = _start_ingestion(parts)
    derivations = _derivations(parts)
    return ControlUseCases(
        authenticator=flight.authenticator,
        list_datasets=flight.list_datasets,
        get_dataset=flight.get_dataset,
        describe_dataset=flight.describe_dataset,
        profile_dataset=ProfileDataset(
            parts.datasets, _find(parts), SqlProfileRepository(parts.database), flight.open_query
        ),
        drop_dataset=flight.drop_dataset,
        annotate_dataset=AnnotateDataset(parts.datasets, utc_now),
        versions=_versions(parts, flight),
        contracts=_contracts(parts, start_ingestion),
        derivations=derivations,
        start_ingestion=start_ingestion,
        get_ingestion=GetIngestion(parts.ingestions),
        retry_ingestion=RetryIngestion(parts.ingestions, start_ingestion),
        refresh_dataset=RefreshDataset(parts.datasets, parts.jobs, start_ingestion, derivations.refresh),
        tokens=token_use_cases(parts.tokens),
        schedules=_schedules(_schedule_desk(parts, start_ingestion)),
        get_job=GetJob(parts.jobs),
        list_jobs=ListJobs(parts.jobs),
        cancel_job=CancelJob(parts.jobs, parts.events, utc_now, parts.wakeup),
        read_job_log=ReadJobLog(parts.jobs),
        start_maintenance=_start_maintenance(parts),
        uploads=_uploads(parts),
        preview_ingestion=PreviewIngestion(
            parts.sources,
            parts.row_sources,
            build_previewer(parts.settings),
            parts.directory.jobs,
            new_id,
        ),
        open_query=flight.open_query,
        follow_query=flight.follow_query,
        classify_statement=ClassifyStatement(parts.reader),
        run_statement=flight.run_statement,
        delete_rows=flight.run_statement.delete_rows,
        queries=parts.log,
        results=parts.open_query.results,
        admission=parts.admission,
        events=parts.events,
        feed=LogEventFeed(parts.events),
        clock=utc_now,
        sources=source_fields(),
        checks={
            "catalog": parts.datasets.lake_state,
            "engine": lambda: _run_something(parts.engine, parts.datasets),
            "disk": lambda: _require_space(parts.directory.root),
        },
    )


def _contracts(parts: _Parts, start_ingestion: StartIngestion) -> ContractUseCases:
    contracts = SqlContractRepository(parts.database)
    get = GetContract(contracts)
    prepare = PrepareCheck(contracts, parts.datasets, parts.store, utc_now)
    return ContractUseCases(
        set=SetContract(contracts, parts.parser, utc_now),
        describe=DescribeContract(get, prepare, utc_now),
        withdraw=WithdrawContract(contracts, utc_now),
        infer=InferContract(parts.datasets, parts.store),
        check=CheckDataset(get, parts.datasets, parts.store, parts.parser, utc_now, parts.directory.jobs),
        replay=ReplayRejects(parts.datasets, start_ingestion),
    )


def _uploads(parts: _Parts) -> UploadUseCases:
    uploads, limits = parts.uploads, _upload_limits(parts.settings)
    get = GetUpload(uploads)
    return UploadUseCases(
        limits=limits,
        create=CreateUpload(uploads, limits, utc_now, new_id),
        get=get,
        list=ListUploads(uploads),
        receive=ReceivePart(get, limits),
        delete=DeleteUpload(get),
    )


def _upload_limits(settings: Settings) -> UploadLimits:
    return UploadLimits(settings.ingest_max_bytes, timedelta(seconds=settings.upload_ttl_s))


def _versions(parts: _Parts, flight: FlightUseCases) -> VersionUseCases:
    datasets, store, versions, find = parts.datasets, parts.store, parts.versions, _find(parts)
    publish = parts.open_write.publish
    return VersionUseCases(
        history=ReadHistory(datasets, store, versions),
        diff=DiffVersions(datasets, find, flight.open_query),
        restore=RestoreVersion(datasets, store, find, publish),
        list_tags=ListTags(datasets, versions),
        tag=TagVersion(datasets, versions, find, utc_now),
        remove_tag=RemoveTag(datasets, versions, utc_now),
        get_retention=GetRetention(datasets, versions, _retention(parts.settings)),
        set_retention=SetRetention(datasets, versions, utc_now),
    )


def _compact(parts: _Parts) -> CompactDataset:
    return CompactDataset(parts.datasets, parts.store, parts.engine, parts.open_write.publish, parts.reads)


def _start_maintenance(parts: _Parts) -> StartMaintenance:
    return StartMaintenance(parts.jobs, parts.datasets, utc_now, new_id, parts.wakeup)


def _maintenance_options(settings: Settings) -> MaintenanceOptions:
    every_s = settings.vacuum_every_s
    return MaintenanceOptions(settings.compact_files or None, timedelta(seconds=every_s) if every_s else None)


def _find(parts: _Parts) -> FindVersion:
    return FindVersion(parts.store, parts.versions)


def _vacuum(parts: _Parts) -> VacuumDataset:
    settings = parts.settings
    options = VacuumOptions(
        grace=timedelta(seconds=settings.ticket_ttl_s + _TICKET_SLACK_S),
        orphan_grace=timedelta(seconds=settings.orphan_grace_s),
        default=_retention(settings),
    )
    readers = SqlReaderRepository(parts.database)
    return VacuumDataset(parts.datasets, parts.store, parts.versions, readers, utc_now, options)


def _retention(settings: Settings) -> RetentionPolicy:
    return RetentionPolicy(settings.keep_versions, settings.keep_versions_s)


def _worker(parts: _Parts) -> JobWorker:
    memory = RememberSources(
        SqlSourceMemoryRepository(parts.database), parts.datasets, parts.store, parts.ingestions
    )
    ingest = RunIngestion(
        parts.open_write,
        parts.sources,
        parts.parser,
        memory,
        PrepareCheck(SqlContractRepository(parts.database), parts.datasets, parts.store, utc_now),
        Quarantine(parts.open_write, parts.store),
        StoreRows(parts.row_sources, parts.store, new_id, parts.settings.ingest_fetch_timeout_s),
    )
    return JobWorker(
        {
            Task.INGEST: ingest,
            Task.COMPACT: RunCompaction(_compact(parts), parts.datasets, parts.store),
            Task.VACUUM: RunVacuum(_vacuum(parts)),
        },
        jobs=parts.jobs,
        events=parts.events,
        clock=utc_now,
        wakeup=parts.wakeup,
        options=WorkerOptions(
            name=new_id(), scratch=parts.directory.jobs, concurrency=parts.settings.ingest_jobs
        ),
    )


def _derivations(parts: _Parts) -> DerivationUseCases:
    repository = SqlDerivationRepository(parts.database)
    return DerivationUseCases(
        define=DefineDerivation(repository, parts.plan_query, utc_now),
        inspect=InspectDerivations(repository, parts.datasets, parts.ingestions),
        remove=RemoveDerivation(repository, utc_now),
        refresh=Refresh(repository, parts.datasets, parts.ingestions, utc_now, new_id, parts.wakeup),
        lineage=TraceLineage(parts.datasets, parts.store, _find(parts)),
    )


def _catalog_url(settings: Settings, directory: DataDirectory) -> str:
    return settings.catalog_url.get_secret_value() if settings.catalog_url else directory.catalog_url


def _duckdb_options(settings: Settings, directory: DataDirectory, roles: Set[Role]) -> DuckDbOptions:
    return DuckDbOptions(
        workspace=directory.workspace if Role.FLIGHT in roles else None,
        readable=(directory.lake,),
        temp=directory.temp(roles),
        memory_bytes=settings.memory_limit,
        temp_bytes=settings.temp_limit,
        threads=settings.threads,
    )


def _guarded_options(settings: Settings, directory: DataDirectory, roles: Set[Role]) -> GuardedOptions:
    temp = directory.temp(roles)
    return GuardedOptions(
        temp=temp,
        folders={str(directory.lake): "<lake>", str(temp): "<temp>"},
        memory_bytes=settings.guarded_memory,
        temp_bytes=settings.temp_limit,
        threads=settings.threads,
        timeout_s=settings.guarded_timeout_s,
        max_processes=settings.guarded_processes,
    )


def _results(settings: Settings, directory: DataDirectory, roles: Set[Role]) -> DiskResultCache | None:
    if not settings.cache_bytes:
        return None
    options = ResultCacheOptions(
        max_bytes=settings.cache_bytes,
        max_entry_bytes=settings.cache_entry_bytes,
        ttl_s=settings.cache_ttl_s,
        min_run_s=settings.cache_min_run_s,
    )
    return DiskResultCache(directory.temp(roles) / "results", options)


def _delete_rows(parts: _Parts) -> DeleteRows:
    return DeleteRows(parts.datasets, parts.engine, parts.admission, FindRowsToDelete(parts.open_write))


def _row_finder(options: DuckDbOptions) -> DuckDbRowFinder:
    temp = options.temp / "rows"
    shutil.rmtree(temp, ignore_errors=True)  # of a process that was killed
    memory_bytes = min(options.memory_bytes, _ROW_FINDER_BYTES)
    return DuckDbRowFinder(replace(options, temp=temp, memory_bytes=memory_bytes))


def _session_limits(settings: Settings) -> SessionLimits:
    return SessionLimits(
        max_sessions=settings.max_sessions,
        idle_s=settings.session_idle_s,
        transaction_idle_s=settings.transaction_idle_s,
    )


def _run_something(engine: DuckDbEngine, datasets: DatasetRepository) -> None:
    with closing(engine.plan(Statement("SELECT 1"), datasets.lake_state())) as query:
        for _ in query:
            pass


def _require_space(folder: Path) -> None:
    """
    Raises:
        OutOfDisk: next to nothing is left.
    """
    free = psutil.disk_usage(str(folder)).free
    if free < _MIN_FREE_BYTES:
        raise OutOfDisk(f"{free:,} bytes are free on the disk of the data directory; make room")
