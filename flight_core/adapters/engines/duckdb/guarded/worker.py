"""A guarded process: `python -P -m flight_core.adapters.engines.duckdb.guarded.worker FD`.

Serves the reads of one principal. Connections come in through the socket FD, one a query; when that
is closed, the process ends. It cannot have more memory than it was given, whatever DuckDB thinks.
"""

import io
import json
import os
import resource
import select
import socket
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from flight_core.adapters.engines.duckdb.batches import rows_per_batch
from flight_core.adapters.engines.duckdb.binding import bind
from flight_core.adapters.engines.duckdb.determinism import deterministic_functions, statement_digest
from flight_core.adapters.engines.duckdb.failures import Failures
from flight_core.adapters.engines.duckdb.guarded.allowed import MAX_SQL_BYTES, tables_of
from flight_core.adapters.engines.duckdb.guarded.wire import ARROW, END, Channel, Gone, frame, message
from flight_core.adapters.engines.duckdb.parameters import placeholder_names
from flight_core.adapters.engines.duckdb.statements import ParsedStatement, Parser
from flight_core.adapters.engines.duckdb.stream import DuckDbQuery
from flight_core.adapters.engines.duckdb.system_tables import show_system_tables
from flight_core.adapters.engines.duckdb.types import ArrowFields, identifier
from flight_core.application.queries.parameters import unpack
from flight_core.domain.errors import DeadlineExceeded, FlightCoreError, InvalidSql, OutOfMemory
from flight_core.domain.query import Statement
from flight_core.infrastructure.duckdb_pool import DATASETS, CursorPool, DuckDbOptions, open_database
from flight_core.infrastructure.helper_process import be_expendable

_KEPT_INSTANCES = 8
_LOOK_S = 0.1
_OUT_OF_MEMORY = "the query needs more memory than SKEIN_GUARDED_MEMORY allows; select less, or filter first"


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one guarded process. `timeout_s` counts the time DuckDB works on a query, not the time a client
    takes to read. `folders` are not to be named in messages."""

    temp: str
    memory_bytes: int
    address_bytes: int
    temp_bytes: int
    threads: int
    timeout_s: float
    batch_bytes: int
    folders: Mapping[str, str]


class Instance:
    """A database that holds the views of some dataset versions, and can open their files only."""

    def __init__(
        self,
        views: Mapping[str, str],
        files: tuple[str, ...],
        limits: Limits,
        system: Mapping[str, pa.Table] | None = None,
    ) -> None:
        self.root = open_database(
            DuckDbOptions(
                workspace=None,
                readable=(),
                temp=Path(limits.temp),
                memory_bytes=limits.memory_bytes,
                temp_bytes=limits.temp_bytes,
                threads=limits.threads,
                files=files,
            )
        )
        for name, view in views.items():
            self.root.execute(f"CREATE VIEW {DATASETS}.{identifier(name)} AS {view}")
        if system:
            show_system_tables(self.root, lambda name: system[name])
        self._cursors = {narrow: CursorPool(self.root, narrow_decimals=narrow) for narrow in (False, True)}
        self.fields = {narrow: ArrowFields() for narrow in (False, True)}

    def cursors(self, statement: Statement) -> CursorPool:
        return self._cursors[statement.narrow_decimals]


class Worker:
    """Thread-safe: each query has a thread."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._failures = Failures(limits.folders, on_fatal=lambda: os._exit(1))
        self._parser = Parser()
        self._judged = lru_cache(maxsize=256)(self._judge)
        self._lock = threading.Lock()
        self._instances: OrderedDict[tuple[tuple[str, str], ...], Instance] = OrderedDict()

    def serve(self, channel: Channel) -> None:
        """One query, from its text to its last row."""
        with closing(channel), suppress(Gone):
            try:
                self._answer(channel)
            except (OutOfMemory, MemoryError):
                channel.fail(OutOfMemory(_OUT_OF_MEMORY))
            except FlightCoreError as failure:
                channel.fail(failure)

    def _answer(self, channel: Channel) -> None:
        sql = channel.receive_message()["sql"]
        with self._failures.translated(sql):
            parsed = self._judged(sql)
        tables = [[table.catalog, table.schema, table.name] for table in parsed.tables]
        digest = statement_digest(parsed, self._deterministic_functions)
        channel.send_frames(message(tables=tables, parameters=placeholder_names(parsed.sql), digest=digest))
        order = channel.receive_message()
        system = {
            name: pa.ipc.open_stream(pa.py_buffer(channel.expect(ARROW))).read_all()
            for name in order["system"]
        }
        _, parameters = channel.receive()
        statement = Statement(
            sql,
            unpack(parameters),
            row_limit=order["row_limit"],
            row_offset=order["row_offset"],
            narrow_decimals=order["narrow_decimals"],
        )
        with self._failures.translated():
            instance = self._instance(order["views"], tuple(order["files"]), system)
        with closing(self._planned(instance, parsed, statement, order["value_bytes"])) as query:
            channel.send_frames(frame(ARROW, query.schema.serialize().to_pybytes()))
            channel.receive_message()
            self._stream(query, channel)

    @cached_property
    def _deterministic_functions(self) -> frozenset[str]:
        return deterministic_functions(self._parser.cursor())

    def _judge(self, sql: str) -> ParsedStatement:
        if len(sql) > MAX_SQL_BYTES:
            raise InvalidSql(f"the statement has {len(sql):,} characters; the limit is {MAX_SQL_BYTES:,}")
        statements = self._parser.parse(sql)
        tables_of(statements)
        return statements[0]

    def _instance(
        self, views: Mapping[str, str], files: tuple[str, ...], system: Mapping[str, pa.Table]
    ) -> Instance:
        if system:  # they are as they are now
            return Instance(views, files, self._limits, system)
        key = tuple(sorted(views.items()))
        with self._lock:
            instance = self._instances.get(key)
            if instance is None:
                instance = self._instances[key] = Instance(views, files, self._limits)
            self._instances.move_to_end(key)
            while len(self._instances) > _KEPT_INSTANCES:
                self._instances.popitem(last=False)  # queries that use it keep it alive
            return instance

    def _planned(
        self, instance: Instance, parsed: ParsedStatement, statement: Statement, value_bytes: int
    ) -> DuckDbQuery:
        pool = instance.cursors(statement)
        cursor = pool.take()
        fields = instance.fields[statement.narrow_decimals]
        with self._failures.translated(parsed.sql):
            bound = bind(cursor, parsed, statement, {}, fields)

        def release(used: duckdb.DuckDBPyConnection) -> None:
            pool.give_back(used) if not bound.runnable.variables else used.close()

        return DuckDbQuery(
            cursor,
            bound.relation,
            bound.schema,
            {},
            batch_rows=rows_per_batch(bound.schema, self._limits.batch_bytes, value_bytes),
            failures=self._failures,
            release=release,
        )

    def _stream(self, query: DuckDbQuery, channel: Channel) -> None:
        clock = _Clock(self._limits.timeout_s)
        threading.Thread(target=_watch, args=(channel, query, clock), daemon=True).start()
        pieces: list[bytes | memoryview] = []
        sink = _Sink(pieces)
        writer = pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), query.schema)
        batches = iter(query)
        while True:
            with clock:
                try:
                    batch = next(batches, None)
                except FlightCoreError:
                    if clock.over:
                        raise clock.failure() from None
                    raise
            if batch is None:
                break
            writer.write_batch(batch)
            channel.send_pieces(ARROW, pieces)
            pieces.clear()
        writer.close()
        channel.send_pieces(ARROW, pieces)
        channel.send_frames(frame(END))


