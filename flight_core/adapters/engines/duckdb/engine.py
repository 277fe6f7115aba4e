"""The DuckDB engine: reads on pooled cursors, sessions on their own."""

import contextlib
import threading
from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import partial

import duckdb

from flight_core.adapters.engines.duckdb.binding import Bound
from flight_core.adapters.engines.duckdb.instance import Instance
from flight_core.adapters.engines.duckdb.metadata import DuckDbMetadata
from flight_core.adapters.engines.duckdb.parameters import (
    Runnable,
    forget,
    nulls,
    placeholder_names,
    untyped,
)
from flight_core.adapters.engines.duckdb.parts import NUMBER_COLUMN, is_scan, most_parts, names_only_columns
from flight_core.adapters.engines.duckdb.pinning import names_version
from flight_core.adapters.engines.duckdb.plan_cache import CachedPlan, PlannedQuery
from flight_core.adapters.engines.duckdb.session import DuckDbSession
from flight_core.adapters.engines.duckdb.statements import ParsedStatement
from flight_core.adapters.engines.duckdb.stream import DuckDbQuery
from flight_core.adapters.engines.duckdb.vocabulary import vocabulary
from flight_core.application.ports.engine import EngineUsage, Query, SystemTable
from flight_core.application.ports.metadata import SqlVocabulary
from flight_core.application.ports.storage import VersionFiles
from flight_core.domain.dataset import LakeState
from flight_core.domain.errors import EngineUnavailable, InvalidSql, StatementNotAllowed
from flight_core.domain.query import Pins, Statement, StatementInfo, StatementKind
from flight_core.domain.system import no_rows
from flight_core.infrastructure.duckdb_pool import CursorPool, DuckDbOptions

_ATTEMPTS = 10
_USAGE = "SELECT sum(memory_usage_bytes), sum(temporary_storage_bytes) FROM duckdb_memory()"


