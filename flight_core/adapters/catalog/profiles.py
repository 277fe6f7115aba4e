"""Column profiles of versions."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy.exc import IntegrityError

from flight_core.adapters.catalog.tables import datasets
from flight_core.adapters.catalog.tables import profiles as table
from flight_core.domain.dataset import VersionRef
from flight_core.domain.profile import ColumnProfile, profile_document, profile_of
from flight_core.infrastructure.database import Database


@dataclass(frozen=True, slots=True)
class SqlProfileRepository:
    """See `ProfileRepository`."""

    database: Database

    def find(self, ref: VersionRef) -> Sequence[ColumnProfile] | None:
        with self.database.read() as connection:
            row = connection.execute(
                table.select().where(table.c.dataset_id == ref.dataset_id, table.c.version == ref.version)
            ).one_or_none()
        return None if row is None else profile_of(row.document)

    def put(self, ref: VersionRef, columns: Sequence[ColumnProfile]) -> None:
        values = {"dataset_id": ref.dataset_id, "version": ref.version}
        with suppress(IntegrityError), self.database.write() as connection:  # somebody else was first
            there = datasets.select().where(datasets.c.id == ref.dataset_id, datasets.c.key.is_not(None))
            if connection.execute(there).first() is not None:
                connection.execute(table.insert().values(document=profile_document(columns), **values))
