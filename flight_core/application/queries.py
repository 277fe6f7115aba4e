"""Planning and running reads, and knowing which ones run."""

import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from types import TracebackType
from typing import Self

import pyarrow as pa

from flight_core.application.admission import Admission
from flight_core.application.cancellation import Cancellation
from flight_core.application.ports.clock import Clock, NewId
from flight_core.application.ports.engine import Measured, Query
from flight_core.application.ports.results import Recording, ResultCache
from flight_core.application.reader import Reader
from flight_core.application.results import StoredQuery, result_key
from flight_core.domain.access import Actor, Scope
from flight_core.domain.errors import (
    Cancelled,
    FlightCoreError,
    LimitExceeded,
    PermissionDenied,
    QueryNotFound,
    TooManyQueries,
)
from flight_core.domain.limits import NO_LIMITS, Limits
from flight_core.domain.query import CacheUse, Pins, QueryPlan, QueryRecord, QueryState, Statement

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class QueryTotals:
    """Of the queries that ended since the start."""

    queries: int = 0
    rows: int = 0
    size_bytes: int = 0


class QueryLog:
    """The queries that run in this process, and the latest that ended. Thread-safe."""

    def __init__(
        self, clock: Clock, *, keep: int = 1000, ended: Callable[[QueryRecord], None] | None = None
    ) -> None:
        self.clock = clock
        self._ended = ended  # is told of each run
        self._keep = keep
        self._lock = threading.Lock()
        self._records: OrderedDict[str, QueryRecord] = OrderedDict()
        self._cancels: dict[str, dict[int, Callable[[], None]]] = {}  # one a run: tickets can be used again
        self._running: dict[int, QueryRecord] = {}  # each run
        self._measured: dict[str, Measured] = {}  # the latest run of each
        self._refused: OrderedDict[str, None] = OrderedDict()
        self._totals: dict[tuple[str, QueryState], QueryTotals] = {}
        self._cache_uses: Counter[CacheUse] = Counter()

    def begin(
        self, record: QueryRecord, cancel: Callable[[], None], *, measured: Measured | None = None
    ) -> None:
        """
        Raises:
            TooManyQueries: the actor has as many as they may.
        """
        with self._lock:
            self._require_room(record)
            if measured is not None:
                self._measured[record.query_id] = measured
            self._records[record.query_id] = record
            self._records.move_to_end(record.query_id)
            self._cancels.setdefault(record.query_id, {})[id(record)] = cancel
            self._running[id(record)] = record
            self._forget_the_oldest()
            refused = record.query_id in self._refused
        if refused:
            cancel()

    def _require_room(self, record: QueryRecord) -> None:
        if record.at_once is None or id(record) in self._running:
            return
        if sum(each.actor == record.actor for each in self._running.values()) >= record.at_once:
            raise TooManyQueries(
                f"{record.at_once} queries of '{record.actor}' run, and no more may at the same time; read or"
                " cancel some",
                limit=record.at_once,
            )

    def _forget_the_oldest(self) -> None:
        """Of those that have ended: what runs stays listed."""
        while len(self._records) > self._keep:
            ended = next((each for each in self._records if each not in self._cancels), None)
            if ended is None:
                return
            del self._records[ended]

    def end(self, record: QueryRecord, state: QueryState, error: str | None) -> None:
        with self._lock:
            record.state = state
            record.error = error
            record.finished_at = self.clock()
            record.unread_since = None
            runs = self._cancels[record.query_id]
            del runs[id(record)], self._running[id(record)]
            if not runs:
                del self._cancels[record.query_id]
                self._measured.pop(record.query_id, None)
            total = self._totals.get((record.door, state), QueryTotals())
            self._totals[record.door, state] = QueryTotals(
                total.queries + 1, total.rows + record.rows, total.size_bytes + record.size_bytes
            )
            self._cache_uses[record.cache] += 1
        if self._ended is not None:
            self._ended(record)
        logger.info(
            "query ended",
            extra={
                "query_id": record.query_id,
                "state": str(state),
                "actor": record.actor,
                "door": record.door,
                "rows": record.rows,
                "size_bytes": record.size_bytes,
                "cache": str(record.cache),
                "error": error,
            },
        )

    @contextmanager
    def running(self, record: QueryRecord, cancel: Callable[[], None]) -> Iterator[None]:
        """Log what runs at once, within the block."""
        record.state = QueryState.RUNNING
        with self.until_open(record, cancel):
            yield
        self.end(record, QueryState.SUCCEEDED, None)

    @contextmanager
    def until_open(self, record: QueryRecord, cancel: Callable[[], None]) -> Iterator[None]:
        """Log what waits and is planned within the block; it ends there only if the block fails."""
        self.begin(record, cancel)
        try:
            yield
        except BaseException as failure:
            code = failure.code if isinstance(failure, FlightCoreError) else FlightCoreError.code
            self.end(record, QueryState.CANCELLED if code == Cancelled.code else QueryState.FAILED, code)
            raise

    def cancel(self, query_id: str, *, actor: Actor) -> bool:
        """Ask a running query to stop; False if it has already ended.

        Raises:
            QueryNotFound: this process never ran it, or too long ago.
            PermissionDenied: it is somebody else's.
        """
        record = self.get(query_id)
        with self._lock:
            cancels = list(self._cancels.get(query_id, {}).values())
        if not actor.oversees(record.actor):
            raise PermissionDenied(f"query '{query_id}' belongs to another user")
        for cancel in cancels:
            cancel()
        return bool(cancels)

    def refuse(self, query_id: str) -> None:
        """Cancel a query that was planned and has not been run, should it come. The latest many are kept."""
        with self._lock:
            self._refused[query_id] = None
            while len(self._refused) > self._keep:
                self._refused.popitem(last=False)

    def get(self, query_id: str) -> QueryRecord:
        """
        Raises:
            QueryNotFound: this process never ran it, or too long ago.
        """
        with self._lock:
            if query_id in self._records:
                return self._seen(self._records[query_id])
        raise QueryNotFound(
            f"query '{query_id[:64]}' is not known here; it may have ended", query_id=query_id[:64]
        )

    def totals(self) -> Mapping[tuple[str, QueryState], QueryTotals]:
        """What has ended so far, by door and final state."""
        with self._lock:
            return dict(self._totals)

    def cache_uses(self) -> Mapping[CacheUse, int]:
        """How often the result cache answered what has ended so far, or did not."""
        with self._lock:
            return dict(self._cache_uses)

    def running_since(self) -> list[tuple[datetime, Pins]]:
        """When each run that has not ended began, and what it reads; nothing as long as that is not known."""
        with self._lock:
            return [(record.created_at, record.pins) for record in self._running.values()]

    def list(self) -> list[QueryRecord]:
        """Newest first."""
        with self._lock:
            return [self._seen(record) for record in reversed(self._records.values())]

    def _seen(self, record: QueryRecord) -> QueryRecord:
        measured = self._measured.get(record.query_id)
        progress = None if measured is None else measured.progress()
        if record.state is QueryState.SUCCEEDED:
            progress = 1.0
        return replace(record, progress=progress)


