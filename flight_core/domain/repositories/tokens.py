"""API tokens."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from flight_core.domain.tokens import ApiToken


class TokenRepository(Protocol):
    """Tokens by the SHA-256 digest of their secret. All calls are synchronous, short and thread-safe."""

    def add(self, token: ApiToken, digest: bytes) -> None: ...

    def list(self) -> Sequence[ApiToken]:
        """Those that were revoked and have expired, too, the newest first."""

    def revoke(self, token_id: str, at: datetime) -> ApiToken:
        """One that was revoked before stays as it is.

        Raises:
            TokenNotFound
        """

    def by_digest(self) -> Mapping[bytes, ApiToken]:
        """All of them. Called for every request: well under a millisecond where nothing changed, and
        sees what other processes change at once."""

    def touch(self, token_id: str, at: datetime) -> None:
        """Note that it was used."""
