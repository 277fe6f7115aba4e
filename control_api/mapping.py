"""Models of the hexagon -> what travels, and cursors."""

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from control_api.formats import json_value
from flight_core.application.catalog import DatasetDescription
from flight_core.domain.contract import CheckReport, RuleCount
from flight_core.domain.dataset import Dataset, DatasetVersion
from flight_core.domain.errors import InvalidRequest, VersionNotFound
from flight_core.domain.ingestion import Ingestion, Progress, SourceSpec
from flight_core.domain.query import Pins, QueryRecord
from flight_core.domain.upload import Upload
from schemas import http
from schemas.flight import moment, version_number
from schemas.sources import Source

API = "/api/v1"


def dataset(dataset: Dataset) -> http.Dataset:
    current = dataset.current
    return http.Dataset(
        id=dataset.id,
        name=dataset.name.value,
        href=f"{API}/datasets/{quote(dataset.name.value)}",
        description=dataset.description,
        tags=list(dataset.tags),
        version=dataset.version,
        rows=current.row_count,
        size_bytes=current.size_bytes,
        created_at=dataset.created_at,
        updated_at=current.committed_at,
        columns=[
            http.Column(name=field.name, type=str(field.type), nullable=field.nullable)
            for field in current.schema
        ],
    )


def description(description: DatasetDescription) -> http.DatasetDescription:
    dataset, described = description.dataset, description.version
    return http.DatasetDescription(
        id=dataset.id,
        name=dataset.name.value,
        description=dataset.description,
        tags=list(dataset.tags),
        created_at=dataset.created_at,
        current_version=dataset.version,
        version=described.ref.version,
        rows=described.row_count,
        size_bytes=described.size_bytes,
        updated_at=described.committed_at,
        columns=[
            http.ColumnProfile(
                name=column.name,
                type=column.type,
                nullable=column.nullable,
                null_count=column.null_count,
                minimum=json_value(column.minimum),
                maximum=json_value(column.maximum),
                size_bytes=column.size_bytes,
            )
            for column in description.columns
        ],
        versions=[version(each) for each in description.versions],
    )


def version(version: DatasetVersion) -> http.Version:
    return http.Version(
        version=version.ref.version,
        rows=version.row_count,
        added_rows=version.added_rows,
        size_bytes=version.size_bytes,
        operation=version.operation,
        committed_at=version.committed_at,
        info=dict(version.commit_info),
    )


def source_spec(source: Source) -> SourceSpec:
    fields = source.model_dump(exclude={"kind"}, exclude_unset=True, by_alias=True)
    return SourceSpec(source.kind, fields)


def ingestion(ingestion: Ingestion) -> http.Ingestion:
    """Without the source's fields: they may hold secrets."""
    request, progress = ingestion.request, ingestion.progress
    failed = ingestion.error_code is not None
    return http.Ingestion(
        id=ingestion.id,
        href=f"{API}/ingestions/{ingestion.id}",
        dataset=request.dataset.value,
        kind=request.source.kind,
        mode=request.mode.value,
        format=request.format if ingestion.reading is None else ingestion.reading.format,
        options=dict(request.options if ingestion.reading is None else ingestion.reading.options),
        state=ingestion.state.value,
        cancel_requested=ingestion.cancel_requested,
        phase=None if progress.phase is None else progress.phase.value,
        progress=1.0 if ingestion.state == "succeeded" else _fraction(progress),
        bytes=progress.done_bytes,
        total_bytes=progress.total_bytes,
        rows=progress.rows,
        version=ingestion.version,
        unchanged=ingestion.unchanged,
        **_checked(ingestion.check),
        error=http.Failure(code=ingestion.error_code or "", message=ingestion.error_message or "")
        if failed
        else None,
        actor=ingestion.actor,
        attempt=ingestion.attempt,
        created_at=ingestion.created_at,
        started_at=ingestion.started_at,
        finished_at=ingestion.finished_at,
    )


def _checked(report: CheckReport | None) -> dict[str, Any]:
    if report is None:
        return {}
    return {
        "contract_version": report.contract_version,
        "rejected_rows": report.rejected_rows,
        "rules": [rule_count(count) for count in report.rules],
    }


def rule_count(count: RuleCount) -> http.RuleCount:
    return http.RuleCount(
        rule=count.rule, column=count.column, severity=count.severity.value, rows=count.rows
    )


def upload(upload: Upload, *, ttl: timedelta) -> http.Upload:
    return http.Upload(
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


def query(record: QueryRecord) -> http.Query:
    return http.Query(
        id=record.query_id,
        sql=record.sql,
        actor=record.actor,
        door=record.door,
        state=record.state.value,
        rows=record.rows,
        size_bytes=record.size_bytes,
        datasets=versions_read(record.pins),
        error=record.error,
        created_at=record.created_at,
        finished_at=record.finished_at,
    )


def versions_read(pins: Pins) -> dict[str, int]:
    return {name: ref.version for name, ref in pins.items()}


def parse_version(text: str | None) -> int | datetime | None:
    """`3`, `v3`, or a moment in ISO 8601.

    Raises:
        VersionNotFound: it is none of these.
    """
    if text is None:
        return None
    number = version_number(text)
    try:
        return moment(text) if number is None else number
    except ValueError:
        raise VersionNotFound(
            f"{text[:60]!r} is not a version; write 3, v3, or a moment such as 2026-01-31T12:00:00Z"
        ) from None


def cursor(key: str) -> str:
    """An opaque token for the page after `key`."""
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def parse_cursor(cursor: str) -> str:
    """
    Raises:
        InvalidRequest: it was not made by `cursor`.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise InvalidRequest(
            f"{cursor[:60]!r} is not a cursor; follow the `next` links, or start without one"
        ) from None


def next_page(path: str, parameters: Mapping[str, object]) -> str:
    given = {name: value for name, value in parameters.items() if value is not None}
    return f"{path}?{urlencode(given)}"
