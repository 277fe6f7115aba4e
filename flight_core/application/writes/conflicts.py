"""Retrying after commit conflicts."""

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from flight_core.domain.errors import CommitConflict

T = TypeVar("T")


def despite_conflicts(attempt: Callable[[], T], *, attempts: int) -> T:
    """Call `attempt` until it raises no CommitConflict, at most `attempts` times; raises that of the last
    one."""
    for _ in range(attempts - 1):
        with suppress(CommitConflict):
            return attempt()
    return attempt()
