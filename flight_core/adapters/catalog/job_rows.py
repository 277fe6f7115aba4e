"""Converting jobs to rows of the table `jobs`, and back."""

from typing import Any

import sqlalchemy as sa

from flight_core.adapters.catalog.tables import jobs
from flight_core.domain.access import ALL_RIGHTS, Rights, rights_document, rights_of
from flight_core.domain.contract import report_document, report_of
from flight_core.domain.dataset import DatasetName, SchemaPolicy, WriteMode
from flight_core.domain.errors import IngestionNotFound
from flight_core.domain.ingestion import Ingestion, IngestionRequest, Reading, SourceSpec
from flight_core.domain.job import Job, JobState, Maintenance, Phase, Progress, Task
from flight_core.infrastructure.seal import Private


def row_of(connection: sa.Connection, job_id: str, *, lock: bool = False) -> sa.Row[Any]:
    """
    Raises:
        IngestionNotFound
    """
    statement = jobs.select().where(jobs.c.id == job_id)
    row = connection.execute(statement.with_for_update() if lock else statement).one_or_none()
    if row is None:
        raise IngestionNotFound(f"ingestion '{job_id[:64]}' does not exist; see 'skein jobs'", id=job_id[:64])
    return row


def values_of(job: Job) -> dict[str, object]:
    return {
        "id": job.id,
        "dataset_key": job.dataset.key,
        "dataset": job.dataset.value,
        "task": str(job.task),
        "priority": job.priority,
        "exclusive": job.exclusive,
        "actor": job.actor,
        "rights": rights_document(job.rights),
        "state": str(job.state),
        "created_at": job.created_at,
        "attempt": job.attempt,
        "cancel_requested": job.cancel_requested,
        "started_at": job.started_at,
        "retry_of": job.retry_of,
        **progress_values(job.progress),
        **outcome_values(job),
        **_request_values(job),
    }


def progress_values(progress: Progress) -> dict[str, object]:
    return {
        "phase": None if progress.phase is None else str(progress.phase),
        "done_bytes": progress.done_bytes,
        "total_bytes": progress.total_bytes,
        "rows": progress.rows,
        "bytes_per_s": progress.bytes_per_s,
        "rows_per_s": progress.rows_per_s,
    }


def outcome_values(job: Job) -> dict[str, object]:
    """The outcome of a job."""
    values: dict[str, object] = {
        "finished_at": job.finished_at,
        "version": job.version,
        "unchanged": job.unchanged,
        "error_code": job.error_code,
        "error_message": job.error_message,
    }
    if isinstance(job, Ingestion):
        values["reading"] = None if job.reading is None else _document_of(job.reading)
        values["check_report"] = None if job.check is None else report_document(job.check)
    elif isinstance(job, Maintenance):
        values["result"] = None if job.result is None else dict(job.result)
    return values


def _document_of(reading: Reading) -> dict[str, object]:
    return {"format": reading.format, "options": dict(reading.options)}


def _request_values(job: Job) -> dict[str, object]:
    if isinstance(job, Maintenance):
        return {"options": dict(job.options)}
    assert isinstance(job, Ingestion)
    return {**request_document(job.request), "schedule": job.schedule}


def request_document(request: IngestionRequest) -> dict[str, object]:
    """The request as JSON values; `request_of` is the inverse. Fields of sources may contain credentials."""
    return {
        "dataset": request.dataset.value,
        "priority": request.priority,
        "source": {"kind": request.source.kind, "fields": Private(dict(request.source.fields))},
        "mode": str(request.mode),
        "keys": list(request.keys),
        "schema_policy": str(request.schema_policy),
        "format": request.format,
        "options": dict(request.options),
        "force": request.force,
        "message": request.message,
    }


def asked_with(row: sa.Row[Any]) -> Rights:
    """The rights of a row; all, if they were not stored yet."""
    return ALL_RIGHTS if row.rights is None else rights_of(row.rights)


def job_of(row: sa.Row[Any]) -> Job:
    task = Task(row.task)
    if task is Task.INGEST:
        return ingestion_of(row)
    return Maintenance(
        maintains=DatasetName(row.dataset), does=task, options=row.options, result=row.result, **_common(row)
    )


def request_of(row: Any) -> IngestionRequest:
    """The request from `row`, whose attributes are the keys of `request_document`."""
    return IngestionRequest(
        dataset=DatasetName(row.dataset),
        source=SourceSpec(row.source["kind"], row.source["fields"]),
        mode=WriteMode(row.mode),
        keys=tuple(row.keys),
        schema_policy=SchemaPolicy(row.schema_policy),
        format=row.format,
        options=row.options,
        force=row.force,
        priority=row.priority,
        message=row.message or "",
    )


def ingestion_of(row: sa.Row[Any]) -> Ingestion:
    return Ingestion(
        request=request_of(row),
        schedule=row.schedule,
        reading=None if row.reading is None else Reading(**row.reading),
        check=None if row.check_report is None else report_of(row.check_report),
        **_common(row),
    )


def _common(row: sa.Row[Any]) -> dict[str, Any]:
    """The fields of `Job`."""
    return {
        "id": row.id,
        "state": JobState(row.state),
        "created_at": row.created_at,
        "actor": row.actor,
        "rights": asked_with(row),
        "attempt": row.attempt,
        "progress": Progress(
            phase=None if row.phase is None else Phase(row.phase),
            done_bytes=row.done_bytes,
            total_bytes=row.total_bytes,
            rows=row.rows,
            bytes_per_s=row.bytes_per_s,
            rows_per_s=row.rows_per_s,
        ),
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "version": row.version,
        "unchanged": row.unchanged,
        "error_code": row.error_code,
        "error_message": row.error_message,
        "cancel_requested": row.cancel_requested,
        "retry_of": row.retry_of,
    }
