"""Repository of users."""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from flight_core.domain.users import User


class UserRepository(Protocol):
    """All calls are synchronous, short and thread-safe."""

    def add(self, user: User) -> None:
        """
        Raises:
            UserExists
        """

    def remove(self, name: str, at: datetime) -> None:
        """Remove the user. The name may be used again.

        Raises:
            UserNotFound
        """

    def set_password(self, name: str, password_hash: str, at: datetime) -> None:
        """
        Raises:
            UserNotFound
        """

    def by_name(self) -> Mapping[str, User]:
        """All users. As fast and as current as `TokenRepository.by_digest`."""

    def ever(self) -> bool:
        """Whether there is a user, or was one at any time."""
