"""Following the durable log of events by asking it."""

from collections.abc import AsyncIterator, Sequence
from functools import partial

import anyio
import anyio.to_thread

from flight_core.domain.events import StoredEvent
from flight_core.domain.repositories import EventRepository


class LogEventFeed:
    """See `EventFeed`. Belongs to one event loop; has nothing to start, stop or clean up.

    Every subscriber reads the log for itself, so a slow one holds up nobody and nothing is buffered
    for it. Of those who have read everything one at a time asks whether there is more, on behalf of
    all: an idle log is asked every `poll_s` seconds however many wait, and not at all if nobody does.
    What it finds is kept until the next time, for the others.
    """

    def __init__(self, events: EventRepository, *, poll_s: float = 0.1, batch: int = 500) -> None:
        self._events = events
        self._poll_s = poll_s
        self._batch = batch
        self._asking = anyio.Lock()
        self._newest = 0
        self._latest: Sequence[StoredEvent] = ()

    async def subscribe(self, *, after: int | None = None) -> AsyncIterator[StoredEvent]:
        """`after` None: from the moment the first event is asked for."""
        seq = await self._newest_now() if after is None else after
        while True:
            known = self._newest
            events = self._kept_after(seq) or await self._read_after(seq)
            for event in events:
                seq = event.seq
                yield event
            if not events:
                seq = max(seq, known)  # what was between has been pruned
                await self._wait_beyond(seq)

    def _kept_after(self, seq: int) -> Sequence[StoredEvent]:
        """What is kept, if the event after `seq` is among it."""
        place = seq + 1 - self._latest[0].seq if self._latest else -1  # numbers have no gaps
        return self._latest[place:] if place >= 0 else ()

    async def _read_after(self, seq: int) -> Sequence[StoredEvent]:
        return await anyio.to_thread.run_sync(partial(self._events.after, seq, limit=self._batch))

    async def _wait_beyond(self, seq: int) -> None:
        while self._newest <= seq:
            async with self._asking:
                if self._newest <= seq:
                    await anyio.sleep(self._poll_s)
                    newest = await self._newest_now()
                    if newest > seq:
                        self._latest = await self._read_after(seq)
                    self._newest = max(self._newest, newest)

    async def _newest_now(self) -> int:
        _oldest, newest = await anyio.to_thread.run_sync(self._events.bounds)
        return newest
