"""Running queries: the resources they hold, the rows they have returned, and how they ended."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Self

import pyarrow as pa

from flight_core.application.ports.engine import Query
from flight_core.application.ports.results import Recording
from flight_core.application.queries.log import QueryLog
from flight_core.domain.errors import Cancelled, FlightCoreError, LimitExceeded
from flight_core.domain.limits import NO_LIMITS, Limits
from flight_core.domain.query import CacheUse, Pins, QueryRecord, QueryState

logger = logging.getLogger(__name__)


class RunningQuery:
    """A query with its admission slot, which `release` gives back. Iterate it, then close it; closing it
    early stops it. `cut`: its batches may be slices of larger ones.

    The slot and the cursor are held until `close`, not only until the last batch, since a stream that is read
    slowly still uses memory.
    """

    def __init__(
        self,
        query: Query,
        record: QueryRecord,
        log: QueryLog,
        *,
        release: Callable[[], None],
        recording: Recording | None = None,
        limits: Limits = NO_LIMITS,
        cut: bool = False,
    ) -> None:
        self._size = _bytes_of_slice if cut else pa.RecordBatch.get_total_buffer_size
        self._query = query
        self._limits = limits
        self._record = record
        self._log = log
        self._release = release
        self._recording = recording
        self._lock = threading.Lock()
        self._cancelled = False
        self._closed = False
        self._exhausted = False
        self._error: str | None = None
        record.pins = query.pins
        log.begin(record, self.cancel)
        log.measure(record, query)

    @property
    def query_id(self) -> str:
        return self._record.query_id

    @property
    def schema(self) -> pa.Schema:
        return self._query.schema

    @property
    def pins(self) -> Pins:
        return self._query.pins

    @property
    def cache(self) -> CacheUse:
        return self._record.cache

    @property
    def recorded(self) -> bool:
        """Whether its result will be cached, as far as is known now."""
        return self._recording is not None and not self._recording.over

    @property
    def cancelled(self) -> bool:
        """Whether cancellation was requested."""
        return self._cancelled

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        record = self._record
        record.state = QueryState.RUNNING
        try:
            for batch in self._batches():
                record.rows += batch.num_rows
                record.size_bytes += self._size(batch)
                self._require_within_limits()
                record.unread_since = self._log.clock()
                yield batch
                record.unread_since = None
            self._exhausted = True
        except Exception as error:
            self._error = error.code if isinstance(error, FlightCoreError) else FlightCoreError.code
            raise

    def _require_within_limits(self) -> None:
        """
        Raises:
            LimitExceeded
        """
        limits, record = self._limits, self._record
        if limits.rows is not None and record.rows > limits.rows:
            raise _too_much(f"{limits.rows:,} rows", record)
        if limits.result_bytes is not None and record.size_bytes > limits.result_bytes:
            raise _too_much(f"{limits.result_bytes:,} bytes", record)

    def _batches(self) -> Iterable[pa.RecordBatch]:
        return self._query if self._recording is None else self._recorded(self._recording)

    def _recorded(self, recording: Recording) -> Iterator[pa.RecordBatch]:
        run_s, asked_at = 0.0, time.monotonic()
        recording.asked()
        for batch in self._query:
            run_s += time.monotonic() - asked_at
            recording.write(batch)
            yield batch
            asked_at = time.monotonic()
            recording.asked()
        recording.finish(run_s=run_s + time.monotonic() - asked_at)

    def cancel(self) -> None:
        self._cancelled = True
        self._query.cancel()

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        try:
            self._query.close()
        finally:
            if self._recording is not None:
                self._recording.discard()
            self._release()
            self._log.end(self._record, self._final_state(), self._error)

    def _final_state(self) -> QueryState:
        if self._exhausted:
            return QueryState.SUCCEEDED
        if self._cancelled or self._error in (None, Cancelled.code):
            return QueryState.CANCELLED
        return QueryState.FAILED

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _bytes_of_slice(batch: pa.RecordBatch) -> int:
    """Costs ten times as much as `get_total_buffer_size`, which counts the whole buffers."""
    return batch.nbytes


def _too_much(allowed: str, record: QueryRecord) -> LimitExceeded:
    return LimitExceeded(
        f"the result has more than the {allowed} that '{record.actor}' may read at once; filter, aggregate,"
        " or read it in parts",
        query_id=record.query_id,
    )
