"""What the control plane offers."""

from contextlib import closing
from pathlib import Path

import psutil

from control_api.options import ControlUseCases
from flight_core.adapters.catalog.contracts import SqlContractRepository
from flight_core.adapters.catalog.idempotency import SqlIdempotencyRepository
from flight_core.adapters.catalog.usage import SqlUsageRepository
from flight_core.adapters.engines.duckdb.engine import DuckDbEngine
from flight_core.adapters.events.log import LogEventFeed
from flight_core.application.contracts.contracts import PrepareCheck
from flight_core.application.datasets.annotations import AnnotateDataset
from flight_core.application.datasets.usage import GetUsage
from flight_core.application.derived.refresh import RefreshDataset
from flight_core.application.follow_events import FollowEvents
from flight_core.application.ingestion.ingestions import GetIngestion, RetryIngestion
from flight_core.application.ingestion.preview import PreviewIngestion
from flight_core.application.jobs.jobs import CancelJob, GetJob, ListJobs, ReadJobLog
from flight_core.application.ports.clock import new_id, utc_now
from flight_core.application.writes.statements import ClassifyStatement
from flight_core.domain.errors import OutOfDisk
from flight_core.domain.query import Statement
from flight_core.domain.repositories import DatasetRepository
from flight_server.options import FlightUseCases
from skein.registry import source_fields
from skein.wiring.access import access_use_cases
from skein.wiring.ingestion import (
    contract_use_cases,
    derivation_use_cases,
    schedule_desk,
    schedule_use_cases,
    start_ingestion,
    upload_use_cases,
)
from skein.wiring.parts import Parts
from skein.wiring.versions import profile_dataset, start_maintenance, version_use_cases

_MIN_FREE_BYTES = 64 << 20


def control_use_cases(parts: Parts, flight: FlightUseCases) -> ControlUseCases:
    start = start_ingestion(parts)
    feed = LogEventFeed(parts.events)
    derivations = derivation_use_cases(parts)
    return ControlUseCases(
        gate=flight.gate,
        list_datasets=flight.list_datasets,
        get_dataset=flight.get_dataset,
        describe_dataset=flight.describe_dataset,
        profile_dataset=profile_dataset(parts),
        get_usage=GetUsage(parts.datasets, SqlUsageRepository(parts.database), parts.usage.flush),
        drop_dataset=flight.drop_dataset,
        annotate_dataset=AnnotateDataset(parts.datasets, utc_now),
        versions=version_use_cases(parts, flight),
        contracts=contract_use_cases(parts, start),
        derivations=derivations,
        idempotency=SqlIdempotencyRepository(parts.database),
        start_ingestion=start,
        get_ingestion=GetIngestion(parts.ingestions),
        retry_ingestion=RetryIngestion(parts.ingestions, start),
        refresh_dataset=RefreshDataset(parts.datasets, parts.jobs, start, derivations.refresh),
        access=access_use_cases(parts.database, parts.audit),
        schedules=schedule_use_cases(schedule_desk(parts, start)),
        get_job=GetJob(parts.jobs),
        list_jobs=ListJobs(parts.jobs),
        cancel_job=CancelJob(parts.jobs, parts.events, utc_now, parts.wakeup),
        read_job_log=ReadJobLog(parts.jobs),
        start_maintenance=start_maintenance(parts),
        uploads=upload_use_cases(parts),
        preview_ingestion=PreviewIngestion(
            parts.sources,
            parts.row_sources,
            parts.previewer,
            PrepareCheck(SqlContractRepository(parts.database), parts.datasets, parts.store, utc_now),
            parts.store,
            parts.directory.jobs,
            new_id,
        ),
        open_query=flight.open_query,
        follow_query=flight.follow_query,
        classify_statement=ClassifyStatement(parts.reader),
        run_statement=flight.run_statement,
        delete_rows=flight.run_statement.delete_rows,
        cancel_query=flight.cancel_query,
        queries=parts.log,
        results=parts.open_query.results,
        admission=parts.admission,
        events=parts.events,
        feed=feed,
        follow_events=FollowEvents(feed),
        clock=utc_now,
        sources=source_fields(),
        checks={
            "catalog": parts.datasets.lake_state,
            "engine": lambda: _run_something(parts.engine, parts.datasets),
            "disk": lambda: _require_space(parts.directory.root),
        },
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
