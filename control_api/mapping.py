"""Models of the hexagon -> what travels, and back."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from control_api.etags import etag_of_dataset
from control_api.formats import ResultHead, encode_json_array, json_value
from flight_core.application.datasets.catalog import DatasetDescription
from flight_core.application.datasets.versions import HistoryEntry
from flight_core.application.derived.definitions import DerivationRequest
from flight_core.application.ingestion.preview import PreviewRequest
from flight_core.application.ports.parsing import Preview, Trial
from flight_core.domain.audit import StoredAuditEntry
from flight_core.domain.contract import CheckReport, RuleCount, contract_of
from flight_core.domain.dataset import Dataset, DatasetName, DatasetVersion, SchemaPolicy, WriteMode
from flight_core.domain.derivation import RefreshPolicy
from flight_core.domain.ingestion import Ingestion, IngestionRequest, SourceSpec
from flight_core.domain.job import Job, JobState, LogLine, Maintenance, Progress, Task
from flight_core.domain.query import CacheUse, Pins, QueryRecord
from flight_core.domain.schedule import Cron, Interval, Timing
from flight_core.domain.upload import Upload
from flight_core.domain.usage import Usage, Use
from flight_core.domain.versions import TagName, VersionName, version_named
from schemas import datasets, derivations, http, ingestions, jobs, queries, schedules, uploads, versions
from schemas.audit import AuditEntry
from schemas.contracts import as_document
from schemas.sources import Source

API = "/api/v1"


_LINKS = (
    "versions",
    "rows",
    "sample",
    "profile",
    "contract",
    "lineage",
    "derivation",
    "tags",
    "retention",
    "usage",
)


def dataset(dataset: Dataset) -> datasets.Dataset:
    return datasets.Dataset(**_dataset(dataset))


def dataset_entry(dataset: Dataset, usage: Usage) -> datasets.DatasetEntry:
    return datasets.DatasetEntry(usage=datasets.UsageSummary(**_usage(usage)), **_dataset(dataset))


def usage(name: DatasetName, usage: Usage, uses: Sequence[Use]) -> datasets.Usage:
    by = [
        datasets.IdentityUsage(actor=use.actor, queries=use.queries, last_queried_at=use.last_at)
        for use in uses
    ]
    return datasets.Usage(dataset=name.value, by=by, **_usage(usage))


def _usage(usage: Usage) -> dict[str, Any]:
    return {"queries": usage.queries, "identities": usage.identities, "last_queried_at": usage.last_at}


def _facts(dataset: Dataset, version: DatasetVersion) -> dict[str, Any]:
    """The fields of `datasets.DatasetFacts`, as of a version."""
    href = f"{API}/datasets/{quote(dataset.name.value)}"
    return {
        "id": dataset.id,
        "name": dataset.name.value,
        "href": href,
        "links": {"self": href, **{name: f"{href}/{name}" for name in _LINKS}},
        "description": dataset.description,
        "tags": list(dataset.tags),
        "owners": list(dataset.owners),
        "rows": version.row_count,
        "size_bytes": version.size_bytes,
        "created_at": dataset.created_at,
        "updated_at": version.committed_at,
    }


def _dataset(dataset: Dataset) -> dict[str, Any]:
    return {
        **_facts(dataset, dataset.current),
        "version": dataset.version,
        "etag": etag_of_dataset(dataset),
        "columns": [
            http.Column(
                name=field.name,
                type=str(field.type),
                nullable=field.nullable,
                description=dataset.column_descriptions.get(field.name, ""),
            )
            for field in dataset.current.schema
        ],
    }


def description(description: DatasetDescription) -> datasets.DatasetDescription:
    dataset, described = description.dataset, description.version
    return datasets.DatasetDescription(
        **_facts(dataset, described),
        current_version=dataset.version,
        version=described.ref.version,
        columns=[
            datasets.DescribedColumn(
                name=column.name,
                description=dataset.column_descriptions.get(column.name, ""),
                type=column.type,
                nullable=column.nullable,
                null_count=column.null_count,
                minimum=json_value(column.minimum),
                maximum=json_value(column.maximum),
                distinct=description.distinct.get(column.name),
                size_bytes=column.size_bytes,
            )
            for column in description.columns
        ],
        versions=[version(each) for each in description.versions],
    )


def version(version: DatasetVersion) -> versions.Version:
    return versions.Version(**_version(version))


def history_entry(entry: HistoryEntry) -> versions.HistoryEntry:
    return versions.HistoryEntry(
        **_version(entry.version), state=entry.state.value, tags=[tag.value for tag in entry.tags]
    )


def _version(version: DatasetVersion) -> dict[str, Any]:
    info = version.commit_info
    return {
        "version": version.ref.version,
        "rows": version.row_count,
        "added_rows": version.added_rows,
        "removed_rows": version.removed_rows,
        "size_bytes": version.size_bytes,
        "added_bytes": version.added_bytes,
        "operation": version.operation,
        "committed_at": version.committed_at,
        "info": dict(info),
        "actor": info.get("actor", ""),
        "source": info.get("source", ""),
        "message": info.get("message", ""),
        "job_id": version.job_id,
    }


def source_spec(source: Source) -> SourceSpec:
    fields = source.model_dump(exclude={"kind"}, exclude_unset=True, by_alias=True)
    return SourceSpec(source.kind, fields)


def ingestion_request(request: ingestions.IngestionRequest) -> IngestionRequest:
    return IngestionRequest(
        dataset=DatasetName(request.dataset),
        source=source_spec(request.source),
        mode=WriteMode(request.mode),
        keys=tuple(request.keys),
        schema_policy=SchemaPolicy(request.schema_policy),
        format=request.format,
        options=request.options,
        force=request.force,
        message=request.message,
        priority=request.priority,
    )


def ingestion(ingestion: Ingestion) -> ingestions.Ingestion:
    """Without the source's fields: they may hold secrets."""
    request, reading = ingestion.request, ingestion.reading
    return ingestions.Ingestion(
        kind=request.source.kind,
        schedule=ingestion.schedule,
        mode=request.mode.value,
        format=request.format if reading is None else reading.format,
        options=dict(request.options if reading is None else reading.options),
        **_checked(ingestion.check),
        **_of_job(ingestion),
    )


