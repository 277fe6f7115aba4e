"""The event log."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from flight_core.adapters.catalog import counters
from flight_core.adapters.catalog.tables import events
from flight_core.domain.events import Event, EventKind, StoredEvent
from flight_core.infrastructure.database import Database


@dataclass(frozen=True, slots=True)
class SqlEventRepository:
    """See `EventRepository`. Numbers have no gaps, and events become visible in the order of their
    numbers."""

    database: Database

    def append(self, event: Event) -> StoredEvent:
        with self.database.write() as connection:
            return append_event(connection, event)

    def after(self, seq: int, *, limit: int = 1000) -> Sequence[StoredEvent]:
        statement = events.select().where(events.c.seq > seq).order_by(events.c.seq).limit(limit)
        with self.database.read() as connection:
            return [_stored(row) for row in connection.execute(statement)]

    def bounds(self) -> tuple[int, int]:
        ends = (sa.func.min(events.c.seq), sa.func.max(events.c.seq))
        statement = sa.select(*(sa.select(end).scalar_subquery() for end in ends))  # each by the index
        with self.database.read() as connection:
            oldest, newest = connection.execute(statement).one()
        return oldest or 0, newest or 0

    def prune(self, *, keep: int) -> int:
        with self.database.write() as connection:
            newest = counters.current(connection, counters.EVENT)
            return connection.execute(events.delete().where(events.c.seq <= newest - keep)).rowcount


def append_event(connection: sa.Connection, event: Event) -> StoredEvent:
    """Append within a transaction. Do it last, since it makes other writers wait."""
    seq = counters.count(connection, counters.EVENT)
    connection.execute(
        events.insert().values(
            seq=seq,
            kind=str(event.kind),
            subject=event.subject,
            data=dict(event.data),
            occurred_at=event.occurred_at,
        )
    )
    return StoredEvent(seq, event)


def _stored(row: sa.Row[Any]) -> StoredEvent:
    return StoredEvent(row.seq, Event(EventKind(row.kind), row.subject, row.data, row.occurred_at))
