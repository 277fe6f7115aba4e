"""A connection with a state of its own: temp tables, variables, settings, a transaction."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import duckdb
import pyarrow as pa
from duckdb import StatementType

from flight_core.adapters.engines.duckdb import session_options
from flight_core.adapters.engines.duckdb.bulk import insert_of_all, run_once_a_row
from flight_core.adapters.engines.duckdb.dataset_columns import PLACED
from flight_core.adapters.engines.duckdb.dataset_statements import dataset_statement
from flight_core.adapters.engines.duckdb.instance import Instance
from flight_core.adapters.engines.duckdb.loading import load
from flight_core.adapters.engines.duckdb.metadata import DuckDbMetadata
from flight_core.adapters.engines.duckdb.parameters import (
    Runnable,
    forget,
    nulls,
    placeholder_names,
    runnable,
    untyped,
)
from flight_core.adapters.engines.duckdb.reserved_names import ReservedNames
from flight_core.adapters.engines.duckdb.statements import ParsedStatement
from flight_core.adapters.engines.duckdb.stream import DuckDbQuery, progress_of
from flight_core.adapters.engines.duckdb.targets import (
    attached_name,
    counts_rows,
    may_return_rows,
    returning,
    target,
)
from flight_core.adapters.engines.duckdb.transaction import DuckDbTransaction
from flight_core.adapters.engines.duckdb.types import identifier
from flight_core.application.ports.engine import Change
from flight_core.application.queries.cancellation import Cancellation
from flight_core.domain.dataset import LakeState, VersionRef
from flight_core.domain.errors import InvalidSql, StatementNotAllowed
from flight_core.domain.query import (
    DatasetStatement,
    LoadMode,
    Outcome,
    Parameters,
    Pins,
    Statement,
    StatementInfo,
    StatementKind,
    TableTarget,
)

_PROBE = "__skein_probe"
_NOTHING = Outcome(pa.table({}), None)


class DuckDbSession:
    """Implements `Session`. One statement at a time; `cancel` from any thread."""

    def __init__(self, instance: Instance, *, batch_bytes: int) -> None:
        self._instance = instance
        self._batch_bytes = batch_bytes
        self._lock = threading.RLock()
        self._connection = instance.pool.fresh()
        self._open: DuckDbQuery | None = None
        self._leftovers = contextlib.ExitStack()  # of the open query; they go once it has run
        self._transaction = DuckDbTransaction(self._connection, instance.views)
        self._reserved = ReservedNames(self._connection, instance)
        self._changed = False
        self._closed = False
        self._attached: set[str] = set()

    @property
    def in_transaction(self) -> bool:
        return self._transaction.open

    @property
    def in_transaction_since(self) -> datetime | None:
        return self._transaction.began_at

    @property
    def pristine(self) -> bool:
        return not (self._changed or self.in_transaction)

    def inspect(self, statement: Statement, lake: LakeState) -> StatementInfo:
        statements = self._parse(statement.sql)
        last = statements[-1]
        names = placeholder_names(last.sql)
        parameters = untyped(names)
        if len(statements) > 1:
            return StatementInfo(StatementKind.COMMAND, None, parameters)
        if last.kind is not StatementKind.READ:
            returned = self._returning(last)
            rows = returned is not None or may_return_rows(last)
            return StatementInfo(last.kind, returned, parameters, rows)
        with self._turn():
            pins = self._show([last], lake)
            probe = Statement(statement.sql, statement.parameters or nulls(names))
            try:
                made = self._instance.bind(self._connection, last, probe, pins)
            except InvalidSql:
                if statement.parameters or not names or not self._can_be_prepared(last):
                    raise
                return StatementInfo(last.kind, None, parameters)
            forget(self._connection, made.runnable)
            return StatementInfo(last.kind, made.schema, parameters)

    def plan(self, statement: Statement, lake: LakeState) -> DuckDbQuery:
        (parsed, *more) = self._parse(statement.sql)
        if more or parsed.kind is not StatementKind.READ:
            raise StatementNotAllowed("only a single read can be planned; execute this statement instead")
        with self._turn():
            if statement.placed is not None:
                self._place(lake.datasets[statement.placed].ref)
            pins = self._show([parsed], lake)
            made = self._instance.bind(self._connection, parsed, statement, pins)
            self._leftovers.callback(self._forget, made.runnable)
            self._open = DuckDbQuery(
                self._connection,
                made.relation,
                made.schema,
                pins,
                batch_rows=self._instance.rows_per_batch(made.schema, pins, self._batch_bytes),
                failures=self._instance.failures,
                release=lambda _: None,
            )
            return self._open

    def execute(
        self, statement: Statement, lake: LakeState, cancellation: Cancellation | None = None
    ) -> Outcome:
        statements = self._parse(statement.sql)
        if len(statements) > 1 and statement.parameters:
            raise _several_with_parameters()
        with self._changing_turn(cancellation):
            pins = self._show(statements, lake)
            for parsed in statements:
                outcome = self._run(parsed, statement.parameters)
            return replace(outcome, pins=pins)

    def execute_many(
        self, sql: str, parameters: pa.Table, lake: LakeState, cancellation: Cancellation | None = None
    ) -> Outcome:
        (parsed, *more) = self._parse(sql)
        if more:
            raise _several_with_parameters()
        with self._changing_turn(cancellation):
            self._show([parsed], lake)
            self._reserved.check(parsed)
            with self._transaction.atomically():
                return run_once_a_row(
                    self._connection, parsed, parameters, lambda row: self._run_checked(parsed, row)
                )

    @contextlib.contextmanager
    def insert_of_all(self, sql: str, parameters: pa.Table) -> Iterator[str | None]:
        with contextlib.ExitStack() as registered:
            with self._turn():
                at_once = registered.enter_context(insert_of_all(self._connection, sql, parameters))
            try:
                yield at_once
            finally:
                with self._turn():
                    registered.close()

    def one_by_one(self, statement: Statement) -> Sequence[Statement]:
        statements = self._parse(statement.sql)
        if all(target(parsed) is None for parsed in statements) or len(statements) == 1:
            return (statement,)
        if statement.parameters:
            raise _several_with_parameters()
        return tuple(Statement(parsed.sql) for parsed in statements)

    def dataset_statement(self, sql: str, lake: LakeState) -> DatasetStatement | None:
        statements = self._parse(sql)
        if len(statements) > 1 or statements[0].kind is StatementKind.READ:
            return None
        changed = target(statements[0])
        if changed is None or changed.temporary:
            return None
        with self._turn():
            self._show(statements, lake)
            if not self._reserved.is_dataset(changed):
                return None
            return dataset_statement(statements[0], self._connection)

    def load(
        self,
        target: TableTarget,
        batches: pa.RecordBatchReader,
        mode: LoadMode,
        lake: LakeState,
        cancellation: Cancellation | None = None,
    ) -> int:
        with self._changing_turn(cancellation):
            if mode.create:
                self._instance.show((), lake)
            place = self._reserved.check_load(target, create=mode.create)
            self._changed |= target.temporary
            self._transaction.touch()
            with self._transaction.atomically():
                return load(self._connection, place, batches, mode)

    def metadata(self, lake: LakeState) -> DuckDbMetadata:
        self._instance.require()
        self._instance.show((), lake)

        def use(work: Callable[[duckdb.DuckDBPyConnection], object]) -> object:
            with self._turn():
                return work(self._connection)

        return DuckDbMetadata(use, lake, self._instance.fields)

    def change(self, change: Change) -> None:
        with self._lock:
            if self.in_transaction:
                self._transaction.add(change)
                return
        change.make()

    def waiting_changes(self) -> Sequence[Change]:
        return self._transaction.changes

    def begin(self) -> None:
        with self._turn():
            self._transaction.begin()

    def commit(self) -> None:
        with self._changing_turn():
            self._transaction.commit()

    def rollback(self) -> None:
        with self._turn():
            self._transaction.rollback()

    def options(self) -> Mapping[str, object]:
        with self._turn():
            return session_options.read(self._connection)

    def set_option(self, name: str, value: object) -> None:
        with self._turn():
            session_options.write(self._connection, name, value)
            self._changed = True

    def progress(self) -> float | None:
        """See `Measured`."""
        return progress_of(self._connection)

    def cancel(self) -> None:
        query = self._open
        if query is not None:
            query.cancel()
        with contextlib.suppress(duckdb.Error):
            self._connection.interrupt()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self.cancel()
        with self._lock:
            if self._open is not None:
                self._open.close()
                self._open = None
            self._transaction.discard_changes()
            for name in self._attached:
                with contextlib.suppress(duckdb.Error):
                    self._connection.execute(f"DETACH {identifier(name)}")
            self._connection.close()

    def _parse(self, sql: str) -> tuple[ParsedStatement, ...]:
        self._instance.require()
        return self._instance.parse(sql)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """The right to use the connection: alone, with no result open on it."""
        with self._lock:
            self._instance.require()
            if self._open is not None:
                self._open.make_way(self._instance.temp)
                self._open = None
            with self._instance.failures.translated():
                self._leftovers.close()
                yield

    @contextlib.contextmanager
    def _changing_turn(self, cancellation: Cancellation | None = None) -> Iterator[None]:
        stop = (cancellation or Cancellation()).interrupting(self._connection.interrupt)
        with self._turn(), self._instance.own_tables.changing(), stop:
            yield

    def _show(self, statements: Sequence[ParsedStatement], lake: LakeState) -> Pins:
        """Make the views exist; the versions that the statements read."""
        pins = self._instance.show(statements, lake)
        self._transaction.see(pins, statements)
        return pins

    def _place(self, ref: VersionRef) -> None:
        """Show its rows in the view PLACED until the open query has run."""
        self._connection.execute(self._instance.views.placed_rows(PLACED, ref))
        self._leftovers.callback(self._drop, PLACED)

    def _drop(self, view: str) -> None:
        with contextlib.suppress(duckdb.Error):  # its transaction is rolled back, or will be
            self._connection.execute(f"DROP VIEW IF EXISTS {view}")

    def _forget(self, made: Runnable) -> None:
        with contextlib.suppress(duckdb.Error):  # its transaction failed
            forget(self._connection, made)

    def _run(self, parsed: ParsedStatement, parameters: Parameters) -> Outcome:
        if parsed.type == StatementType.TRANSACTION:
            self._transaction.control(parsed)
            return _NOTHING
        self._transaction.touch()
        self._reserved.check(parsed)
        return self._run_checked(parsed, parameters)

    def _run_checked(self, parsed: ParsedStatement, parameters: Parameters) -> Outcome:
        reads = parsed.kind is StatementKind.READ
        made = runnable(self._connection, parsed.sql, parameters, typed_nulls=reads)
        try:
            relation = self._connection.sql(made.sql, params=made.parameters)
            table = relation.to_arrow_table() if relation is not None else pa.table({})
        finally:
            forget(self._connection, made)
        self._follow(parsed)
        return _outcome(parsed, table)

    def _follow(self, parsed: ParsedStatement) -> None:
        """Note what the statement did to the session."""
        changed = target(parsed)
        if parsed.type in (StatementType.SET, StatementType.PREPARE) or (changed and changed.temporary):
            self._changed = True
        if parsed.type == StatementType.SET:
            session_options.keep_lake_in_sight(self._connection)
        elif parsed.type in (StatementType.ATTACH, StatementType.DETACH):
            self._attached ^= {attached_name(parsed)}

    def _returning(self, parsed: ParsedStatement) -> pa.Schema | None:
        """What a statement with RETURNING gives back; None without, or where it cannot be told."""
        sql = returning(parsed)
        if sql is None or placeholder_names(sql):
            return None
        with self._turn(), contextlib.suppress(duckdb.Error):
            relation = self._connection.sql(sql)
            return self._instance.fields.schema(relation, self._connection)
        return None

    def _can_be_prepared(self, parsed: ParsedStatement) -> bool:
        """Whether it is right except that its type depends on the parameters' types."""
        try:
            self._connection.execute(f"PREPARE {_PROBE} AS {parsed.sql}")
            self._connection.execute(f"DEALLOCATE {_PROBE}")
        except duckdb.Error:
            return False
        return True


def _several_with_parameters() -> InvalidSql:
    return InvalidSql("parameters go with a single statement; send the statements one by one")


def _outcome(parsed: ParsedStatement, table: pa.Table) -> Outcome:
    """DuckDB reports statements without rows as an empty column; those that change rows count them."""
    counted = table.column_names == ["Count"] and table.num_rows == 1 and counts_rows(parsed)
    if parsed.kind is StatementKind.WRITE:
        return Outcome(table, int(table.column(0)[0].as_py()) if counted else table.num_rows)
    if table.num_rows == 0 and table.column_names in (["Count"], ["Success"]):
        return Outcome(pa.table({}), None)
    return Outcome(table, int(table.column(0)[0].as_py()) if counted else None)