@dataclass(frozen=True, slots=True)
class CancelQuery:
    """See `QueryLog.cancel`."""

    log: QueryLog

    def __call__(self, query_id: str, *, actor: Actor) -> bool:
        return self.log.cancel(query_id, actor=actor)


class RunningQuery:
    """A query with what it holds, such as its admission slot. Iterate it, then close it; closing early
    stops it. `release` gives the slot back.

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
    ) -> None:
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
        log.begin(record, self.cancel, measured=query if isinstance(query, Measured) else None)

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
    def cancelled(self) -> bool:
        """Whether somebody asked for it to stop."""
        return self._cancelled

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        record = self._record
        record.state = QueryState.RUNNING
        try:
            for batch in self._batches():
                record.rows += batch.num_rows
                record.size_bytes += batch.get_total_buffer_size()  # a tenth of the cost of nbytes
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


@dataclass(frozen=True, slots=True)
class OpenQuery:
    """Start a read; raises as `QueryEngine.plan`, and TooManyStreams when no slot comes free.

    It is planned first, which pins versions and checks rights; where its result is in the cache it needs
    no slot.
    """

    reader: Reader
    admission: Admission
    log: QueryLog
    clock: Clock
    new_id: NewId
    results: ResultCache | None = None

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
        record = QueryRecord(query_id or self.new_id(), statement.sql, actor.name, door, self.clock())
        record.at_once = actor.limits.queries
        waiting = Cancellation()
        with self.log.until_open(record, waiting.request):
            query = self.reader.plan(statement, actor=actor, pins=pins)
            try:
                running = self._opened(statement, query, record, waiting, actor.limits)
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
        record = QueryRecord(query_id or self.new_id(), sql, actor.name, door, self.clock())
        record.at_once = actor.limits.queries
        release = self.admission.release
        try:
            return RunningQuery(query, record, self.log, release=release, limits=actor.limits)
        except BaseException:
            query.close()
            release()
            raise

    def _opened(
        self, statement: Statement, query: Query, record: QueryRecord, waiting: Cancellation, limits: Limits
    ) -> RunningQuery:
        recording = None
        key = result_key(statement, query) if self.results is not None else None
        if self.results is not None and key is not None:
            result = self._stored(self.results, key, waiting)
            if result is not None:
                record.cache = CacheUse.HIT
                query.close()
                stored = StoredQuery(result, query.pins)
                return RunningQuery(stored, record, self.log, release=lambda: None, limits=limits)
            record.cache = CacheUse.MISS
            recording = self.results.record(key, query.schema)
        try:
            self.admission.acquire(waiting.check)
        except BaseException:
            if recording is not None:
                recording.discard()
            raise
        release = self.admission.release
        return RunningQuery(query, record, self.log, release=release, recording=recording, limits=limits)

    @staticmethod
    def _stored(results: ResultCache, key: str, waiting: Cancellation) -> pa.RecordBatchReader | None:
        """The result, if it is there, or is when somebody else's equal query has ended."""
        while (result := results.find(key)) is None:
            if not results.wait(key, waiting.check):
                return None
        return result


def require_unguarded(actor: Actor) -> None:
    """
    Raises:
        PermissionDenied: the actor's statements have to stay apart from everybody else's.
    """
    if actor.guarded:
        raise PermissionDenied(
            f"'{actor.name}' may only read with SQL; ask for a token with the scope 'write' for all datasets"
        )


def require(actor: Actor, scope: Scope) -> None:
    """
    Raises:
        PermissionDenied: the actor lacks the scope.
    """
    if not actor.may(scope):
        raise PermissionDenied(f"'{actor.name}' may not {scope}; ask for a token with the scope '{scope}'")
