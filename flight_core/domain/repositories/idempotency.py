"""Repository of idempotency keys."""

from datetime import datetime
from typing import Protocol

from flight_core.domain.idempotency import IdempotencyKey


class IdempotencyRepository(Protocol):
    """The resources that requests with idempotency keys created. Keys expire after `IdempotencyKey.KEPT`."""

    def claim(self, key: IdempotencyKey, at: datetime) -> str | None:
        """Claim the key for a request that is about to run; if the request has run before, the resource that
        it created.

        Raises:
            IdempotencyKeyReused: the key was used for another request.
            IdempotencyKeyPending: the request is still running, or the server died while it ran.
        """

    def settle(self, key: IdempotencyKey, resource: str) -> None:
        """Record the resource that the request has created."""

    def release(self, key: IdempotencyKey) -> None:
        """Free the key of a request that has failed."""
