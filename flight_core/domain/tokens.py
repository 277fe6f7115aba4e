"""API tokens, without their secrets."""

import re
from dataclasses import dataclass
from datetime import datetime

from flight_core.domain.access import Actor, Scope
from flight_core.domain.errors import InvalidOption
from flight_core.domain.limits import NO_LIMITS, Limits

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@\-]{0,63}")
_PATTERN = re.compile(r"[A-Za-z0-9_\-*?\[\]!]{1,128}")


def require_grant(kind: str, name: str, scopes: frozenset[Scope], datasets: tuple[str, ...]) -> None:
    """
    Raises:
        InvalidOption: a `kind` ("token" or "user") cannot have these.
    """
    if not _NAME.fullmatch(name):
        raise InvalidOption(
            f"{name[:80]!r} is not the name of a {kind}: use 1 to 64 letters, digits, '_', '-', '.' or '@'",
            option="name",
        )
    if not scopes:
        raise InvalidOption(f"a {kind} without scopes is good for nothing; name one", option="scopes")
    if not datasets or not all(map(_PATTERN.fullmatch, datasets)):
        raise InvalidOption(
            f"{', '.join(datasets)[:100]!r} are no patterns of dataset names", option="datasets"
        )


@dataclass(frozen=True, slots=True)
class ApiToken:
    """`name` becomes the name of the actor; several tokens may share it. `datasets` as in `Actor`.

    Raises:
        InvalidOption: on construction.
    """

    id: str
    name: str
    scopes: frozenset[Scope]
    datasets: tuple[str, ...]
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None  # None: never
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None  # up to a minute old
    limits: Limits = NO_LIMITS

    def __post_init__(self) -> None:
        require_grant("token", self.name, self.scopes, self.datasets)

    @property
    def actor(self) -> Actor:
        return Actor(self.name, self.scopes, self.datasets, limits=self.limits)

    def good(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)
