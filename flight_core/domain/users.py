"""Users, who log in with a name and a password."""

from dataclasses import dataclass, field
from datetime import datetime

from flight_core.domain.access import Actor, Scope
from flight_core.domain.limits import NO_LIMITS, Limits
from flight_core.domain.tokens import require_grant


@dataclass(frozen=True, slots=True)
class User:
    """`scopes` and `datasets` as in `Actor`. Names are case-sensitive.

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
