"""Planning and running reads."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import pyarrow as pa

from flight_core.application.access.rights import require
from flight_core.application.ports.clock import NewId
from flight_core.application.ports.engine import Query
from flight_core.application.ports.results import Recording, ResultCache
from flight_core.application.queries.admission import Admission
from flight_core.application.queries.cancellation import Cancellation
from flight_core.application.queries.log import QueryLog
from flight_core.application.queries.reader import Reader
from flight_core.application.queries.results import StoredQuery, result_key
from flight_core.domain.access import Actor, Scope
from flight_core.domain.errors import (
    Cancelled,
    FlightCoreError,
    LimitExceeded,
)
from flight_core.domain.limits import NO_LIMITS, Limits
from flight_core.domain.query import CacheUse, Pins, QueryPlan, QueryRecord, QueryState, Statement

logger = logging.getLogger(__name__)


class RunningQuery:
    """A query with what it holds, such as its admission slot. Iterate it, then close it; closing early
    stops it. `release` gives the slot back. `cut`: its batches may be slices of larger ones.

    The slot and the cursor are held until `close`, not until the last batch was produced:
    a stream that a client reads slowly still costs memory.
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
        """Whether its result will be kept, as far as is known now."""
        return self._recording is not None and not self._recording.over

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked for it to stop."""
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
    """Ten times the cost of `get_total_buffer_size`, which counts all of the buffers."""
    return batch.nbytes


def _too_much(allowed: str, record: QueryRecord) -> LimitExceeded:
    return LimitExceeded(
        f"the result has more than the {allowed} that '{record.actor}' may read at once; filter, aggregate,"
        " or read it in parts",
        query_id=record.query_id,
    )


@dataclass(frozen=True, slots=True)
class PlanQuery:
    """Bind a read and pin the versions it sees, without running it. Raises as `QueryEngine.plan`."""

    reader: Reader
    new_id: NewId
    results: ResultCache | None = None

    def __call__(self, statement: Statement, *, actor: Actor) -> QueryPlan:
        require(actor, Scope.READ)
        query = self.reader.plan(statement, actor=actor)
        try:
            return QueryPlan(
                self.new_id(),
                statement,
                query.schema,
                query.pins,
                divisible=not actor.guarded,
                cached_rows=self._cached_rows(statement, query),
            )
        finally:
            query.close()

    def _cached_rows(self, statement: Statement, query: Query) -> int | None:
        key = result_key(statement, query) if self.results is not None else None
        return self.results.rows(key) if self.results is not None and key is not None else None


class Scrolled(Protocol):
    def computed(self, key: str, statement: Statement, pins: Pins, actor: Actor) -> None:
        """A window of a result is about to be computed, since the whole, which has that key, is not kept.
        Does not block."""


@dataclass(frozen=True, slots=True)
class OpenQuery:
    """Start a read; raises as `QueryEngine.plan`, and TooManyStreams when no slot comes free.

    It is planned first, which pins versions and checks rights; where its result is in the cache it needs
    no slot, and neither does a window of one that is. `scrolled` is told of windows that are computed;
    `keeps_scrolled`: what it runs is kept for them.
    """

    reader: Reader
    admission: Admission
    log: QueryLog
    results: ResultCache | None = None
    scrolled: Scrolled | None = None
    keeps_scrolled: bool = False

    def __call__(
        self,
        statement: Statement,
        *,
        actor: Actor,
        door: str,
        pins: Pins | None = None,
        query_id: str | None = None,
    ) -> RunningQuery:
        require(actor, Scope.READ)
        record = self.log.record(statement.sql, actor=actor, door=door, query_id=query_id)
        waiting = Cancellation()
        with self.log.until_open(record, waiting.request):
            query = self.reader.plan(statement, actor=actor, pins=pins)
            try:
                running = self._opened(statement, query, record, waiting, actor)
            except BaseException:
                query.close()
                raise
        if waiting.requested:
            running.cancel()
        return running

    def admitted(
        self, query: Query, sql: str, *, actor: Actor, door: str, query_id: str | None = None
    ) -> RunningQuery:
        """Wrap a query whose slot the caller has acquired already (a session's, for instance)."""
        record = self.log.record(sql, actor=actor, door=door, query_id=query_id)
        release = self.admission.release
        try:
            return RunningQuery(query, record, self.log, release=release, limits=actor.limits)
        except BaseException:
            query.close()
            release()
            raise

    def _opened(
        self, statement: Statement, query: Query, record: QueryRecord, waiting: Cancellation, actor: Actor
    ) -> RunningQuery:
        recording = None
        key = result_key(statement, query) if self.results is not None else None
        if self.results is not None and key is not None:
            stored = self._window(self.results, statement, query, actor) if statement.is_window else None
            if stored is None and (result := self._stored(self.results, key, waiting)) is not None:
                stored = StoredQuery(result, query.pins)
            if stored is not None:
                record.cache = CacheUse.HIT
                query.close()
                return RunningQuery(
                    stored,
                    record,
                    self.log,
                    release=lambda: None,
                    limits=actor.limits,
                    cut=statement.is_window,
                )
            record.cache = CacheUse.MISS
            recording = self.results.record(key, query.schema, scrolled=self.keeps_scrolled)
        try:
            self.admission.acquire(waiting.check)
        except BaseException:
            if recording is not None:
                recording.discard()
            raise
        release = self.admission.release
        return RunningQuery(
            query, record, self.log, release=release, recording=recording, limits=actor.limits
        )

    def _window(
        self, results: ResultCache, statement: Statement, query: Query, actor: Actor
    ) -> StoredQuery | None:
        """The rows that are wanted of a whole result that is kept."""
        whole = result_key(statement.whole, query)
        assert whole is not None  # as the window has one
        result = results.find(whole)
        if result is None:
            if self.scrolled is not None:
                self.scrolled.computed(whole, statement, query.pins, actor)
            return None
        return StoredQuery(result, query.pins, offset=statement.row_offset, limit=statement.row_limit)

    @staticmethod
    def _stored(results: ResultCache, key: str, waiting: Cancellation) -> pa.RecordBatchReader | None:
        """The result, if it is there, or is when somebody else's equal query has ended."""
        while (result := results.find(key)) is None:
            if not results.wait(key, waiting.check):
                return None
        return result
