"""The adapters of one process, and what several use cases share."""

from collections.abc import Callable, Set
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flight_core.adapters.authentication.issuer_keys import IssuerKeys
from flight_core.adapters.authentication.oidc import OidcOptions, OidcTokens
from flight_core.adapters.engines.duckdb.engine import DuckDbEngine
from flight_core.adapters.engines.duckdb.guarded.engine import GuardedDuckDbEngine
from flight_core.adapters.storage.delta import DeltaTableStore
from flight_core.application.access.audit import AuditLog
from flight_core.application.datasets.find_version import FindVersion
from flight_core.application.datasets.system_tables import ReadSystemTable
from flight_core.application.datasets.versions import ReadHistory
from flight_core.application.jobs.jobs import ListJobs, Wakeup
from flight_core.application.ports.clock import new_id, utc_now
from flight_core.application.queries.reader import Reader
from flight_core.application.writes.open_write import OpenWrite, Publish
from flight_core.domain.access import LOCAL
from flight_core.domain.errors import InvalidOption
from flight_core.domain.repositories.issuer_users import IssuerUserRepository
from flight_core.domain.repositories.own_tables import OwnTableRepository
from skein.directory import DataDirectory, Role
from skein.settings import Settings
from skein.wiring.catalog import Catalog, open_catalog
from skein.wiring.engine import (
    build_results,
    build_row_finder,
    duckdb_options,
    guarded_options,
)
from skein.wiring.intake import Intake, open_intake
from skein.wiring.queries import Queries, open_queries
from skein.wiring.telemetry import Telemetry, telemetry


@dataclass(frozen=True, slots=True)
class Parts:
    """The adapters, and what several use cases share."""

    settings: Settings
    directory: DataDirectory
    temp: Path  # of this process
    telemetry: Telemetry
    catalog: Catalog
    audit: AuditLog
    oidc: OidcTokens | None
    store: DeltaTableStore
    engine: DuckDbEngine
    queries: Queries
    intake: Intake
    open_write: OpenWrite
    wakeup: Wakeup


def open_parts(settings: Settings, directory: DataDirectory, roles: Set[Role], stack: ExitStack) -> Parts:
    """What is opened here is closed by the stack, the latest first."""
    traces = telemetry(settings, stack)
    catalog = stack.enter_context(open_catalog(settings, directory))
    _require_credentials(settings, catalog)
    catalog.open_reads.leave(*roles)  # those that had the roles before are gone, however they ended
    audit = stack.enter_context(closing(AuditLog(catalog.audit, utc_now, keep=settings.keep_audit)))
    options = duckdb_options(settings, directory, roles)
    store = DeltaTableStore(directory.lake, row_finder=build_row_finder(options))
    history = ReadHistory(catalog.datasets, store, catalog.versions)
    system_tables = ReadSystemTable(catalog.datasets, history, ListJobs(catalog.jobs))
    engine = DuckDbEngine(options, store, system_table=partial(system_tables, actor=LOCAL))
    stack.callback(engine.close)
    guarded = GuardedDuckDbEngine(guarded_options(settings, directory, roles), store)
    stack.callback(guarded.close)
    queries = open_queries(
        settings,
        catalog,
        Reader(catalog.datasets, engine, guarded, system_tables),
        build_results(settings, directory, roles),
        stack,
        process=min(roles),
        tracer=traces.tracer,
    )
    return Parts(
        settings=settings,
        directory=directory,
        temp=directory.temp(roles),
        telemetry=traces,
        catalog=catalog,
        audit=audit,
        oidc=_oidc(settings, catalog.issuer_users, stack),
        store=store,
        engine=engine,
        queries=queries,
        intake=open_intake(settings, directory, store, queries, stack),
        open_write=OpenWrite(
            catalog.datasets,
            store,
            Publish(catalog.datasets, utc_now),
            new_id,
            catalog.derivations,
            _has_own_table(engine, None if Role.FLIGHT in roles else catalog.own_tables),
        ),
        wakeup=Wakeup(),
    )


def _has_own_table(engine: DuckDbEngine, others: OwnTableRepository | None) -> Callable[[str], bool]:
    """Looks in this process, and in what another one that serves Flight has told to `others`."""
    return lambda name: name.lower() in engine.own_tables() or (others is not None and others.has(name))


def find_version(parts: Parts) -> FindVersion:
    return FindVersion(parts.store, parts.catalog.versions)


def _oidc(settings: Settings, users: IssuerUserRepository, stack: ExitStack) -> OidcTokens | None:
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
    return OidcTokens(options, keys, users, utc_now)


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
