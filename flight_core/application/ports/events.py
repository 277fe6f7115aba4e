"""Hearing about events as they happen."""

from collections.abc import AsyncIterator
from typing import Protocol

from flight_core.domain.events import StoredEvent


class EventFeed(Protocol):
    """Follows the durable log, whichever process appended to it."""

    def subscribe(self, *, after: int | None = None) -> AsyncIterator[StoredEvent]:
        """Every event after `after` (None: from now on), in order, without end and without gaps.

        A slow subscriber does not hold up others. Events older than the log keeps are skipped:
        compare `EventRepository.bounds`.
        """
