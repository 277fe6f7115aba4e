"""The audit log."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from flight_core.adapters.catalog.tables import audit
from flight_core.domain.access import Origin
from flight_core.domain.audit import AuditEntry, AuditFilter, Decision, StoredAuditEntry
from flight_core.infrastructure.database import Database


@dataclass(frozen=True, slots=True)
class SqlAuditRepository:
    """See `AuditRepository`."""

    database: Database

    def append(self, entries: Sequence[AuditEntry]) -> None:
        rows = [
            {
                "at": entry.at,
                "actor": entry.actor,
                "door": entry.origin.door,
                "address": entry.origin.address,
                "credential": entry.origin.credential,
                "action": entry.action,
                "decision": entry.decision.value,
                "subject": entry.subject,
                "datasets": list(entry.datasets),
                "code": entry.code,
                "count": entry.count,
            }
            for entry in entries
        ]
        with self.database.write() as connection:
            connection.execute(audit.insert(), rows)

    def list(
        self, wanted: AuditFilter, *, limit: int, before: int | None = None
    ) -> Sequence[StoredAuditEntry]:
        statement = audit.select().where(*_conditions(wanted)).order_by(audit.c.seq.desc()).limit(limit)
        if before is not None:
            statement = statement.where(audit.c.seq < before)
        with self.database.read() as connection:
            return [_entry(row) for row in connection.execute(statement)]

    def prune(self, *, keep: int) -> None:
        with self.database.write() as connection:
            oldest_kept = sa.select(audit.c.seq).order_by(audit.c.seq.desc()).offset(keep).limit(1)
            seq = connection.execute(oldest_kept).scalar_one_or_none()
            if seq is not None:
                connection.execute(audit.delete().where(audit.c.seq <= seq))


def _conditions(wanted: AuditFilter) -> Iterator[sa.ColumnElement[bool]]:
    if wanted.actor is not None:
        yield audit.c.actor == wanted.actor
    if wanted.action is not None:
        yield audit.c.action == wanted.action
    if wanted.decision is not None:
        yield audit.c.decision == wanted.decision.value
    if wanted.since is not None:
        yield audit.c.at >= wanted.since
    if wanted.dataset is not None:
        quoted = sa.func.lower(sa.cast(audit.c.datasets, sa.Text))
        yield quoted.contains(f'"{wanted.dataset.lower()}"', autoescape=True)


def _entry(row: sa.Row[Any]) -> StoredAuditEntry:
    entry = AuditEntry(
        row.at,
        row.actor,
        Origin(row.door, row.address, row.credential),
        row.action,
        Decision(row.decision),
        row.subject,
        tuple(row.datasets),
        row.code,
        row._mapping["count"],
    )
    return StoredAuditEntry(row.seq, entry)
