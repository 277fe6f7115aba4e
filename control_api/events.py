"""Following the log of events: one subscription, delivered over a WebSocket or as server-sent events."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import anyio
from anyio import to_thread
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from flight_core.application.ports.clock import Clock
from flight_core.application.ports.events import EventFeed
from flight_core.domain.access import EVERYTHING, LOCAL, Actor
from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import FlightCoreError, InvalidDatasetName
from flight_core.domain.events import EventKind, StoredEvent
from flight_core.domain.repositories import EventRepository
from schemas.events import RESUMABLE, TYPE_PREFIX, ControlKind, EventMessage

CLOSE_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class Filter:
    """Empty sets let everything through. `datasets` are patterns (`*`, `?`, `[...]`) in lower case.

    Events of datasets that the actor does not see never pass.
    """

    datasets: frozenset[str] = frozenset()
    kinds: frozenset[EventKind] = frozenset()
    jobs: frozenset[str] = frozenset()
    actor: Actor = LOCAL

    def __call__(self, stored: StoredEvent) -> bool:
        event = stored.event
        return (
            (not self.kinds or event.kind in self.kinds)
            and (not self.jobs or event.data.get("job") in self.jobs)
            and (not self.datasets or any(fnmatchcase(event.subject.lower(), one) for one in self.datasets))
            and self._sees(event.subject)
        )

    def _sees(self, subject: str) -> bool:
        if self.actor.datasets == EVERYTHING:
            return True
        with suppress(InvalidDatasetName):
            return self.actor.sees(DatasetName(subject))
        return False


@dataclass(frozen=True, slots=True)
class Subscription:
    """`after` None: from now on. A heartbeat follows `heartbeat_s` seconds without a message."""

    events: EventRepository
    feed: EventFeed
    clock: Clock
    heartbeat_s: float
    wanted: Filter = Filter()
    after: int | None = None

    async def messages(self) -> AsyncGenerator[EventMessage, None]:
        """A hello, then every event that is wanted, in order; a reset where the log has forgotten some.

        Ends only when the feed does, as the server stops.
        """
        oldest, newest = await to_thread.run_sync(self.events.bounds)
        start = newest if self.after is None else min(max(self.after, oldest - 1), newest)
        yield self._control(ControlKind.HELLO, start, oldest=oldest, newest=newest)
        if self.after not in (None, start):
            yield self._control(ControlKind.RESET, start, oldest=oldest, newest=newest)
        async with aclosing(self._ticks(start)) as ticks:
            position = start
            async for stored in ticks:
                if stored is None:
                    yield self._control(ControlKind.HEARTBEAT, position)
                    continue
                if stored.seq > position + 1:
                    yield self._control(ControlKind.RESET, stored.seq - 1)
                position = stored.seq
                if self.wanted(stored):
                    yield _message(stored)

    def error(self, position: str, failure: FlightCoreError) -> EventMessage:
        """What the client said makes no sense; the stream goes on as it was."""
        return EventMessage(
            id=position,
            type=TYPE_PREFIX + ControlKind.ERROR,
            time=self.clock(),
            data={"code": failure.code, "detail": str(failure)},
        )

    async def _ticks(self, start: int) -> AsyncGenerator[StoredEvent | None, None]:
        """Every event, wanted or not; None whenever no message was due for a heartbeat's time."""
        feed = self.feed.subscribe(after=start)
        clock = asyncio.get_running_loop().time
        due = clock() + self.heartbeat_s
        coming = asyncio.ensure_future(anext(feed))
        try:
            while True:
                await asyncio.wait({coming}, timeout=max(0.0, due - clock()))
                if clock() >= due:
                    due = clock() + self.heartbeat_s
                    yield None
                elif coming.done():
                    stored = coming.result()
                    coming = asyncio.ensure_future(anext(feed))
                    if self.wanted(stored):
                        due = clock() + self.heartbeat_s
                    yield stored
        except StopAsyncIteration:
            return
        finally:
            coming.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration):
                await coming

    def _control(self, kind: ControlKind, position: int, **data: int) -> EventMessage:
        return EventMessage(id=str(position), type=TYPE_PREFIX + kind, time=self.clock(), data=dict(data))


