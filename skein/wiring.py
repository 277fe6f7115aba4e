"""Settings -> adapters -> use cases -> servers. Nothing else knows every class."""

from collections.abc import Callable, Iterator, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path

import psutil
from fastapi import FastAPI

from control_api.app import create_app
from control_api.options import ControlOptions, ControlUseCases
from flight_core.adapters.authentication.static import StaticAuthenticator
from flight_core.adapters.catalog.datasets import SqlDatasetRepository
from flight_core.adapters.catalog.events import SqlEventRepository
from flight_core.adapters.catalog.ingestions import SqlIngestionRepository
from flight_core.adapters.engines.duckdb.engine import DuckDbEngine
from flight_core.adapters.events.log import LogEventFeed
from flight_core.adapters.storage.delta import DeltaTableStore
from flight_core.application.admission import Admission, AdmissionLimits
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
from flight_core.application.ingestion import (
    CancelIngestion,
    GetIngestion,
    ListIngestions,
    StartIngestion,
    Wakeup,
)
from flight_core.application.ingestion_worker import IngestionWorker, RunIngestion, WorkerOptions
from flight_core.application.ports.clock import new_id, utc_now
from flight_core.application.ports.engine import QueryEngine
from flight_core.application.ports.storage import TableStore
from flight_core.application.queries import OpenQuery, PlanQuery, QueryLog
from flight_core.application.session_registry import SessionRegistry
from flight_core.application.session_statements import (
    AnswerInSession,
    BrowseCatalog,
    InspectInSession,
    ReadInSession,
)
from flight_core.application.session_writes import LoadInSession, WriteDatasetInSession
from flight_core.application.sessions import SessionLimits
from flight_core.application.statements import InspectStatement, RunStatement
from flight_core.domain.errors import InvalidOption, OutOfDisk
from flight_core.domain.repositories import DatasetRepository, EventRepository
from flight_core.infrastructure.database import Database
from flight_core.infrastructure.duckdb_pool import DuckDbOptions
from flight_server.flight_sql.dispatch import FlightSql
from flight_server.flight_sql.use_cases import FlightSqlUseCases
from flight_server.options import FlightOptions, FlightUseCases, TlsOptions
from flight_server.service import SkeinFlightServer
from skein.directory import DataDirectory, Role
from skein.registry import build_parser, build_sources, source_fields
from skein.settings import Settings

VERSION = version("skein-flight")

_MIN_FREE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, repr=False)
class Skein:
    """What one process can do, ready to be put behind servers."""

    settings: Settings
    directory: DataDirectory
    key: bytes
    flight: FlightUseCases
    flight_sql: FlightSqlUseCases
    control: ControlUseCases
    new_worker: Callable[[], IngestionWorker]  # call it in the event loop that will run the worker
    reconcile: Reconcile
    sweep_orphans: SweepOrphans
    events: EventRepository


@contextmanager
def open_skein(settings: Settings, directory: DataDirectory, roles: Set[Role]) -> Iterator[Skein]:
    """Wire one process; the caller has claimed its roles in the directory.

    The file of the users' own tables can be open in one process only: it belongs to the one that
    serves Flight. Elsewhere such tables live in memory, and end with the process.
    """
    key = directory.secret_key()
    with ExitStack() as stack:
        database = Database(_catalog_url(settings, directory))
        stack.callback(database.close)
        database.migrate()
        store: TableStore = DeltaTableStore(directory.lake)
        engine: QueryEngine = DuckDbEngine(_duckdb_options(settings, directory, roles), store)
        stack.callback(engine.close)
        sessions = SessionRegistry(engine, _session_limits(settings))
        stack.callback(sessions.close)
        yield _wire(settings, directory, key, database, store, engine, sessions)


