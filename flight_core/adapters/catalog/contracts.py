"""The contracts of datasets, in all versions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from flight_core.adapters.catalog import counters
from flight_core.adapters.catalog.events import append_event
from flight_core.adapters.catalog.tables import contracts
from flight_core.domain.contract import Contract, StoredContract, contract_document, contract_of
from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import ContractNotFound
from flight_core.domain.events import EventKind, dataset_event
from flight_core.infrastructure.database import Database


@dataclass(frozen=True, slots=True)
class SqlContractRepository:
    """See `ContractRepository`. Writers are serialized by the lock on the event counter."""

    database: Database

    def find(self, name: DatasetName, version: int | None = None) -> StoredContract | None:
        with self.database.read() as connection:
            row = _newest(connection, name) if version is None else _row(connection, name, version)
        return None if row is None or row.document is None else _stored(row)

    def list(self) -> Sequence[StoredContract]:
        newest = sa.select(contracts.c.dataset_key, sa.func.max(contracts.c.version))
        key = sa.tuple_(contracts.c.dataset_key, contracts.c.version)
        wanted = contracts.select().where(key.in_(newest.group_by(contracts.c.dataset_key)))
        with self.database.read() as connection:
            rows = connection.execute(wanted.order_by(contracts.c.dataset_key)).all()
        return [_stored(row) for row in rows if row.document is not None]

    def put(self, name: DatasetName, contract: Contract, *, actor: str, at: datetime) -> StoredContract:
        with self.database.write() as connection:
            counters.lock(connection, counters.EVENT)
            newest = _newest(connection, name)
            if newest is not None and newest.document and contract_of(newest.document) == contract:
                return _stored(newest)
            row = _add(connection, name, newest, contract_document(contract), actor=actor, at=at)
            event = dataset_event(EventKind.CONTRACT_SET, name, at, contract=row.version, actor=actor)
            append_event(connection, event)
            return _stored(row)

    def withdraw(self, name: DatasetName, *, actor: str, at: datetime) -> None:
        with self.database.write() as connection:
            counters.lock(connection, counters.EVENT)
            newest = _newest(connection, name)
            if newest is None or newest.document is None:
                raise ContractNotFound(
                    f"dataset '{name}' has no contract; there is nothing to withdraw", name=name.value
                )
            row = _add(connection, name, newest, None, actor=actor, at=at)
            event = dataset_event(EventKind.CONTRACT_WITHDRAWN, name, at, contract=row.version, actor=actor)
            append_event(connection, event)


def _newest(connection: sa.Connection, name: DatasetName) -> sa.Row[Any] | None:
    statement = contracts.select().where(contracts.c.dataset_key == name.key)
    return connection.execute(statement.order_by(contracts.c.version.desc()).limit(1)).one_or_none()


def _row(connection: sa.Connection, name: DatasetName, version: int) -> sa.Row[Any] | None:
    statement = contracts.select().where(contracts.c.dataset_key == name.key, contracts.c.version == version)
    return connection.execute(statement).one_or_none()


def _add(
    connection: sa.Connection,
    name: DatasetName,
    newest: sa.Row[Any] | None,
    document: dict[str, Any] | None,
    *,
    actor: str,
    at: datetime,
) -> sa.Row[Any]:
    values = {
        "dataset_key": name.key,
        "version": 1 if newest is None else newest.version + 1,
        "dataset": name.value,
        "document": document,
        "created_at": at,
        "actor": actor,
    }
    return connection.execute(contracts.insert().values(values).returning(*contracts.c)).one()


def _stored(row: sa.Row[Any]) -> StoredContract:
    return StoredContract(
        dataset=DatasetName(row.dataset),
        version=row.version,
        contract=contract_of(row.document),
        created_at=row.created_at,
        actor=row.actor,
    )
