"""A connection with a state of its own: temp tables, variables, settings, a transaction."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

import duckdb
import pyarrow as pa
from duckdb import StatementType

from flight_core.adapters.engines.duckdb import session_options
from flight_core.adapters.engines.duckdb.bulk import run_once_a_row
from flight_core.adapters.engines.duckdb.dataset_statements import ROWS, dataset_statement
from flight_core.adapters.engines.duckdb.instance import Instance
from flight_core.adapters.engines.duckdb.loading import load, resolve
from flight_core.adapters.engines.duckdb.metadata import DuckDbMetadata
from flight_core.adapters.engines.duckdb.parameters import (
    Runnable,
    forget,
    nulls,
    placeholder_names,
    runnable,
    untyped,
)
from flight_core.adapters.engines.duckdb.statements import ParsedStatement, TableName
from flight_core.adapters.engines.duckdb.stream import DuckDbQuery, progress_of
from flight_core.adapters.engines.duckdb.targets import (
    Target,
    attached_name,
    counts_rows,
    in_lake,
    in_system,
    may_return_rows,
    returning,
    target,
)
from flight_core.adapters.engines.duckdb.types import identifier, literal
from flight_core.application.queries.cancellation import Cancellation
from flight_core.domain.dataset import LAKE, LakeState
from flight_core.domain.errors import DatasetExists, DatasetNotFound, InvalidSql, StatementNotAllowed
from flight_core.domain.query import (
    DatasetStatement,
    DatasetVerb,
    LoadMode,
    Outcome,
    Parameters,
    Pins,
    Statement,
    StatementInfo,
    StatementKind,
    TableTarget,
)
from flight_core.domain.system import SYSTEM
from flight_core.infrastructure.duckdb_pool import DATASETS, WORKSPACE, WORKSPACE_SCHEMA

_OWN_TABLE = """
    SELECT 1 FROM information_schema.tables WHERE lower(table_name) = lower($1)
      AND (table_catalog, table_schema) IN (('temp', 'main'), (current_database(), current_schema()))
