"""Inspecting, running and reading statements in a client's session."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from flight_core.application.access.rights import require, require_unguarded
from flight_core.application.ports.engine import Session
from flight_core.application.ports.metadata import Metadata, SqlVocabulary
from flight_core.application.queries.cancellation import Cancellation
from flight_core.application.queries.log import QueryLog
from flight_core.application.queries.reader import Reader
from flight_core.application.queries.reads import OpenQuery, PlanQuery
from flight_core.application.queries.running import RunningQuery
from flight_core.application.sessions.session import (
    DOOR,
    BoundStatement,
    ClientSession,
    SessionRead,
    SessionTransaction,
    Started,
)
from flight_core.application.writes.changes import ChangeDataset
from flight_core.domain.access import Actor, Scope
from flight_core.domain.dataset import LakeState
from flight_core.domain.errors import DatasetNotFound, InvalidParameters
from flight_core.domain.query import Outcome, Pins, QueryPlan, Statement, StatementInfo, StatementKind
from flight_core.domain.repositories.datasets import DatasetRepository


@dataclass(frozen=True, slots=True)
class InspectInSession:
    """The kind, result schema and parameters of a statement, as its session sees them. Does not run it.

    Raises as `Session.inspect`.
    """

    reader: Reader

    def __call__(
        self, transaction: SessionTransaction, statement: Statement, *, actor: Actor
    ) -> StatementInfo:
        require(actor, Scope.READ)
        if actor.guarded or transaction.connections.reading(transaction.handle) is None:
            return self.reader.inspect(statement, actor=actor)
        with transaction.connections.use(transaction.handle) as connection, _knowing_changes(connection):
            return connection.inspect(statement, self.reader.lake(actor))


@contextmanager
def _knowing_changes(connection: Session) -> Iterator[None]:
    """Explain why a dataset is missing that this transaction will create when it commits."""
    try:
        yield
    except DatasetNotFound as failure:
        name = str(failure.details.get("name", ""))
        key = name.replace('"', "").rpartition(".")[2].lower()
        if any(change.dataset == key for change in connection.waiting_changes()):
            raise DatasetNotFound(
                f"dataset '{name}' is written by this transaction, which does not see that before it ends;"
                " commit first",
                name=name,
            ) from None
        raise


@dataclass(frozen=True, slots=True)
class BrowseCatalog:
    """The metadata that a client sees, including its temporary tables and what its transaction has done."""

    reader: Reader

    def __call__(self, session: ClientSession, *, actor: Actor) -> Metadata:
        require(actor, Scope.READ)
        home = session.connections.home
        if actor.guarded or home is None:
            return self.reader.metadata(actor=actor)
        return home.metadata(self.reader.lake(actor))

    def vocabulary(self) -> SqlVocabulary:
        return self.reader.engine.vocabulary()


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """A read that was planned in a session. The `handle` is valid as long as the session holds it."""

    query_id: str
    handle: bytes
    schema: pa.Schema


@dataclass(frozen=True, slots=True)
class SessionResult:
    """The outcome of a statement that was run."""

    query_id: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class AnswerInSession:
    """Plan a read; run any other statement at once, exactly once.

    Reads that do not depend on their session are planned like those without one, so that any replica can run
    them. Guarded actors have no state in their sessions, and can only read.

    Raises as `QueryEngine.plan` and `Session.execute`.
    """

    plan_query: PlanQuery
    change_dataset: ChangeDataset
    log: QueryLog

    def __call__(
        self,
        transaction: SessionTransaction,
        statement: BoundStatement,
        *,
        actor: Actor,
        started: Started,
    ) -> QueryPlan | SessionPlan | SessionResult:
        if self.plan_query.reader.classify(statement.sql, actor=actor) is not StatementKind.READ:
            return self.run(transaction, statement, actor=actor, started=started)
        require(actor, Scope.READ)
        first = statement.first()
        if actor.guarded and not statement.one_run:
            raise InvalidParameters("send one row of parameters at a time")
        if actor.guarded or (
            statement.one_run and transaction.connections.reading(transaction.handle) is None
        ):
            return self.plan_query(first, actor=actor)
        with transaction.connections.use(transaction.handle) as connection, _knowing_changes(connection):
            schema = connection.inspect(first, self._lake()).schema
            assert schema is not None, "a read has a schema"
            read = SessionRead(self.plan_query.new_id(), statement, connection)
            return SessionPlan(read.query_id, transaction.session.hold(read), schema)

    def run(
        self,
        transaction: SessionTransaction,
        statement: BoundStatement,
        *,
        actor: Actor,
        started: Started,
    ) -> SessionResult:
        """Run a statement of any kind, once for each row of parameters, all or nothing."""
        require_unguarded(actor)
        kind = self.plan_query.reader.classify(statement.sql, actor=actor)
        require(actor, Scope.READ)  # whatever else it does
        if kind not in (StatementKind.READ, StatementKind.LOCAL):
            require(actor, Scope.WRITE)
        record = self.log.record(statement.sql, actor=actor, door=DOOR)
        cancellation = Cancellation()
        with (
            transaction.connections.use(transaction.handle) as connection,
            self.log.running(record, cancellation.request),
        ):
            self.log.measure(record, connection)
            started(cancellation.request)
            outcome = self._execute(
                transaction, connection, statement, actor=actor, cancellation=cancellation
            )
            record.pins = outcome.pins
            record.rows, record.size_bytes = outcome.table.num_rows, outcome.table.nbytes
        return SessionResult(record.query_id, outcome)

    def _execute(
        self,
        transaction: SessionTransaction,
        connection: Session,
        statement: BoundStatement,
        *,
        actor: Actor,
        cancellation: Cancellation,
    ) -> Outcome:
        run = partial(self.change_dataset.run, connection, actor=actor, cancellation=cancellation)
        if statement.one_run or statement.bindings is None:
            return run(statement.first())
        if connection.dataset_statement(statement.sql, self._lake()) is None:
            return connection.execute_many(statement.sql, statement.bindings, self._lake(), cancellation)
        with connection.insert_of_all(statement.sql, statement.bindings) as of_all:
            if of_all is None:
                raise InvalidParameters(
                    "of statements that change a dataset only INSERT ... VALUES takes several rows of"
                    " parameters; send one row, or the rows in bulk (mode 'upsert' to replace others)"
                )
            return run(Statement(of_all))

    def _lake(self) -> LakeState:
        return self.plan_query.reader.datasets.lake_state()


@dataclass(frozen=True, slots=True)
class ReadInSession:
    """Start a read that was planned in a session. Raises as `Session.plan`, and TooManyStreams."""

    datasets: DatasetRepository
    open_query: OpenQuery

    def __call__(self, read: SessionRead, *, actor: Actor) -> RunningQuery:
        require(actor, Scope.READ)
        self.open_query.admission.acquire()
        try:
            query = _Runs(read, self.datasets.lake_state())
        except BaseException:
            self.open_query.admission.release()
            raise
        return self.open_query.admitted(
            query, read.statement.sql, actor=actor, door=DOOR, query_id=read.query_id
        )


class _Runs:
    """Implements `Query`: the results of all runs of a statement, one after the other."""

    def __init__(self, read: SessionRead, lake: LakeState) -> None:
        self._read = read
        self._lake = lake
        self._cancelled = False
        self._runs = read.statement.runs()
        self._current = read.connection.plan(next(self._runs), lake)

    @property
    def schema(self) -> pa.Schema:
        return self._current.schema

    @property
    def pins(self) -> Pins:
        return self._current.pins

    @property
    def fingerprint(self) -> None:
        """None, since the result may depend on the state of the session."""
        return None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        schema = self.schema
        yield from self._current
        for statement in self._runs:
            self._current.close()
            self._current = self._read.connection.plan(statement, self._lake)
            if self._cancelled:
                self._current.cancel()
            if self._current.schema != schema:
                raise InvalidParameters("the rows of parameters give results of different types")
            yield from self._current

    def progress(self) -> float | None:
        """See `Measured`. The progress of the present run."""
        return self._current.progress()

    def cancel(self) -> None:
        self._cancelled = True
        self._current.cancel()

    def close(self) -> None:
        self._current.close()
