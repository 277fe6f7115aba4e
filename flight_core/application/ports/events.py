"""Following events as they happen."""

from collections.abc import Sequence
from typing import Protocol

from flight_core.domain.events import StoredEvent


class EventFeed(Protocol):
    """Follows the event log, including events from other processes."""

    async def after(self, seq: int, *, wait_s: float = float("inf")) -> Sequence[StoredEvent]:
        """The events after `seq`, in order and without gaps; possibly only some of them.

        Waits up to `wait_s` seconds for the first one; empty if there was none. A caller that continues after
        the last event it got misses nothing, except events that were pruned from the log meanwhile.
        """