def job(job: Job) -> jobs.Job:
    options = dict(job.options) if isinstance(job, Maintenance) else None
    return jobs.Job(options=options, **_of_job(job))


def failure(job: Job) -> jobs.Failure | None:
    if job.error_code is None:
        return None
    return jobs.Failure(code=job.error_code, message=job.error_message or "")


def _of_job(job: Job) -> dict[str, Any]:
    """The fields of `jobs.Job`."""
    progress = job.progress
    return {
        "id": job.id,
        "href": f"{API}/{'ingestions' if job.task is Task.INGEST else 'jobs'}/{job.id}",
        "task": job.task.value,
        "dataset": job.dataset.value,
        "state": job.state.value,
        "cancel_requested": job.cancel_requested,
        "priority": job.priority,
        "phase": None if progress.phase is None else progress.phase.value,
        "progress": 1.0 if job.state is JobState.SUCCEEDED else _fraction(progress),
        "bytes": progress.done_bytes,
        "total_bytes": progress.total_bytes,
        "rows": progress.rows,
        "bytes_per_s": _rounded(progress.bytes_per_s),
        "rows_per_s": _rounded(progress.rows_per_s),
        "eta_s": None if job.state.final else _rounded(progress.eta_s),
        "version": job.version,
        "unchanged": job.unchanged,
        "result": dict(job.result) if isinstance(job, Maintenance) and job.result is not None else None,
        "error": failure(job),
        "actor": job.actor,
        "attempt": job.attempt,
        "retry_of": job.retry_of,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
    }


def log_line(number: int, line: LogLine) -> jobs.JobLogLine:
    return jobs.JobLogLine(
        number=number,
        time=line.at,
        level=line.level.value,
        phase=None if line.phase is None else line.phase.value,
        attempt=line.attempt,
        message=line.message,
    )


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 1)


def _checked(report: CheckReport | None) -> dict[str, Any]:
    if report is None:
        return {}
    return {
        "contract_version": report.contract_version,
        "rejected_rows": report.rejected_rows,
        "rules": [rule_count(count) for count in report.rules],
    }


def rule_count(count: RuleCount) -> jobs.RuleCount:
    return jobs.RuleCount(
        rule=count.rule, column=count.column, severity=count.severity.value, rows=count.rows
    )


