"""Users."""

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
        """The name is free again.

        Raises:
            UserNotFound
        """

    def set_password(self, name: str, password_hash: str, at: datetime) -> None:
        """
        Raises:
            UserNotFound
        """

    def by_name(self) -> Mapping[str, User]:
        """All there are. As cheap as `TokenRepository.by_digest`, and as fresh."""

    def ever(self) -> bool:
        """Whether there are or were any."""
