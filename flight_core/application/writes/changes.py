"""Changes of datasets by SQL and bulk loads: INSERT, CREATE TABLE, DROP TABLE, DELETE.

A new version is published when its statement ends, or when the transaction that the statement belongs to
is committed. Until then nobody sees it, not even that transaction.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pyarrow as pa

from flight_core.application.access.rights import require_granted
from flight_core.application.datasets.drop import DropDataset
from flight_core.application.ports.engine import Change, Query, Session
from flight_core.application.queries.cancellation import Cancellation
from flight_core.application.writes.conflicts import despite_conflicts
from flight_core.application.writes.deletions import ATTEMPTS, FindRowsToDelete, counted
from flight_core.application.writes.rows import NewRows, TakeRows
from flight_core.domain.access import Actor
from flight_core.domain.dataset import (
    DatasetName,
    LakeState,
    WriteMode,
    WriteRule,
    dataset_exists,
    dataset_not_found,
)
from flight_core.domain.errors import InvalidOption
from flight_core.domain.query import (
    DatasetStatement,
    DatasetVerb,
    IfExists,
    LoadMode,
    Outcome,
    Parameters,
    Statement,
)
from flight_core.domain.repositories.datasets import DatasetRepository

AS_USUAL = WriteRule()


@dataclass(frozen=True, slots=True)
class ChangeDataset:
    """Put rows into a dataset or take them out, make one, drop one.

    Raises as `TakeRows` and `FindRowsToDelete`; DatasetNotFound or DatasetExists where the mode says so.
    """

    datasets: DatasetRepository
    take_rows: TakeRows
    drop_dataset: DropDataset

    def __call__(
        self,
        connection: Session,
        statement: Statement,
        *,
        actor: Actor,
        door: str,
        cancellation: Cancellation,
    ) -> Outcome | None:
        """Carry out a statement that changes a dataset; None if it is something else.

        Where others commit what is in its way it starts again, unless it is part of a transaction."""

        def once() -> Outcome | None:
            lake = self.datasets.lake_state()
            found = connection.dataset_statement(statement.sql, lake)
            if found is None:
                return None
            return self._carry_out(
                connection,
                found,
                statement.parameters,
                lake,
                actor=actor,
                door=door,
                cancellation=cancellation,
            )

        return despite_conflicts(once, attempts=1 if connection.in_transaction else ATTEMPTS)

    def load(
        self,
        connection: Session,
        name: DatasetName,
        rows: NewRows,
        mode: LoadMode,
        rule: WriteRule = AS_USUAL,
        *,
        actor: Actor,
        cancellation: Cancellation,
    ) -> int:
        """How many rows there were.

        A mode of `rule` that needs keys goes before what `mode` says, which has to be to append then.
        """
        require_granted(name, actor)
        if rule.mode.needs_keys and mode.if_exists is not IfExists.APPEND:
            raise InvalidOption(
                f"the mode '{rule.mode}' goes with appending to a table that exists,"
                f" not with the mode '{mode.if_exists}'; choose one of them"
            )
        write_mode = self._mode(connection, name, mode)
        if not rule.mode.needs_keys:
            rule = replace(rule, mode=write_mode)
        pending = self.take_rows(name, rows, rule, actor=actor, cancellation=cancellation)
        connection.change(Change(name.key, pending.commit, pending.close))
        return pending.row_count

    def _carry_out(
        self,
        connection: Session,
        statement: DatasetStatement,
        parameters: Parameters,
        lake: LakeState,
        *,
        actor: Actor,
        door: str,
        cancellation: Cancellation,
    ) -> Outcome:
        if statement.verb is DatasetVerb.DROP:
            return self._drop(connection, statement, actor=actor)
        if statement.verb is DatasetVerb.DELETE:
            deletion = FindRowsToDelete(self.take_rows.open_write)(
                connection, statement, parameters, lake, actor=actor, door=door, cancellation=cancellation
            )
            connection.change(Change(statement.dataset.key, deletion.commit, deletion.close))
            return counted(deletion.rows)
        exists = self._exists(connection, statement.dataset)
        if statement.verb is DatasetVerb.CREATE and statement.lenient and exists:
            return Outcome(pa.table({}), 0)
        query = connection.plan(Statement(statement.source, parameters), lake)
        try:
            rows = self.load(
                connection,
                statement.dataset,
                NewRows(query.schema, _interrupted(query, cancellation), door, query.pins),
                _mode_of(statement),
                actor=actor,
                cancellation=cancellation,
            )
        finally:
            query.close()
        return counted(rows, query.pins)

    def _drop(self, connection: Session, statement: DatasetStatement, *, actor: Actor) -> Outcome:
        name = statement.dataset
        if not self._exists(connection, name):
            if not statement.lenient:
                raise dataset_not_found(name.value, self.datasets.lake_state().datasets)
        else:
            connection.change(Change(name.key, lambda: self.drop_dataset(name, actor=actor), drops=True))
        return Outcome(pa.table({}), None)

    def _mode(self, connection: Session, name: DatasetName, mode: LoadMode) -> WriteMode:
        exists = self._exists(connection, name)
        if not exists:
            if not mode.create:
                raise dataset_not_found(name.value, self.datasets.lake_state().datasets)
            dropped = self.datasets.find(name) is not None
            return WriteMode.REPLACE if dropped or mode.if_exists is IfExists.REPLACE else WriteMode.CREATE
        if mode.if_exists is IfExists.FAIL:
            raise dataset_exists(name)
        return WriteMode.REPLACE if mode.if_exists is IfExists.REPLACE else WriteMode.APPEND

    def _exists(self, connection: Session, name: DatasetName) -> bool:
        """As the transaction sees it, with what it wrote and dropped so far."""
        last = [one for one in connection.waiting_changes() if one.dataset == name.key][-1:]
        return not last[0].drops if last else self.datasets.find(name) is not None


def _mode_of(statement: DatasetStatement) -> LoadMode:
    if statement.verb is DatasetVerb.INSERT:
        return LoadMode(create=False, if_exists=IfExists.APPEND)
    return LoadMode(create=True, if_exists=IfExists.REPLACE if statement.replace else IfExists.FAIL)


def _interrupted(query: Query, cancellation: Cancellation) -> Iterator[pa.RecordBatch]:
    with cancellation.interrupting(query.cancel):
        yield from query
