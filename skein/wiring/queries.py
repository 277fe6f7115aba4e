"""What answers queries, counts them, and tells what is being read."""

from contextlib import ExitStack, closing
from dataclasses import dataclass

from flight_core.application.datasets.usage import UsageLedger
from flight_core.application.maintenance.open_reads import OpenReadReporter, OpenReads
from flight_core.application.ports.clock import new_id, utc_now
from flight_core.application.ports.results import ResultCache
from flight_core.application.ports.tracing import Tracer
from flight_core.application.queries.admission import Admission, AdmissionLimits
from flight_core.application.queries.log import QueryLog
from flight_core.application.queries.reader import Reader
from flight_core.application.queries.reads import OpenQuery, PlanQuery
from flight_core.application.queries.scrolled import KeepScrolled
from flight_core.application.sessions.registry import SessionRegistry
from skein.settings import Settings
from skein.wiring.catalog import Catalog
from skein.wiring.engine import session_limits


@dataclass(frozen=True, slots=True)
class Queries:
    reader: Reader
    plan: PlanQuery
    open: OpenQuery
    admission: Admission
    log: QueryLog
    sessions: SessionRegistry
    reads: OpenReads
    open_read_reporter: OpenReadReporter
    usage: UsageLedger


def open_queries(
    settings: Settings,
    catalog: Catalog,
    reader: Reader,
    results: ResultCache | None,
    stack: ExitStack,
    *,
    process: str,
    tracer: Tracer,
) -> Queries:
    sessions = stack.enter_context(closing(SessionRegistry(reader.engine, session_limits(settings))))
    usage = UsageLedger(catalog.usage)
    log = QueryLog(utc_now, new_id, ended=usage.note, tracer=tracer)
    reads = OpenReads(log, sessions, utc_now)
    open_read_reporter = OpenReadReporter(reads, catalog.open_reads, usage, utc_now, process=process)
    stack.callback(open_read_reporter.close)
    admission = Admission(AdmissionLimits(settings.max_streams, settings.max_queue, settings.queue_timeout_s))
    scrolled = None
    if results is not None:
        one_at_a_time = Admission(AdmissionLimits(max_streams=1, max_queue=0))
        behind = OpenQuery(reader, one_at_a_time, log, results, keeps_scrolled=True)
        scrolled = stack.enter_context(closing(KeepScrolled(behind)))
    return Queries(
        reader=reader,
        plan=PlanQuery(reader, new_id, results),
        open=OpenQuery(reader, admission, log, results, scrolled),
        admission=admission,
        log=log,
        sessions=sessions,
        reads=reads,
        open_read_reporter=open_read_reporter,
        usage=usage,
    )
