"""Repository of API tokens."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from flight_core.domain.tokens import ApiToken


class TokenRepository(Protocol):
    """Tokens by the SHA-256 digest of their secret. All calls are synchronous, short and thread-safe."""

    def add(self, token: ApiToken, digest: bytes) -> None: ...

    def list(self) -> Sequence[ApiToken]:
        """All tokens including revoked and expired ones, newest first."""

    def revoke(self, token_id: str, at: datetime) -> ApiToken:
        """Revoke the token. One that was revoked before is left as it is.

        Raises:
            TokenNotFound
        """

    def by_digest(self) -> Mapping[bytes, ApiToken]:
        """All tokens. Called for every request: takes well under a millisecond if nothing has changed, and
        sees changes by other processes at once."""

    def touch(self, token_id: str, at: datetime) -> None:
        """Record that the token was used."""
