"""Models of the hexagon -> what clients are answered."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from urllib.parse import quote

from control_api.etags import etag_of_dataset
from control_api.formats import json_value
from control_api.redaction import redacted
from flight_core.application.datasets.describe import DatasetDescription
from flight_core.application.datasets.versions import HistoryEntry
from flight_core.domain.audit import StoredAuditEntry
from flight_core.domain.contract import CheckReport, RuleCount
from flight_core.domain.dataset import Dataset, DatasetName, DatasetVersion
from flight_core.domain.ingestion import Ingestion, SourceSpec
from flight_core.domain.job import Job, JobState, Maintenance, Progress, Task
from flight_core.domain.schedule import Cron, Interval, Timing
from flight_core.domain.tokens import ApiToken
from flight_core.domain.usage import Usage, Use
from flight_core.domain.users import User
from flight_core.domain.versions import TagName, VersionName
from schemas import datasets, ingestions, jobs, users, versions
from schemas.audit import AuditEntry
from schemas.http import API, Column
from schemas.tokens import CreatedToken, Token

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
            Column(
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


def _fraction(progress: Progress) -> float | None:
    if not progress.total_bytes:
        return None
    return min(1.0, progress.done_bytes / progress.total_bytes)


def version_text(version: VersionName) -> str:
    """The name of a version, as it goes behind the `@` in SQL."""
    match version:
        case int():
            return f"v{version}"
        case datetime():
            return version.isoformat()
        case TagName():
            return version.value


def source(source: SourceSpec) -> dict[str, Any]:
    """As a request names it, but without credentials."""
    return {"kind": source.kind, **redacted(source.fields)}


def timing(timing: Timing) -> dict[str, Any]:
    """The fields of `schemas.schedules.Timed`."""
    match timing:
        case Interval(every_s):
            return {"every_s": every_s}
        case Cron(expression, timezone):
            return {"cron": expression, "timezone": timezone}


def token(token: ApiToken) -> Token:
    return Token(**_token(token))


def created_token(token: ApiToken, secret: str | None) -> CreatedToken:
    return CreatedToken(**_token(token), token=secret)


def _token(token: ApiToken) -> dict[str, Any]:
    """The fields of `schemas.tokens.Token`."""
    return {**asdict(token), "scopes": sorted(token.scopes)}


def user(user: User) -> users.User:
    return users.User.model_validate({**asdict(user), "scopes": sorted(user.scopes)})


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
