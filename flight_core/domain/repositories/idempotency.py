"""Requests that were carried out."""

from datetime import datetime
from typing import Protocol

from flight_core.domain.idempotency import IdempotencyKey


class IdempotencyRepository(Protocol):
    """Which request made what. Keys are forgotten after `IdempotencyKey.KEPT`."""

    def claim(self, key: IdempotencyKey, at: datetime) -> str | None:
        """Take the key for a request that is about to be carried out; where it has been carried out before,
        what it made.

        Raises:
            IdempotencyKeyReused: it came with another request.
            IdempotencyKeyPending: it is being carried out, or the server died over it.
        """

    def settle(self, key: IdempotencyKey, resource: str) -> None:
        """The request has been carried out, and made this."""

    def release(self, key: IdempotencyKey) -> None:
        """The request has failed, and made nothing."""