def _message(stored: StoredEvent) -> EventMessage:
    event = stored.event
    return EventMessage(
        id=str(stored.seq),
        type=TYPE_PREFIX + event.kind,
        subject=event.subject,
        time=event.occurred_at,
        data=dict(event.data),
    )


# From what the client said and where the stream is, another subscription. Raises InvalidRequest.
Resubscribe = Callable[[object], Subscription]


class SocketFollower:
    """Delivers over an accepted WebSocket, until the client or the server ends it.

    A client may say what it wants from now on. One that is too slow is closed as resumable, or, where
    not even that gets through, cut off.
    """

    def __init__(
        self, socket: WebSocket, subscription: Subscription, resubscribe: Resubscribe, *, timeout_s: float
    ) -> None:
        self._socket = socket
        self._subscription = subscription
        self._resubscribe = resubscribe
        self._timeout_s = timeout_s
        self._position = "0"
        self._next: Subscription | None = None
        self._gone = False

    async def run(self) -> None:
        slow = False
        while not (slow or self._gone):
            slow = await _deliver(self._subscription, self._take, (self._listen,), self._timeout_s)
            if self._next is None:
                break
            self._subscription, self._next = self._next, None
        reason = f"too slow; resume with after={self._position}" if slow else "the server stops"
        with anyio.move_on_after(CLOSE_TIMEOUT_S), suppress(RuntimeError, WebSocketDisconnect):
            await self._socket.close(RESUMABLE, reason)

    async def _take(self, message: EventMessage) -> None:
        with suppress(WebSocketDisconnect):  # `_listen` ends the delivery
            await self._socket.send_text(message.model_dump_json(exclude_none=True))
            self._position = message.id

    async def _listen(self) -> None:
        """Until the client leaves, or wants something else."""
        while (said := await self._socket.receive())["type"] != "websocket.disconnect":
            try:
                wanted = self._resubscribe(_json(said.get("text")))
            except FlightCoreError as failure:
                await self._take(self._subscription.error(self._position, failure))
                continue
            here = int(self._position)
            self._next = wanted if wanted.after is not None else replace(wanted, after=here)
            return
        self._gone = True


def _json(text: str | None) -> object:
    try:
        return json.loads(text or "")
    except (ValueError, RecursionError):
        return None


class EventStreamResponse(Response):
    """The same as server-sent events. A client that is too slow is cut off; browsers resume on their own."""

    media_type = "text/event-stream"

    def __init__(self, subscription: Subscription, *, timeout_s: float, stopping: asyncio.Event) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._subscription = subscription
        self._timeout_s = timeout_s
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        async def take(message: EventMessage) -> None:
            data = message.model_dump_json(exclude_none=True)
            text = f"id: {message.id}\nevent: {message.type}\ndata: {data}\n\n"
            await send({"type": "http.response.body", "body": text.encode(), "more_body": True})

        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await _deliver(self._subscription, take, (gone, self._stopping.wait), self._timeout_s)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _deliver(
    subscription: Subscription,
    take: Callable[[EventMessage], Awaitable[None]],
    ends: Sequence[Callable[[], Awaitable[object]]],
    timeout_s: float,
) -> bool:
    """Until the feed or one of `ends` does; whether the client did not take a message in time."""
    slow = False
    async with anyio.create_task_group() as tasks:

        async def watch(end: Callable[[], Awaitable[object]]) -> None:
            await end()
            tasks.cancel_scope.cancel()

        for end in ends:
            tasks.start_soon(watch, end)
        async with aclosing(subscription.messages()) as messages:
            async for message in messages:
                with anyio.move_on_after(timeout_s) as patience:
                    await take(message)
                if patience.cancelled_caught:
                    slow = True
                    break
        tasks.cancel_scope.cancel()
    return slow
