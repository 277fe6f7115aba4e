"""One DuckDB instance with everything that belongs to it: cursors, views, parser, type mapping."""

import contextlib
import re
import threading
from collections.abc import Iterable
from functools import cached_property, lru_cache
from typing import Protocol
from weakref import WeakSet

import duckdb
import pyarrow as pa

from flight_core.adapters.engines.duckdb import pinning
from flight_core.adapters.engines.duckdb.batches import rows_per_batch, value_bytes
from flight_core.adapters.engines.duckdb.binding import Bound, bind
from flight_core.adapters.engines.duckdb.determinism import (
    deterministic_functions,
    has_own_code,
    makes_code,
    reads_datasets_alone,
    statement_digest,
)
from flight_core.adapters.engines.duckdb.failures import Failures
from flight_core.adapters.engines.duckdb.lake import LakeViews, LiveViews
from flight_core.adapters.engines.duckdb.own_tables import OwnTables, versions_read
from flight_core.adapters.engines.duckdb.plan_cache import PlanCache
from flight_core.adapters.engines.duckdb.policy import approve
from flight_core.adapters.engines.duckdb.statements import ParsedStatement, Parser, TableName
from flight_core.adapters.engines.duckdb.system_tables import show_system_tables
from flight_core.adapters.engines.duckdb.types import ArrowFields
from flight_core.application.ports.engine import SystemTable
from flight_core.application.ports.storage import VersionFiles
from flight_core.domain.dataset import LakeState, VersionRef
from flight_core.domain.errors import EngineUnavailable, UnreadableData
from flight_core.domain.query import Pins, Statement
from flight_core.infrastructure.duckdb_pool import (
    CursorPool,
    DuckDbOptions,
    open_database,
)

_ROW_FUNCTIONS = """
    SELECT system.main.lower(function_name) FROM duckdb_functions()
    WHERE internal GROUP BY ALL HAVING bool_and(function_type = 'scalar')
"""

_ABOUT_FILES = {"stats"}


class Closable(Protocol):
    def cancel(self) -> None: ...

    def close(self) -> None: ...


