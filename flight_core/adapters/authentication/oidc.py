"""Tokens of an OpenID Connect issuer, and the rights that the operator grants for their claims."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import jwt

from flight_core.adapters.authentication.issuer_keys import IssuerKeys
from flight_core.adapters.authentication.static import ClaimGrant
from flight_core.application.ports.clock import Clock
from flight_core.domain.access import OIDC_PREFIX, Actor, Origin
from flight_core.domain.errors import FlightCoreError, PermissionDenied, Unauthenticated
from flight_core.domain.issuer_users import IssuerUser
from flight_core.domain.repositories.issuer_users import IssuerUserRepository

logger = logging.getLogger(__name__)

# Only asymmetric algorithms: the keys are public, so with a symmetric one everybody could sign.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_LEEWAY_S = 30.0
_REMEMBERED = 10_000
_NOTED_EVERY = timedelta(minutes=1)
_MAX_TOKEN = 16 << 10


@dataclass(frozen=True, slots=True)
class OidcOptions:
    """`name_claim` is the claim with the user's name. `grant_claim` (a path such as `realm_access.roles`) is
    the claim with a list of values, or a text of words; the first of `grants` for one of these decides on the
    rights. `remember_s`: for how long jobs and schedules go on with the rights of the user's last token."""

    issuer: str
    audience: str
    name_claim: str
    grant_claim: str
    grants: tuple[ClaimGrant, ...]
    remember_s: float = 86_400.0


class OidcTokens:
    """Verifies signature, issuer, audience and times of bearer tokens. Thread-safe; may fetch keys."""

    def __init__(
        self, options: OidcOptions, keys: IssuerKeys, users: IssuerUserRepository, clock: Clock
    ) -> None:
        self._options = options
        self._keys = keys
        self._users = users
        self._clock = clock
        self._lock = threading.Lock()
        self._noted: OrderedDict[str, tuple[str, datetime]] = OrderedDict()

    def actor(self, token: str) -> Actor:
        """
        Raises:
            Unauthenticated: it is not a valid token of the issuer for this server.
            PermissionDenied: nothing is granted for its claims.
            DependencyFailed: the keys of the issuer cannot be fetched.
        """
        claims = self._claims(token)
        name = claims.get(self._options.name_claim)
        if not (isinstance(name, str) and name.isprintable() and 0 < len(name) <= 128):
            raise Unauthenticated(
                f"the token of the issuer has no claim '{self._options.name_claim}' that names somebody"
            )
        try:
            grant = self._grant(name, _values(claims, self._options.grant_claim))
        except PermissionDenied:
            self._forget(OIDC_PREFIX + name)
            raise
        origin = Origin(credential=f"oidc/{claims.get('jti', '')}"[:80])
        self._remember(OIDC_PREFIX + name, grant)
        return Actor(OIDC_PREFIX + name, grant.scopes, grant.datasets, origin)

    def holders(self, name: str) -> Sequence[Actor]:
        """The user with the rights that the settings grant now for their latest valid token, shown to any
        process, if that was not too long ago."""
        user = self._users.find(name)
        if user is None or user.issuer != self._options.issuer or user.until <= self._clock():
            return []
        grant = next((each for each in self._options.grants if each.value == user.grant), None)
        return [] if grant is None else [Actor(name, grant.scopes, grant.datasets)]

    def _claims(self, token: str) -> Mapping[str, Any]:
        if len(token) > _MAX_TOKEN:
            raise Unauthenticated(f"the token has more than {_MAX_TOKEN:,} characters")
        try:
            key = self._keys.find(jwt.get_unverified_header(token).get("kid"))
            return jwt.decode(
                token,
                key,
                algorithms=_ALGORITHMS,
                audience=self._options.audience,
                issuer=self._options.issuer,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.PyJWTError as error:
            raise Unauthenticated(f"the token of the issuer is not good here: {error}") from None

    def _grant(self, name: str, values: Sequence[str]) -> ClaimGrant:
        for grant in self._options.grants:
            if grant.value in ("*", *values):
                return grant
        raise PermissionDenied(
            f"'{name}' is known, and SKEIN_OIDC_GRANTS grants nothing for what the claim"
            f" '{self._options.grant_claim}' of the token holds; ask the operator"
        )

    def _remember(self, name: str, grant: ClaimGrant) -> None:
        now = self._clock()
        with self._lock:
            value, at = self._noted.get(name, ("", now))
            if value == grant.value and now - at < _NOTED_EVERY:
                return
            self._noted[name] = (grant.value, now)
            self._noted.move_to_end(name)
            while len(self._noted) > _REMEMBERED:
                self._noted.popitem(last=False)
        until = now + timedelta(seconds=self._options.remember_s)
        try:
            self._users.put(IssuerUser(name, self._options.issuer, grant.value, until), now)
        except FlightCoreError:  # the request goes on nevertheless
            logger.warning("a user of the issuer was not stored", extra={"actor": name})

    def _forget(self, name: str) -> None:
        with self._lock:
            self._noted.pop(name, None)
        if self._users.find(name) is not None:
            self._users.remove(name)


def _values(claims: Mapping[str, Any], path: str) -> list[str]:
    """The values of a claim: a list, or words separated by spaces, as in `scope`. A claim whose name is the
    whole path takes precedence."""
    found: Any = claims.get(path)
    if found is None:
        found = claims
        for part in path.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        return found.split()
    return [str(value) for value in found] if isinstance(found, list) else []
