"""Deleting rows of a dataset for which a condition holds."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import pyarrow as pa

from flight_core.application.access.rights import get_seen, require, require_unguarded
from flight_core.application.ports.engine import QueryEngine, Session
from flight_core.application.queries.admission import Admission
from flight_core.application.queries.cancellation import Cancellation
from flight_core.application.writes.conflicts import despite_conflicts
from flight_core.application.writes.open_write import DatasetWrite, OpenWrite
from flight_core.domain.access import Actor, Scope
from flight_core.domain.dataset import DatasetName, LakeState, WriteMode, WriteRule, dataset_not_found
from flight_core.domain.errors import InvalidSql
from flight_core.domain.query import (
    NO_PINS,
    DatasetStatement,
    DatasetVerb,
    Outcome,
    Parameters,
    Pins,
    Statement,
    quoted,
)
from flight_core.domain.repositories.datasets import DatasetRepository

_KEEPING = WriteRule(WriteMode.APPEND)  # what no condition holds for
ATTEMPTS = 5
_MAX_CONDITION = 1000  # characters that the history tells


@dataclass(frozen=True, slots=True)
class Deletion:
    """Rows that were found and are still there. `commit` makes them go, `close` lets them be."""

    write: DatasetWrite
    rows: int
    condition: str

    def commit(self, expected: int | None = None) -> object:
        """With `expected` only on top of that version, else it raises CommitConflict."""
        if self.rows == 0:
            return None
        info = {"mode": "delete", "where": self.condition[:_MAX_CONDITION]}
        return self.write.commit(info, base_version=expected)

    def close(self) -> None:
        self.write.close()


@dataclass(frozen=True, slots=True)
class FindRowsToDelete:
    """The rows that a DELETE names, of the version that `lake` has. Raises as `Session.plan`."""

    open_write: OpenWrite

    def __call__(
        self,
        connection: Session,
        statement: DatasetStatement,
        parameters: Parameters,
        lake: LakeState,
        *,
        actor: Actor,
        door: str,
        cancellation: Cancellation,
    ) -> Deletion:
        entry = lake.datasets.get(statement.dataset.key)
        if entry is None:
            raise dataset_not_found(statement.dataset.value, lake.datasets)
        with _a_line_up():
            query = connection.plan(Statement(statement.source, parameters), lake)
        try:
            with cancellation.interrupting(query.cancel):
                write = self.open_write(entry.name, None, _KEEPING, actor=actor, source=door)
                try:
                    rows = write.staged.remove(entry.ref, cancellation.heeded(query))
                except BaseException:
                    write.close()
                    raise
        finally:
            query.close()
        return Deletion(write, rows, statement.condition)


@dataclass(frozen=True, slots=True)
class DeleteRows:
    """Delete the rows of a dataset for which the SQL condition holds; how many they were.

    Where others rewrite the same rows meanwhile, it looks for them again, unless the current version has to
    be `expected`. Raises as `Session.plan`.

    Raises:
        DatasetNotFound
        InvalidSql: it is not one condition.
        CommitConflict: others kept rewriting the rows, or committed on top of `expected`.
    """

    datasets: DatasetRepository
    engine: QueryEngine
    admission: Admission
    find: FindRowsToDelete

    def __call__(
        self,
        name: DatasetName,
        condition: str,
        parameters: Parameters = (),
        *,
        actor: Actor,
        door: str,
        cancellation: Cancellation | None = None,
        expected: int | None = None,
    ) -> int:
        dataset = get_seen(self.datasets, name, actor)
        require(actor, Scope.WRITE)
        require_unguarded(actor)
        sql = f"DELETE FROM datasets.{quoted(dataset.name.value)} WHERE (\n{condition}\n)"
        cancellation = cancellation or Cancellation()
        statement = Statement(sql, parameters)
        with (
            _a_line_up(),
            self.admission.slot(cancellation.check),
            closing(self.engine.open_session()) as session,
        ):
            self.engine.classify(f"SELECT\n{condition}")  # fails if it closes the parenthesis around it
            rows = self._run(
                session, statement, actor=actor, door=door, cancellation=cancellation, expected=expected
            )
        if rows is None:
            raise InvalidSql("the condition is not a single one; write what follows WHERE")
        return rows

    def _run(
        self,
        session: Session,
        statement: Statement,
        *,
        actor: Actor,
        door: str,
        cancellation: Cancellation,
        expected: int | None,
    ) -> int | None:
        """How many rows are gone; None if the statement is no DELETE of a dataset."""

        def once() -> int | None:
            lake = self.datasets.lake_state()
            found = session.dataset_statement(statement.sql, lake)
            if found is None or found.verb is not DatasetVerb.DELETE:
                return None
            parameters = statement.parameters
            with closing(
                self.find(session, found, parameters, lake, actor=actor, door=door, cancellation=cancellation)
            ) as deletion:
                deletion.commit(expected)
                return deletion.rows

        return despite_conflicts(once, attempts=ATTEMPTS if expected is None else 1)


@contextmanager
def _a_line_up() -> Iterator[None]:
    """What is wrong is told where it is in the text that somebody wrote, which had one line put before it."""
    try:
        yield
    except InvalidSql as failure:
        line = failure.details.get("line")
        if not isinstance(line, int) or line < 2:
            raise
        message = failure.message.replace(f"(line {line}", f"(line {line - 1}")
        raise InvalidSql(message, **{**failure.details, "line": line - 1}) from None


def counted(rows: int, pins: Pins = NO_PINS) -> Outcome:
    return Outcome(pa.table({"Count": pa.array([rows], pa.int64())}), rows, pins)
