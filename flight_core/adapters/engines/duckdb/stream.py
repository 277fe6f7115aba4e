"""Running a bound query, and cancelling it."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import duckdb
import pyarrow as pa

from flight_core.adapters.engines.duckdb.failures import Failures
from flight_core.adapters.engines.duckdb.spool import Spool
from flight_core.domain.errors import Cancelled, FlightCoreError
from flight_core.domain.query import Pins

_REPEAT_S = 0.02

T = TypeVar("T")


class DuckDbQuery:
    """Implements `Query` with a lazy relation. See the port for thread safety.

    `release` is called once with the cursor, when it has no open result any more.
    """

    def __init__(
        self,
        cursor: duckdb.DuckDBPyConnection,
        relation: duckdb.DuckDBPyRelation,
        schema: pa.Schema,
        pins: Pins,
        *,
        batch_rows: int,
        failures: Failures,
        release: Callable[[duckdb.DuckDBPyConnection], None],
        fingerprint: str | None = None,
    ) -> None:
        self._cursor = cursor
        self._relation: duckdb.DuckDBPyRelation | None = relation
        self._reader: pa.RecordBatchReader | Spool | None = None
        self.schema = schema
        self.pins = pins
        self._batch_rows = batch_rows
        self._failures = failures
        self._release = release
        self.fingerprint = fingerprint
        self._failure: FlightCoreError | None = None  # from `make_way`, for whoever reads on
        self._busy = threading.Lock()  # held while DuckDB works on the query
        self._state = threading.Lock()
        self._cancelled = False
        self._closed = False

    def progress(self) -> float | None:
        """See `Measured`."""
        return None if self._closed else progress_of(self._cursor)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        batch = self._step(self._open)
        while batch is not None:
            yield batch
            batch = self._step(self._next)

    def cancel(self) -> None:
        with self._state:
            if self._cancelled or self._closed:
                return
            self._cancelled = True
        if not self._busy.acquire(blocking=False):
            threading.Thread(target=self._interrupt, name="skein-interrupt", daemon=True).start()
        else:
            self._busy.release()

    def close(self) -> None:
        with self._state:
            if self._closed:
                return
            self._closed = True
            self._cancelled = True
        self._interrupt()
        with self._busy:
            self._end()
            self._release(self._cursor)

    def make_way(self, folder: Path) -> None:
        """Free the connection: read the rest of the result and keep it, in a file in `folder` if it is large.

        A cancelled query is ended instead. Failures are kept for whoever reads on, and not raised here.
        """
        with self._busy:
            if isinstance(self._reader, Spool):
                return
            if self._cancelled:
                self._end()
                return
            try:
                with self._failures.translated():
                    opened = self._opened()
                    self._reader = Spool(opened, folder)
                    opened.close()
            except FlightCoreError as failure:
                self._failure = failure
                self._end()

    def _step(self, work: Callable[[], T]) -> T:
        with self._busy:
            if self._failure is not None:
                raise self._failure
            if self._cancelled:
                raise Cancelled("the query was cancelled")
            with self._failures.translated():
                return work()

    def _open(self) -> pa.RecordBatch | None:
        if self._reader is None:
            self._opened()
        return self._next()

    def _opened(self) -> pa.RecordBatchReader:
        assert self._relation is not None
        assert not isinstance(self._reader, Spool)
        reader = self._reader or self._relation.to_arrow_reader(self._batch_rows)
        self._reader = reader
        return reader

    def _end(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = None
        self._relation = None

    def _next(self) -> pa.RecordBatch | None:
        assert self._reader is not None
        try:
            return self._reader.read_next_batch()
        except StopIteration:
            return None

    def _interrupt(self) -> None:
        """Interrupt repeatedly until DuckDB returns, since an interrupt just before the execution is lost."""
        while not self._busy.acquire(timeout=_REPEAT_S):
            self._cursor.interrupt()
        self._busy.release()


def progress_of(connection: duckdb.DuckDBPyConnection) -> float | None:
    """See `Measured`."""
    try:
        percent = connection.query_progress()
    except duckdb.Error:  # closed meanwhile
        return None
    return percent / 100 if 0 <= percent <= 100 else None
