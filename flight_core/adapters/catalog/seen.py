"""The users of an OpenID Connect issuer."""

from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from flight_core.adapters.catalog.tables import seen as table
from flight_core.domain.seen import Seen
from flight_core.infrastructure.database import Database


@dataclass(frozen=True, slots=True)
class SqlSeenRepository:
    """See `SeenRepository`."""

    database: Database

    def put(self, seen: Seen, now: datetime) -> None:
        gone = sa.or_(table.c.name == seen.name, table.c.until <= now)
        with suppress(IntegrityError), self.database.write() as connection:  # another process is as fresh
            connection.execute(table.delete().where(gone))
            connection.execute(table.insert().values(asdict(seen)))

    def find(self, name: str) -> Seen | None:
        with self.database.read() as connection:
            row = connection.execute(table.select().where(table.c.name == name)).one_or_none()
        return None if row is None else Seen(row.name, row.issuer, row.grant, row.until)

    def remove(self, name: str) -> None:
        with self.database.write() as connection:
            connection.execute(table.delete().where(table.c.name == name))
