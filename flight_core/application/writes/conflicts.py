"""Trying again where others committed first."""

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from flight_core.domain.errors import CommitConflict

T = TypeVar("T")


def despite_conflicts(attempt: Callable[[], T], *, attempts: int) -> T:
    """What `attempt` returns, the first time that it meets no CommitConflict; the last one's is raised."""
    for _ in range(attempts - 1):
        with suppress(CommitConflict):
            return attempt()
    return attempt()
