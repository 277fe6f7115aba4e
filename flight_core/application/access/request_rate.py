"""Rate limits of requests."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from flight_core.domain.access import Actor
from flight_core.domain.errors import TooManyRequests

_KEEP = 10_000


class RequestRate:
    """A token bucket for each actor's name, with the requests of one second. Thread-safe. The latest 10,000
    names are kept."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, actor: Actor) -> None:
        """Count one request.

        Raises:
            TooManyRequests: the actor's rate limit is exceeded.
        """
        rate = actor.limits.requests_per_s
        if rate is None:
            return
        size = max(1.0, rate)
        with self._lock:
            now = self._now()
            left, at = self._buckets.get(actor.name, (size, now))
            left = min(size, left + (now - at) * rate)
            allowed = left >= 1.0
            self._buckets[actor.name] = (left - 1.0 if allowed else left, now)
            self._buckets.move_to_end(actor.name)
            while len(self._buckets) > _KEEP:
                self._buckets.popitem(last=False)
        if not allowed:
            raise TooManyRequests(
                f"'{actor.name}' may send {rate:g} requests a second; send fewer, or ask for more",
                retry_after_s=round((1.0 - left) / rate, 3),
            )
