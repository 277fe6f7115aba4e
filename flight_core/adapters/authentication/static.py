"""Users and tokens that the settings name."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

from flight_core.domain.access import ALL_SCOPES, EVERYTHING, Actor, Scope


@dataclass(frozen=True, slots=True)
class Credential:
    """An actor and the secret that proves it: a password with a user's name, or an API token alone."""

    name: str
    secret: str = field(repr=False)
    scopes: frozenset[Scope] = ALL_SCOPES
    datasets: tuple[str, ...] = EVERYTHING

    @property
    def actor(self) -> Actor:
        return Actor(self.name, self.scopes, self.datasets)


@dataclass(frozen=True, slots=True)
class ClaimGrant:
    """What a value of a claim in an issuer's tokens stands for; `*`: any value, or none."""

    value: str
    scopes: frozenset[Scope]
    datasets: tuple[str, ...] = EVERYTHING


class ConfiguredCredentials:
    """Keeps digests under `key`, never the secrets themselves."""

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
        # A lookup by a digest with a secret key tells nothing about the token through its timing.
        return self._tokens.get(self.digest(token))

    def holders(self, name: str) -> Sequence[Actor]:
        """Who somebody of that name is: an actor for each credential."""
        actors = (*self._tokens.values(), *(actor for actor, _ in self._users.values()))
        return [actor for actor in actors if actor.name == name]

    def user(self, name: str) -> tuple[Actor, bytes] | None:
        """With the digest of the password."""
        return self._users.get(name)
