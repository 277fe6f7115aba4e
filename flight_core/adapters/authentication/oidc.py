"""Tokens of an OpenID Connect issuer: who holds them, and what the operator grants for their claims."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jwt

from flight_core.adapters.authentication.issuer_keys import IssuerKeys
from flight_core.adapters.authentication.static import ClaimGrant
from flight_core.domain.access import OIDC_PREFIX, Actor, Origin
from flight_core.domain.errors import PermissionDenied, Unauthenticated

# Keys of issuers are public: with a symmetric algorithm everybody could sign.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_LEEWAY_S = 30.0
_REMEMBERED = 10_000
_MAX_TOKEN = 16 << 10


@dataclass(frozen=True, slots=True)
class OidcOptions:
    """`name_claim` tells who it is, `grant_claim` (a path such as `realm_access.roles`) holds the values, a
    list or words, of which the first one in `grants` counts. `remember_s`: how long what somebody asked for
    goes on with the rights of their last token."""

    issuer: str
    audience: str
    name_claim: str
    grant_claim: str
    grants: tuple[ClaimGrant, ...]
    remember_s: float = 86_400.0


class OidcTokens:
    """Checks signature, issuer, audience and times of bearer tokens. Thread-safe; may fetch keys."""

    def __init__(
        self, options: OidcOptions, keys: IssuerKeys, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._options = options
        self._keys = keys
        self._now = now
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, tuple[Actor, float]] = OrderedDict()

    def actor(self, token: str) -> Actor:
        """
        Raises:
            Unauthenticated: not a good token of the issuer for this server.
            PermissionDenied: a good one, and nothing is granted for its claims.
            DependencyFailed: the keys of the issuer have never been seen, and cannot be fetched.
        """
        claims = self._claims(token)
        name = claims.get(self._options.name_claim)
        if not (isinstance(name, str) and name.isprintable() and 0 < len(name) <= 128):
            raise Unauthenticated(
                f"the token of the issuer has no claim '{self._options.name_claim}' that names somebody"
            )
        grant = self._grant(name, _values(claims, self._options.grant_claim))
        origin = Origin(credential=f"oidc/{claims.get('jti', '')}"[:80])
        actor = Actor(OIDC_PREFIX + name, grant.scopes, grant.datasets, origin)
        self._remember(actor)
        return actor

    def holders(self, name: str) -> Sequence[Actor]:
        """Who somebody was when they last showed a good token, if that was not too long ago."""
        with self._lock:
            actor, until = self._seen.get(name, (None, 0.0))
        return [replace(actor, origin=Origin())] if actor is not None and self._now() < until else []

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

    def _remember(self, actor: Actor) -> None:
        with self._lock:
            self._seen[actor.name] = (actor, self._now() + self._options.remember_s)
            self._seen.move_to_end(actor.name)
            while len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)


def _values(claims: Mapping[str, Any], path: str) -> list[str]:
    """Of a claim: a list, or words between spaces as `scope` has them. Names with dots come first."""
    found: Any = claims.get(path)
    if found is None:
        found = claims
        for part in path.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        return found.split()
    return [str(value) for value in found] if isinstance(found, list) else []
