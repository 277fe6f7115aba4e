"""What one subscription to a live query is about, and a result of it on its way, in frames."""

import math
from collections.abc import Iterator

import anyio
import pyarrow as pa

from flight_core.application.ports.clock import new_id
from flight_core.application.queries.live import LiveQuery, LiveResult
from flight_core.application.queries.log import QueryLog
from schemas import live as wire


class Reading:
    """One result on its way. All but `cancel` block: call them from worker threads, one at a time."""

    def __init__(self, live: LiveQuery, queries: QueryLog, channel: int) -> None:
        self._live = live
        self._queries = queries
        self._channel = channel
        self._result: LiveResult | None = None
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self.query_id = new_id()
        self.sent = 0
        self.rows = 0

    def start(self) -> LiveResult:
        """Raises as `LiveQuery.open`."""
        self._result = self._live.open(self.query_id)
        self._batches = (batch for batch in self._result.running if batch.num_rows)
        return self._result

    def next(self) -> bytes | None:
        """The next frame; None at the end. A result without rows has one, which tells the columns."""
        assert self._result is not None
        batch = next(self._batches, None)
        if batch is None and self.sent:
            return None
        sink = pa.BufferOutputStream()
        sink.write(wire.FRAME_HEADER.pack(self._channel, self.sent))
        with pa.ipc.new_stream(sink, self._result.running.schema) as writer:
            if batch is not None:
                writer.write_batch(batch)
                self.rows += batch.num_rows
        self.sent += 1
        return sink.getvalue().to_pybytes()

    def cancel(self) -> None:
        self._queries.stop(self.query_id, actor=self._live.actor)

    def close(self) -> None:
        if self._result is not None:
            self._result.running.close()


class Live:
    """One subscription."""

    def __init__(self, asked: wire.LiveSubscription, query: LiveQuery, channel: int) -> None:
        self.id = asked.id
        self.query = query
        self.channel = channel
        self.interval_s = asked.interval_ms / 1000
        self.scope = anyio.CancelScope()
        self.sql = asked.sql
        self.number = 0
        self.rows = 0  # of all results
        self.reading: Reading | None = None
        self.paused = False
        self._credits = math.inf if asked.credits is None else asked.credits
        self._news = anyio.Event()

    def wake(self) -> None:
        self._news.set()

    def look(self) -> anyio.Event:
        """What will tell of whatever happens from now on."""
        self._news = anyio.Event()
        return self._news

    def grant(self, batches: int) -> None:
        self._credits += batches
        self.wake()

    def pause(self, *, paused: bool) -> None:
        self.paused = paused
        self.wake()

    @property
    def may_send(self) -> bool:
        return self._credits > 0

    def spend(self) -> None:
        self._credits -= 1

    def stop(self) -> None:
        if self.reading is not None:
            self.reading.cancel()
        self.scope.cancel()
