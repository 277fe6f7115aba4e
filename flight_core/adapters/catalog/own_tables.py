"""The names of the users' own tables."""

from dataclasses import dataclass

import sqlalchemy as sa

from flight_core.adapters.catalog.tables import own_tables
from flight_core.infrastructure.database import Database


@dataclass(frozen=True, slots=True)
class SqlOwnTableRepository:
    """See `OwnTableRepository`."""

    database: Database

    def replace(self, names: frozenset[str]) -> None:
        with self.database.write() as connection:
            connection.execute(own_tables.delete())
            if names:
                connection.execute(own_tables.insert(), [{"name": name} for name in sorted(names)])

    def has(self, name: str) -> bool:
        with self.database.read() as connection:
            found = connection.execute(sa.select(own_tables).where(own_tables.c.name == name.lower()))
            return found.first() is not None
