"""Cancelling one particular run on a connection, but not those before and after it."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from flight_core.domain.errors import Cancelled

Item = TypeVar("Item")

_REPEAT_S = 0.02


class Cancellation:
    """The cancellation of one run. `request` works from any thread: before, during and after the run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requested = False
        self._finished = threading.Event()
        self._interrupt: Callable[[], object] | None = None

    def request(self) -> None:
        with self._lock:
            if self._requested:
                return
            self._requested = True
            if self._interrupt is not None:
                self._keep_interrupting()

    @property
    def requested(self) -> bool:
        return self._requested

    def check(self) -> None:
        """
        Raises:
            Cancelled: cancellation was requested.
        """
        if self._requested:
            raise Cancelled("the query was cancelled")

    def heeded(self, items: Iterable[Item]) -> Iterator[Item]:
        """The same items. Raises Cancelled as soon as that is requested."""
        for item in items:
            self.check()
            yield item

    @contextmanager
    def interrupting(self, interrupt: Callable[[], object]) -> Iterator[None]:
        """Call `interrupt` if cancellation is requested within the block; repeatedly, since an interrupt that
        comes too early is lost.

        Raises:
            Cancelled: cancellation was requested before.
        """
        with self._lock:
            self.check()
            self._interrupt = interrupt
        try:
            yield
        finally:
            with self._lock:
                self._interrupt = None
            self._finished.set()

    def _keep_interrupting(self) -> None:
        threading.Thread(target=self._repeat, name="skein-interrupt", daemon=True).start()

    def _repeat(self) -> None:
        while not self._finished.wait(_REPEAT_S):
            with self._lock:
                if self._interrupt is not None:
                    self._interrupt()
