"""The adapters of one process, and what several use cases share."""

from collections.abc import Callable, Set
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from flight_core.adapters.authentication.issuer_keys import IssuerKeys
from flight_core.adapters.authentication.oidc import OidcOptions, OidcTokens
from flight_core.adapters.engines.duckdb.engine import DuckDbEngine
from flight_core.adapters.engines.duckdb.guarded.engine import GuardedDuckDbEngine
from flight_core.adapters.results.disk import DiskResultCache
from flight_core.adapters.sources.rejects import RejectsSource
from flight_core.adapters.storage.delta import DeltaTableStore
from flight_core.adapters.uploads.folder import FolderUploadStore
from flight_core.application.access.audit import AuditLog
from flight_core.application.datasets.find_version import FindVersion
from flight_core.application.datasets.system_tables import ReadSystemTable
from flight_core.application.datasets.usage import UsageLedger
from flight_core.application.datasets.versions import ReadHistory
from flight_core.application.ingestion.ingestions import RowSources, Sources
from flight_core.application.jobs.jobs import ListJobs, Wakeup
from flight_core.application.maintenance.open_reads import OpenReads, ReadBeacon
from flight_core.application.ports.clock import new_id, utc_now
from flight_core.application.ports.parsing import Parser
from flight_core.application.ports.steps import Steps
from flight_core.application.ports.uploads import UploadStore
from flight_core.application.queries.admission import Admission, AdmissionLimits
from flight_core.application.queries.log import QueryLog
from flight_core.application.queries.reader import Reader
from flight_core.application.queries.reads import OpenQuery, PlanQuery
from flight_core.application.queries.scrolled import KeepScrolled
from flight_core.application.sessions.registry import SessionRegistry
from flight_core.application.writes.open_write import OpenWrite, Publish
from flight_core.domain.access import LOCAL
from flight_core.domain.contract import REJECTS_KIND
from flight_core.domain.errors import InvalidOption
from flight_core.domain.repositories.own_tables import OwnTableRepository
from flight_core.domain.repositories.seen import SeenRepository
from skein.directory import DataDirectory, Role
from skein.registry import (
    ReadUseCases,
    build_derived_sources,
    build_parser,
    build_row_sources,
    build_sources,
    build_steps,
)
from skein.settings import Settings
from skein.wiring.catalog import Catalog, open_catalog
from skein.wiring.engine import (
    build_results,
    build_row_finder,
    duckdb_options,
    guarded_options,
    session_limits,
)
from skein.wiring.telemetry import Telemetry, telemetry


@dataclass(frozen=True, slots=True)
class Parts:
    """The adapters, and what several use cases share."""

    settings: Settings
    directory: DataDirectory
    temp: Path  # of this process
    catalog: Catalog
    store: DeltaTableStore
    engine: DuckDbEngine
    reader: Reader
    sessions: SessionRegistry
    reads: OpenReads
    beacon: ReadBeacon
    usage: UsageLedger
    audit: AuditLog
    oidc: OidcTokens | None
    admission: Admission
    log: QueryLog
    telemetry: Telemetry
    open_write: OpenWrite
    sources: Sources
    parser: Parser
    wakeup: Wakeup
    uploads: UploadStore
    plan_query: PlanQuery
    open_query: OpenQuery
    row_sources: RowSources
    steps: Steps


