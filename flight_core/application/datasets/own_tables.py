"""Sharing the names of the users' own tables with other processes: in SQL they hide datasets of that name."""

from dataclasses import dataclass, field

from flight_core.application.ports.engine import QueryEngine
from flight_core.domain.repositories.own_tables import OwnTableRepository


@dataclass(slots=True)
class ShareOwnTables:
    """Store the names of this process's tables in the catalog, if they have changed. Cheap; call it often."""

    engine: QueryEngine
    tables: OwnTableRepository
    _told: frozenset[str] | None = field(default=None, init=False)

    def __call__(self) -> None:
        names = self.engine.own_tables()
        if names != self._told:
            self.tables.replace(names)
            self._told = names