"""
_IN_SIGHT = (
    "SELECT 1 FROM information_schema.tables"
    f" WHERE table_catalog = '{LAKE}' AND lower(table_name) = lower($1)"
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
        self._bound: Runnable | None = None  # holds variables until its query has run
        self._began_at: datetime | None = None  # the transaction
        self._untouched = False  # in a transaction in which nothing ran yet
        self._changed = False
        self._closed = False
        self._attached: set[str] = set()
        self._own_views: set[str] = set()  # of this transaction: older versions of datasets

    @property
    def in_transaction(self) -> bool:
        return self._began_at is not None

    @property
    def in_transaction_since(self) -> datetime | None:
        return self._began_at

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
            pins = self._show([parsed], lake)
            made = self._instance.bind(self._connection, parsed, statement, pins)
            self._bound = made.runnable
            self._open = DuckDbQuery(
                self._connection,
                made.relation,
                made.schema,
                pins,
                batch_bytes=self._batch_bytes,
                failures=self._instance.failures,
                release=lambda _: None,
            )
            return self._open

    def execute(
        self, statement: Statement, lake: LakeState, cancellation: Cancellation | None = None
    ) -> Outcome:
        statements = self._parse(statement.sql)
        if len(statements) > 1 and statement.parameters:
            raise InvalidSql("parameters go with a single statement; send the statements one by one")
        with self._changing_turn(cancellation):
            self._show(statements, lake)
            for parsed in statements:
                outcome = self._run(parsed, statement.parameters)
            return outcome

    def execute_many(
        self, sql: str, parameters: pa.Table, lake: LakeState, cancellation: Cancellation | None = None
    ) -> Outcome:
        (parsed, *more) = self._parse(sql)
        if more:
            raise InvalidSql("parameters go with a single statement; send the statements one by one")
        with self._changing_turn(cancellation):
            self._show([parsed], lake)
            self._protect_lake(parsed)
            with self._atomically():
                return run_once_a_row(
                    self._connection, parsed.sql, parameters, lambda row: self._run_checked(parsed, row)
                )

    def dataset_statement(self, sql: str, lake: LakeState) -> DatasetStatement | None:
        statements = self._parse(sql)
        if len(statements) > 1 or statements[0].kind is StatementKind.READ:
            return None
        changed = target(statements[0])
        if changed is None or changed.temporary:
            return None
        with self._turn():
            self._show(statements, lake)
            if not self._is_dataset(changed, self._here()):
                return None
            found = dataset_statement(statements[0], self._connection)
            if found is not None and found.verb is DatasetVerb.DELETE:
                self._show_rows(found, lake)
            return found

    def load(
        self,
        target: TableTarget,
        batches: pa.RecordBatchReader,
        mode: LoadMode,
        lake: LakeState,
        cancellation: Cancellation | None = None,
    ) -> int:
        with self._changing_turn(cancellation):
            place = resolve(self._connection, target)
            if place[0].lower() == LAKE:
                raise StatementNotAllowed(
                    f"'{target.table[:140]}' would be a dataset; those are not loaded here"
                )
            if in_system(TableName(*place), self._here()):
                raise _system_stays()
            if mode.create:
                self._instance.show((), lake)
                self._refuse_to_hide(target)
            self._changed |= target.temporary
            self._untouched = False
            with self._atomically():
                return load(self._connection, place, batches, mode)

    def metadata(self, lake: LakeState) -> DuckDbMetadata:
        self._instance.require()
        self._instance.show((), lake)

        def use(work: Callable[[duckdb.DuckDBPyConnection], object]) -> object:
            with self._turn():
                return work(self._connection)

        return DuckDbMetadata(use, self._instance.fields)

    def begin(self) -> None:
        with self._turn():
            self._began_at = datetime.now(UTC)
            self._untouched = True
            try:
                self._connection.execute("BEGIN TRANSACTION")
            except BaseException:
                self._ended()
                raise

    def commit(self) -> None:
        with self._changing_turn():
            try:
                self._connection.execute("SELECT 1")  # COMMIT would roll back a failed transaction silently
                self._connection.execute("COMMIT")
            except duckdb.TransactionException:
                with contextlib.suppress(duckdb.Error):
                    self._connection.execute("ROLLBACK")
                raise
            finally:
                self._ended()

    def rollback(self) -> None:
        with self._turn():
            try:
                self._connection.execute("ROLLBACK")
            finally:
                self._ended()

    def options(self) -> Mapping[str, object]:
        with self._turn():
            return session_options.read(self._connection)

    def set_option(self, name: str, value: object) -> None:
        with self._turn():
            session_options.write(self._connection, name, value)
            self._keep_lake_in_sight()
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
                if self._bound is not None:
                    forget(self._connection, self._bound)
                    self._bound = None
                yield

    @contextlib.contextmanager
    def _changing_turn(self, cancellation: Cancellation | None = None) -> Iterator[None]:
        stop = (cancellation or Cancellation()).interrupting(self._connection.interrupt)
        with self._turn(), self._instance.own_tables.changing(), stop:
            yield

    @contextlib.contextmanager
    def _atomically(self) -> Iterator[None]:
        if self.in_transaction:
            yield
            return
        self._connection.execute("BEGIN TRANSACTION")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(duckdb.Error):
                self._connection.execute("ROLLBACK")
            raise

    def _show(self, statements: Sequence[ParsedStatement], lake: LakeState) -> Pins:
        """Make the views exist. A transaction does not see those made after it began, and gets its own."""
        pins = self._instance.show(statements, lake)
        if self.in_transaction:
            for key in pins.keys() - self._own_views:
                if "@" in key:
                    self._connection.execute(self._instance.views.temporary(key, pins[key]))
                    self._own_views.add(key)
            names = [table.name for statement in statements for table in statement.tables]
            self._require_in_sight([name for name in names if name.lower() in pins and "@" not in name])
        return pins

    def _show_rows(self, statement: DatasetStatement, lake: LakeState) -> None:
        entry = lake.datasets.get(statement.dataset.key)
        if entry is not None:
            self._connection.execute(self._instance.views.temporary_rows(ROWS, entry.ref))

    def _require_in_sight(self, names: Sequence[str]) -> None:
        for name in names:
            if not self._connection.execute(_IN_SIGHT, [name]).fetchall():
                raise DatasetNotFound(
                    f"dataset '{name}' was made after this transaction began, which does not see it;"
                    " commit or roll back first",
                    name=name,
                )

    def _run(self, parsed: ParsedStatement, parameters: Parameters) -> Outcome:
        if parsed.type == StatementType.TRANSACTION:
            return self._control(parsed)
        self._untouched = False
        self._protect_lake(parsed)
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

    def _control(self, parsed: ParsedStatement) -> Outcome:
        """BEGIN, COMMIT, ROLLBACK as SQL. Clients without autocommit may begin what was begun for them."""
        begins = parsed.tokens[0].word in ("begin", "start")
        if not (begins and self._untouched):
            now = datetime.now(UTC)
            try:
                self._connection.execute(parsed.sql)
            finally:
                self._ended()
                self._began_at = now if begins else None
        self._untouched = False
        return _NOTHING

    def _follow(self, parsed: ParsedStatement) -> None:
        """Note what the statement did to the session."""
        changed = target(parsed)
        if parsed.type in (StatementType.SET, StatementType.PREPARE) or (changed and changed.temporary):
            self._changed = True
        if parsed.type == StatementType.SET:
            self._keep_lake_in_sight()
        elif parsed.type in (StatementType.ATTACH, StatementType.DETACH):
            self._attached ^= {attached_name(parsed)}

    def _protect_lake(self, parsed: ParsedStatement) -> None:
        changed = target(parsed)
        if changed is None or changed.temporary:
            return
        here = self._here()
        if in_system(changed.name, here):
            raise _system_stays()
        if (changed.verb, changed.kind) in (("create", "table"), ("create", "view")):
            new = changed.name
            self._refuse_to_hide(TableTarget(new.name, new.schema or None, new.catalog or None))
        if self._is_dataset(changed, here):
            name = changed.name.name or changed.name.schema
            raise StatementNotAllowed(
                f"'{name[:140]}' belongs to the datasets, which SQL statements cannot {changed.verb} here;"
                " write them with DoPut, bulk ingest or the API, and drop them with `skein drop`"
            )

    def _refuse_to_hide(self, target: TableTarget) -> None:
        """A table of a dataset's name would be found instead of it, by everybody."""
        name, place = target.table, resolve(self._connection, target)
        if place[:2] == (WORKSPACE, WORKSPACE_SCHEMA) and name.lower() in self._instance.views.live.refs:
            raise DatasetExists(
                f"there is a dataset '{name}', which a table of that name would hide;"
                f" choose another name, or write to the dataset as datasets.{name}",
                name=name,
            )

    def _here(self) -> TableName:
        """Catalog and schema of names that say neither."""
        ((catalog, schema),) = self._connection.execute(
            "SELECT current_database(), current_schema()"
        ).fetchall()
        return TableName(catalog, schema, "")

    def _is_dataset(self, changed: Target, here: TableName) -> bool:
        """Whether a statement is aimed at a dataset. A new table is one only if its name says so."""
        if in_lake(changed.name, here):
            return True
        if changed.verb == "create" or not self._instance.means_dataset(changed.name):
            return False
        return not self._connection.execute(_OWN_TABLE, [changed.name.name]).fetchall()

    def _keep_lake_in_sight(self) -> None:
        """USE replaces the search path; datasets stay visible by name all the same."""
        ((path,),) = self._connection.execute("SELECT current_setting('search_path')").fetchall()
        if DATASETS not in path:
            wider = f"{path},{DATASETS}" if path else DATASETS
            self._connection.execute(f"SET search_path={literal(wider)}")

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

    def _ended(self) -> None:
        self._began_at = None
        self._untouched = False
        while self._own_views:
            with contextlib.suppress(duckdb.Error):
                self._connection.execute(f"DROP VIEW IF EXISTS temp.{identifier(self._own_views.pop())}")


def _system_stays() -> StatementNotAllowed:
    return StatementNotAllowed(
        f"the name '{SYSTEM}' stands for what the server knows, which SQL only reads; choose another schema"
    )


def _outcome(parsed: ParsedStatement, table: pa.Table) -> Outcome:
    """DuckDB reports statements without rows as an empty column; those that change rows count them."""
    counted = table.column_names == ["Count"] and table.num_rows == 1 and counts_rows(parsed)
    if parsed.kind is StatementKind.WRITE:
        return Outcome(table, int(table.column(0)[0].as_py()) if counted else table.num_rows)
    if table.num_rows == 0 and table.column_names in (["Count"], ["Success"]):
        return Outcome(pa.table({}), None)
    return Outcome(table, int(table.column(0)[0].as_py()) if counted else None)
