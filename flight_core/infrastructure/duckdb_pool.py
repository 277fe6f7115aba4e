"""One hardened DuckDB instance and the idle cursors of it."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from flight_core.domain.dataset import LAKE, LAKE_SCHEMA

WORKSPACE = "workspace"
WORKSPACE_SCHEMA = "main"
DATASETS = f"{LAKE}.{LAKE_SCHEMA}"
# Views of single versions. Attached as hidden: the catalog's functions and lists leave it out.
LAKE_VERSIONS = "lake_versions"
VERSIONS = f"{LAKE_VERSIONS}.{LAKE_SCHEMA}"
SEARCH_PATH = f"{WORKSPACE}.{WORKSPACE_SCHEMA},{DATASETS},{VERSIONS}"

# Settings that stay within one connection when they are set with SET SESSION.
SESSION_SETTINGS = (
    "arrow_lossless_conversion",
    "arrow_output_version",
    "Calendar",
    "default_collation",
    "default_null_order",
    "default_order",
    "enable_progress_bar",
    "enable_progress_bar_print",
    "explain_output",
    "ieee_floating_point_ops",
    "integer_division",
    "lambda_syntax",
    "merge_join_threshold",
    "nested_loop_join_threshold",
    "null_order",
    "old_implicit_casting",
    "order_by_non_integer_literal",
    "ordered_aggregate_threshold",
    "perfect_ht_threshold",
    "pivot_filter_threshold",
    "prefer_range_joins",
    "preserve_identifier_case",
    "preserve_insertion_order",
    "produce_arrow_string_view",
    "scalar_subquery_error_on_multiple_rows",
    "schema",
    "search_path",
    "TimeZone",
)

# Threads that give freed memory back to the system within seconds. They are the whole process's: each
# instance that closes ends them, and so each new cursor starts them again.
GIVE_BACK = "allocator_background_threads"

# What DuckDB makes ahead of whoever reads. It should hold a row group: as long as the first one is not done,
# threads that work on later ones stop once it is full. Each open stream holds it.
STREAM_BUFFER = "streaming_buffer_size"
_STREAM_BUFFER_SIZE = "12MiB"

# Settings that the lock leaves open for us, by all of their names; not for clients.
RESERVED_SETTINGS = (GIVE_BACK, STREAM_BUFFER, f"max_{STREAM_BUFFER}")

# Read in advance, for each thread. DuckDB itself would read twice as many, which every open stream holds,
# and which made no scan faster.
_ROW_GROUPS_AHEAD = 2


@dataclass(frozen=True, slots=True)
class DuckDbOptions:
    """`workspace` is the file of the users' own tables; None keeps them in memory.

    `readable` lists the folders SQL may read Parquet from and `files` single files, `temp` is private to
    this process. `home` is the folder that `~` stands for in the SQL of views, which clients may see.
    `memory_bytes` bounds DuckDB's buffers; `temp_bytes` what it may spill.
    """

    workspace: Path | None
    readable: tuple[Path, ...]
    temp: Path
    memory_bytes: int = 2 << 30
    temp_bytes: int = 20 << 30
    threads: int = 2
    files: tuple[str, ...] = ()

    @property
    def home(self) -> Path:
        return self.readable[0] if self.readable else self.temp / "empty"


def _quoted(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _list(values: Sequence[object]) -> str:
    return "[" + ", ".join(_quoted(value) for value in values) + "]"


def _hardening(options: DuckDbOptions) -> list[str]:
    """The order matters: nothing can be set after the last statement."""
    empty = options.temp / "empty"
    empty.mkdir(parents=True, exist_ok=True)
    spill = options.temp / "spill"
    spill.mkdir(parents=True, exist_ok=True)
    off = [
        "python_enable_replacements",
        "python_scan_all_frames",
        "allow_community_extensions",
        "autoinstall_known_extensions",
        "autoload_known_extensions",
        "allow_extensions_metadata_mismatch",
        "allow_persistent_secrets",
    ]
    return [
        f"SET GLOBAL temp_directory={_quoted(spill)}",
        f"SET GLOBAL max_temp_directory_size='{options.temp_bytes}B'",
        f"SET GLOBAL memory_limit='{options.memory_bytes}B'",
        f"SET GLOBAL threads={options.threads}",
        f"SET GLOBAL read_ahead_depth={_ROW_GROUPS_AHEAD * options.threads}",
        "SET GLOBAL parquet_metadata_cache=true",
        "SET GLOBAL max_expression_depth=1000",
        "SET GLOBAL pivot_limit=1000",
        "SET GLOBAL catalog_error_max_schemas=0",
        *(f"SET GLOBAL {name}=false" for name in off),
        f"SET GLOBAL secret_directory={_quoted(empty)}",
        f"SET GLOBAL home_directory={_quoted(options.home)}",
        "SET GLOBAL allow_extension_repositories='forbidden'",
        "SET GLOBAL extension_directories=[]",
        f"SET GLOBAL allowed_configs={_list((*SESSION_SETTINGS, GIVE_BACK, STREAM_BUFFER))}",
        f"SET GLOBAL allowed_directories={_list(options.readable)}",
        f"SET GLOBAL allowed_paths={_list(options.files)}",
        "SET GLOBAL enable_external_access=false",
        "SET GLOBAL lock_configuration=true",
    ]


def open_database(options: DuckDbOptions) -> duckdb.DuckDBPyConnection:
    """A new instance: workspace and lake attached, configuration hardened and locked.

    Raises:
        duckdb.Error: another process has the workspace open, or it is damaged.
    """
    connection = duckdb.connect(":memory:")
    try:
        workspace = _quoted(options.workspace) if options.workspace else "':memory:'"
        connection.execute(f"ATTACH {workspace} AS {WORKSPACE}")
        connection.execute(f"ATTACH ':memory:' AS {LAKE}")
        connection.execute(f"ATTACH ':memory:' AS {LAKE_VERSIONS} (HIDDEN)")
        for schema in (DATASETS, VERSIONS):
            connection.execute(f"CREATE SCHEMA {schema}")
        connection.execute(f"USE {WORKSPACE}")
        connection.execute("DETACH memory")  # tables in it would go with the process
        for statement in _hardening(options):
            connection.execute(statement)
    except BaseException:
        connection.close()
        raise
    return connection


class CursorPool:
    """Cursors of one instance, ready for a read. Thread-safe.

    A cursor that comes back must hold no open result; it is rolled back before the next use.
    With `narrow_decimals`, results hold DECIMALs in 32 or 64 bits where that is enough.
    """

    def __init__(
        self, root: duckdb.DuckDBPyConnection, *, narrow_decimals: bool = False, keep: int = 16
    ) -> None:
        self._root = root
        self._narrow_decimals = narrow_decimals
        self._keep = keep
        self._lock = threading.Lock()
        self._idle: list[duckdb.DuckDBPyConnection] = []
        self._closed = False

    def take(self) -> duckdb.DuckDBPyConnection:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self.fresh()

    def fresh(self) -> duckdb.DuckDBPyConnection:
        """A cursor for a session of its own; the caller closes it."""
        cursor = self._root.cursor()
        cursor.execute(f"SET search_path='{SEARCH_PATH}'")
        cursor.execute(f"SET GLOBAL {GIVE_BACK}=true")
        cursor.execute(f"SET SESSION {STREAM_BUFFER}='{_STREAM_BUFFER_SIZE}'")
        cursor.execute("SET enable_progress_bar_print=false")
        cursor.execute("SET enable_progress_bar=true")  # so that `query_progress` tells
        if self._narrow_decimals:
            cursor.execute("SET SESSION arrow_output_version='1.5'")
        return cursor

    @contextmanager
    def borrowed(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor for something short."""
        cursor = self.take()
        try:
            yield cursor
        finally:
            self.give_back(cursor)

    def give_back(self, cursor: duckdb.DuckDBPyConnection) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < self._keep:
                self._idle.append(cursor)
                return
        cursor.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for cursor in idle:
            cursor.close()
