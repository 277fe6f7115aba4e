"""People who log in with a name and a password."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from flight_core.domain.access import Actor, Scope
from flight_core.domain.limits import NO_LIMITS, Limits
from flight_core.domain.tokens import require_grant


@dataclass(frozen=True, slots=True)
class User:
    """`scopes` and `datasets` are as an actor's. Names are compared exactly.

    Raises:
        InvalidOption: on construction.
    """

    name: str
    scopes: frozenset[Scope]
    datasets: tuple[str, ...]
    created_at: datetime
    created_by: str
    password_changed_at: datetime
    password_hash: str = field(repr=False)
    limits: Limits = NO_LIMITS

    def __post_init__(self) -> None:
        require_grant("user", self.name, self.scopes, self.datasets)

    @property
    def actor(self) -> Actor:
        return Actor(self.name, self.scopes, self.datasets, limits=self.limits)


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
