"""Writing and reading the audit log."""

import logging
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from flight_core.application.access.tokens import require_administrator
from flight_core.application.ports.clock import Clock
from flight_core.domain.access import Actor, Origin
from flight_core.domain.audit import AuditEntry, AuditFilter, Decision, StoredAuditEntry
from flight_core.domain.errors import FlightCoreError, PermissionDenied, Unauthenticated
from flight_core.domain.repositories.audit import AuditRepository

logger = logging.getLogger(__name__)

LOG_IN = "log_in"

_FLUSH_S = 1.0
_PENDING = 50_000
_PRUNE_AFTER = 10_000

# Actions with these prefixes change nothing. They are stored in batches, shortly after; all others before the
# response is sent.
_READS = re.compile(
    "(answer|browse|check|classify|describe|diff|find|follow|get|infer|inspect|list|open|plan|preview|profile"
    "|read|trace)_"
)


class AuditLog:
    """Collects entries, and stores them in batches from a background thread until `close`. Thread-safe.

    Equal entries within a second become one with a count, so that nobody can flood the log.
    """

    def __init__(self, entries: AuditRepository, clock: Clock, *, keep: int) -> None:
        self.clock = clock
        self._entries = entries
        self._keep = keep
        self._lock = threading.Lock()
        self._storing = threading.Lock()
        self._pending: dict[AuditEntry, AuditEntry] = {}
        self._lost = 0
        self._unpruned = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def note(self, entry: AuditEntry) -> None:
        with self._lock:
            known = self._pending.get(entry)
            if known is not None:
                self._pending[entry] = replace(known, count=known.count + 1)
            elif len(self._pending) < _PENDING:
                self._pending[entry] = entry
            else:
                self._lost += 1
        if entry.decision is Decision.ALLOWED and not _READS.match(entry.action):
            self._try_to_flush()

    def flush(self) -> None:
        """Store the pending entries. If that fails they stay pending."""
        with self._storing:
            with self._lock:
                pending, self._pending = self._pending, {}
                lost, self._lost = self._lost, 0
            entries = list(pending.values())
            if lost:
                entries.append(self._lost_entry(lost))
            if not entries:
                return
            try:
                self._entries.append(entries)
                self._prune(len(entries))
            except BaseException:
                with self._lock:
                    self._pending = {**pending, **self._pending}
                    self._lost += lost
                raise
        _log_refused_logins(entries)

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
        self._try_to_flush()

    def _prune(self, added: int) -> None:
        self._unpruned += added
        if self._unpruned >= min(_PRUNE_AFTER, self._keep):
            self._entries.prune(keep=self._keep)
            self._unpruned = 0

    def _lost_entry(self, count: int) -> AuditEntry:
        return AuditEntry(self.clock(), "", Origin(), "lose_entries", Decision.FAILED, count=count)

    def _run(self) -> None:
        while not self._closing.wait(_FLUSH_S):
            self._try_to_flush()

    def _try_to_flush(self) -> None:
        try:
            self.flush()
        except Exception:  # tried again later; requests go on meanwhile
            logger.exception("the audit log could not be stored")


@dataclass(frozen=True, slots=True)
class ReadAudit:
    """Entries of the audit log, newest first. Raises PermissionDenied."""

    entries: AuditRepository
    flush: Callable[[], None]  # stores pending entries, so that the result is complete

    def __call__(
        self, wanted: AuditFilter, *, actor: Actor, limit: int, before: int | None = None
    ) -> Sequence[StoredAuditEntry]:
        require_administrator(actor)
        self.flush()
        return self.entries.list(wanted, limit=limit, before=before)


def _log_refused_logins(entries: Sequence[AuditEntry]) -> None:
    """Logs without the user's name, since people sometimes type their password there."""
    for entry in entries:
        if entry.action == LOG_IN and entry.decision is Decision.REFUSED:
            origin = entry.origin
            told = {"door": origin.door, "address": origin.address, "code": entry.code, "count": entry.count}
            logger.warning("login refused", extra=told)


def decision_of(failure: Exception | None) -> Decision:
    if failure is None:
        return Decision.ALLOWED
    return Decision.REFUSED if isinstance(failure, PermissionDenied | Unauthenticated) else Decision.FAILED


def code_of(failure: Exception | None) -> str:
    if failure is None:
        return ""
    return failure.code if isinstance(failure, FlightCoreError) else FlightCoreError.code
