"""The server's side of a query that runs in a guarded process."""

import contextlib
import io
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pyarrow as pa

from flight_core.adapters.engines.duckdb.guarded.process import GuardedProcess
from flight_core.adapters.engines.duckdb.guarded.wire import (
    ARROW,
    ERROR,
    PROGRESS,
    Channel,
    Gone,
    failure_in,
    message,
    progress_of,
)
from flight_core.domain.errors import (
    Cancelled,
    DeadlineExceeded,
    EngineUnavailable,
    FlightCoreError,
    OutOfMemory,
)
from flight_core.domain.query import Pins

# If a query does not stop within that time, its process is killed.
_GRACE_S = 1.0

T = TypeVar("T")


class Conversation:
    """What is said about one query, with failures as the server reports them. `busy`: the other side may be
    at work, rather than wait for what is said next."""

    def __init__(self, channel: Channel, process: GuardedProcess, timeout_s: float) -> None:
        self.channel = channel
        self._process = process
        self._timeout_s = timeout_s
        self._ended = False
        self.busy = True
        channel.connection.settimeout(timeout_s + _GRACE_S)

    def step(self, work: Callable[[], T]) -> T:
        """
        Raises:
            FlightCoreError: what the other side failed with, or what became of its process.
        """
        try:
            return work()
        except OutOfMemory:
            self._process.spent = True
            raise
        except FlightCoreError:
            raise
        except TimeoutError:
            self._process.kill()
            raise DeadlineExceeded(
                f"the query did not answer for {self._timeout_s:g} s and was stopped; select less"
            ) from None
        except (Gone, OSError):
            if not self._ended:  # it may take its time to die, and must not get another query
                self._process.kill()
            raise EngineUnavailable(
                "the engine that ran the query has ended: the query needs more memory than"
                " SKEIN_GUARDED_MEMORY allows, or another one of the same user did, or would not stop"
            ) from None

    def end(self) -> None:
        """Hang up, and wait for the other side to stop what it does. Ends its process if it does not and is
        busy; else it is only slow to hear of this."""
        self._ended = True
        with contextlib.suppress(OSError):
            self.channel.connection.shutdown(socket.SHUT_WR)
        self.channel.connection.settimeout(_GRACE_S)
        try:
            while True:
                self.channel.receive()
        except TimeoutError:
            if self.busy:
                self._process.kill()
        except Gone:
            pass
        self.channel.close()


class GuardedQuery:
    """Implements `Query`. `release` is called once, when nothing runs for it any more. `running`: it was
    told to run already."""

    def __init__(
        self,
        conversation: Conversation,
        schema: pa.Schema,
        pins: Pins,
        *,
        fingerprint: str | None,
        release: Callable[[], None],
        running: bool = False,
    ) -> None:
        self._running = running
        self._conversation = conversation
        self.schema = schema
        self.pins = pins
        self.fingerprint = fingerprint
        self._release = release
        self._lock = threading.Lock()
        self._cancelled = False
        self._closed = False
        self._frames = _Frames(conversation.channel)

    def progress(self) -> float | None:
        """See `Measured`; the latest value that was received from the process."""
        return None if self._closed else self._frames.progress

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        if not self._running:
            self._conversation.busy = True
            self._step(lambda: self._conversation.channel.send_frames(message(run=True)))
        frames = self._frames
        reader = self._step(lambda: frames.use(lambda: pa.ipc.open_stream(pa.PythonFile(frames, mode="r"))))
        while (batch := self._step(lambda: frames.use(lambda: next(reader, None)))) is not None:
            yield batch
        self._conversation.busy = False

    def cancel(self) -> None:
        with self._lock:
            if self._cancelled or self._closed:
                return
            self._cancelled = True
        with contextlib.suppress(OSError):
            self._conversation.channel.connection.shutdown(socket.SHUT_WR)
            self._conversation.channel.connection.settimeout(_GRACE_S)

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._conversation.end()
        self._release()

    def _step(self, work: Callable[[], T]) -> T:
        if self._cancelled or self._closed:
            raise Cancelled("the query was cancelled")
        try:
            return self._conversation.step(work)
        except FlightCoreError:
            if self._cancelled:
                raise Cancelled("the query was cancelled") from None
            raise


class _Frames(io.RawIOBase):
    """A file with the Arrow stream in the frames of a channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.progress: float | None = None
        self._rest = memoryview(b"")
        self._failure: Exception | None = None

    def use(self, work: Callable[[], T]) -> T:
        """Call `work`; if `read` fails within it, its exception is raised, and not what Arrow makes of it."""
        try:
            return work()
        except Exception:
            if self._failure is not None:
                raise self._failure from None
            raise

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> Any:
        try:
            return self._read(size)
        except Exception as failure:
            self._failure = failure
            raise

    def _read(self, size: int) -> memoryview:
        if not self._rest:
            while (frame := self._channel.receive())[0] == PROGRESS:
                self.progress = progress_of(frame[1])
            kind, self._rest = frame
            if kind == ERROR:
                raise failure_in(self._rest)
            if kind != ARROW:
                return memoryview(b"")
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece
