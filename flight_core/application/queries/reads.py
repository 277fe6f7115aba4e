"""Planning and starting reads."""

from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from flight_core.application.access.rights import require
from flight_core.application.ports.clock import NewId
from flight_core.application.ports.engine import Query
from flight_core.application.ports.results import ResultCache
from flight_core.application.queries.admission import Admission
from flight_core.application.queries.cancellation import Cancellation
from flight_core.application.queries.log import QueryLog
from flight_core.application.queries.reader import Reader
from flight_core.application.queries.results import StoredQuery, result_key
from flight_core.application.queries.running import RunningQuery
from flight_core.domain.access import Actor, Scope
from flight_core.domain.query import CacheUse, Pins, QueryPlan, QueryRecord, Statement


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
        """Called before a window of a result is computed, since the whole result, with that key, is not in
        the cache. Does not block."""


@dataclass(frozen=True, slots=True)
class OpenQuery:
    """Start a read.

    It is planned first, which pins versions and checks rights. Results in the cache, and windows of these,
    need no slot. `scrolled` is notified of windows that have to be computed. With `keeps_scrolled`, results
    are cached as those of scrolled queries, see `ResultCache.record`.

    Raises as `QueryEngine.plan`, and TooManyStreams if no slot is free in time.
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
        """The same for a query that is planned already, in a session, and has a slot."""
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
        """The wanted rows from the whole result, if that is in the cache."""
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
        """The result, if it is in the cache, or will be when an equal query that is running has ended."""
        while (result := results.find(key)) is None:
            if not results.wait(key, waiting.check):
                return None
        return result
