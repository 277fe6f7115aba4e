"""Caching the results that clients scroll through."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from flight_core.application.queries.reads import OpenQuery
from flight_core.application.queries.running import RunningQuery
from flight_core.domain.access import Actor
from flight_core.domain.errors import FlightCoreError
from flight_core.domain.limits import Limits
from flight_core.domain.query import OWN_DOOR, Pins, Statement

logger = logging.getLogger(__name__)

_WITHIN_S = 60.0
_AGAIN_S = 600.0
_REMEMBERED = 1024


class KeepScrolled:
    """Implements `Scrolled`: if a second window of a statement is computed within a minute, runs the whole
    statement, so that its result is cached. It runs one statement at a time, in a background thread, until
    `close`.

    `open_whole` needs a cache, and an admission of its own.
    """

    def __init__(self, open_whole: OpenQuery, clock: Callable[[], float] = time.monotonic) -> None:
        self._open_whole = open_whole
        self._clock = clock
        self._lock = threading.Lock()
        # The time of the latest window; after a whole was begun, the time from which it may be begun again.
        self._computed: OrderedDict[str, float] = OrderedDict()
        self._thread: threading.Thread | None = None
        self._running: RunningQuery | None = None
        self._closed = False

    def computed(self, key: str, statement: Statement, pins: Pins, actor: Actor) -> None:
        with self._lock:
            if self._closed or not self._is_due(key, statement.row_offset):
                return
            if self._thread is not None and self._thread.is_alive():
                return
            self._computed[key] = self._clock() + _AGAIN_S
            limits = Limits(memory_bytes=actor.limits.memory_bytes)
            work = (statement.whole, pins, replace(actor, limits=limits))
            self._thread = threading.Thread(target=self._keep, args=work, name="skein-scrolled", daemon=True)
            self._thread.start()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            thread, running = self._thread, self._running
        if running is not None:
            running.cancel()
        if thread is not None:
            thread.join()

    def _is_due(self, key: str, offset: int) -> bool:
        now = self._clock()
        before = self._computed.get(key, -_WITHIN_S)
        if before > now:
            return False
        self._computed[key] = now
        self._computed.move_to_end(key)
        while len(self._computed) > _REMEMBERED:
            self._computed.popitem(last=False)
        return offset > 0 and now - before < _WITHIN_S

    def _keep(self, statement: Statement, pins: Pins, actor: Actor) -> None:
        try:
            with self._open_whole(statement, actor=actor, door=OWN_DOOR, pins=pins) as running:
                with self._lock:
                    self._running = running
                    if self._closed:
                        return
                for _ in running:
                    if not running.recorded:
                        return
        except FlightCoreError as error:
            logger.info("a scrolled result is not kept", extra={"code": error.code})
        except Exception:
            logger.exception("a scrolled result could not be kept")
        finally:
            with self._lock:
                self._running = None
