"""One process: its use cases, its servers, and what it does in the background."""

from collections.abc import Callable, Iterator, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib.metadata import version

from fastapi import FastAPI

from control_api.app import create_app
from control_api.options import ControlOptions, ControlUseCases
from flight_core.application.access.audited import audited
from flight_core.application.access.owners import ActAsOwner
from flight_core.application.datasets.drop import SweepOrphans
from flight_core.application.datasets.own_tables import ShareOwnTables
from flight_core.application.derived.due import RefreshDue
from flight_core.application.ingestion.schedules import FireDueSchedules
from flight_core.application.ingestion.uploads import SweepUploads
from flight_core.application.jobs.worker import JobWorker
from flight_core.application.maintenance.compaction import CompactDataset
from flight_core.application.maintenance.due import RequestDueMaintenance
from flight_core.application.maintenance.open_reads import OpenReadReporter
from flight_core.application.maintenance.vacuum import VacuumDataset
from flight_core.application.ports.clock import utc_now
from flight_core.application.writes.open_write import Reconcile
from flight_core.application.writes.quarantine import Quarantine
from flight_core.domain.repositories.events import EventRepository
from flight_core.domain.repositories.jobs import JobRepository
from flight_server.flight_sql.dispatch import FlightSql
from flight_server.flight_sql.use_cases import FlightSqlUseCases
from flight_server.options import FlightOptions, FlightUseCases
from flight_server.service import SkeinFlightServer
from skein.directory import DataDirectory, Role
from skein.settings import Settings
from skein.tls import tls_options
from skein.wiring.access import holders
from skein.wiring.control import control_use_cases
from skein.wiring.flight import flight_sql_use_cases, flight_use_cases
from skein.wiring.ingestion import job_worker, schedule_desk, start_ingestion, upload_limits
from skein.wiring.parts import open_parts
from skein.wiring.telemetry import Telemetry
from skein.wiring.versions import compact, maintenance_options, start_maintenance, vacuum

VERSION = version("skein-flight")


@dataclass(frozen=True, slots=True, repr=False)
class Skein:
    """What one process can do, ready to be put behind servers."""

    settings: Settings
    directory: DataDirectory
    telemetry: Telemetry
    flight: FlightUseCases
    flight_sql: FlightSqlUseCases
    control: ControlUseCases
    new_worker: Callable[[], JobWorker]  # call it in the event loop that will run the worker
    reconcile: Reconcile
    recover_rejects: Callable[[], None]  # for the process that serves Flight, before it does
    sweep_orphans: SweepOrphans
    sweep_uploads: SweepUploads
    open_read_reporter: OpenReadReporter
    compact: CompactDataset
    vacuum: VacuumDataset
    maintain: RequestDueMaintenance
    refresh_due: RefreshDue
    events: EventRepository
    jobs: JobRepository
    fire_schedules: FireDueSchedules
    share_own_tables: ShareOwnTables

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
        parts = open_parts(settings, directory, roles, stack)
        flight = flight_use_cases(parts)
        control = control_use_cases(parts, flight)
        act_as_owner = ActAsOwner(holders(parts))
        yield Skein(
            settings=settings,
            directory=directory,
            telemetry=parts.telemetry,
            flight=audited(flight, parts.audit),
            flight_sql=audited(flight_sql_use_cases(parts, flight), parts.audit),
            control=audited(control, parts.audit),
            refresh_due=RefreshDue(control.derivations.refresh, act_as_owner, settings.refresh_delay_s),
            new_worker=partial(job_worker, parts),
            reconcile=Reconcile(parts.catalog.datasets, parts.store, parts.open_write.publish),
            recover_rejects=Quarantine(parts.open_write, parts.store).recover,
            sweep_orphans=SweepOrphans(
                parts.catalog.datasets, parts.store, utc_now, grace=timedelta(seconds=settings.orphan_grace_s)
            ),
            sweep_uploads=SweepUploads(parts.intake.uploads, upload_limits(settings), utc_now),
            open_read_reporter=parts.queries.open_read_reporter,
            compact=compact(parts),
            vacuum=vacuum(parts),
            maintain=RequestDueMaintenance(
                start_maintenance(parts), parts.store, maintenance_options(settings), utc_now
            ),
            events=parts.catalog.events,
            jobs=parts.catalog.jobs,
            fire_schedules=FireDueSchedules(schedule_desk(parts, start_ingestion(parts)), act_as_owner),
            share_own_tables=ShareOwnTables(parts.engine, parts.catalog.own_tables),
        )


def flight_server(skein: Skein) -> SkeinFlightServer:
    """Listens from now on, until its `stop`."""
    settings = skein.settings
    options = FlightOptions(
        ticket_key=skein.directory.key_for("tickets"),
        host=settings.host,
        port=settings.flight_port,
        tls=tls_options(settings),
        version=VERSION,
        stall_timeout_s=settings.stall_timeout_s,
        ticket_ttl_s=settings.ticket_ttl_s,
        tracer=skein.telemetry.tracer,
    )
    return SkeinFlightServer(skein.flight, options, FlightSql(skein.flight_sql, options))


def http_app(skein: Skein, *, flight_uri: str, whole: bool = True) -> FastAPI:
    settings = skein.settings
    options = ControlOptions(
        version=VERSION,
        flight_uri=flight_uri,
        hosts=settings.hosts,
        origins=settings.allowed_origins,
        max_body_bytes=settings.max_body_bytes,
        stall_timeout_s=settings.stall_timeout_s,
        telemetry=skein.telemetry.http,
        tracer=skein.telemetry.tracer,
    )
    return create_app(skein.control, options, whole=whole)