class _Sink(io.RawIOBase):
    """A file whose content is kept in pieces."""

    def __init__(self, pieces: list[bytes | memoryview]) -> None:
        super().__init__()
        self._pieces = pieces

    def writable(self) -> bool:
        return True

    def write(self, piece: Any, /) -> int:
        view = memoryview(piece).cast("B")
        self._pieces.append(view)
        return view.nbytes


class _Clock:
    """Adds up the time within its blocks."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._spent_s = 0.0
        self._since: float | None = None

    def __enter__(self) -> None:
        self._since = time.monotonic()

    def __exit__(self, *_error: object) -> None:
        assert self._since is not None
        self._spent_s += time.monotonic() - self._since
        self._since = None

    @property
    def over(self) -> bool:
        since = self._since
        running_s = time.monotonic() - since if since is not None else 0.0
        return self._spent_s + running_s > self._limit_s

    def failure(self) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"the query worked for more than {self._limit_s:g} s; select less, or ask the operator to raise"
            " SKEIN_GUARDED_TIMEOUT_S"
        )


def _watch(channel: Channel, query: DuckDbQuery, clock: _Clock) -> None:
    """Stop the query when the other side hangs up, or when its time is over. Tell how far it is meanwhile."""
    told: float | None = None
    with suppress(OSError, ValueError, Gone):  # it was closed: the query has ended
        while not (select.select([channel.connection], [], [], _LOOK_S)[0] or clock.over):
            progress = query.progress()
            if progress != told and channel.offer_progress(progress):
                told = progress
    query.cancel()


def _limit_memory(more_bytes: int) -> None:
    """From here on this process may map so much more, and no more than that. Linux only."""
    with suppress(OSError):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + more_bytes, used + more_bytes))


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    limits = Limits(**json.loads(sys.argv[2]))
    worker = Worker(limits)
    be_expendable()
    _limit_memory(limits.address_bytes)
    control.sendall(b"r")
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not message:
            os._exit(0)
        channel = Channel(socket.socket(fileno=descriptors[0]))
        threading.Thread(target=worker.serve, args=(channel,), daemon=True).start()


if __name__ == "__main__":
    main()
