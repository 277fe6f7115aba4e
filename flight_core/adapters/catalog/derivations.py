"""Derivations and their latest runs."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from flight_core.adapters.catalog import counters
from flight_core.adapters.catalog.cached_read import CachedRead
from flight_core.adapters.catalog.events import append_event
from flight_core.adapters.catalog.job_rows import asked_with, values_of
from flight_core.adapters.catalog.tables import derivations, jobs
from flight_core.domain.access import rights_document
from flight_core.domain.dataset import DatasetName, VersionRef
from flight_core.domain.derivation import Derivation, RefreshPolicy
from flight_core.domain.errors import Conflict
from flight_core.domain.events import Event
from flight_core.domain.ingestion import Ingestion
from flight_core.domain.query import Pins
from flight_core.infrastructure.database import Database


class SqlDerivationRepository:
    """See `DerivationRepository`. Writers are serialized by the lock on the event counter. Since each appends
    an event, the list is cached until the next one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._listed = CachedRead(database, counters.EVENT, _listed)

    def find(self, target: DatasetName) -> Derivation | None:
        with self._database.read() as connection:
            row = _row(connection, target.key)
        return None if row is None else _derivation(row)

    def list(self) -> Sequence[Derivation]:
        return self._listed()

    def put(self, derivation: Derivation, event: Event) -> Derivation:
        stored = replace(derivation, revision=derivation.revision + 1)
        with self._database.write() as connection:
            counters.lock(connection, counters.EVENT)
            row = _row(connection, derivation.key)
            if (0 if row is None else row.revision) != derivation.revision:
                raise Conflict(f"the derivation of '{derivation.target}' was changed meanwhile; try again")
            connection.execute(derivations.delete().where(derivations.c.key == derivation.key))
            connection.execute(derivations.insert().values(_values(stored)))
            append_event(connection, event)
        return stored

    def remove(self, target: DatasetName, event: Event) -> bool:
        with self._database.write() as connection:
            removed = connection.execute(derivations.delete().where(derivations.c.key == target.key)).rowcount
            if removed:
                append_event(connection, event)
        return bool(removed)

    def start(self, derivation: Derivation, ingestion: Ingestion, event: Event) -> bool:
        values = _values(replace(derivation, revision=derivation.revision + 1))
        mine = sa.and_(derivations.c.key == derivation.key, derivations.c.revision == derivation.revision)
        with self._database.write() as connection:
            if not connection.execute(derivations.update().where(mine).values(values)).rowcount:
                return False
            connection.execute(jobs.insert().values(values_of(ingestion)))
            append_event(connection, event)
        return True


def _listed(connection: sa.Connection, _event: int) -> Sequence[Derivation]:
    return tuple(map(_derivation, connection.execute(derivations.select().order_by(derivations.c.key))))


def _row(connection: sa.Connection, key: str) -> sa.Row[Any] | None:
    return connection.execute(derivations.select().where(derivations.c.key == key)).one_or_none()


def _values(derivation: Derivation) -> dict[str, object]:
    return {
        "key": derivation.key,
        "target": derivation.target.value,
        "definition": {
            "sql": derivation.sql,
            "step": derivation.step,
            "incremental": derivation.incremental,
            "params": derivation.params,
            "policy": str(derivation.policy),
            "inputs": sorted(name.value for name in derivation.inputs),
            "fixed": _document(derivation.fixed),
        },
        "actor": derivation.actor,
        "rights": rights_document(derivation.rights),
        "created_at": derivation.created_at,
        "attempted": None if derivation.attempted is None else _document(derivation.attempted),
        "run": derivation.run,
        "revision": derivation.revision,
        "pause_reason": derivation.pause_reason or None,
    }


def _derivation(row: sa.Row[Any]) -> Derivation:
    definition = row.definition
    return Derivation(
        target=DatasetName(row.target),
        sql=definition["sql"],
        step=definition.get("step"),
        incremental=definition.get("incremental", False),
        params=definition["params"],
        policy=RefreshPolicy(definition["policy"]),
        inputs=frozenset(map(DatasetName, definition["inputs"])),
        fixed=_pins(definition["fixed"]),
        actor=row.actor,
        rights=asked_with(row),
        created_at=row.created_at,
        attempted=None if row.attempted is None else _pins(row.attempted),
        run=row.run,
        revision=row.revision,
        pause_reason=row.pause_reason or "",
    )


def _document(pins: Pins) -> dict[str, list[object]]:
    return {key: [ref.dataset_id, ref.version] for key, ref in pins.items()}


def _pins(document: dict[str, Any]) -> Pins:
    return {key: VersionRef(*ref) for key, ref in document.items()}
