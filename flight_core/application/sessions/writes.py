"""Writing tables and datasets from a session: bulk loads, INSERT, CREATE TABLE, DROP TABLE.

A dataset's new version is published when its statement ends, or when the transaction that the
statement belongs to is committed. Until then nobody sees it, not even that transaction.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pyarrow as pa

from flight_core.application.access.rights import require, require_granted, require_unguarded
from flight_core.application.datasets.drop import DropDataset
from flight_core.application.ports.engine import Query, Session
from flight_core.application.queries.cancellation import Cancellation
from flight_core.application.queries.log import QueryLog
from flight_core.application.sessions.connections import Deferred
from flight_core.application.sessions.session import DOOR, ClientSession, SessionTransaction, Started
from flight_core.application.writes.deletions import FindRowsToDelete, counted
from flight_core.application.writes.rows import NewRows, TakeRows
from flight_core.domain.access import Actor, Scope
from flight_core.domain.dataset import (
    LAKE,
    LAKE_SCHEMA,
    DatasetName,
    LakeState,
    WriteMode,
    WriteRule,
    dataset_exists,
    dataset_not_found,
)
from flight_core.domain.errors import InvalidOption, InvalidRequest
from flight_core.domain.query import (
    DatasetStatement,
    DatasetVerb,
    IfExists,
    LoadMode,
    Outcome,
    Parameters,
    Statement,
    TableTarget,
)
from flight_core.domain.repositories.datasets import DatasetRepository

_AS_USUAL = WriteRule()


@dataclass(frozen=True, slots=True)
class WriteDatasetInSession:
    """Rows into a dataset, within the transaction if one is named; how many there were.

    Raises as `TakeRows`; DatasetNotFound or DatasetExists where the mode says so.
    """

    datasets: DatasetRepository
    take_rows: TakeRows
    drop_dataset: DropDataset

    def load(
        self,
        transaction: SessionTransaction,
        name: DatasetName,
        rows: NewRows,
        mode: LoadMode,
        rule: WriteRule = _AS_USUAL,
        *,
        actor: Actor,
        cancellation: Cancellation,
    ) -> int:
        """Keep the rows for the commit; how many they are.

        A mode of `rule` that needs keys goes before what `mode` says, which has to be to append then.
        """
        require_granted(name, actor)
        if rule.mode.needs_keys and mode.if_exists is not IfExists.APPEND:
            raise InvalidOption(
                f"the mode '{rule.mode}' goes with appending to a table that exists,"
                f" not with the mode '{mode.if_exists}'; choose one of them"
            )
        write_mode = self._mode(transaction, name, mode)
        if not rule.mode.needs_keys:
            rule = replace(rule, mode=write_mode)
        pending = self.take_rows(name, rows, rule, actor=actor, cancellation=cancellation)
        transaction.connections.defer(transaction.handle, Deferred(name.key, pending.commit, pending.close))
        return pending.row_count

    def run(
        self,
        transaction: SessionTransaction,
        connection: Session,
        statement: DatasetStatement,
        parameters: Parameters,
        lake: LakeState,
        *,
        actor: Actor,
        cancellation: Cancellation,
    ) -> Outcome:
        if statement.verb is DatasetVerb.DROP:
            return self._drop(transaction, statement, actor=actor)
        if statement.verb is DatasetVerb.DELETE:
            deletion = FindRowsToDelete(self.take_rows.open_write)(
                connection, statement, parameters, lake, actor=actor, door=DOOR, cancellation=cancellation
            )
            change = Deferred(statement.dataset.key, deletion.commit, deletion.close)
            transaction.connections.defer(transaction.handle, change)
            return counted(deletion.rows)
        exists = self._exists(transaction, statement.dataset)
        if statement.verb is DatasetVerb.CREATE and statement.lenient and exists:
            return Outcome(pa.table({}), 0)
        query = connection.plan(Statement(statement.source, parameters), lake)
        try:
            rows = self.load(
                transaction,
                statement.dataset,
                NewRows(query.schema, _interrupted(query, cancellation), DOOR, query.pins),
                _mode_of(statement),
                actor=actor,
                cancellation=cancellation,
            )
        finally:
            query.close()
        return counted(rows)

    def _drop(self, transaction: SessionTransaction, statement: DatasetStatement, *, actor: Actor) -> Outcome:
        name = statement.dataset
        if not self._exists(transaction, name):
            if not statement.lenient:
                raise dataset_not_found(name.value, self.datasets.lake_state().datasets)
        else:
            change = Deferred(name.key, lambda: self.drop_dataset(name, actor=actor), drops=True)
            transaction.connections.defer(transaction.handle, change)
        return Outcome(pa.table({}), None)

    def _mode(self, transaction: SessionTransaction, name: DatasetName, mode: LoadMode) -> WriteMode:
        exists = self._exists(transaction, name)
        if not exists:
            if not mode.create:
                raise dataset_not_found(name.value, self.datasets.lake_state().datasets)
            dropped = self.datasets.find(name) is not None
            return WriteMode.REPLACE if dropped or mode.if_exists is IfExists.REPLACE else WriteMode.CREATE
        if mode.if_exists is IfExists.FAIL:
            raise dataset_exists(name)
        return WriteMode.REPLACE if mode.if_exists is IfExists.REPLACE else WriteMode.APPEND

    def _exists(self, transaction: SessionTransaction, name: DatasetName) -> bool:
        """As the transaction sees it, with what it wrote and dropped so far."""
        deferred = transaction.connections.deferred(transaction.handle)
        last = [one for one in deferred if one.dataset == name.key][-1:]
        return not last[0].drops if last else self.datasets.find(name) is not None


def _mode_of(statement: DatasetStatement) -> LoadMode:
    if statement.verb is DatasetVerb.INSERT:
        return LoadMode(create=False, if_exists=IfExists.APPEND)
    return LoadMode(create=True, if_exists=IfExists.REPLACE if statement.replace else IfExists.FAIL)


@dataclass(frozen=True, slots=True)
class LoadInSession:
    """Bulk load an Arrow stream into a table of the users' or a dataset; how many rows there were.

    The batches have been validated. Raises as `Session.load` and `WriteDatasetInSession`.
    """

    write_dataset: WriteDatasetInSession
    log: QueryLog

    def __call__(
        self,
        transaction: SessionTransaction,
        target: TableTarget,
        rows: NewRows,
        mode: LoadMode,
        rule: WriteRule = _AS_USUAL,
        *,
        actor: Actor,
        started: Started,
    ) -> int:
        require(actor, Scope.WRITE)
        if not len(rows.schema):
            raise InvalidRequest("the data has no columns; a table needs at least one")
        record = self.log.record(f"LOAD {target.table}", actor=actor, door=DOOR)
        cancellation = Cancellation()
        started(cancellation.request)
        with self.log.running(record, cancellation.request):
            if _names_dataset(target, transaction.session):
                name = DatasetName(target.table)
                record.rows = self.write_dataset.load(
                    transaction, name, rows, mode, rule, actor=actor, cancellation=cancellation
                )
            else:
                require_unguarded(actor)
                if rule.mode.needs_keys:
                    raise InvalidOption(f"the mode '{rule.mode}' is for datasets; name the schema 'datasets'")
                batches = cancellation.heeded(rows.batches)
                reader = pa.RecordBatchReader.from_batches(rows.schema, batches)
                lake = self.write_dataset.datasets.lake_state()
                with transaction.connections.use(transaction.handle) as connection:
                    record.rows = connection.load(target, reader, mode, lake, cancellation)
        return record.rows


def _names_dataset(target: TableTarget, session: ClientSession) -> bool:
    if target.temporary:
        return False
    catalog, schema = target.catalog, target.schema
    if catalog is None and schema is None:
        home = session.connections.home
        options = home.options() if home and not home.pristine else {}
        catalog, schema = options.get("catalog"), options.get("schema")  # type: ignore[assignment]
    if catalog is None:
        return schema is not None and schema.lower() == LAKE_SCHEMA
    return catalog.lower() == LAKE and (schema or LAKE_SCHEMA).lower() == LAKE_SCHEMA


def _interrupted(query: Query, cancellation: Cancellation) -> Iterator[pa.RecordBatch]:
    with cancellation.interrupting(query.cancel):
        yield from query
