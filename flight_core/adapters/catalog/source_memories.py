"""The state of sources between ingestions."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from flight_core.adapters.catalog.tables import source_memories as table
from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import Conflict
from flight_core.domain.source_state import Remembered, SourceMemory, SourceState
from flight_core.infrastructure.database import Database


@dataclass(frozen=True, slots=True)
class SqlSourceMemoryRepository:
    """See `SourceMemoryRepository`."""

    database: Database

    def find(self, dataset: DatasetName, fingerprint: str) -> SourceMemory:
        memory = SourceMemory(dataset, fingerprint)
        with self.database.read() as connection:
            row = connection.execute(table.select().where(_is(memory))).one_or_none()
        if row is None:
            return memory
        return replace(
            memory,
            revision=row.revision,
            settled=_remembered(row.settled),
            pending=_remembered(row.pending),
        )

    def save(self, memory: SourceMemory) -> SourceMemory:
        saved = replace(memory, revision=memory.revision + 1)
        try:
            with self.database.write() as connection:
                changed = connection.execute(_statement(memory, saved)).rowcount
        except IntegrityError:  # somebody else was first to store anything
            changed = 0
        if not changed:
            raise Conflict(f"the memory of a source of '{memory.dataset}' has changed meanwhile")
        return saved


def _is(memory: SourceMemory) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.dataset_key == memory.dataset.key, table.c.fingerprint == memory.fingerprint)


def _statement(old: SourceMemory, new: SourceMemory) -> sa.Insert | sa.Update:
    values = {"revision": new.revision, "settled": _json(new.settled), "pending": _json(new.pending)}
    if old.revision == 0:
        return table.insert().values(dataset_key=new.dataset.key, fingerprint=new.fingerprint, **values)
    return table.update().where(_is(old), table.c.revision == old.revision).values(values)


def _json(remembered: Remembered | None) -> object:
    return sa.null() if remembered is None else asdict(remembered)


def _remembered(value: dict[str, Any] | None) -> Remembered | None:
    if value is None:
        return None
    state = SourceState(**value["state"])
    return Remembered(value["job"], state, value["reading"], value["dataset_id"], value["version"])
