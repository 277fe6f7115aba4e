"""The authenticator: users and tokens of the settings and the catalog, session tokens, and OpenID Connect."""

import hashlib
import hmac
import logging
from dataclasses import replace
from datetime import datetime, timedelta

from flight_core.adapters.authentication.logins import Logins
from flight_core.adapters.authentication.oidc import OidcTokens
from flight_core.adapters.authentication.sessions import SessionTokens
from flight_core.adapters.authentication.static import ConfiguredCredentials
from flight_core.application.ports.authentication import API_TOKEN_PREFIX, SESSION_TOKEN_PREFIX
from flight_core.application.ports.clock import Clock
from flight_core.domain.access import LOCAL, Actor, Origin
from flight_core.domain.errors import FlightCoreError, Unauthenticated
from flight_core.domain.repositories.tokens import TokenRepository
from flight_core.domain.tokens import ApiToken

logger = logging.getLogger(__name__)

_USED_EVERY = timedelta(minutes=1)


class StoredAuthenticator:
    """Implements `Authenticator`. Sees changes of tokens and users in the catalog at once.

    Once there was a token or user, there are no anonymous actors any more, even if it was removed.
    """

    def __init__(
        self,
        configured: ConfiguredCredentials,
        tokens: TokenRepository,
        logins: Logins,
        sessions: SessionTokens,
        clock: Clock,
        oidc: OidcTokens | None = None,
    ) -> None:
        self._configured = configured
        self._tokens = tokens
        self._logins = logins
        self._sessions = sessions
        self._clock = clock
        self._oidc = oidc
        self._closed = bool(configured) or oidc is not None
        self._used: dict[str, datetime] = {}

    @property
    def anonymous(self) -> Actor | None:
        if not self._closed:
            self._closed = bool(self._tokens.by_digest()) or self._logins.ever()
        return None if self._closed else LOCAL

    def authenticate_token(self, token: str) -> Actor:
        if token.startswith(SESSION_TOKEN_PREFIX):
            return self._logins.actor(self._sessions.user_of(token, self._logins.proof))
        if token.startswith(API_TOKEN_PREFIX):
            # The timing of a lookup by digest reveals nothing about a random token.
            found = self._tokens.by_digest().get(hashlib.sha256(token.encode()).digest())
            if found is not None:
                return self._holder(found)
        actor = self._configured.holder(token)
        if actor is None and self._oidc is not None and token.count(".") == 2:
            return self._oidc.actor(token)
        if actor is None:
            raise Unauthenticated("the token is not known here; check it, or ask the operator for another")
        return actor

    def authenticate_password(self, user: str, password: str, *, address: str = "") -> Actor:
        return self._logins.authenticate(user, password, address)

    def issue_token(self, actor: Actor) -> str:
        # If all actors are anonymous, the token is not verified.
        proof = self._logins.proof(actor.name) or hmac.digest(b"", actor.name.encode(), "sha256")
        return self._sessions.issue(actor.name, proof)

    def _holder(self, token: ApiToken) -> Actor:
        now = self._clock()
        if not token.good(now):
            raise Unauthenticated("the token was revoked, or has expired; ask an administrator for another")
        last = self._used.get(token.id) or token.last_used_at
        if last is None or now - last >= _USED_EVERY:
            self._note(token, now)
        return replace(token.actor, origin=Origin(credential=f"token/{token.id}"))

    def _note(self, token: ApiToken, now: datetime) -> None:
        self._used[token.id] = now
        try:
            self._tokens.touch(token.id, now)
        except FlightCoreError:  # the request goes on nevertheless
            logger.warning("the use of a token was not noted", extra={"token_id": token.id})
