"""Limiting the number of open streams: further ones wait in a short queue, and then fail.

An open DuckDB stream uses tens of megabytes even if nobody reads from it, so the number of streams limits the
memory of the server.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from flight_core.domain.errors import TooManyStreams

_CHECK_S = 0.05
_PATIENCE_S = 0.2

T = TypeVar("T")


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

    def acquire(self, check: Callable[[], None] = lambda: None) -> None:
        """Take a slot; waits for one for up to `queue_timeout_s` seconds.

        `check` is called repeatedly meanwhile; what it raises ends the wait.

        Raises:
            TooManyStreams: the queue is full, or no slot was free in time.
        """
        if not self._slots.acquire(blocking=False):
            self._wait(check)
        with self._lock:
            self._open += 1

    def release(self) -> None:
        with self._lock:
            self._open -= 1
        self._slots.release()

    @contextmanager
    def slot(self, check: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold a slot within the block. Waits as `acquire`."""
        self.acquire(check)
        try:
            yield
        finally:
            self.release()

    def _wait(self, check: Callable[[], None]) -> None:
        with self._lock:
            if self._waiting >= self._limits.max_queue:
                raise self._full("and the queue is full")
            self._waiting += 1
        try:
            deadline = time.monotonic() + self._limits.queue_timeout_s
            while not self._slots.acquire(timeout=_CHECK_S):
                check()
                if time.monotonic() > deadline:
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


def patiently(open: Callable[[], T], check: Callable[[], None]) -> T:
    """Call `open` until a stream is free, however long that takes. What `check` raises ends the wait."""
    while True:
        check()
        try:
            return open()
        except TooManyStreams:
            time.sleep(_PATIENCE_S)
