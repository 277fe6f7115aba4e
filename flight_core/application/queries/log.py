"""Knowing which queries run, and which ran."""

import logging
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime

from flight_core.application.ports.clock import Clock, NewId
from flight_core.application.ports.engine import Measured
from flight_core.application.ports.tracing import UNTRACED, Fields, Span, Tracer
from flight_core.domain.access import Actor
from flight_core.domain.errors import (
    Cancelled,
    FlightCoreError,
    PermissionDenied,
    QueryNotFound,
    TooManyQueries,
)
from flight_core.domain.query import OWN_DOOR, CacheUse, Pins, QueryRecord, QueryState

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
        self,
        clock: Clock,
        new_id: NewId,
        *,
        keep: int = 1000,
        ended: Callable[[QueryRecord], None] | None = None,
        tracer: Tracer = UNTRACED,
    ) -> None:
        self.clock = clock
        self._new_id = new_id
        self._ended = ended  # is told of each run
        self._tracer = tracer
        self._keep = keep
        self._lock = threading.Lock()
        self._records: OrderedDict[str, QueryRecord] = OrderedDict()
        self._cancels: dict[str, dict[int, Callable[[], None]]] = {}  # one a run: tickets can be used again
        self._running: dict[int, QueryRecord] = {}  # each run
        self._spans: dict[int, Span] = {}  # of each run
        self._measured: dict[str, Measured] = {}  # the latest run of each
        self._refused: OrderedDict[str, dict[str, Actor]] = OrderedDict()  # and by whom, by their names
        self._totals: dict[tuple[str, QueryState], QueryTotals] = {}
        self._cache_uses: Counter[CacheUse] = Counter()
        self._errors: Counter[str] = Counter()

    def record(self, sql: str, *, actor: Actor, door: str, query_id: str | None = None) -> QueryRecord:
        """Of a query that is about to `begin`; without a `query_id` it gets one."""
        record = QueryRecord(query_id or self._new_id(), sql, actor.name, door, self.clock())
        record.at_once = actor.limits.queries
        return record

    def begin(self, record: QueryRecord, cancel: Callable[[], None]) -> None:
        """
        Raises:
            TooManyQueries: the actor has as many as they may.
        """
        with self._lock:
            self._require_room(record)
            self._records[record.query_id] = record
            self._records.move_to_end(record.query_id)
            self._cancels.setdefault(record.query_id, {})[id(record)] = cancel
            if id(record) not in self._running:
                self._spans[id(record)] = self._begun(record)
            self._running[id(record)] = record
            self._forget_the_oldest()
            refusing = self._refused.get(record.query_id, {}).values()
            refused = any(actor.oversees(record.actor) for actor in refusing)
        if refused:
            cancel()

    def measure(self, record: QueryRecord, worker: Measured) -> None:
        """What runs is done by `worker`: ask it how far that is."""
        with self._lock:
            self._measured[record.query_id] = worker

    def _begun(self, record: QueryRecord) -> Span:
        return self._tracer.start("query", {**_identity(record), "sql": record.sql})

    def _require_room(self, record: QueryRecord) -> None:
        if record.at_once is None or id(record) in self._running:
            return
        theirs = (each for each in self._running.values() if each.door != OWN_DOOR)
        if sum(each.actor == record.actor for each in theirs) >= record.at_once:
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
            span = self._spans.pop(id(record))
            if not runs:
                del self._cancels[record.query_id]
                self._measured.pop(record.query_id, None)
            total = self._totals.get((record.door, state), QueryTotals())
            self._totals[record.door, state] = QueryTotals(
                total.queries + 1, total.rows + record.rows, total.size_bytes + record.size_bytes
            )
            self._cache_uses[record.cache] += 1
            if error is not None and state is QueryState.FAILED:
                self._errors[error] += 1
        if self._ended is not None:
            self._ended(record)
        outcome: Fields = {
            "state": str(state),
            "rows": record.rows,
            "size_bytes": record.size_bytes,
            "cache": str(record.cache),
        }
        span.end(outcome, error=error if state is QueryState.FAILED else None)
        with span.current():
            logger.info("query ended", extra={**_identity(record), **outcome, "error": error})

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

    def refuse(self, query_id: str, *, actor: Actor) -> None:
        """Cancel a query that was planned and has not been run, should it come from somebody whose queries
        the actor may cancel. The latest many are kept."""
        with self._lock:
            self._refused.setdefault(query_id, {})[actor.name] = actor
            while len(self._refused) > self._keep:
                self._refused.popitem(last=False)

    def stop(self, query_id: str, *, actor: Actor) -> None:
        """Cancel a query of the actor's, also should it only be about to begin."""
        self.refuse(query_id, actor=actor)
        with suppress(QueryNotFound):
            self.cancel(query_id, actor=actor)

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

    def errors(self) -> Mapping[str, int]:
        """How often what has ended so far failed, by the code."""
        with self._lock:
            return dict(self._errors)

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


def _identity(record: QueryRecord) -> dict[str, str]:
    return {"query_id": record.query_id, "actor": record.actor, "door": record.door}


@dataclass(frozen=True, slots=True)
class CancelQuery:
    """See `QueryLog.cancel`."""

    log: QueryLog

    def __call__(self, query_id: str, *, actor: Actor) -> bool:
        return self.log.cancel(query_id, actor=actor)
