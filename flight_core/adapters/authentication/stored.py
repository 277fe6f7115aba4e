"""API tokens of the catalog, next to the users and tokens of the settings."""

import hashlib
import logging
from datetime import datetime, timedelta

from flight_core.adapters.authentication.static import StaticAuthenticator
from flight_core.application.ports.authentication import API_TOKEN_PREFIX
from flight_core.application.ports.clock import Clock
from flight_core.domain.access import Actor
from flight_core.domain.errors import FlightCoreError, Unauthenticated
from flight_core.domain.tokens import ApiToken, TokenRepository

logger = logging.getLogger(__name__)

_USED_EVERY = timedelta(minutes=1)


class StoredAuthenticator:
    """Implements `Authenticator`. Every call looks whether the tokens in the catalog changed.

    Once a token was made nobody is anonymous any more, also when it is revoked.
    """

    def __init__(self, configured: StaticAuthenticator, tokens: TokenRepository, clock: Clock) -> None:
        self._configured = configured
        self._tokens = tokens
        self._clock = clock
        self._used: dict[str, datetime] = {}

    @property
    def anonymous(self) -> Actor | None:
        anonymous = self._configured.anonymous
        return None if anonymous is None or self._tokens.by_digest() else anonymous

    def authenticate_token(self, token: str) -> Actor:
        if not token.startswith(API_TOKEN_PREFIX):
            return self._configured.authenticate_token(token)
        # A lookup by digest tells nothing about a random token through its timing.
        found = self._tokens.by_digest().get(hashlib.sha256(token.encode()).digest())
        if found is None:
            return self._configured.authenticate_token(token)
        now = self._clock()
        if not found.good(now):
            raise Unauthenticated("the token was revoked, or has expired; ask an administrator for another")
        self._note(found, now)
        return found.actor

    def authenticate_password(self, user: str, password: str) -> Actor:
        return self._configured.authenticate_password(user, password)

    def issue_token(self, actor: Actor) -> str:
        return self._configured.issue_token(actor)

    def _note(self, token: ApiToken, now: datetime) -> None:
        last = self._used.get(token.id) or token.last_used_at
        if last is not None and now - last < _USED_EVERY:
            return
        self._used[token.id] = now
        try:
            self._tokens.touch(token.id, now)
        except FlightCoreError:  # nobody is kept out because of it
            logger.warning("the use of a token was not noted", extra={"token_id": token.id})
