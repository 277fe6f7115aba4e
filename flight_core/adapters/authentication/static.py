"""Users and tokens from the settings. Nothing is stored: session tokens prove themselves."""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from flight_core.application.ports.authentication import SESSION_TOKEN_PREFIX
from flight_core.domain.access import ALL_SCOPES, EVERYTHING, LOCAL, Actor, Scope
from flight_core.domain.errors import Unauthenticated


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


class StaticAuthenticator:
    """Implements `Authenticator`. Keeps digests under a random salt, never the secrets themselves.

    `key` signs the session tokens; every server that shares it accepts them. A session ends when its
    time is over or its user is gone from the settings.
    """

    def __init__(
        self,
        users: Sequence[Credential] = (),
        tokens: Sequence[Credential] = (),
        *,
        key: bytes,
        session_ttl_s: float = 86_400.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._salt = secrets.token_bytes(32)
        self._users = {user.name: self._digest(user.secret) for user in users}
        self._tokens = {self._digest(token.secret): token.actor for token in tokens}
        self._actors = {user.name: user.actor for user in users}
        self._anonymous = None if users or tokens else LOCAL
        self._key = hmac.digest(key, b"skein session tokens", "sha256")
        self._session_ttl_s = session_ttl_s
        self._now = now

    @property
    def anonymous(self) -> Actor | None:
        return self._anonymous

    def authenticate_token(self, token: str) -> Actor:
        if token.startswith(SESSION_TOKEN_PREFIX):
            return self._session(token.removeprefix(SESSION_TOKEN_PREFIX))
        # A lookup by salted digest tells nothing about the token through its timing.
        actor = self._tokens.get(self._digest(token))
        if actor is None:
            raise Unauthenticated("the token is not known here; check it, or ask the operator for another")
        return actor

    def authenticate_password(self, user: str, password: str) -> Actor:
        known = self._users.get(user, b"\x00" * hashlib.sha256().digest_size)
        if not hmac.compare_digest(known, self._digest(password)):
            raise Unauthenticated("the user or the password is wrong")
        return self._actors[user]

    def issue_token(self, actor: Actor) -> str:
        claims = {
            "name": actor.name,
            "expires_at": self._now() + self._session_ttl_s,
            "id": secrets.token_hex(8),
        }
        body = _encoded(json.dumps(claims).encode())
        return f"{SESSION_TOKEN_PREFIX}{body}.{_encoded(self._signature(body))}"

    def _session(self, token: str) -> Actor:
        body, _, signature = token.partition(".")
        if not hmac.compare_digest(_decoded(signature), self._signature(body)):
            raise Unauthenticated("the session token was changed, or comes from another server; log in again")
        claims = json.loads(_decoded(body))
        actor = self._actors.get(claims["name"])
        if actor is None or claims["expires_at"] < self._now():
            raise Unauthenticated("the session has expired; log in again")
        return actor

    def _digest(self, secret: str) -> bytes:
        return hmac.digest(self._salt, secret.encode(), "sha256")

    def _signature(self, body: str) -> bytes:
        return hmac.digest(self._key, body.encode(), "sha256")


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    """Empty for what is not base64: no signature is."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
