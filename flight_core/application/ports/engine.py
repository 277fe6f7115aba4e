"""Running SQL over datasets and over the users' own tables."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import pyarrow as pa

from flight_core.application.ports.metadata import Metadata, SqlVocabulary
from flight_core.application.queries.cancellation import Cancellation
from flight_core.domain.dataset import LakeState
from flight_core.domain.query import (
    DatasetStatement,
    LoadMode,
    Outcome,
    Pins,
    Statement,
    StatementInfo,
    StatementKind,
    TableTarget,
)
from flight_core.domain.system import no_rows


class Measured(Protocol):
    """Something that runs, and can be asked how far it is."""

    def progress(self) -> float | None:
        """From 0 to 1, as far as the engine knows; None where it does not. From any thread, at any time."""


class Query(Measured, Protocol):
    """A read that has been planned and not yet run. Owns its cursor.

    Iterating runs it, once, and may block; `cancel` works from any thread, before, during
    and after the run, and makes a blocked iteration raise `Cancelled`. `close` is idempotent,
    stops a run, and is called by whoever planned the query.
    """

    @property
    def schema(self) -> pa.Schema: ...

    @property
    def pins(self) -> Pins:
        """The dataset versions this query reads."""

    @property
    def fingerprint(self) -> str | None:
        """Equal ones, with equal parameters, options and pins, give equal results. None: the result may be
        another one each time, or depends on more than datasets."""

    def __iter__(self) -> Iterator[pa.RecordBatch]: ...

    def cancel(self) -> None: ...

    def close(self) -> None: ...


# The rows of one of the tables in `flight_core.domain.system`, as they are now. From any thread.
SystemTable = Callable[[str], pa.Table]


@dataclass(frozen=True, slots=True)
class EngineUsage:
    """What it holds in memory and what that may be, and what it has spilled."""

    memory_bytes: int
    memory_limit_bytes: int
    spilled_bytes: int


class QueryEngine(Protocol):
    """Plans reads over one state of the lake; opens sessions for everything else.

    Thread-safe. In SQL a dataset is the table `name` (also `datasets.name`), and `"name@v3"` or
    `"name@2026-01-31T12:00:00Z"` one of its versions; `skein.versions` and others are what the server knows,
    see `flight_core.domain.system`; other tables are the users' own.
    """

    def plan(self, statement: Statement, lake: LakeState, *, pins: Pins | None = None) -> Query:
        """A lazy, side-effect free query, on a cursor of its own.

        With `pins`, datasets are read at exactly these versions, whatever `lake` says is current.

        Raises:
            InvalidSql, InvalidParameters: it cannot be parsed or bound.
            DatasetNotFound, VersionNotFound: it names one that does not exist.
            StatementNotAllowed: it is not a read (use a session), or reaches outside the lake.
        """

    def open_session(self) -> "Session": ...

    def own_tables(self) -> frozenset[str]:
        """The names, in lower case, that refer to tables and views of the users' wherever no schema is given.
        Cheap as long as nothing changes."""

    def metadata(self, lake: LakeState) -> Metadata:
        """What a new session would see."""

    def vocabulary(self) -> SqlVocabulary: ...

    def usage(self) -> EngineUsage: ...

    def classify(self, sql: str) -> StatementKind:
        """How to handle a text; COMMAND if it has several statements. Cheap. Raises InvalidSql,
        StatementNotAllowed."""

    def inspect(self, statement: Statement, lake: LakeState) -> StatementInfo:
        """Kind, result schema and parameters of a statement, without running it. Raises as `plan`."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who has a process of their own. `memory_bytes` None: as much as anybody.

    `system_table` gives what they may know of the server.
    """

    name: str
    memory_bytes: int | None = None
    system_table: SystemTable = field(default=no_rows, compare=False)


class GuardedEngine(Protocol):
    """Runs the reads of those who may only read, each principal apart from all others.

    A statement sees the datasets of the `lake` that it is given and nothing else of the server, holds
    nothing but what is known to be harmless, and has bounds on memory and time that it cannot get around.
    Whatever it does to its engine, the engines of others stay as they are. Thread-safe.
    """

    def plan(
        self, statement: Statement, lake: LakeState, *, principal: Principal, pins: Pins | None = None
    ) -> Query:
        """See `QueryEngine.plan`.

        Raises:
            PermissionDenied, StatementNotAllowed: it is more than a plain SELECT.
            EngineUnavailable: the principal's engine has ended, perhaps for want of memory.
            TooManyStreams: too many principals read at the same time.
        """

    def inspect(self, statement: Statement, lake: LakeState, *, principal: Principal) -> StatementInfo:
        """See `QueryEngine.inspect`."""

    def metadata(self, whole: Metadata, lake: LakeState) -> Metadata:
        """What of `whole` may be seen by somebody who sees `lake`."""


class PartitionedEngine(Protocol):
    """Can read a result in parts, each on its own: `plan` takes a statement with a `part`, and its pins."""

    def count_parts(self, statement: Statement, pins: Pins, *, wanted: int) -> int:
        """Into how many parts, `wanted` at most, the result can be split; 1: not at all."""


class ScanningEngine(Protocol):
    """Knows results that only grow as their dataset does: `plan` reads the rest with `AddedRows` as pins."""

    def is_scan(self, statement: Statement, pins: Pins) -> bool:
        """Whether each row of the result comes from one row of the one dataset that is read, and from
        nothing else: not from the time, not from chance."""


def _nothing() -> None: ...


@dataclass(frozen=True, slots=True)
class Change:
    """Of a dataset, ready to be made. `drops`: it is gone after that."""

    dataset: str  # `DatasetName.key`
    commit: Callable[[], object]
    discard: Callable[[], None] = _nothing  # called in the end, whether it was made or not
    drops: bool = False

    def make(self) -> None:
        try:
            self.commit()
        finally:
            self.discard()


class Session(Measured, Protocol):
    """A connection of its own: temp tables, variables, settings and a transaction live in it.

    One statement at a time: calls from several threads wait for each other. `cancel` works from any
    thread. A query that is still being read when the next statement arrives is read to its end first
    (buffered in memory up to a limit, then on disk).
    """

    def inspect(self, statement: Statement, lake: LakeState) -> StatementInfo: ...

    def plan(self, statement: Statement, lake: LakeState) -> Query: ...

    def execute(
        self, statement: Statement, lake: LakeState, cancellation: Cancellation | None = None
    ) -> Outcome:
        """Run any statement (or several, separated by `;`) at once, exactly once; the last one's outcome.

        Raises:
            InvalidSql, InvalidParameters, QueryFailed, StatementNotAllowed, TransactionFailed, Cancelled.
        """

    def execute_many(
        self,
        sql: str,
        parameters: pa.Table,
        lake: LakeState,
        cancellation: Cancellation | None = None,
    ) -> Outcome:
        """Run a statement once a row of parameters (see `row_of`), all or nothing; sums the affected rows."""

    def insert_of_all(self, sql: str, parameters: pa.Table) -> AbstractContextManager[str | None]:
        """An `INSERT ... VALUES` as a statement that inserts the rows of all parameters at once, good within
        the block; None if it is something else, or more."""

    def one_by_one(self, statement: Statement) -> Sequence[Statement]:
        """The statements of a text, if one of them changes something, to be run one after the other.

        Raises:
            InvalidSql: there are several, and parameters.
        """

    def dataset_statement(self, sql: str, lake: LakeState) -> DatasetStatement | None:
        """What a statement says if it creates, drops, or changes the rows of a dataset; None if it does not.

        Raises:
            InvalidSql, StatementNotAllowed: it does, in a way that datasets do not know.
        """

    def load(
        self,
        target: TableTarget,
        batches: pa.RecordBatchReader,
        mode: LoadMode,
        lake: LakeState,
        cancellation: Cancellation | None = None,
    ) -> int:
        """Put rows into a table of the users', all or nothing, columns matched by name; how many there were.

        The batches have been validated; what their reader raises comes out unchanged.

        Raises:
            TableExists, TableNotFound: the table's existence does not fit `mode`.
            QueryFailed, InvalidSql: values or columns do not fit the table.
            StatementNotAllowed: the target belongs to the datasets.
            DatasetExists: a new table would hide a dataset.
        """

    def metadata(self, lake: LakeState) -> Metadata:
        """What the session sees: its own temporary tables too, and what its transaction did."""

    def change(self, change: Change) -> None:
        """Make a change at once; within a transaction when that is committed, however that is said."""

    def waiting_changes(self) -> Sequence[Change]:
        """What the transaction will do to datasets when it is committed, in that order."""

    def begin(self) -> None: ...

    def commit(self) -> None:
        """Raises TransactionFailed, and as the changes that wait for it."""

    def rollback(self) -> None: ...

    @property
    def in_transaction(self) -> bool: ...

    @property
    def in_transaction_since(self) -> datetime | None:
        """None outside of one."""

    @property
    def pristine(self) -> bool:
        """Whether a read would give the same on any other connection: no transaction, no temporary
        objects, nothing set."""

    def options(self) -> Mapping[str, object]:
        """The session options a client may set, with their values: catalog, schema, TimeZone, ..."""

    def set_option(self, name: str, value: object) -> None:
        """
        Raises:
            InvalidOption: unknown name, or a value that does not fit; `details["reason"]` is
                `name` or `value`.
        """

    def cancel(self) -> None: ...

    def close(self) -> None: ...
