"""Live queries over one WebSocket.

Each subscription is a task that reads a result, sends it, and waits for the log of events to tell of a
dataset that it reads. It holds a slot and a cursor only while a result is on its way.
"""

from contextlib import suppress

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup
from pydantic import BaseModel, ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from control_api.errors import first_fault
from control_api.events import FAILED, close, failure_of
from control_api.live_subscription import Live, Reading
from control_api.options import ControlOptions, ControlUseCases
from control_api.streaming import Streaming
from flight_core.domain.access import Actor
from flight_core.domain.errors import (
    Conflict,
    DeadlineExceeded,
    FlightCoreError,
    InvalidRequest,
    LimitExceeded,
)
from flight_core.domain.lineage import versions_read
from flight_core.domain.query import Statement, as_parameters
from schemas import live as wire
from schemas.events import RESUMABLE

DOOR = "websocket"
MAX_SUBSCRIPTIONS = 64


class LiveSocket:
    """Serves an accepted WebSocket until the client or the server ends it."""

    def __init__(
        self,
        socket: WebSocket,
        use_cases: ControlUseCases,
        options: ControlOptions,
        streaming: Streaming,
        actor: Actor,
    ) -> None:
        self._socket = socket
        self._use_cases = use_cases
        self._stall_timeout_s = options.stall_timeout_s
        self._tracer = options.tracer
        self._streaming = streaming
        self._actor = actor
        self._subscriptions: dict[str, Live] = {}
        self._channels = 0
        self._slow = False
        self._scope = anyio.CancelScope()

    async def run(self) -> None:
        try:
            await self._run()
        except Exception as error:
            await close(self._socket, FAILED, str(failure_of(error)))

    async def _run(self) -> None:
        _, newest = await to_thread.run_sync(self._use_cases.events.log.bounds)
        with self._scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._follow_log, newest)
                try:
                    await self._listen(tasks)
                finally:
                    self._end()
        if self._slow:
            await close(self._socket, RESUMABLE, "too slow; subscribe again")

    async def _follow_log(self, newest: int) -> None:
        while True:
            for stored in await self._use_cases.events.feed.after(newest):
                forgotten = stored.seq > newest + 1
                newest = stored.seq
                for live in self._subscriptions.values():
                    if forgotten or stored.event.subject.lower() in live.query.datasets:
                        live.wake()

    async def _listen(self, tasks: TaskGroup) -> None:
        while (said := await self._socket.receive())["type"] != "websocket.disconnect":
            try:
                request = _request(said.get("text"))
            except InvalidRequest as failure:
                await self._refuse(None, failure, ended=False)
                continue
            if request.subscribe is not None:
                await self._subscribe(request.subscribe, tasks)
            else:
                await self._change(request)

    async def _subscribe(self, asked: wire.LiveSubscription, tasks: TaskGroup) -> None:
        try:
            if asked.id in self._subscriptions:
                raise Conflict(f"this socket has a subscription '{asked.id}' already; choose another id")
            if len(self._subscriptions) >= MAX_SUBSCRIPTIONS:
                raise LimitExceeded(
                    f"a socket has up to {MAX_SUBSCRIPTIONS} live queries; unsubscribe some, or open another"
                )
            query = self._use_cases.queries.follow(
                Statement(asked.sql, as_parameters(asked.params), asked.limit),
                actor=self._actor,
                door=DOOR,
                whole=asked.mode == "refresh",
            )
        except FlightCoreError as failure:
            await self._refuse(asked.id, failure, ended=asked.id not in self._subscriptions)
            return
        self._channels += 1
        live = Live(asked, query, self._channels)
        self._subscriptions[live.id] = live
        await self._say(wire.Subscribed(id=live.id, channel=live.channel))
        tasks.start_soon(self._serve, live)

    async def _change(self, request: wire.LiveRequest) -> None:
        reference = request.unsubscribe or request.pause or request.resume or request.grant
        assert reference is not None
        live = self._subscriptions.get(reference.id)
        if live is None:
            failure = InvalidRequest(f"this socket has no subscription '{reference.id}'; it may have ended")
            await self._refuse(reference.id, failure, ended=False)
        elif request.grant is not None:
            live.grant(request.grant.batches)
        elif request.unsubscribe is not None:
            live.stop()
        else:
            live.pause(paused=request.pause is not None)
            await self._say(wire.LiveState(type="paused" if live.paused else "resumed", id=live.id))

    async def _serve(self, live: Live) -> None:
        failure: FlightCoreError | None = None
        span = self._tracer.start("live query", {"actor": self._actor.name, "door": DOOR, "sql": live.sql})
        try:
            with span.current():
                failure = await self._until_over(live)
        finally:
            code = None if failure is None else failure.code
            span.end({"results": live.number, "rows": live.rows}, error=code)
        del self._subscriptions[live.id]
        if failure is None:
            await self._say(wire.LiveState(type="unsubscribed", id=live.id))
        else:
            await self._refuse(live.id, failure, ended=True)

    async def _until_over(self, live: Live) -> FlightCoreError | None:
        """What made it end; None if it was stopped."""
        failure: FlightCoreError | None = None
        try:
            with live.scope:
                await self._results(live)
        except FlightCoreError as error:
            failure = error
        except Exception as error:
            failure = failure_of(error)
        return None if live.scope.cancel_called else failure  # the query failed because it was stopped

    async def _results(self, live: Live) -> None:
        while True:
            news = live.look()
            due = live.may_send and not live.paused
            if due and await self._streaming.in_thread(live.query.changed):
                await self._send_result(live)
                await anyio.sleep(live.interval_s)
            else:
                await news.wait()

    async def _send_result(self, live: Live) -> None:
        reading = Reading(live.query, self._use_cases.queries.log, live.channel)
        live.reading = reading
        try:
            result = await self._streaming.in_thread(reading.start)
            live.number += 1
            await self._say(
                wire.ResultBegins(
                    id=live.id,
                    channel=live.channel,
                    number=live.number,
                    mode="append" if result.added else "refresh",
                    datasets=versions_read(result.pins),
                    query_id=reading.query_id,
                )
            )
            while (frame := await self._streaming.in_thread(reading.next)) is not None:
                await self._wait_for_credit(live)
                await self._send(frame)
        finally:
            live.reading = None
            live.rows += reading.rows
            with anyio.CancelScope(shield=True):
                await self._streaming.in_thread(reading.close)
        await self._say(
            wire.ResultEnds(id=live.id, number=live.number, batches=reading.sent, rows=reading.rows)
        )

    async def _wait_for_credit(self, live: Live) -> None:
        with anyio.move_on_after(self._stall_timeout_s):
            while not live.may_send:
                await live.look().wait()
        if not live.may_send:
            raise DeadlineExceeded(
                f"no batch was granted for {self._stall_timeout_s:g} s, so the query was stopped; grant some"
                " in time, or raise SKEIN_STALL_TIMEOUT_S"
            )
        live.spend()

    async def _refuse(self, id: str | None, failure: FlightCoreError, *, ended: bool) -> None:
        await self._say(
            wire.LiveError(
                id=id, code=failure.code, detail=str(failure), retryable=failure.retryable, ended=ended
            )
        )

    async def _say(self, message: BaseModel) -> None:
        await self._send(message.model_dump_json(exclude_none=True))

    async def _send(self, frame: str | bytes) -> None:
        """Ends everything if the client takes nothing for too long."""
        with suppress(WebSocketDisconnect), anyio.move_on_after(self._stall_timeout_s) as patience:
            if isinstance(frame, str):
                await self._socket.send_text(frame)
            else:
                await self._socket.send_bytes(frame)
        if patience.cancelled_caught:
            self._slow = True
            self._end()

    def _end(self) -> None:
        """Threads that wait for the engine end because their queries do."""
        for live in self._subscriptions.values():
            live.stop()
        self._scope.cancel()


def _request(text: str | None) -> wire.LiveRequest:
    """
    Raises:
        InvalidRequest
    """
    try:
        request = wire.LiveRequest.model_validate_json(text or "")
    except ValidationError as error:
        raise InvalidRequest(first_fault(error)) from None
    if len(request.model_fields_set) != 1 or None in request.model_dump(exclude_unset=True).values():
        known = ", ".join(wire.LiveRequest.model_fields)
        raise InvalidRequest(f"say one thing at a time: an object with one of {known}")
    return request
