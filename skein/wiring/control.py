"""What the control plane offers."""

from contextlib import closing
from pathlib import Path

import psutil

from control_api.options import (
    ControlUseCases,
    DatasetUseCases,
    EventUseCases,
    JobUseCases,
    QueryUseCases,
    Resources,
)
from flight_core.adapters.events.log import LogEventFeed
from flight_core.application.datasets.annotations import AnnotateDataset
from flight_core.application.datasets.usage import GetUsage
from flight_core.application.follow_events import FollowEvents
from flight_core.application.jobs.jobs import CancelJob, GetJob, ListJobs, ReadJobLog
from flight_core.application.ports.clock import utc_now
from flight_core.application.ports.engine import QueryEngine
from flight_core.application.queries.inspect import ClassifyStatement
from flight_core.application.writes.deletions import DeleteRows
from flight_core.domain.errors import OutOfDisk
from flight_core.domain.query import Statement
from flight_core.domain.repositories.datasets import DatasetRepository
from flight_server.options import FlightUseCases
from skein.wiring.access import access_use_cases
from skein.wiring.ingestion import (
    contract_use_cases,
    derivation_use_cases,
    ingestion_use_cases,
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
    derivations = derivation_use_cases(parts)
    return ControlUseCases(
        gate=flight.gate,
        datasets=_datasets(parts, flight),
        versions=version_use_cases(parts, flight),
        contracts=contract_use_cases(parts, start),
        derivations=derivations,
        ingestions=ingestion_use_cases(parts, start, derivations.refresh),
        uploads=upload_use_cases(parts),
        schedules=schedule_use_cases(schedule_desk(parts, start)),
        jobs=JobUseCases(
            get=GetJob(parts.catalog.jobs),
            list=ListJobs(parts.catalog.jobs),
            cancel=CancelJob(parts.catalog.jobs, parts.catalog.events, utc_now, parts.wakeup),
            read_log=ReadJobLog(parts.catalog.jobs),
            start_maintenance=start_maintenance(parts),
        ),
        queries=QueryUseCases(
            open=flight.open_query,
            follow=flight.follow_query,
            classify=ClassifyStatement(parts.queries.reader),
            run=flight.run_statement,
            cancel=flight.cancel_query,
            log=parts.queries.log,
            results=parts.queries.open.results,
            admission=parts.queries.admission,
        ),
        access=access_use_cases(parts.catalog, parts.audit),
        events=_events(parts),
        idempotency=parts.catalog.idempotency,
        clock=utc_now,
        resources=lambda: Resources(parts.engine.usage(), _free_bytes(parts.directory.root)),
        checks={
            "catalog": parts.catalog.datasets.lake_state,
            "engine": lambda: _run_something(parts.engine, parts.catalog.datasets),
            "disk": lambda: _require_space(parts.directory.root),
        },
    )


def _datasets(parts: Parts, flight: FlightUseCases) -> DatasetUseCases:
    return DatasetUseCases(
        list=flight.list_datasets,
        get=flight.get_dataset,
        describe=flight.describe_dataset,
        profile=profile_dataset(parts),
        get_usage=GetUsage(parts.catalog.datasets, parts.catalog.usage, parts.queries.usage.flush),
        annotate=AnnotateDataset(parts.catalog.datasets, utc_now),
        delete_rows=delete_rows(parts, flight),
        drop=flight.drop_dataset,
    )


def delete_rows(parts: Parts, flight: FlightUseCases) -> DeleteRows:
    return DeleteRows(parts.engine, parts.queries.admission, flight.run_statement.change_dataset)


def _events(parts: Parts) -> EventUseCases:
    feed = LogEventFeed(parts.catalog.events)
    return EventUseCases(parts.catalog.events, feed, FollowEvents(feed))


def _run_something(engine: QueryEngine, datasets: DatasetRepository) -> None:
    with closing(engine.plan(Statement("SELECT 1"), datasets.lake_state())) as query:
        for _ in query:
            pass


def _require_space(folder: Path) -> None:
    """
    Raises:
        OutOfDisk: next to nothing is left.
    """
    free = _free_bytes(folder)
    if free < _MIN_FREE_BYTES:
        raise OutOfDisk(f"{free:,} bytes are free on the disk of the data directory; make room")


def _free_bytes(folder: Path) -> int:
    return int(psutil.disk_usage(str(folder)).free)
