"""The log of queries: which ones run, and which ones have run."""

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
    """Totals of the queries that have ended since the process started."""

    queries: int = 0
    rows: int = 0
    size_bytes: int = 0


@dataclass(slots=True)
class _Run:
    """One run of a query. A ticket can be used more than once, so a query may have several runs."""

    record: QueryRecord
    cancel: Callable[[], None]
    span: Span
    worker: Measured | None = None  # which knows the progress


class QueryLog:
    """The queries that run in this process, and the latest ones that have ended. Thread-safe.

    `keep` is the number of records that are kept. `ended` is called with the record of each run that has
    ended.
    """

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
        self._ended = ended
        self._tracer = tracer
        self._keep = keep
        self._lock = threading.Lock()
        self._records: OrderedDict[str, QueryRecord] = OrderedDict()  # the latest one of each query
        self._runs: dict[int, _Run] = {}  # by the `id` of the record
        self._refused: OrderedDict[str, dict[str, Actor]] = OrderedDict()  # by query: who refused, by name
        self._totals: dict[tuple[str, QueryState], QueryTotals] = {}
        self._cache_uses: Counter[CacheUse] = Counter()
        self._errors: Counter[str] = Counter()

    def record(self, sql: str, *, actor: Actor, door: str, query_id: str | None = None) -> QueryRecord:
        """A record for a query that is about to begin. Without a `query_id` it gets a new one."""
        record = QueryRecord(query_id or self._new_id(), sql, actor.name, door, self.clock())
        record.rights = actor.rights
        record.at_once = actor.limits.queries
        return record

    def begin(self, record: QueryRecord, cancel: Callable[[], None]) -> None:
        """Log the start of a run; called again with the same record, it only replaces `cancel`.

        Raises:
            TooManyQueries: the actor already runs as many queries as they may.
        """
        with self._lock:
            run = self._runs.get(id(record))
            if run is None:
                self._require_room(record)
                span = self._tracer.start("query", {**_identity(record), "sql": record.sql})
                self._runs[id(record)] = _Run(record, cancel, span)
                self._records[record.query_id] = record
                self._records.move_to_end(record.query_id)
                self._forget_the_oldest()
            else:
                run.cancel = cancel
            refusing = self._refused.get(record.query_id, {}).values()
            refused = any(actor.oversees(record.actor, record.rights) for actor in refusing)
        if refused:
            cancel()

    def measure(self, record: QueryRecord, worker: Measured) -> None:
        """Have the progress of a run that has begun asked from `worker`."""
        with self._lock:
            self._runs[id(record)].worker = worker

    def _require_room(self, record: QueryRecord) -> None:
        if record.at_once is None:
            return
        others = (run.record for run in self._runs.values() if run.record.door != OWN_DOOR)
        if sum(other.actor == record.actor for other in others) >= record.at_once:
            raise TooManyQueries(
                f"{record.at_once} queries of '{record.actor}' run, and no more may at the same time; read or"
                " cancel some",
                limit=record.at_once,
            )

    def _runs_of(self, query_id: str) -> list[_Run]:
        return [run for run in self._runs.values() if run.record.query_id == query_id]

    def _forget_the_oldest(self) -> None:
        """Forget the oldest queries that have ended. Those that run stay."""
        while len(self._records) > self._keep:
            ended = next((query_id for query_id in self._records if not self._runs_of(query_id)), None)
            if ended is None:
                return
            del self._records[ended]

    def end(self, record: QueryRecord, state: QueryState, error: str | None) -> None:
        with self._lock:
            record.state = state
            record.error = error
            record.finished_at = self.clock()
            record.unread_since = None
            span = self._runs.pop(id(record)).span
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
        """Log a run that takes place within the block."""
        record.state = QueryState.RUNNING
        with self.until_open(record, cancel):
            yield
        self.end(record, QueryState.SUCCEEDED, None)

    @contextmanager
    def until_open(self, record: QueryRecord, cancel: Callable[[], None]) -> Iterator[None]:
        """Log a run that is prepared within the block. If the block fails, so has the run; otherwise it goes
        on."""
        self.begin(record, cancel)
        try:
            yield
        except BaseException as failure:
            code = failure.code if isinstance(failure, FlightCoreError) else FlightCoreError.code
            self.end(record, QueryState.CANCELLED if code == Cancelled.code else QueryState.FAILED, code)
            raise

    def cancel(self, query_id: str, *, actor: Actor) -> bool:
        """Cancel all runs of a query; False if they have already ended.

        Raises:
            QueryNotFound: this process never ran it, or too long ago.
            PermissionDenied: it is somebody else's.
        """
        record = self.get(query_id)
        with self._lock:
            cancels = [run.cancel for run in self._runs_of(query_id)]
        if not actor.oversees(record.actor, record.rights):
            raise PermissionDenied(
                f"query '{query_id}' belongs to another user, or to a token with more rights"
            )
        for cancel in cancels:
            cancel()
        return bool(cancels)

    def refuse(self, query_id: str, *, actor: Actor) -> None:
        """Cancel a query as soon as it begins, if whoever runs it is somebody whose queries the actor may
        cancel. The latest `keep` refusals are kept."""
        with self._lock:
            self._refused.setdefault(query_id, {})[actor.name] = actor
            while len(self._refused) > self._keep:
                self._refused.popitem(last=False)

    def stop(self, query_id: str, *, actor: Actor) -> None:
        """Cancel a query of the actor's, even if it has not begun yet."""
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
        """Totals of the runs that have ended, by door and final state."""
        with self._lock:
            return dict(self._totals)

    def cache_uses(self) -> Mapping[CacheUse, int]:
        """The number of runs that have ended, by what the result cache did for them."""
        with self._lock:
            return dict(self._cache_uses)

    def errors(self) -> Mapping[str, int]:
        """The number of runs that have failed, by error code."""
        with self._lock:
            return dict(self._errors)

    def running_since(self) -> list[tuple[datetime, Pins]]:
        """The start of each run that has not ended, and the versions that it reads, which are empty as long
        as they are not known."""
        with self._lock:
            return [(run.record.created_at, run.record.pins) for run in self._runs.values()]

    def list(self) -> list[QueryRecord]:
        """Newest first."""
        with self._lock:
            return [self._seen(record) for record in reversed(self._records.values())]

    def _seen(self, record: QueryRecord) -> QueryRecord:
        """A copy with the present progress."""
        if record.state is QueryState.SUCCEEDED:
            return replace(record, progress=1.0)
        run = self._runs.get(id(record))
        worker = None if run is None else run.worker
        return replace(record, progress=None if worker is None else worker.progress())


def _identity(record: QueryRecord) -> dict[str, str]:
    return {"query_id": record.query_id, "actor": record.actor, "door": record.door}


@dataclass(frozen=True, slots=True)
class CancelQuery:
    """See `QueryLog.cancel`."""

    log: QueryLog

    def __call__(self, query_id: str, *, actor: Actor) -> bool:
        return self.log.cancel(query_id, actor=actor)
