"""Following the event log by polling."""

import asyncio
from collections.abc import Sequence
from functools import partial

import anyio
import anyio.to_thread

from flight_core.domain.events import StoredEvent
from flight_core.domain.repositories.events import EventRepository


class LogEventFeed:
    """See `EventFeed`. Belongs to one event loop; need not be started or closed.

    A single task polls the log for all subscribers that have read everything: every `poll_s` seconds, and not
    at all if there are none. All of them get the same events. A subscriber that is behind reads the log
    itself, so it holds up nobody, and nothing is kept for it.
    """

    def __init__(self, events: EventRepository, *, poll_s: float = 0.1, batch: int = 500) -> None:
        self._events = events
        self._poll_s = poll_s
        self._batch = batch
        self._newest = 0
        self._latest: Sequence[StoredEvent] = ()
        self._waiting = 0
        self._asking: asyncio.Task[None] | None = None

    async def after(self, seq: int, *, wait_s: float = float("inf")) -> Sequence[StoredEvent]:
        with anyio.move_on_after(wait_s):
            while True:
                while self._newest <= seq:
                    await self._news()
                known = self._newest
                if events := self._kept_after(seq) or await self._read_after(seq):
                    return events
                seq = known  # the events in between were pruned
        return ()

    async def _news(self) -> None:
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        self._waiting += 1
        try:
            await asyncio.shield(self._asking)
        finally:
            self._waiting -= 1

    async def _ask(self) -> None:
        """Poll until there are new events, or no subscriber waits."""
        known = self._newest
        while True:
            _oldest, newest = await anyio.to_thread.run_sync(self._events.bounds)
            if newest > known:
                self._latest = await self._read_after(max(known, newest - self._batch))
                self._newest = newest
                return
            await anyio.sleep(self._poll_s)
            if not self._waiting:
                return

    def _kept_after(self, seq: int) -> Sequence[StoredEvent]:
        """The kept events after `seq`; empty if the first of them is not kept."""
        place = seq + 1 - self._latest[0].seq if self._latest else -1  # numbers have no gaps
        return self._latest[place:] if place >= 0 else ()

    async def _read_after(self, seq: int) -> Sequence[StoredEvent]:
        return await anyio.to_thread.run_sync(partial(self._events.after, seq, limit=self._batch))
