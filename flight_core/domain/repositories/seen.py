"""Who of an issuer was seen."""

from datetime import datetime
from typing import Protocol

from flight_core.domain.seen import Seen


class SeenRepository(Protocol):
    """All calls are synchronous, short and thread-safe."""

    def put(self, seen: Seen, now: datetime) -> None:
        """Instead of what was known of them. Those whose time is over are forgotten on the way."""

    def find(self, name: str) -> Seen | None: ...

    def remove(self, name: str) -> None:
        """Harmless if they are not known."""
