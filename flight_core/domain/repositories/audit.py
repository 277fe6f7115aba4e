"""Who did what."""

from collections.abc import Sequence
from typing import Protocol

from flight_core.domain.audit import AuditEntry, AuditFilter, StoredAuditEntry


class AuditRepository(Protocol):
    """Synchronous and thread-safe."""

    def append(self, entries: Sequence[AuditEntry]) -> None: ...

    def list(
        self, wanted: AuditFilter, *, limit: int, before: int | None = None
    ) -> Sequence[StoredAuditEntry]:
        """The newest first, of those with a smaller `seq` than `before`."""

    def prune(self, *, keep: int) -> None:
        """Forget all but the newest `keep`."""
