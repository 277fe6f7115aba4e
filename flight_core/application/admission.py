"""How many streams may be open: a cap, a short queue, then a clear error.

An open DuckDB stream holds tens of megabytes even when nobody reads from it, so the number
of streams is what bounds the server's memory.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from flight_core.domain.errors import TooManyStreams


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    max_streams: int = 32
    max_queue: int = 64
    queue_timeout_s: float = 10.0


class Admission:
    """Hands out slots. Thread-safe; waiting blocks the calling thread."""

    def __init__(self, limits: AdmissionLimits) -> None:
        self._limits = limits
        self._slots = threading.BoundedSemaphore(limits.max_streams)
        self._lock = threading.Lock()
        self._waiting = 0
        self._open = 0

    @property
    def open_streams(self) -> int:
        return self._open

    @property
    def waiting(self) -> int:
        return self._waiting

    def acquire(self) -> None:
        """Take a slot, waiting up to `queue_timeout_s` seconds.

        Raises:
            TooManyStreams: the queue is full, or no slot came free in time.
        """
        if not self._slots.acquire(blocking=False):
            self._wait()
        with self._lock:
            self._open += 1

    def release(self) -> None:
        with self._lock:
            self._open -= 1
        self._slots.release()

    @contextmanager
    def slot(self) -> Iterator[None]:
        self.acquire()
        try:
            yield
        finally:
            self.release()

    def _wait(self) -> None:
        with self._lock:
            if self._waiting >= self._limits.max_queue:
                raise self._full("and the queue is full")
            self._waiting += 1
        try:
            if not self._slots.acquire(timeout=self._limits.queue_timeout_s):
                raise self._full(f"and none came free in {self._limits.queue_timeout_s:g} s")
        finally:
            with self._lock:
                self._waiting -= 1

    def _full(self, why: str) -> TooManyStreams:
        return TooManyStreams(
            f"{self._limits.max_streams} streams are open {why}; read or close some, try again,"
            " or raise SKEIN_MAX_STREAMS",
            max_streams=self._limits.max_streams,
        )
