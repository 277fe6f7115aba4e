"""The users of an OpenID Connect issuer."""

from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from flight_core.adapters.catalog.tables import seen as table
from flight_core.domain.issuer_users import IssuerUser
from flight_core.infrastructure.database import Database


@dataclass(frozen=True, slots=True)
class SqlIssuerUserRepository:
    """See `IssuerUserRepository`."""

    database: Database

    def put(self, user: IssuerUser, now: datetime) -> None:
        gone = sa.or_(table.c.name == user.name, table.c.until <= now)
        with suppress(IntegrityError), self.database.write() as connection:  # another process is as fresh
            connection.execute(table.delete().where(gone))
            connection.execute(table.insert().values(asdict(user)))

    def find(self, name: str) -> IssuerUser | None:
        with self.database.read() as connection:
            row = connection.execute(table.select().where(table.c.name == name)).one_or_none()
        return None if row is None else IssuerUser(row.name, row.issuer, row.grant, row.until)

    def remove(self, name: str) -> None:
        with self.database.write() as connection:
            connection.execute(table.delete().where(table.c.name == name))
