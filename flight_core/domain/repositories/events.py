"""Repository of the event log."""

from collections.abc import Sequence
from typing import Protocol

from flight_core.domain.events import Event, StoredEvent


class EventRepository(Protocol):
    def append(self, event: Event) -> StoredEvent: ...

    def after(self, seq: int, *, limit: int = 1000) -> Sequence[StoredEvent]:
        """Events with a larger `seq`, in order."""

    def bounds(self) -> tuple[int, int]:
        """The `seq` of the oldest and of the newest event that are kept; (0, 0) if there are none."""

    def prune(self, *, keep: int) -> int:
        """Delete all but the newest `keep` events; returns the number of deleted ones."""
