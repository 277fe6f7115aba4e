"""Following the log of events."""

from dataclasses import dataclass

from flight_core.application.access.rights import require
from flight_core.application.ports.events import EventFeed
from flight_core.domain.access import Actor, Scope


@dataclass(frozen=True, slots=True)
class FollowEvents:
    """The feed, for somebody who may follow it. Raises PermissionDenied."""

    feed: EventFeed

    def __call__(self, *, actor: Actor) -> EventFeed:
        require(actor, Scope.READ)
        return self.feed
