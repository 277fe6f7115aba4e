"""Usage statistics of datasets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from flight_core.adapters.catalog.tables import dataset_usage as table
from flight_core.domain.usage import Usage, Use
from flight_core.infrastructure.database import Database


@dataclass(frozen=True, slots=True)
class SqlUsageRepository:
    """See `UsageRepository`."""

    database: Database

    def add(self, uses: Mapping[tuple[str, str], Use]) -> None:
        with self.database.write() as connection:
            for (dataset_id, actor), use in sorted(uses.items(), key=lambda each: each[0]):
                _add(connection, dataset_id, actor, use)

    def of(self, dataset_id: str) -> Sequence[Use]:
        wanted = sa.select(table.c.actor, table.c.queries, table.c.last_at)
        with self.database.read() as connection:
            rows = connection.execute(wanted.where(table.c.dataset_id == dataset_id)).all()
        return [Use(*row) for row in rows]

    def totals(self) -> Mapping[str, Usage]:
        wanted = sa.select(
            table.c.dataset_id, sa.func.sum(table.c.queries), sa.func.count(), sa.func.max(table.c.last_at)
        )
        with self.database.read() as connection:
            rows = connection.execute(wanted.group_by(table.c.dataset_id)).all()
        return {
            dataset_id: Usage(int(queries), identities, at) for dataset_id, queries, identities, at in rows
        }


def _add(connection: sa.Connection, dataset_id: str, actor: str, use: Use) -> None:
    """Update the row, or insert it. Of two processes that insert it, one waits for the other and updates
    it."""
    later = sa.case((table.c.last_at < use.last_at, use.last_at), else_=table.c.last_at)
    known = table.update().where(table.c.dataset_id == dataset_id, table.c.actor == actor)
    added = known.values(queries=table.c.queries + use.queries, last_at=later)
    if connection.execute(added).rowcount:
        return
    try:
        with connection.begin_nested():
            connection.execute(
                table.insert().values(
                    dataset_id=dataset_id, actor=actor, queries=use.queries, last_at=use.last_at
                )
            )
    except sa.exc.IntegrityError:
        connection.execute(added)
