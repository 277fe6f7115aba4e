"""The log of events."""

from collections.abc import Sequence
from typing import Protocol

from flight_core.domain.events import Event, StoredEvent


class EventRepository(Protocol):
    def append(self, event: Event) -> StoredEvent: ...

    def after(self, seq: int, *, limit: int = 1000) -> Sequence[StoredEvent]:
        """Events with a larger number, in order."""

    def bounds(self) -> tuple[int, int]:
        """The oldest number kept and the newest (0, 0 when there is none)."""

    def prune(self, *, keep: int) -> int:
        """Delete all but the newest `keep` events; the number of events deleted."""