def flight_server(skein: Skein) -> SkeinFlightServer:
    """Listens from now on, until its `stop`."""
    settings = skein.settings
    options = FlightOptions(
        ticket_key=skein.key,
        host=settings.host,
        port=settings.flight_port,
        tls=_tls(settings),
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


def _wire(
    settings: Settings,
    directory: DataDirectory,
    key: bytes,
    database: Database,
    store: TableStore,
    engine: QueryEngine,
    sessions: SessionRegistry,
) -> Skein:
    datasets: DatasetRepository = SqlDatasetRepository(database)
    events = SqlEventRepository(database)
    ingestions = SqlIngestionRepository(database, utc_now)
    admission = Admission(AdmissionLimits(settings.max_streams, settings.max_queue, settings.queue_timeout_s))
    log = QueryLog(utc_now)
    publish = Publish(datasets, utc_now)
    open_write = OpenWrite(datasets, store, publish, new_id)
    plan_query = PlanQuery(datasets, engine, new_id)
    open_query = OpenQuery(datasets, engine, admission, log, utc_now, new_id)
    drop_dataset = DropDataset(datasets, utc_now)
    write_in_session = WriteDatasetInSession(datasets, open_write, drop_dataset)
    sources, parser, wakeup = build_sources(settings, directory), build_parser(settings), Wakeup()
    flight = FlightUseCases(
        authenticator=StaticAuthenticator(
            settings.credentials("users"),
            settings.credentials("tokens"),
            key=key,
            session_ttl_s=settings.session_ttl_s,
        ),
        list_datasets=ListDatasets(datasets),
        get_dataset=GetDataset(datasets),
        describe_dataset=DescribeDataset(datasets, store),
        drop_dataset=drop_dataset,
        write_dataset=WriteDataset(open_write),
        plan_query=plan_query,
        open_query=open_query,
        inspect_statement=InspectStatement(datasets, engine),
        run_statement=RunStatement(datasets, engine, admission, log, utc_now, new_id),
        queries=log,
    )
    return Skein(
        settings=settings,
        directory=directory,
        key=key,
        flight=flight,
        flight_sql=FlightSqlUseCases(
            sessions=sessions,
            inspect=InspectInSession(datasets, engine),
            answer=AnswerInSession(
                plan_query, WriteDatasetInSession(flight.write_dataset), log, utc_now
            ),
            read=ReadInSession(datasets, open_query),
            catalog=BrowseCatalog(datasets, engine),
            queries=log,
        ),
        control=ControlUseCases(
            authenticator=flight.authenticator,
            list_datasets=flight.list_datasets,
            get_dataset=flight.get_dataset,
            describe_dataset=flight.describe_dataset,
            drop_dataset=flight.drop_dataset,
            start_ingestion=StartIngestion(ingestions, datasets, sources, parser, utc_now, new_id, wakeup),
            get_ingestion=GetIngestion(ingestions),
            list_ingestions=ListIngestions(ingestions),
            cancel_ingestion=CancelIngestion(ingestions, events, utc_now, wakeup),
            open_query=open_query,
            inspect_statement=flight.inspect_statement,
            run_statement=flight.run_statement,
            queries=log,
            admission=admission,
            events=events,
            feed=LogEventFeed(events),
            clock=utc_now,
            sources=source_fields(),
            checks={
                "catalog": datasets.lake_state,
                "engine": lambda: engine.classify("select 1"),
                "disk": lambda: _require_space(directory.root),
            },
        ),
        new_worker=partial(
            IngestionWorker,
            RunIngestion(open_write, sources, parser),
            ingestions=ingestions,
            events=events,
            clock=utc_now,
            wakeup=wakeup,
            options=WorkerOptions(name=new_id(), scratch=directory.jobs, concurrency=settings.ingest_jobs),
        ),
        reconcile=Reconcile(datasets, store, publish),
        sweep_orphans=SweepOrphans(
            datasets, store, utc_now, grace=timedelta(seconds=settings.orphan_grace_s)
        ),
        events=events,
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


def _session_limits(settings: Settings) -> SessionLimits:
    return SessionLimits(
        max_sessions=settings.max_sessions,
        idle_s=settings.session_idle_s,
        transaction_idle_s=settings.transaction_idle_s,
    )


def _tls(settings: Settings) -> TlsOptions | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return TlsOptions(
        cert_chain=_pem(settings.tls_cert, "SKEIN_TLS_CERT"),
        private_key=_pem(settings.tls_key, "SKEIN_TLS_KEY"),
        root_certs=_pem(settings.tls_client_ca, "SKEIN_TLS_CLIENT_CA") if settings.tls_client_ca else None,
        verify_client=settings.tls_client_ca is not None,
    )


def _pem(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidOption(f"{setting} is '{path}', which cannot be read: {error.strerror}") from None


def _require_space(folder: Path) -> None:
    """
    Raises:
        OutOfDisk: next to nothing is left.
    """
    free = psutil.disk_usage(str(folder)).free
    if free < _MIN_FREE_BYTES:
        raise OutOfDisk(f"{free:,} bytes are free on the disk of the data directory; make room")
