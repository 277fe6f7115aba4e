"""Query -> Flight stream: messages of a size clients accept, stopped when nobody reads them."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice

import pyarrow as pa
import pyarrow.flight as fl

from flight_core.application.queries.running import RunningQuery
from flight_core.domain.errors import Cancelled, DeadlineExceeded, FlightCoreError, InvalidOption
from flight_server.auth import Call
from flight_server.calls import CallScope
from flight_server.errors import flight_errors
from flight_server.options import FlightOptions

COMPRESSION_HEADER = "x-skein-compression"

# Of the first message, so that it is on its way early.
FIRST_BYTES = 128 << 10

# How Arrow's Flight client in C++ (Python, R, ... too) calls itself: it takes messages of any size.
_CPP_CLIENT = "grpc-c++/"

# One message of a long stream is many: after these, so many in one.
_BEFORE_LARGE = 8
_IN_LARGE = 7
_LARGEST = 32 << 20  # bytes; glibc fetches larger blocks anew each time


class Streams:
    """Makes the streams of one server."""

    def __init__(self, options: FlightOptions) -> None:
        self._batch_bytes = options.batch_bytes
        self._stall_timeout_s = options.stall_timeout_s

    def query(self, call: Call, running: RunningQuery) -> fl.FlightDataStream:
        """Stream a query and close it, whatever becomes of the stream, or of the call before it."""
        call.scope.on_end(running.close)
        pull = self.pull(call, running)
        call.scope.probe(pull.probe)
        return _stream(call, running.schema, pull.batches())

    def pull(self, call: Call, running: RunningQuery) -> "Pull":
        messages = cut(running, self._batch_bytes)
        if (call.header("user-agent") or "").startswith(_CPP_CLIENT):
            messages = with_a_large_one(messages)
        return Pull(call.scope, running, messages, self._stall_timeout_s)

    def table(self, call: Call, table: pa.Table) -> fl.FlightDataStream:
        """Stream rows that are in memory already."""
        return _stream(call, table.schema, cut(table.to_batches(), self._batch_bytes))


class Pull:
    """Iterates a running query for one client. While the client does not ask for more, time counts."""

    def __init__(
        self,
        scope: CallScope,
        running: RunningQuery,
        messages: Iterator[pa.RecordBatch],
        stall_timeout_s: float,
    ) -> None:
        self._scope = scope
        self._running = running
        self._messages = messages
        self._stall_timeout_s = stall_timeout_s
        self._lock = threading.Lock()
        self._idle_since: float | None = None
        # Makes what is raised: a failure that is kept keeps the frames it went through, and their batches.
        self._ended: Callable[[], FlightCoreError] | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        with flight_errors(), self._scope.refusals(), self._running:
            for batch in self._messages:
                self._idle_since = time.monotonic()
                yield batch
                self._resume()

    def probe(self, gone: bool) -> None:
        """From the watcher's thread. A query that was cancelled, or left unread for too long, is closed
        under its sleeping reader, so that its slot is free at once."""
        if gone:
            self._running.cancel()
        with self._lock:
            if self._idle_since is None or self._ended is not None:
                return
            if self._running.cancelled:
                self._ended = partial(Cancelled, "the query was cancelled")
            elif time.monotonic() - self._idle_since >= self._stall_timeout_s:
                self._ended = partial(
                    DeadlineExceeded,
                    f"nothing was read from this stream for {self._stall_timeout_s:g} s, so its query was"
                    " stopped; read faster, or raise SKEIN_STALL_TIMEOUT_S",
                )
            else:
                return
            self._running.close()

    def _resume(self) -> None:
        with self._lock:
            self._idle_since = None
            if self._ended is not None:
                raise self._ended()


def with_a_large_one(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows; in a long stream some batches travel as one, once.

    After it, clients on glibc keep the memory of messages that they have dropped for the next ones, instead
    of fetching fresh pages for each: freed memory is kept up to twice the largest block (mallopt(3),
    M_MMAP_THRESHOLD and M_TRIM_THRESHOLD).
    """
    yield from islice(batches, _BEFORE_LARGE)
    parts = list(islice(batches, _IN_LARGE))
    size = sum(batch.nbytes for batch in parts)
    if len(parts) == _IN_LARGE and size <= _LARGEST and not _has_dictionary(parts[0].schema):
        parts = pa.Table.from_batches(parts).combine_chunks().to_batches()
    yield from parts
    yield from batches


def cut(batches: Iterable[pa.RecordBatch], batch_bytes: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of about `batch_bytes`, a small one first, none empty.

    Where rows differ in size a batch may hold half as much again; a row larger than that travels alone.
    """
    limit = min(FIRST_BYTES, batch_bytes)
    for batch in batches:
        if batch.num_rows and batch.get_total_buffer_size() <= limit:
            yield batch
            limit = batch_bytes
            continue
        rows_differ = any(_varies(field.type) for field in batch.schema)
        dictionaries = batch.slice(0, 0).nbytes  # which do not shrink with the rows
        average = max(1, (batch.nbytes - dictionaries) // max(1, batch.num_rows))
        offset = 0
        while offset < batch.num_rows:
            piece = batch.slice(offset, max(1, limit // average))
            while rows_differ and piece.num_rows > 1 and piece.nbytes - dictionaries > limit * 3 // 2:
                piece = piece.slice(0, piece.num_rows // 2)
            yield piece
            offset += piece.num_rows
            limit = batch_bytes


def _varies(type: pa.DataType) -> bool:
    """Whether values of this type may differ in size."""
    try:
        return type.bit_width <= 0
    except ValueError:
        return True


def _stream(call: Call, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> fl.FlightDataStream:
    options = write_options(call)
    if not _has_dictionary(schema):
        return fl.GeneratorStream(schema, batches, options=options)
    # Flight sends no dictionaries with batches, only with streams.
    streams = (fl.RecordBatchStream(pa.Table.from_batches([batch]), options=options) for batch in batches)
    return fl.GeneratorStream(schema, streams, options=options)


def write_options(call: Call) -> pa.ipc.IpcWriteOptions:
    """
    Raises:
        InvalidOption: the client asks for a codec that there is not.
    """
    match call.header(COMPRESSION_HEADER):
        case None | "lz4" | "zstd" as codec:
            return pa.ipc.IpcWriteOptions(compression=codec)
        case codec:
            raise InvalidOption(f"{COMPRESSION_HEADER} is '{codec[:40]}'; it can be lz4 or zstd")


def _has_dictionary(schema: pa.Schema) -> bool:
    return any(_contains_dictionary(field.type) for field in schema)


def _contains_dictionary(type: pa.DataType) -> bool:
    if pa.types.is_dictionary(type):
        return True
    if isinstance(type, pa.BaseExtensionType):
        return _contains_dictionary(type.storage_type)
    return any(_contains_dictionary(type.field(i).type) for i in range(type.num_fields))