class DuckDbEngine:
    """Implements `QueryEngine`, `PartitionedEngine` and `ScanningEngine`.

    If DuckDB fails fatally, all that is running fails, and the next call opens a new instance.
    """

    def __init__(
        self,
        options: DuckDbOptions,
        store: VersionFiles,
        *,
        system_table: SystemTable = no_rows,
        batch_bytes: int = 2 << 20,
    ) -> None:
        self._options = options
        self._store = store
        self._system_table = system_table
        self._batch_bytes = batch_bytes
        self._lock = threading.Lock()
        self._closed = False
        self._instance = Instance(options, store, system_table)
        self._vocabulary: SqlVocabulary | None = None

    def plan(self, statement: Statement, lake: LakeState, *, pins: Pins | None = None) -> Query:
        instance = self._ready()
        parsed = self._single_read(instance, statement)
        key = self._plan_key(instance, parsed, statement, lake, pins)
        known = None if key is None else instance.plans.get(key)
        if known is None:
            return self._plan(instance, parsed, statement, lake, pins, key)
        return PlannedQuery(known, lambda: self._plan(self._ready(), parsed, statement, lake, known.pins))

    @staticmethod
    def _plan_key(
        instance: Instance, parsed: ParsedStatement, statement: Statement, lake: LakeState, pins: Pins | None
    ) -> Hashable | None:
        """A key for plans that can be reused: equal keys mean equal plans. None if that is not certain: with
        parameters, while own tables change, or if versions are read that are not current and may be gone."""
        mark = instance.own_tables.mark()
        if mark is None or statement.parameters:
            return None
        read = instance.show([parsed], lake) if pins is None else pins
        live = instance.views.live.refs
        for key, ref in read.items():
            entry = lake.datasets.get(key)
            if entry is None or not (entry.ref == ref == live.get(key)):
                return None
        return mark, statement, frozenset(read.items())

    def _plan(
        self,
        instance: Instance,
        parsed: ParsedStatement,
        statement: Statement,
        lake: LakeState,
        pins: Pins | None,
        key: Hashable | None = None,
    ) -> Query:
        pool = instance.narrow_pool if statement.narrow_decimals else instance.pool
        mark = instance.own_tables.mark()
        cursor = pool.take()
        alone = instance.stands_alone(parsed)
        release = partial(self._release, pool, in_transaction=not alone)
        try:
            if alone:
                bound = instance.bind(cursor, parsed, statement, {})
            else:
                bound = self._bind(instance, cursor, parsed, statement, lake, pins)
            own_tables = instance.own_tables.names(cursor, mark)
            fingerprint = instance.fingerprint(parsed, bound.pins, own_tables)
        except BaseException:
            release(cursor)
            raise
        if key is not None and fingerprint is not None:
            instance.plans.keep(key, CachedPlan(bound.schema, bound.pins, fingerprint))
        query = DuckDbQuery(
            cursor,
            bound.relation,
            bound.schema,
            bound.pins,
            batch_bytes=self._batch_bytes,
            failures=instance.failures,
            release=lambda used: release(used, bound.runnable),
            fingerprint=fingerprint,
        )
        instance.track(query)
        return query

    def classify(self, sql: str) -> StatementKind:
        statements = self._ready().parse(sql)
        return statements[0].kind if len(statements) == 1 else StatementKind.COMMAND

    def count_parts(self, statement: Statement, pins: Pins, *, wanted: int) -> int:
        if self._scanned(statement, pins, self._ready().row_functions) is None:
            return 1
        (ref,) = pins.values()
        files = self._store.files(ref)
        if NUMBER_COLUMN in (name.lower() for name in files.schema.names):
            return 1
        return min(wanted, most_parts(files.row_counts))

    def is_scan(self, statement: Statement, pins: Pins) -> bool:
        parsed = self._scanned(statement, pins, self._ready().deterministic_row_functions)
        if parsed is None:
            return False
        (ref,) = pins.values()
        return names_only_columns(parsed, self._store.files(ref).schema.names)

    def _scanned(self, statement: Statement, pins: Pins, functions: frozenset[str]) -> ParsedStatement | None:
        """The statement, if it is a scan of one dataset that calls only these functions; otherwise None."""
        (parsed, *more) = self._ready().parse(statement.sql)
        whole = not more and not statement.is_window and len(pins) == 1
        return parsed if whole and is_scan(parsed, functions) else None

    def inspect(self, statement: Statement, lake: LakeState) -> StatementInfo:
        """Plans a read, which also remembers its plan. Other statements are inspected in a new session."""
        (*before, last) = self._ready().parse(statement.sql)
        if not before and last.kind is StatementKind.READ:
            names = placeholder_names(last.sql)
            probe = statement
            if names and not statement.parameters:
                probe = replace(statement, parameters=nulls(names))
            try:
                with contextlib.closing(self.plan(probe, lake)) as query:
                    return StatementInfo(last.kind, query.schema, untyped(names))
            except InvalidSql:
                if not names:
                    raise
        with contextlib.closing(self.open_session()) as session:
            return session.inspect(statement, lake)

    def open_session(self) -> DuckDbSession:
        instance = self._ready()
        session = DuckDbSession(instance, batch_bytes=self._batch_bytes)
        instance.track(session)
        return session

    def own_tables(self) -> frozenset[str]:
        instance = self._ready()
        with instance.failures.translated():
            return instance.own_names()

    def metadata(self, lake: LakeState) -> DuckDbMetadata:
        instance = self._ready()
        instance.show((), lake)

        def use(work: Callable[[duckdb.DuckDBPyConnection], object]) -> object:
            with instance.pool.borrowed() as cursor, instance.failures.translated():
                return work(cursor)

        return DuckDbMetadata(use, lake, instance.fields)

    def vocabulary(self) -> SqlVocabulary:
        if self._vocabulary is None:
            with self._ready().pool.borrowed() as cursor:
                self._vocabulary = vocabulary(cursor)
        return self._vocabulary

    def usage(self) -> EngineUsage:
        instance = self._ready()
        with instance.pool.borrowed() as cursor, instance.failures.translated():
            ((memory, spilled),) = cursor.execute(_USAGE).fetchall()
        return EngineUsage(int(memory), self._options.memory_bytes, int(spilled))

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._instance.close()

    def _ready(self) -> Instance:
        with self._lock:
            if self._closed:
                raise EngineUnavailable("the engine is closed; the server is stopping")
            if self._instance.broken:
                self._instance.close()
                self._instance = Instance(self._options, self._store, self._system_table)
            return self._instance

    @staticmethod
    def _single_read(instance: Instance, statement: Statement) -> ParsedStatement:
        statements = instance.parse(statement.sql)
        if len(statements) > 1:
            raise InvalidSql(
                f"expected one statement, got {len(statements)}; send them one by one or use a session"
            )
        if statements[0].kind is not StatementKind.READ:
            raise StatementNotAllowed(
                f"{statements[0].type.name} is not a read; send it with POST over HTTP, as an update of"
                " Flight SQL, or in a session"
            )
        return statements[0]

    @staticmethod
    def _bind(
        instance: Instance,
        cursor: duckdb.DuckDBPyConnection,
        parsed: ParsedStatement,
        statement: Statement,
        lake: LakeState,
        pins: Pins | None,
    ) -> Bound:
        """Bind in a transaction, in which the views cannot change, and check that they had not changed just
        before it began."""
        for _ in range(_ATTEMPTS):
            seen = instance.views.refresh(lake) if not pins else instance.views.live
            read = instance.show([parsed], lake) if pins is None else pins
            exactly = pins is not None or statement.window is not None or any(map(names_version, read))
            runnable = instance.at_pins(parsed, read, lake, statement) if exactly else parsed
            with instance.failures.translated():
                cursor.execute("BEGIN TRANSACTION READ ONLY")
            bound = instance.bind(cursor, runnable, statement, read)
            if not read or instance.views.live is seen:
                return bound
            cursor.execute("ROLLBACK")
        raise EngineUnavailable("the datasets of this query change faster than it can be planned; try again")

    @staticmethod
    def _release(
        pool: CursorPool,
        cursor: duckdb.DuckDBPyConnection,
        used: Runnable | None = None,
        *,
        in_transaction: bool,
    ) -> None:
        try:
            if used is not None:
                forget(cursor, used)
            if in_transaction:
                with contextlib.suppress(duckdb.TransactionException):
                    cursor.execute("ROLLBACK")
        except duckdb.Error:
            cursor.close()
        else:
            pool.give_back(cursor)
