"""Throttling of password guesses."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from flight_core.domain.errors import TooManyRequests

_MAX_WAIT_S = 60.0
_FORGET_S = 900.0
_FREE_OF_USER = 5
_FREE_WITHOUT_ADDRESS = 20  # higher, since a stranger could lock out the user
_FREE_OF_ADDRESS = 50
_KEEP = 10_000


@dataclass(slots=True)
class _Failures:
    count: int = 0
    last_at: float = 0.0

    def wait_s(self, free: int, now: float) -> float:
        """The remaining wait: 1, 2, 4, ... up to 60 seconds after the last failure, once there were `free`
        ones."""
        if self.count < free:
            return 0.0
        wait_s = min(_MAX_WAIT_S, 2.0 ** min(self.count - free, 16))
        return max(0.0, self.last_at + wait_s - now)


class LoginThrottle:
    """Counts wrong passwords per user and address, and per address. Thread-safe.

    The count of a user is reset by a correct password, and every count after a quarter of an hour without a
    wrong one. The latest 10,000 users and addresses are kept.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._failures: OrderedDict[tuple[str, str], _Failures] = OrderedDict()

    def check(self, user: str, address: str) -> None:
        """
        Raises:
            TooManyRequests: the caller has to wait before the next attempt.
        """
        with self._lock:
            now = self._now()
            wait_s = max(
                self._failures.get(key, _Failures()).wait_s(free, now) for key, free in _keys(user, address)
            )
        if wait_s > 0:
            raise TooManyRequests(
                f"too many wrong passwords; try again in {wait_s:.0f} s", retry_after_s=round(wait_s, 1)
            )

    def failed(self, user: str, address: str) -> None:
        with self._lock:
            now = self._now()
            for key, _ in _keys(user, address):
                failures = self._failures.setdefault(key, _Failures())
                if now - failures.last_at > _FORGET_S:
                    failures.count = 0
                failures.count += 1
                failures.last_at = now
                self._failures.move_to_end(key)
            while len(self._failures) > _KEEP:
                self._failures.popitem(last=False)

    def succeeded(self, user: str, address: str) -> None:
        with self._lock:
            self._failures.pop((user[:64], address), None)


def _keys(user: str, address: str) -> list[tuple[tuple[str, str], int]]:
    """The keys of the counts, each with the number of failures before there is a wait."""
    if not address:
        return [((user[:64], ""), _FREE_WITHOUT_ADDRESS)]
    return [((user[:64], address), _FREE_OF_USER), (("", address), _FREE_OF_ADDRESS)]