def preview_request(request: ingestions.PreviewRequest) -> PreviewRequest:
    return PreviewRequest(
        source_spec(request.source),
        request.format,
        request.options,
        request.rows,
        None if request.dataset is None else DatasetName(request.dataset),
        None if request.contract is None else contract_of(as_document(request.contract)),
    )


def preview(preview: Preview) -> ingestions.Preview:
    table = preview.rows
    head = ResultHead(table.schema, "")
    return ingestions.Preview(
        format=preview.reading.format,
        options=dict(preview.reading.options),
        columns=[
            http.Column(name=field.name, type=str(field.type).replace("large_", ""), nullable=field.nullable)
            for field in table.schema
        ],
        rows=json.loads(b"".join(encode_json_array(head, table.to_batches()))),
        sampled=preview.sampled,
        warnings=list(preview.warnings),
        check=None if preview.trial is None else _trial(preview.trial),
    )


def _trial(trial: Trial) -> ingestions.PreviewCheck:
    return ingestions.PreviewCheck(
        contract_version=trial.report.contract_version,
        rows=trial.report.rows,
        rejected_rows=trial.report.rejected_rows,
        rules=[rule_count(count) for count in trial.report.rules],
        violation=trial.violation,
        rejected=[
            ingestions.RejectedRow(
                source=row["source"], row=row["row"], rules=row["rules"], raw=dict(row["raw"])
            )
            for row in trial.rejected.to_pylist()
        ],
    )


def upload(upload: Upload, *, ttl: timedelta) -> uploads.Upload:
    return uploads.Upload(
        id=upload.id,
        href=f"{API}/uploads/{upload.id}",
        name=upload.name,
        offset=upload.offset,
        size_bytes=upload.size_bytes,
        complete=upload.complete,
        actor=upload.actor,
        created_at=upload.created_at,
        expires_at=upload.updated_at + ttl,
    )


def _fraction(progress: Progress) -> float | None:
    if not progress.total_bytes:
        return None
    return min(1.0, progress.done_bytes / progress.total_bytes)


def query(record: QueryRecord, now: datetime) -> queries.Query:
    lag = None if record.unread_since is None else (now - record.unread_since).total_seconds()
    return queries.Query(
        id=record.query_id,
        sql=record.sql,
        actor=record.actor,
        door=record.door,
        state=record.state.value,
        rows=record.rows,
        size_bytes=record.size_bytes,
        progress=record.progress,
        consumer_lag_s=lag,
        cached=record.cache is CacheUse.HIT,
        datasets=versions_read(record.pins),
        error=record.error,
        created_at=record.created_at,
        finished_at=record.finished_at,
    )


def versions_read(pins: Pins) -> dict[str, int]:
    return {name: ref.version for name, ref in pins.items()}


def parse_version(text: str | None) -> VersionName | None:
    """Raises VersionNotFound: see `version_named`."""
    return None if text is None else version_named(text)


def version_text(version: VersionName) -> str:
    """The name of a version, as it goes behind the `@` in SQL."""
    match version:
        case int():
            return f"v{version}"
        case datetime():
            return version.isoformat()
        case TagName():
            return version.value


def audit_entry(stored: StoredAuditEntry) -> AuditEntry:
    entry, origin = stored.entry, stored.entry.origin
    return AuditEntry(
        seq=stored.seq,
        at=entry.at,
        actor=entry.actor,
        credential=origin.credential,
        door=origin.door,
        address=origin.address,
        action=entry.action,
        decision=entry.decision.value,
        subject=entry.subject,
        datasets=list(entry.datasets),
        code=entry.code,
        count=entry.count,
    )


def derivation_request(name: DatasetName, request: derivations.DerivationRequest) -> DerivationRequest:
    return DerivationRequest(
        target=name,
        sql=request.sql,
        step=request.step,
        inputs=request.inputs,
        params=request.params if request.step is None else dict(request.params),
        policy=RefreshPolicy(request.refresh),
        incremental=request.incremental == "append",
    )


def timing(request: schedules.Timed) -> Timing | None:
    if request.cron is not None:
        return Cron(request.cron, request.timezone or "UTC")
    return None if request.every_s is None else Interval(request.every_s)
