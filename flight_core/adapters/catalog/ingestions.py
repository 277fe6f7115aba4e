"""Ingestion jobs, and which worker holds which."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from flight_core.adapters.catalog import idempotency
from flight_core.adapters.catalog.events import append_event
from flight_core.adapters.catalog.tables import ingestions
from flight_core.application.ports.clock import Clock
from flight_core.domain.contract import CheckReport, report_document, report_of
from flight_core.domain.dataset import DatasetName, SchemaPolicy, WriteMode
from flight_core.domain.errors import Conflict, IngestionFinished, IngestionNotFound
from flight_core.domain.events import Event
from flight_core.domain.ingestion import (
    IdempotencyKey,
    Ingestion,
    IngestionRequest,
    IngestionState,
    Phase,
    Progress,
    Reading,
    SourceSpec,
)
from flight_core.infrastructure.database import Database

_QUEUED, _RUNNING = str(IngestionState.QUEUED), str(IngestionState.RUNNING)


@dataclass(frozen=True, slots=True)
class SqlIngestionRepository:
    """See `IngestionRepository`. The `attempt` of a job says which claim of it is the valid one."""

    database: Database
    clock: Clock

    def add(self, ingestion: Ingestion, event: Event, *, key: IdempotencyKey | None = None) -> Ingestion:
        with self.database.write() as connection:
            earlier = None if key is None else idempotency.claim(connection, key, ingestion)
            if earlier is not None:
                return _ingestion(_row(connection, earlier))
            connection.execute(ingestions.insert().values(_values(ingestion)))
            append_event(connection, event)
        return ingestion

    def started_with(self, key: IdempotencyKey) -> Ingestion | None:
        with self.database.read() as connection:
            found = idempotency.holder(connection, key, now=self.clock())
            return None if found is None else _ingestion(_row(connection, found))

    def get(self, ingestion_id: str) -> Ingestion:
        with self.database.read() as connection:
            return _ingestion(_row(connection, ingestion_id))

    def list(self, *, limit: int = 100, dataset: DatasetName | None = None) -> Sequence[Ingestion]:
        statement = ingestions.select().order_by(ingestions.c.number.desc()).limit(limit)
        if dataset is not None:
            statement = statement.where(ingestions.c.dataset_key == dataset.key)
        with self.database.read() as connection:
            return [_ingestion(row) for row in connection.execute(statement)]

    def claim(self, *, worker: str, lease_until: datetime) -> Ingestion | None:
        now = self.clock()
        if not self._work_waits(now):
            return None
        with self.database.write() as connection:
            found = connection.execute(
                _claimable(now).limit(1).with_for_update(skip_locked=True)
            ).one_or_none()
            if found is None:
                return None
            _update(
                connection,
                found.id,
                state=_RUNNING,
                attempt=found.attempt + 1,
                worker=worker,
                lease_until=lease_until,
                started_at=found.started_at or now,
                **_progress_values(Progress()),
            )
            return _ingestion(_row(connection, found.id))

    def report(
        self, ingestion_id: str, progress: Progress, *, worker: str, lease_until: datetime
    ) -> Ingestion:
        with self.database.write() as connection:
            if not _held_by(_row(connection, ingestion_id, lock=True), worker):
                raise Conflict(f"ingestion '{ingestion_id}' is not held by worker '{worker}' any more")
            _update(connection, ingestion_id, lease_until=lease_until, **_progress_values(progress))
            return _ingestion(_row(connection, ingestion_id))

    def release(self, ingestion_id: str, *, worker: str) -> None:
        with self.database.write() as connection:
            row = _row(connection, ingestion_id, lock=True)
            if _held_by(row, worker):
                _update(
                    connection,
                    ingestion_id,
                    state=_QUEUED,
                    attempt=row.attempt - 1,
                    worker=None,
                    lease_until=None,
                )

    def request_cancel(self, ingestion_id: str) -> Ingestion:
        with self.database.write() as connection:
            row = _unfinished(connection, ingestion_id)
            if row.state == _QUEUED:
                cancelled = str(IngestionState.CANCELLED)
                _update(connection, ingestion_id, state=cancelled, finished_at=self.clock())
            _update(connection, ingestion_id, cancel_requested=True)
            return _ingestion(_row(connection, ingestion_id))

    def finish(self, ingestion: Ingestion, event: Event) -> None:
        with self.database.write() as connection:
            row = _unfinished(connection, ingestion.id)
            if row.state != _RUNNING or row.attempt != ingestion.attempt:
                raise Conflict(f"ingestion '{ingestion.id}' is in other hands by now")
            _update(
                connection,
                ingestion.id,
                state=str(ingestion.state),
                worker=None,
                lease_until=None,
                finished_at=ingestion.finished_at,
                version=ingestion.version,
                unchanged=ingestion.unchanged,
                reading=_reading_value(ingestion.reading),
                check_report=_report_value(ingestion.check),
                error_code=ingestion.error_code,
                error_message=ingestion.error_message,
                **_progress_values(ingestion.progress),
            )
            append_event(connection, event)

    def _work_waits(self, now: datetime) -> bool:
        """Asked often: does not make writers wait."""
        with self.database.read() as connection:
            return connection.execute(_claimable(now).limit(1)).one_or_none() is not None


def _claimable(now: datetime) -> sa.Select[Any]:
    abandoned = sa.and_(ingestions.c.state == _RUNNING, ingestions.c.lease_until < now)
    return (
        ingestions.select()
        .where(sa.or_(ingestions.c.state == _QUEUED, abandoned))
        .order_by(ingestions.c.number)
    )


def _row(connection: sa.Connection, ingestion_id: str, *, lock: bool = False) -> sa.Row[Any]:
    statement = ingestions.select().where(ingestions.c.id == ingestion_id)
    row = connection.execute(statement.with_for_update() if lock else statement).one_or_none()
    if row is None:
        raise IngestionNotFound(
            f"ingestion '{ingestion_id[:64]}' does not exist; list them to see which do", id=ingestion_id[:64]
        )
    return row


def _unfinished(connection: sa.Connection, ingestion_id: str) -> sa.Row[Any]:
    row = _row(connection, ingestion_id, lock=True)
    if IngestionState(row.state).final:
        raise IngestionFinished(
            f"ingestion '{ingestion_id}' has ended ({row.state}); start a new one", state=row.state
        )
    return row


def _held_by(row: sa.Row[Any], worker: str) -> bool:
    return bool(row.state == _RUNNING and row.worker == worker)


def _update(connection: sa.Connection, ingestion_id: str, **values: object) -> None:
    connection.execute(ingestions.update().where(ingestions.c.id == ingestion_id).values(values))


def _progress_values(progress: Progress) -> dict[str, object]:
    return {
        "phase": None if progress.phase is None else str(progress.phase),
        "done_bytes": progress.done_bytes,
        "total_bytes": progress.total_bytes,
        "rows": progress.rows,
    }


def _report_value(report: CheckReport | None) -> dict[str, Any] | None:
    return None if report is None else report_document(report)


def _reading_value(reading: Reading | None) -> dict[str, object] | None:
    return None if reading is None else {"format": reading.format, "options": dict(reading.options)}


def _values(ingestion: Ingestion) -> dict[str, object]:
    request = ingestion.request
    return {
        "id": ingestion.id,
        "dataset_key": request.dataset.key,
        "dataset": request.dataset.value,
        "source": {"kind": request.source.kind, "fields": dict(request.source.fields)},
        "mode": str(request.mode),
        "keys": list(request.keys),
        "schema_policy": str(request.schema_policy),
        "format": request.format,
        "options": dict(request.options),
        "force": request.force,
        "actor": ingestion.actor,
        "state": str(ingestion.state),
        "created_at": ingestion.created_at,
        "attempt": ingestion.attempt,
        "cancel_requested": ingestion.cancel_requested,
        "started_at": ingestion.started_at,
        "finished_at": ingestion.finished_at,
        "version": ingestion.version,
        "unchanged": ingestion.unchanged,
        "error_code": ingestion.error_code,
        "error_message": ingestion.error_message,
        "reading": _reading_value(ingestion.reading),
        "check_report": _report_value(ingestion.check),
        **_progress_values(ingestion.progress),
    }


def _ingestion(row: sa.Row[Any]) -> Ingestion:
    return Ingestion(
        id=row.id,
        request=IngestionRequest(
            dataset=DatasetName(row.dataset),
            source=SourceSpec(row.source["kind"], row.source["fields"]),
            mode=WriteMode(row.mode),
            keys=tuple(row.keys),
            schema_policy=SchemaPolicy(row.schema_policy),
            format=row.format,
            options=row.options,
            force=row.force,
        ),
        state=IngestionState(row.state),
        created_at=row.created_at,
        actor=row.actor,
        attempt=row.attempt,
        progress=Progress(
            phase=None if row.phase is None else Phase(row.phase),
            done_bytes=row.done_bytes,
            total_bytes=row.total_bytes,
            rows=row.rows,
        ),
        started_at=row.started_at,
        finished_at=row.finished_at,
        version=row.version,
        unchanged=row.unchanged,
        error_code=row.error_code,
        error_message=row.error_message,
        reading=None if row.reading is None else Reading(**row.reading),
        check=None if row.check_report is None else report_of(row.check_report),
        cancel_requested=row.cancel_requested,
    )
