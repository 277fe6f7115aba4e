"""Session tokens, which stand for a login. They are signed, so that nothing has to be stored."""

import base64
import binascii
import hmac
import json
import secrets
import time
from collections.abc import Callable

from flight_core.application.ports.authentication import SESSION_TOKEN_PREFIX
from flight_core.domain.errors import Unauthenticated

# A digest or hash of the user's current password; None: there is no such user.
ProofOf = Callable[[str], bytes | None]


class SessionTokens:
    """Every server with the same `key` accepts the tokens. The signature covers the proof of the user, so
    that a session ends when the password changes, the user is removed, or the token expires."""

    def __init__(self, key: bytes, ttl_s: float, now: Callable[[], float] = time.time) -> None:
        self._key = key
        self._ttl_s = ttl_s
        self._now = now

    def issue(self, user: str, proof: bytes) -> str:
        claims = {"name": user, "expires_at": self._now() + self._ttl_s, "id": secrets.token_hex(8)}
        body = _encoded(json.dumps(claims).encode())
        return f"{SESSION_TOKEN_PREFIX}{body}.{_encoded(self._signature(body, proof))}"

    def user_of(self, token: str, proof_of: ProofOf) -> str:
        """
        Raises:
            Unauthenticated: the token is forged, or not valid any more.
        """
        body, _, signature = token.removeprefix(SESSION_TOKEN_PREFIX).partition(".")
        user, expires_at = _claims(body)
        proof = proof_of(user)
        if proof is None or not hmac.compare_digest(_decoded(signature), self._signature(body, proof)):
            raise Unauthenticated(
                "the session token was changed, comes from another server, or its user's password is not"
                " the same any more; log in again"
            )
        if expires_at < self._now():
            raise Unauthenticated("the session has expired; log in again")
        return user

    def _signature(self, body: str, proof: bytes) -> bytes:
        return hmac.digest(self._key, body.encode() + b"." + proof, "sha256")


def _claims(body: str) -> tuple[str, float]:
    """The claims, whose signature is not verified yet."""
    try:
        claims = json.loads(_decoded(body))
        return str(claims["name"]), float(claims["expires_at"])
    except (ValueError, TypeError, LookupError, RecursionError):
        return "", 0.0


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    """The decoded bytes; empty for invalid base64, which equals no signature."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
