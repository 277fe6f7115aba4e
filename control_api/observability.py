"""What operators see: a line and a number for each request, and the state of the streams."""

import logging
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from uuid import uuid4

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from control_api.errors import problem_response
from control_api.options import ControlUseCases
from flight_core.domain.access import Actor
from flight_core.domain.access import Scope as AccessScope
from flight_core.domain.errors import FlightCoreError
from flight_core.domain.job import JobFilter, JobState, Task

logger = logging.getLogger(__name__)

REQUEST_ID = "X-Request-Id"

_USABLE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_RECENT_JOBS = 1000


class Requests:
    """Gives each request an id, counts and logs it, and turns surprises into `internal_error`."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        labels = ["method", "route", "status"]
        self._count = Counter("skein_http_requests", "HTTP requests answered.", labels, registry=registry)
        self._seconds = Histogram(
            "skein_http_request_seconds", "Until the last byte was sent.", ["route"], registry=registry
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        started_at = time.monotonic()
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            logger.exception("request failed", extra={"request_id": request_id, "path": scope["path"]})
            if status == 0:
                await problem_response(scope, error)(scope, receive, watched)
        finally:
            self._note(scope, status, time.monotonic() - started_at)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        method = scope.get("method", "WEBSOCKET")
        self._count.labels(method if method in _METHODS else "WEBSOCKET", route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        actor = scope.get("state", {}).get("actor")
        logger.info(
            "request",
            extra={
                "method": method,
                "path": scope["path"],
                "status": status,
                "seconds": round(seconds, 4),
                "actor": actor.name if actor else None,
                "request_id": scope["state"]["request_id"],
            },
        )


def _request_id(scope: Scope) -> str:
    """The client's own, if it is fit for a log."""
    given = Headers(scope=scope).get(REQUEST_ID, "")
    return given if _USABLE_ID.fullmatch(given) else uuid4().hex


class EngineCollector(Collector):
    """Looks at the streams, queries and jobs whenever the metrics are read."""

    def __init__(self, use_cases: ControlUseCases) -> None:
        self._use_cases = use_cases

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        admission = self._use_cases.queries.admission
        yield _gauge("skein_streams_open", "Result streams that are open.", admission.open_streams)
        yield _gauge("skein_streams_waiting", "Queries that wait for a stream.", admission.waiting)
        yield from self._queries()
        yield self._jobs()
        with suppress(FlightCoreError):  # the engine is being opened again, or closed
            yield from self._resources()

    def _queries(self) -> Iterable[Metric]:
        log = self._use_cases.queries.log
        running = [record for record in log.list() if record.finished_at is None]
        yield _gauge("skein_queries_running", "Queries that have not ended.", len(running))
        ended = CounterMetricFamily("skein_queries", "Queries that ended.", labels=["door", "state"])
        rows = CounterMetricFamily(
            "skein_query_rows", "Rows produced by queries that ended.", labels=["door"]
        )
        sizes = CounterMetricFamily(
            "skein_query_bytes", "Bytes, as Arrow, produced by queries that ended.", labels=["door"]
        )
        for (door, state), total in log.totals().items():
            ended.add_metric([door, state.value], total.queries)
        for door in sorted({door for door, _ in log.totals()}):
            of_door = [total for (each, _), total in log.totals().items() if each == door]
            rows.add_metric([door], sum(total.rows for total in of_door))
            sizes.add_metric([door], sum(total.size_bytes for total in of_door))
        errors = CounterMetricFamily("skein_query_errors", "Queries that failed.", labels=["code"])
        for code, count in log.errors().items():
            errors.add_metric([code], count)
        yield from (ended, rows, sizes, errors)
        yield from self._cache()

    def _cache(self) -> Iterable[Metric]:
        uses = CounterMetricFamily(
            "skein_cache_reads", "Queries that ended, by what the result cache did.", labels=["outcome"]
        )
        for outcome, count in self._use_cases.queries.log.cache_uses().items():
            uses.add_metric([outcome.value], count)
        yield uses
        if self._use_cases.queries.results is not None:
            usage = self._use_cases.queries.results.usage()
            yield _gauge("skein_cache_entries", "Results in the cache.", usage.entries)
            yield _gauge("skein_cache_bytes", "What they take on the disk.", usage.size_bytes)

    def _resources(self) -> Iterable[Metric]:
        now = self._use_cases.resources()
        engine = now.engine
        yield _gauge("skein_engine_memory_bytes", "What the SQL engine holds in memory.", engine.memory_bytes)
        limit = engine.memory_limit_bytes
        yield _gauge("skein_engine_memory_limit_bytes", "What that may be.", limit)
        yield _gauge("skein_engine_spilled_bytes", "What it has spilled to disk.", engine.spilled_bytes)
        yield _gauge("skein_disk_free_bytes", "Of the disk of the data directory.", now.disk_free_bytes)

    def _jobs(self) -> Metric:
        jobs = GaugeMetricFamily("skein_ingestions", "Of the latest 1000 ingestions.", labels=["state"])
        ingestions = JobFilter(tasks=frozenset({Task.INGEST}))
        found = self._use_cases.jobs.list(ingestions, actor=_OPERATOR, limit=_RECENT_JOBS)
        for state in JobState:
            jobs.add_metric([state.value], sum(job.state is state for job in found))
        return jobs


_OPERATOR = Actor("metrics", frozenset({AccessScope.READ}))


def _gauge(name: str, help: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help, value=value)
