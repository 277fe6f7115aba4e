"""Following the log of events: one subscription, delivered over a WebSocket or as server-sent events."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache

import anyio
from anyio import to_thread
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from flight_core.application.failures import failure_to_tell
from flight_core.application.ports.clock import Clock
from flight_core.application.ports.events import EventFeed
from flight_core.application.ports.tracing import UNTRACED, Tracer
from flight_core.domain.access import EVERYTHING, LOCAL, Actor
from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import FlightCoreError, InvalidDatasetName
from flight_core.domain.events import EventKind, StoredEvent
from flight_core.domain.repositories.events import EventRepository
from schemas.events import RESUMABLE, TYPE_PREFIX, ControlKind, EventMessage

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 1.0
FAILED = 1011
_MAX_REASON = 120  # bytes of a close frame


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
class Message:
    """As it travels. `id` is where to resume."""

    id: int
    type: str
    json: str

    @classmethod
    def of(cls, message: EventMessage) -> "Message":
        return cls(int(message.id), message.type, message.model_dump_json(exclude_none=True))


@dataclass(frozen=True, slots=True)
class Subscription:
    """`after` None: from now on. A heartbeat follows `heartbeat_s` seconds without a message."""

    events: EventRepository
    feed: EventFeed
    clock: Clock
    heartbeat_s: float
    wanted: Filter = Filter()
    after: int | None = None

    async def batches(self) -> AsyncGenerator[Sequence[Message]]:
        """A hello, then every event that is wanted, in order; a reset where the log has forgotten some.

        As many messages at once as there are. Never ends.
        """
        oldest, newest = await to_thread.run_sync(self.events.bounds)
        position = newest if self.after is None else min(max(self.after, oldest - 1), newest)
        greeting = (
            [ControlKind.HELLO] if self.after in (None, position) else [ControlKind.HELLO, ControlKind.RESET]
        )
        yield [self._control(kind, position, oldest=oldest, newest=newest) for kind in greeting]
        due = anyio.current_time() + self.heartbeat_s
        while True:
            events = await self.feed.after(position, wait_s=due - anyio.current_time())
            batch = list(self._told(events, position))
            if events:
                position = events[-1].seq
            if not batch and anyio.current_time() >= due:
                batch = [self._control(ControlKind.HEARTBEAT, position)]
            if batch:
                due = anyio.current_time() + self.heartbeat_s
                yield batch

    def _told(self, events: Sequence[StoredEvent], position: int) -> Iterator[Message]:
        for stored in events:
            if stored.seq > position + 1:
                yield self._control(ControlKind.RESET, stored.seq - 1)
            position = stored.seq
            if self.wanted(stored):
                yield _message(stored)

    def error(self, position: int, failure: FlightCoreError) -> Message:
        """What the client said makes no sense, and the stream goes on as it was; or the stream ends here."""
        return self._control(ControlKind.ERROR, position, code=failure.code, detail=str(failure))

    def _control(self, kind: ControlKind, position: int, **data: object) -> Message:
        type = TYPE_PREFIX + kind
        return Message.of(EventMessage(id=str(position), type=type, time=self.clock(), data=data))


@lru_cache(maxsize=256)  # many are told the same at about the same time
def _message(stored: StoredEvent) -> Message:
    event = stored.event
    return Message.of(
        EventMessage(
            id=str(stored.seq),
            type=TYPE_PREFIX + event.kind,
            subject=event.subject,
            time=event.occurred_at,
            data=dict(event.data),
        )
    )


# From what the client said and where the stream is, another subscription. Raises InvalidRequest.
Resubscribe = Callable[[object], Subscription]


def failure_of(error: Exception) -> FlightCoreError:
    """What clients are told of a failure that came out of a group of tasks."""
    cause: BaseException = error
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    failure = failure_to_tell(cause)
    logger.warning("a stream failed", extra={"error": str(failure)})
    return failure


async def close(socket: WebSocket, code: int, reason: str) -> None:
    """Unless it is closed already."""
    cut = reason.encode()[:_MAX_REASON].decode(errors="ignore")
    with anyio.move_on_after(CLOSE_TIMEOUT_S), suppress(RuntimeError, WebSocketDisconnect):
        await socket.close(code, cut)


class SocketFollower:
    """Delivers over an accepted WebSocket, until the client or the server ends it.

    A client may say what it wants from now on. One that is too slow is closed as resumable, or, where
    not even that gets through, cut off.
    """

    def __init__(
        self,
        socket: WebSocket,
        subscription: Subscription,
        resubscribe: Resubscribe,
        *,
        timeout_s: float,
        tracer: Tracer = UNTRACED,
    ) -> None:
        self._tracer = tracer
        self._socket = socket
        self._subscription = subscription
        self._resubscribe = resubscribe
        self._timeout_s = timeout_s
        self._position = 0
        self._messages = 0  # of the present subscription
        self._next: Subscription | None = None
        self._gone = False

    async def run(self) -> None:
        slow = False
        try:
            while not (slow or self._gone):
                slow = await self._follow()
                if self._next is None:
                    break
                self._subscription, self._next = self._next, None
        except Exception as error:
            await close(self._socket, FAILED, str(failure_of(error)))
            return
        reason = f"too slow; resume with after={self._position}" if slow else "the server stops"
        await close(self._socket, RESUMABLE, reason)

    async def _follow(self) -> bool:
        """The present subscription, until it ends; whether the client was too slow for it."""
        self._messages = 0
        span = self._tracer.start("events", {"actor": self._subscription.wanted.actor.name})
        slow = False
        try:
            with span.current():
                slow = await _deliver(self._subscription, self._take, (self._listen,), self._timeout_s)
        finally:
            span.end({"messages": self._messages, "slow": slow})
        return slow

    async def _take(self, message: Message) -> None:
        with suppress(WebSocketDisconnect):  # `_listen` ends the delivery
            await self._socket.send_text(message.json)
            self._position = message.id
            self._messages += 1

    async def _listen(self) -> None:
        """Until the client leaves, or wants something else."""
        while (said := await self._socket.receive())["type"] != "websocket.disconnect":
            try:
                wanted = self._resubscribe(_json(said.get("text")))
            except FlightCoreError as failure:
                await self._take(self._subscription.error(self._position, failure))
                continue
            self._next = wanted if wanted.after is not None else replace(wanted, after=self._position)
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

        position = 0

        async def take(message: Message) -> None:
            nonlocal position
            position = message.id
            text = f"id: {message.id}\nevent: {message.type}\ndata: {message.json}\n\n"
            await send({"type": "http.response.body", "body": text.encode(), "more_body": True})

        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            await _deliver(self._subscription, take, (gone, self._stopping.wait), self._timeout_s)
        except Exception as error:
            await take(self._subscription.error(position, failure_of(error)))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _deliver(
    subscription: Subscription,
    take: Callable[[Message], Awaitable[None]],
    ends: Sequence[Callable[[], Awaitable[object]]],
    timeout_s: float,
) -> bool:
    """Until one of `ends` does; whether it ended since the client did not take a message in time."""
    clock = asyncio.get_running_loop().time
    begun_at: float | None = None  # of the message that is under way
    slow = False

    async def lose_patience() -> None:  # a timer for each message would cost more than the message
        nonlocal slow
        while (left_s := timeout_s if begun_at is None else begun_at + timeout_s - clock()) > 0:
            await anyio.sleep(left_s)
        slow = True

    async with anyio.create_task_group() as tasks:

        async def watch(end: Callable[[], Awaitable[object]]) -> None:
            await end()
            tasks.cancel_scope.cancel()

        for end in (*ends, lose_patience):
            tasks.start_soon(watch, end)
        async with aclosing(subscription.batches()) as batches:
            async for messages in batches:
                for message in messages:
                    begun_at = clock()
                    await take(message)
                    begun_at = None
                    await asyncio.sleep(0)  # let others have theirs
    return slow
