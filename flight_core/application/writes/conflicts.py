"""Retrying after commit conflicts."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import TypeVar

from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import CommitConflict

T = TypeVar("T")

_PATIENCE_S = 10.0


class Turns:
    """Lets an attempt that others were faster than have a dataset to itself, before they are faster again.

    Of one process, and of no consequence for what is right: nobody waits for longer than a few seconds.
    """

    def __init__(self) -> None:
        self._locks: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)

    @contextmanager
    def of(self, name: DatasetName) -> Iterator[None]:
        """Nobody else's turn. Within one of the thread's own it may be taken again."""
        lock = self._locks[name.key]
        taken = lock.acquire(timeout=_PATIENCE_S)
        try:
            yield
        finally:
            if taken:
                lock.release()


def despite_conflicts(
    attempt: Callable[[], T],
    *,
    attempts: int,
    turn: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> T:
    """Call `attempt` until it raises no CommitConflict, at most `attempts` times; raises that of the last
    one. From the second time on it has its `turn`."""
    if attempts > 1:
        with suppress(CommitConflict):
            return attempt()
    for _ in range(attempts - 2):
        with suppress(CommitConflict), turn():
            return attempt()
    with turn():
        return attempt()
