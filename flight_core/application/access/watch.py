"""Ending long-running calls when their credentials become invalid."""

import logging
import threading
from collections.abc import Callable, Hashable
from functools import partial
from itertools import count
from typing import Generic, TypeVar

from flight_core.domain.errors import Unauthenticated

logger = logging.getLogger(__name__)

Shown = TypeVar("Shown", bound=Hashable)
End = Callable[[Unauthenticated], None]

_INTERVAL_S = 1.0


class AccessWatch(Generic[Shown]):
    """Checks the credentials of running calls every second.

    `recognise` raises Unauthenticated if credentials are invalid. The thread ends when there are no calls
    left. Thread-safe.
    """

    def __init__(self, recognise: Callable[[Shown], object]) -> None:
        self._recognise = recognise
        self._lock = threading.Lock()
        self._held: dict[Shown, dict[int, End]] = {}
        self._numbers = count()
        self._running = False

    def hold(self, shown: Shown, end: End) -> Callable[[], None]:
        """Call `end`, from the thread of the watch, if the credentials become invalid. Returns a function
        that stops the watch."""
        with self._lock:
            number = next(self._numbers)
            self._held.setdefault(shown, {})[number] = end
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="access-watch", daemon=True).start()
        return partial(self._release, shown, number)

    def _release(self, shown: Shown, number: int) -> None:
        with self._lock:
            ends = self._held.get(shown, {})
            ends.pop(number, None)
            if not ends:
                self._held.pop(shown, None)

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            pause.wait(_INTERVAL_S)
            with self._lock:
                if not self._held:
                    self._running = False
                    return
                held = list(self._held)
            for shown in held:
                self._look(shown)

    def _look(self, shown: Shown) -> None:
        try:
            self._recognise(shown)
        except Unauthenticated as refusal:
            with self._lock:
                ends = self._held.pop(shown, {})
            for end in ends.values():
                end(refusal)
        except Exception as failure:  # unknown; the next check may tell
            logger.warning("credentials could not be checked again", extra={"error": str(failure)})
