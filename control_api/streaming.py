"""One statement of one request: run in worker threads, sent as it comes, stopped when nobody listens.

The engine is asked for a batch only when the one before is on its way, so a client that reads
slowly slows the engine down, and never more than two chunks are in memory.
"""

import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import anyio
import pyarrow as pa
from anyio import CapacityLimiter, to_thread
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from control_api.formats import Format, ResultHead
from control_api.options import ControlUseCases
from flight_core.application.ports.clock import new_id
from flight_core.application.queries.running import RunningQuery
from flight_core.domain.access import Actor
from flight_core.domain.errors import Cancelled, DeadlineExceeded, FlightCoreError
from flight_core.domain.lineage import versions_read
from flight_core.domain.query import Outcome, Statement, StatementKind

logger = logging.getLogger(__name__)

DOOR = "http"

_POLL_S = 0.2
_LAST_WORDS_S = 0.5

T = TypeVar("T")


class Once(Protocol):
    def __call__(
        self, make: Callable[[], T], *, id_of: Callable[[T], str], again: Callable[[str], T], body: bytes
    ) -> T:
        """See `control_api.once.Once.blocking`."""


class Run:
    """A statement on its way through the engine. All but `cancel` and `cancelled` block: call them
    from worker threads, one at a time. `cancel` works from any thread, whatever the others do.

    `once`: a statement that changes something is run unless it was; then the answer has no rows."""

    def __init__(
        self,
        use_cases: ControlUseCases,
        statement: Statement,
        *,
        actor: Actor,
        format: Format,
        reads_only: bool = False,
        once: Once | None = None,
    ) -> None:
        self._use_cases = use_cases
        self._statement = statement
        self._actor = actor
        self.format = format
        self._reads_only = reads_only
        self._once = once
        self._cancelled = False
        self._running: RunningQuery | None = None
        self._chunks: Iterator[bytes] = iter(())
        self.query_id = new_id()
        self.head: ResultHead | None = None

    def start(self) -> bytes | None:
        """Open the statement and produce the first chunk, with the first rows; None: there is nothing.

        Raises as `OpenQuery` and `RunStatement`.
        """
        if self._reads_only or self._kind() is StatementKind.READ:
            self._read()
        else:
            self._run_at_once()
        return self.next()

    def next(self) -> bytes | None:
        """The next chunk; None at the end, when all that the run held is free again."""
        chunk = next(self._chunks, None)
        if chunk is None:
            self.close()
        return chunk

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked for it to stop, here or through the list of queries."""
        return self._cancelled or (self._running is not None and self._running.cancelled)

    def cancel(self) -> None:
        self._cancelled = True
        self._use_cases.queries.log.stop(self.query_id, actor=self._actor)

    def close(self) -> None:
        if self._running is not None:
            self._running.close()

    def _kind(self) -> StatementKind:
        return self._use_cases.queries.classify(self._statement.sql, actor=self._actor)

    def _read(self) -> None:
        running = self._use_cases.queries.open(
            self._statement, actor=self._actor, door=DOOR, query_id=self.query_id
        )
        self._running = running
        self.head = ResultHead(
            running.schema, self.query_id, versions_read(running.pins), cache=running.cache.value
        )
        self._chunks = self.format.encode(self.head, running)

    def _run_at_once(self) -> None:
        if self._once is None:
            outcome = self._outcome()
        else:
            told = repr(self._statement).encode()
            outcome = self._once(self._outcome, id_of=self._id_of, again=self._again, body=told)
        self.head = ResultHead(
            outcome.table.schema,
            self.query_id,
            versions_read(outcome.pins),
            affected_rows=outcome.affected_rows,
        )
        self._chunks = self.format.encode(self.head, outcome.table.to_batches())

    def _outcome(self) -> Outcome:
        return self._use_cases.queries.run(
            self._statement,
            actor=self._actor,
            started=lambda _: None,  # the log of queries knows how to cancel it
            query_id=self.query_id,
        )

    def _id_of(self, outcome: Outcome) -> str:
        return json.dumps([self.query_id, outcome.affected_rows])

    def _again(self, made: str) -> Outcome:
        self.query_id, affected_rows = json.loads(made)
        return Outcome(pa.table({}), affected_rows)


@dataclass(frozen=True, slots=True)
class Streaming:
    """What all responses of one server share. Threads need no bound of their own: admission has one."""

    stall_timeout_s: float
    threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(math.inf))

    async def in_thread(self, work: Callable[[], T]) -> T:
        return await to_thread.run_sync(work, limiter=self.threads)


class QueryResponse(Response):
    """Sends the result of a run, and closes it at every end there is.

    Failures before the first rows are raised, for the error handlers; later ones break the
    connection, so that no client takes a part for the whole.
    """

    def __init__(self, run: Run, streaming: Streaming, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(media_type=run.format.media_type, headers={"Vary": "Accept", **(headers or {})})
        self._run = run
        self._streaming = streaming
        self._started = False
        self._finished = False
        self._client_gone = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        failure: FlightCoreError = Cancelled("the query was cancelled")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch_client, receive, tasks.cancel_scope)
            tasks.start_soon(self._watch_cancel, tasks.cancel_scope)
            try:
                await self._stream(send)
            except FlightCoreError as error:
                failure = error
            finally:
                if not self._finished:  # else nothing is left to be closed
                    with anyio.CancelScope(shield=True):
                        await self._streaming.in_thread(self._run.close)
            tasks.cancel_scope.cancel()
        if self._finished or self._client_gone:
            return
        if not self._started:
            raise failure
        await self._break_off(send, failure)

    async def _stream(self, send: Send) -> None:
        chunk = await self._streaming.in_thread(self._run.start)
        self._started = True
        await send({"type": "http.response.start", "status": 200, "headers": self._all_headers()})
        while chunk is not None:
            await self._send_chunk(send, chunk)
            chunk = await self._streaming.in_thread(self._run.next)
        self._finished = True
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_chunk(self, send: Send, chunk: bytes) -> None:
        stall_timeout_s = self._streaming.stall_timeout_s
        with anyio.move_on_after(stall_timeout_s) as patience:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if patience.cancelled_caught:
            raise DeadlineExceeded(f"the client read nothing for {stall_timeout_s:g} s")

    async def _break_off(self, send: Send, failure: FlightCoreError) -> None:
        """Return without the end of the body, which makes the server close the connection."""
        logger.warning("result broken off", extra={"query_id": self._run.query_id, "error": str(failure)})
        with anyio.move_on_after(_LAST_WORDS_S):
            await send({"type": "http.response.body", "body": self._run.format.torn, "more_body": True})

    def _all_headers(self) -> list[tuple[bytes, bytes]]:
        head = self._run.head
        assert head is not None
        self.headers["Skein-Query-Id"] = head.query_id
        if head.datasets:
            self.headers["Skein-Datasets"] = ", ".join(_versioned(*read) for read in head.datasets.items())
        if head.cache is not None:
            self.headers["Skein-Cache"] = head.cache
        if head.affected_rows is not None:
            self.headers["Skein-Affected-Rows"] = str(head.affected_rows)
        del self.headers["content-length"]
        return self.raw_headers

    async def _watch_client(self, receive: Receive, scope: anyio.CancelScope) -> None:
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        except anyio.get_cancelled_exc_class():
            if not self._finished:  # the whole request is to end: so has its query, for a thread that waits
                self._run.cancel()
            raise
        self._client_gone = True
        self._stop(scope)

    async def _watch_cancel(self, scope: anyio.CancelScope) -> None:
        while not self._run.cancelled:
            await anyio.sleep(_POLL_S)
        self._stop(scope)

    def _stop(self, scope: anyio.CancelScope) -> None:
        """A blocked thread ends because its query does; waiting for the client ends here."""
        self._run.cancel()
        scope.cancel()


@dataclass(frozen=True, slots=True)
class Results:
    """Answers one request with the result of a statement, in the format that its client accepts."""

    use_cases: ControlUseCases
    caller: Actor
    streaming: Streaming
    format: Format

    def of(
        self,
        statement: Statement,
        *,
        reads_only: bool = False,
        once: Once | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> QueryResponse:
        run = Run(
            self.use_cases,
            statement,
            actor=self.caller,
            format=self.format,
            reads_only=reads_only,
            once=once,
        )
        return QueryResponse(run, self.streaming, headers=headers)


def _versioned(name: str, version: int) -> str:
    """As SQL names it; of several versions of one dataset, all but one have such names."""
    return name if "@" in name else f"{name}@v{version}"