class Instance:
    """Thread-safe. Once it is `broken`, all calls fail; the engine opens another instance then."""

    def __init__(self, options: DuckDbOptions, store: VersionFiles, system_table: SystemTable) -> None:
        folders = {str(folder): "<lake>" for folder in options.readable} | {str(options.temp): "<temp>"}
        if options.workspace:
            folders[str(options.workspace)] = "<workspace>"
            folders[str(options.workspace.parent)] = "<data>"
        self.failures = Failures(folders, self._break)
        self.broken = False
        self.temp = options.temp
        self.root = _opened(options)
        show_system_tables(self.root, system_table)
        self.pool = CursorPool(self.root)
        self._store = store
        self.views = LakeViews(self.root.cursor(), store, options.home, versions_read(self.root))
        self.parser = Parser()
        self._approved = lru_cache(maxsize=2048)(self._approve)
        self.own_tables = OwnTables()
        self.plans = PlanCache()
        self.fields = ArrowFields()
        self.narrow_pool = CursorPool(self.root, narrow_decimals=True)
        self.narrow_fields = ArrowFields()
        self._own_code = has_own_code(self.root.cursor())  # or there may have been some since
        self._live_lock = threading.Lock()
        self._live: WeakSet[Closable] = WeakSet()

    @cached_property
    def row_functions(self) -> frozenset[str]:
        """The built-in scalar functions, in lower case."""
        with self.pool.borrowed() as cursor, self.failures.translated():
            return frozenset(name for (name,) in cursor.execute(_ROW_FUNCTIONS).fetchall())

    @cached_property
    def _deterministic_functions(self) -> frozenset[str]:
        return deterministic_functions(self.parser.cursor())

    def fingerprint(self, parsed: ParsedStatement, pins: Pins, own_tables: frozenset[str]) -> str | None:
        """See `Query`. `own_tables` are the names of the own tables that existed when it was bound."""
        if self._own_code or not reads_datasets_alone(parsed, pins):
            return None
        if any(not table.schema and table.name.lower() in own_tables for table in parsed.tables):
            return None
        return statement_digest(parsed, self._deterministic_functions)

    def stands_alone(self, parsed: ParsedStatement) -> bool:
        """Whether the read names no tables and no own functions. Then it needs no transaction, since nothing
        that others create or drop meanwhile can change it."""
        return parsed.tree is not None and not parsed.tables and not self._own_code

    @property
    def deterministic_row_functions(self) -> frozenset[str]:
        """Those of `row_functions` whose value for a row does not change when rows are added. Empty if users
        may have created functions, which could have the same names."""
        if self._own_code:
            return frozenset()
        return (self.row_functions & self._deterministic_functions) - _ABOUT_FILES

    def parse(self, sql: str) -> tuple[ParsedStatement, ...]:
        """The statements of a text. Raises StatementNotAllowed if one of them is not allowed."""
        with self.failures.translated(sql):
            return self._approved(sql)

    def show(self, statements: Iterable[ParsedStatement], lake: LakeState) -> Pins:
        """Create the views that the statements need; returns the dataset versions that they read."""
        with self.failures.translated():
            live = self.views.refresh(lake)
            return self._pins((table for statement in statements for table in statement.tables), lake, live)

    def bind(
        self, cursor: duckdb.DuckDBPyConnection, parsed: ParsedStatement, statement: Statement, pins: Pins
    ) -> Bound:
        """Bind a read on `cursor`, in the cursor's present state."""
        fields = self.narrow_fields if statement.narrow_decimals else self.fields
        with self.failures.translated(parsed.sql):
            return bind(cursor, parsed, statement, pins, fields)

    def rows_per_batch(self, schema: pa.Schema, pins: Pins, batch_bytes: int) -> int:
        """For results with that schema, made from these versions."""
        return rows_per_batch(schema, batch_bytes, value_bytes(map(self._store.files, pins.values())))

    def at_pins(
        self, parsed: ParsedStatement, pins: Pins, lake: LakeState, statement: Statement
    ) -> ParsedStatement:
        """The statement, changed so that it reads exactly the pinned versions, or the part or window of them
        that `statement` asks for."""
        part, window, placed = statement.part, statement.window, statement.placed
        with self.failures.translated():
            live = self.views.refresh(lake)
            renames = parsed.tree is not None
            named = [t for t in parsed.tables if not (renames and pinning.names_version(t.name))]
            self._pins(named, lake, live)
            moved = pinning.to_rename(pins, live.refs, lake)
            if parsed.tree is None or not (moved or part or window or placed):
                return parsed
            exact = {key: pins[key] for key in pins if part or window or key in moved or key == placed}
            views = {
                key: self.views.show_exactly(key, ref, part=part, window=window, placed=key == placed)
                for key, ref in exact.items()
            }
            tree = pinning.renamed(
                parsed.tree, views, is_shadowed=self._has_own_table, text_of=self.parser.expression
            )
            return ParsedStatement(self.parser.text(tree), parsed.type, parsed.kind, parsed.tables, tree=tree)

    def means_dataset(self, name: TableName) -> bool:
        """Whether the name is unqualified and refers to a dataset or a version, not to an own table."""
        unqualified = not name.catalog and not name.schema
        return unqualified and self.views.has(name.name) and not self._has_own_table(name.name)

    def track(self, item: Closable) -> None:
        with self._live_lock:
            self._live.add(item)

    def close(self) -> None:
        """Cancel and close everything that still uses the instance, then close the instance."""
        self.broken = True
        with self._live_lock:
            live = list(self._live)
        for item in live:
            item.cancel()
        for item in live:
            item.close()
        self.pool.close()
        self.narrow_pool.close()
        self.parser.close()
        with contextlib.suppress(duckdb.Error):
            self.views.close()
            self.root.close()

    def require(self) -> None:
        """
        Raises:
            EngineUnavailable: the instance is broken or closed.
        """
        if self.broken:
            raise EngineUnavailable("the engine was restarted; open a new session and try again")

    def _approve(self, sql: str) -> tuple[ParsedStatement, ...]:
        approved = tuple(approve(statement, self.parser) for statement in self.parser.parse(sql))
        self._own_code |= any(map(makes_code, approved))  # before they run
        return approved

    def _pins(self, tables: Iterable[TableName], lake: LakeState, live: LiveViews) -> dict[str, VersionRef]:
        pins = {}
        for table in tables:
            key = table.name.lower()
            if not table.may_be_dataset:
                continue
            if "@" in key:
                pins[key] = self.views.show_version(table.name, lake)
            elif key in live.refs:
                pins[key] = live.refs[key]
            elif key in live.lost:
                raise UnreadableData(
                    f"the files of dataset '{table.name}' are missing or damaged; restore them,"
                    " or ingest it again with mode 'replace'"
                )
        return pins

    def own_names(self) -> frozenset[str]:
        """See `QueryEngine.own_tables`."""
        return self.own_tables.names(self.root.cursor(), self.own_tables.mark())

    def _has_own_table(self, name: str) -> bool:
        return name.lower() in self.own_names()

    def _break(self) -> None:
        self.broken = True


def _opened(options: DuckDbOptions) -> duckdb.DuckDBPyConnection:
    try:
        return open_database(options)
    except duckdb.Error as error:
        if options.workspace is None:
            raise
        raise EngineUnavailable(
            f"the file of the users' own tables, workspace.duckdb, {_why_closed(str(error))}"
        ) from error


def _why_closed(message: str) -> str:
    """What is wrong with the workspace, by DuckDB's error message, and the way out."""
    if " lock " in message:
        holder = re.search(r"PID (\d+)", message)
        process = f", process {holder[1]}" if holder is not None else ""
        return f"is open in another program{process}; close that one and start again"
    if "Permission denied" in message or "Read-only" in message:
        return "cannot be read and written by this user; give them the right to"
    return (
        "is damaged, or no DuckDB file of this version; put a copy of it back, or move it away: datasets are"
        " not in it"
    )
