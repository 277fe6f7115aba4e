"""The users' own tables stand in front of datasets of their names, also where another process has them."""

from dataclasses import dataclass, field
from typing import Protocol

from flight_core.domain.repositories import OwnTableRepository


class HasOwnTables(Protocol):
    def own_tables(self) -> frozenset[str]:
        """See `QueryEngine`."""


@dataclass(slots=True)
class TellOwnTables:
    """Have the catalog know the names of the tables that this process has. Cheap; call it often."""

    engine: HasOwnTables
    tables: OwnTableRepository
    _told: frozenset[str] | None = field(default=None, init=False)

    def __call__(self) -> None:
        names = self.engine.own_tables()
        if names != self._told:
            self.tables.replace(names)
            self._told = names