def open_parts(settings: Settings, directory: DataDirectory, roles: Set[Role], stack: ExitStack) -> Parts:
    traces = telemetry(settings, stack)
    catalog = stack.enter_context(open_catalog(settings, directory))
    _require_credentials(settings, catalog)
    audit = AuditLog(catalog.audit, utc_now, keep=settings.keep_audit)
    stack.callback(audit.close)
    options = duckdb_options(settings, directory, roles)
    store = DeltaTableStore(directory.lake, row_finder=build_row_finder(options))
    datasets = catalog.datasets
    history = ReadHistory(datasets, store, catalog.versions)
    system_tables = ReadSystemTable(datasets, history, ListJobs(catalog.jobs))
    engine = DuckDbEngine(options, store, system_table=partial(system_tables, actor=LOCAL))
    stack.callback(engine.close)
    guarded = GuardedDuckDbEngine(guarded_options(settings, directory, roles), store)
    stack.callback(guarded.close)
    sessions = SessionRegistry(engine, session_limits(settings))
    stack.callback(sessions.close)
    usage = UsageLedger(catalog.usage)
    log = QueryLog(utc_now, new_id, ended=usage.note, tracer=traces.tracer)
    reads = OpenReads(log, sessions, utc_now)
    catalog.open_reads.leave(*roles)  # those that had the roles before are gone, however they ended
    beacon = ReadBeacon(reads, catalog.open_reads, usage, utc_now, process=min(roles))
    stack.callback(beacon.close)
    admission = Admission(AdmissionLimits(settings.max_streams, settings.max_queue, settings.queue_timeout_s))
    reader = Reader(datasets, engine, guarded, system_tables)
    results = build_results(settings, directory, roles)
    plan_query = PlanQuery(reader, new_id, results)
    open_query = OpenQuery(reader, admission, log, results, _scrolled(reader, log, results, stack))
    parser = build_parser(settings)
    stack.callback(parser.close)
    uncached = ReadUseCases(plan_query, replace(open_query, results=None))
    steps = build_steps(settings)
    return Parts(
        settings=settings,
        directory=directory,
        temp=directory.temp(roles),
        catalog=catalog,
        store=store,
        engine=engine,
        reader=reader,
        sessions=sessions,
        reads=reads,
        beacon=beacon,
        usage=usage,
        audit=audit,
        oidc=_oidc(settings, catalog.seen, stack),
        admission=admission,
        log=log,
        telemetry=traces,
        open_write=OpenWrite(
            datasets,
            store,
            Publish(datasets, utc_now),
            new_id,
            catalog.derivations,
            engine.has_own_table if Role.FLIGHT in roles else _has_own_table(engine, catalog.own_tables),
        ),
        sources={**build_sources(settings, directory), REJECTS_KIND: RejectsSource(store)},
        parser=parser,
        wakeup=Wakeup(),
        uploads=FolderUploadStore(directory.uploads),
        plan_query=plan_query,
        open_query=open_query,
        row_sources={
            **build_row_sources(settings, directory, uncached),
            **build_derived_sources(uncached, steps, store, reads),
        },
        steps=steps,
    )


def _has_own_table(engine: DuckDbEngine, others: OwnTableRepository) -> Callable[[str], bool]:
    """Whether there is one in the memory of this process, or in the one that serves Flight."""
    return lambda name: engine.has_own_table(name) or others.has(name)


def find_version(parts: Parts) -> FindVersion:
    return FindVersion(parts.store, parts.catalog.versions)


def _oidc(settings: Settings, seen: SeenRepository, stack: ExitStack) -> OidcTokens | None:
    if settings.oidc_issuer is None or settings.oidc_audience is None:
        return None
    keys = stack.enter_context(closing(IssuerKeys(settings.oidc_issuer, settings.oidc_jwks_url)))
    options = OidcOptions(
        issuer=settings.oidc_issuer,
        audience=settings.oidc_audience,
        name_claim=settings.oidc_name_claim,
        grant_claim=settings.oidc_grant_claim,
        grants=settings.claim_grants,
        remember_s=settings.session_ttl_s,
    )
    return OidcTokens(options, keys, seen, utc_now)


def _scrolled(
    reader: Reader, log: QueryLog, results: DiskResultCache | None, stack: ExitStack
) -> KeepScrolled | None:
    if results is None:
        return None
    one_at_a_time = Admission(AdmissionLimits(max_streams=1, max_queue=0))
    return stack.enter_context(
        closing(KeepScrolled(OpenQuery(reader, one_at_a_time, log, results, keeps_scrolled=True)))
    )


def _require_credentials(settings: Settings, catalog: Catalog) -> None:
    """
    Raises:
        InvalidOption: others can reach the server, and nothing would keep them out.
    """
    if settings.loopback or settings.has_credentials or catalog.tokens.by_digest() or catalog.users.ever():
        return
    raise InvalidOption(
        f"SKEIN_HOST is '{settings.host}', which others can reach: add a user with"
        " 'skein user add NAME --offline' or a token with 'skein token create NAME --offline', set"
        " SKEIN_TOKENS or SKEIN_USERS, or listen on 127.0.0.1"
    )
