"""Repository of the audit log."""

from collections.abc import Sequence
from typing import Protocol

from flight_core.domain.audit import AuditEntry, AuditFilter, StoredAuditEntry


class AuditRepository(Protocol):
    """Synchronous and thread-safe."""

    def append(self, entries: Sequence[AuditEntry]) -> None: ...

    def list(
        self, wanted: AuditFilter, *, limit: int, before: int | None = None
    ) -> Sequence[StoredAuditEntry]:
        """Newest first; only entries with a smaller `seq` than `before`, if it is given."""

    def prune(self, *, keep: int) -> None:
        """Delete all but the newest `keep` entries."""
