"""Changes of datasets by SQL and bulk loads: INSERT, UPDATE, DELETE, MERGE, CREATE TABLE, DROP TABLE.

A new version is published when its statement ends, or when the transaction that the statement belongs to
is committed. Until then nobody sees it, not even that transaction.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import assert_never

import pyarrow as pa

from flight_core.application.access.rights import require_granted
from flight_core.application.datasets.drop import DropDataset
from flight_core.application.ports.engine import Change, Query, Session
from flight_core.application.queries.cancellation import Cancellation
from flight_core.application.writes.change_request import ChangeRequest
from flight_core.application.writes.conflicts import despite_conflicts
from flight_core.application.writes.replacing import ReplaceRows
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
from flight_core.domain.errors import InvalidOption, InvalidSql, StatementNotAllowed
from flight_core.domain.query import (
    NO_PINS,
    DatasetStatement,
    DatasetVerb,
    IfExists,
    LoadMode,
    Outcome,
    Pins,
    Statement,
)
from flight_core.domain.repositories.datasets import DatasetRepository

AS_USUAL = WriteRule()
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class ChangeDataset:
    """Put rows into a dataset, change them or take them out, make one, drop one.

    Raises as `TakeRows` and `ReplaceRows`; DatasetNotFound or DatasetExists where the mode says so.
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
        cancellation: Cancellation,
        expected: int | None = None,
    ) -> Outcome | None:
        """Carry out a statement that changes a dataset; None if it is something else.

        Where others commit what is in its way it starts again, unless it is part of a transaction, or the
        version whose rows it changes or takes out has to be `expected`."""

        def find(lake: LakeState) -> DatasetStatement | None:
            return connection.dataset_statement(statement.sql, lake)

        def once() -> Outcome | None:
            lake = self.datasets.lake_state()
            found = find(lake)
            if found is None:
                return None
            return self._carry_out(
                ChangeRequest(found, statement.parameters, connection, lake, actor, cancellation, expected)
            )

        def turn() -> AbstractContextManager[None]:
            found = find(self.datasets.lake_state())
            return nullcontext() if found is None else self.take_rows.open_write.turns.of(found.dataset)

        once_only = connection.in_transaction or expected is not None
        return despite_conflicts(once, attempts=1 if once_only else _ATTEMPTS, turn=turn)

    def run(
        self, connection: Session, statement: Statement, *, actor: Actor, cancellation: Cancellation
    ) -> Outcome:
        """Carry out any text, what changes datasets and what the engine runs; the last statement's outcome.

        Raises also as `Session.execute`."""
        for one in connection.one_by_one(statement):
            outcome = self(connection, one, actor=actor, cancellation=cancellation) or connection.execute(
                one, self.datasets.lake_state(), cancellation
            )
        return outcome

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

    def _carry_out(self, request: ChangeRequest) -> Outcome:
        match request.statement.verb:
            case DatasetVerb.DROP:
                return self._drop(request)
            case DatasetVerb.DELETE | DatasetVerb.UPDATE | DatasetVerb.MERGE:
                return self._replace(request)
            case DatasetVerb.CREATE | DatasetVerb.INSERT:
                return self._load(request)
            case unknown:
                assert_never(unknown)

    def _drop(self, request: ChangeRequest) -> Outcome:
        name = request.statement.dataset
        if self._exists(request.connection, name):
            drop = partial(self.drop_dataset, name, actor=request.actor)
            request.connection.change(Change(name.key, drop, drops=True))
        elif not request.statement.lenient:
            raise dataset_not_found(name.value, request.lake.datasets)
        return Outcome(pa.table({}), None)

    def _replace(self, request: ChangeRequest) -> Outcome:
        _refuse_unseen(request)
        pending = ReplaceRows(self.take_rows)(request)
        if pending.row_count == 0:
            pending.close()
        else:
            request.connection.change(Change(request.statement.dataset.key, pending.commit, pending.close))
        return _counted(pending.row_count)

    def _load(self, request: ChangeRequest) -> Outcome:
        statement, connection = request.statement, request.connection
        if statement.lenient and self._exists(connection, statement.dataset):
            return Outcome(pa.table({}), 0)
        with request.query() as query:
            _check_columns(statement, query)
            rows = self.load(
                connection,
                statement.dataset,
                NewRows(query.schema, query, request.door, query.pins),
                _mode_of(statement),
                actor=request.actor,
                cancellation=request.cancellation,
            )
        return _counted(rows, query.pins)

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


def _refuse_unseen(request: ChangeRequest) -> None:
    """A transaction does not see what it has done to a dataset, and would miss rows of it."""
    name, verb = request.statement.dataset, request.statement.verb
    if any(change.dataset == name.key for change in request.connection.waiting_changes()):
        raise StatementNotAllowed(
            f"the transaction has changed '{name}' already, and its {verb.upper()} would not see that:"
            " commit first, or do both in one statement"
        )


def _check_columns(statement: DatasetStatement, query: Query) -> None:
    wanted, given = len(statement.columns), len(query.schema)
    if statement.verb is DatasetVerb.INSERT and wanted != given:
        raise InvalidSql(f"INSERT into '{statement.dataset}' fills {wanted} columns and has {given} values")


def _counted(rows: int, pins: Pins = NO_PINS) -> Outcome:
    return Outcome(pa.table({"Count": pa.array([rows], pa.int64())}), rows, pins)


def _mode_of(statement: DatasetStatement) -> LoadMode:
    if statement.verb is DatasetVerb.INSERT:
        return LoadMode(create=False, if_exists=IfExists.APPEND)
    return LoadMode(create=True, if_exists=IfExists.REPLACE if statement.replace else IfExists.FAIL)
