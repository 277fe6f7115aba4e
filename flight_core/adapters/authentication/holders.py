"""The valid credentials of an actor, from the settings, the catalog and the OpenID Connect issuer."""

from collections.abc import Sequence
from dataclasses import dataclass

from flight_core.adapters.authentication.oidc import OidcTokens
from flight_core.adapters.authentication.static import ConfiguredCredentials
from flight_core.application.ports.clock import Clock
from flight_core.domain.access import OIDC_PREFIX, Actor
from flight_core.domain.repositories.tokens import TokenRepository
from flight_core.domain.repositories.users import UserRepository


@dataclass(frozen=True, slots=True)
class Holders:
    """See `Credentials`."""

    configured: ConfiguredCredentials
    tokens: TokenRepository
    users: UserRepository
    clock: Clock
    oidc: OidcTokens | None = None

    def holders(self, name: str) -> Sequence[Actor]:
        if name.startswith(OIDC_PREFIX):
            return [] if self.oidc is None else self.oidc.holders(name)
        now = self.clock()
        tokens = [each for each in self.tokens.by_digest().values() if each.name == name and each.good(now)]
        user = self.users.by_name().get(name)
        stored = [*tokens, *(() if user is None else (user,))]
        return [*self.configured.holders(name), *(each.actor for each in stored)]
