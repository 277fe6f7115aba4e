"""Repository of the users of an OpenID Connect issuer."""

from datetime import datetime
from typing import Protocol

from flight_core.domain.issuer_users import IssuerUser


class IssuerUserRepository(Protocol):
    """All calls are synchronous, short and thread-safe."""

    def put(self, user: IssuerUser, now: datetime) -> None:
        """Store or replace the user. Also deletes expired entries."""

    def find(self, name: str) -> IssuerUser | None: ...

    def remove(self, name: str) -> None:
        """Does nothing if the user is unknown."""
