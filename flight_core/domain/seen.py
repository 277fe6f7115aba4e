"""People of an issuer, as they were when they last showed a good token."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Seen:
    """`name` is that of the actor. `grant` is the value of the claim that counted: what it stands for is
    said by the settings, which may change. `until`: what they asked for goes on."""

    name: str
    issuer: str
    grant: str
    until: datetime


class SeenRepository(Protocol):
    """All calls are synchronous, short and thread-safe."""

    def put(self, seen: Seen, now: datetime) -> None:
        """Instead of what was known of them. Those whose time is over are forgotten on the way."""

    def find(self, name: str) -> Seen | None: ...

    def remove(self, name: str) -> None:
        """Harmless if they are not known."""
