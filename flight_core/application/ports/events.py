"""Hearing about events as they happen."""

from collections.abc import Sequence
from typing import Protocol

from flight_core.domain.events import StoredEvent


class EventFeed(Protocol):
    """Follows the durable log, whichever process appended to it."""

    async def after(self, seq: int, *, wait_s: float = float("inf")) -> Sequence[StoredEvent]:
        """The events after `seq`, in order and without gaps, as many as there are at once.

        Waits up to `wait_s` seconds for the first; empty if none came. Who asks again for what
        follows misses nothing, however late; only events older than the log keeps are skipped.
        """
