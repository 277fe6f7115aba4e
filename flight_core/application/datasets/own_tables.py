"""The users' own tables stand in front of datasets of their names, also where another process has them."""

from dataclasses import dataclass, field

from flight_core.application.ports.engine import QueryEngine
from flight_core.domain.repositories.own_tables import OwnTableRepository


@dataclass(slots=True)
class TellOwnTables:
    """Have the catalog know the names of the tables that this process has. Cheap; call it often."""

    engine: QueryEngine
    tables: OwnTableRepository
    _told: frozenset[str] | None = field(default=None, init=False)

    def __call__(self) -> None:
        names = self.engine.own_tables()
        if names != self._told:
            self.tables.replace(names)
            self._told = names
