"""Users and tokens from the settings."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

from flight_core.domain.access import ALL_SCOPES, EVERYTHING, Actor, Scope


@dataclass(frozen=True, slots=True)
class Credential:
    """An actor and its secret: the password of a user, or an API token."""

    name: str
    secret: str = field(repr=False)
    scopes: frozenset[Scope] = ALL_SCOPES
    datasets: tuple[str, ...] = EVERYTHING

    @property
    def actor(self) -> Actor:
        return Actor(self.name, self.scopes, self.datasets)


@dataclass(frozen=True, slots=True)
class ClaimGrant:
    """The rights for a value of a claim in an issuer's tokens; `*` stands for any value, or none."""

    value: str
    scopes: frozenset[Scope]
    datasets: tuple[str, ...] = EVERYTHING


class ConfiguredCredentials:
    """Keeps digests with a secret `key`, never the secrets themselves."""

    def __init__(
        self, users: Sequence[Credential] = (), tokens: Sequence[Credential] = (), *, key: bytes
    ) -> None:
        self._key = key
        self._users = {user.name: (user.actor, self.digest(user.secret)) for user in users}
        self._tokens = {self.digest(token.secret): token.actor for token in tokens}

    def __bool__(self) -> bool:
        return bool(self._users or self._tokens)

    def digest(self, secret: str) -> bytes:
        return hmac.digest(self._key, secret.encode(), "sha256")

    def holder(self, token: str) -> Actor | None:
        # The digest has a secret key, so the timing of the lookup reveals nothing about the token.
        return self._tokens.get(self.digest(token))

    def holders(self, name: str) -> Sequence[Actor]:
        """One actor for each credential of that name."""
        actors = (*self._tokens.values(), *(actor for actor, _ in self._users.values()))
        return [actor for actor in actors if actor.name == name]

    def user(self, name: str) -> tuple[Actor, bytes] | None:
        """The user with the digest of the password."""
        return self._users.get(name)
