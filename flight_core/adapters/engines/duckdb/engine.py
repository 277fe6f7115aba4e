"""The DuckDB engine: reads on pooled cursors, sessions on their own."""

import contextlib
import threading
from collections.abc import Callable
from dataclasses import replace

import duckdb

from flight_core.adapters.engines.duckdb.instance import Instance
from flight_core.adapters.engines.duckdb.metadata import DuckDbMetadata
from flight_core.adapters.engines.duckdb.parameters import nulls, placeholder_names, untyped
from flight_core.adapters.engines.duckdb.parts import NUMBER_COLUMN, is_scan, most_parts, names_only_columns
from flight_core.adapters.engines.duckdb.plan_cache import PlannedQuery
from flight_core.adapters.engines.duckdb.reads import Read, single_read
from flight_core.adapters.engines.duckdb.session import DuckDbSession
from flight_core.adapters.engines.duckdb.statements import ParsedStatement
from flight_core.adapters.engines.duckdb.vocabulary import vocabulary
from flight_core.application.ports.engine import EngineUsage, Query, SystemTable
from flight_core.application.ports.metadata import SqlVocabulary
from flight_core.application.ports.storage import VersionFiles
from flight_core.domain.dataset import LakeState
from flight_core.domain.errors import EngineUnavailable, InvalidSql
from flight_core.domain.query import Pins, Statement, StatementInfo, StatementKind
from flight_core.domain.system import no_rows
from flight_core.infrastructure.duckdb_pool import DuckDbOptions

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
        read = Read(instance, single_read(instance, statement), statement, lake, pins)
        key = read.plan_key()
        plan = None if key is None else instance.plans.get(key)
        if plan is None:
            return read.query(self._batch_bytes, keep_as=key)

        def bind() -> Query:
            return replace(read, instance=self._ready(), pins=plan.pins).query(self._batch_bytes)

        return PlannedQuery(plan, bind)

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
