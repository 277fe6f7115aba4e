"""Keeping a record of who asked for what."""

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

# Actions that begin so change nothing: they are stored a moment later, many at a time. All others are
# stored before their answer goes out.
_READS = re.compile(
    "(answer|browse|check|classify|describe|diff|find|follow|get|infer|inspect|list|open|plan|preview|profile"
    "|read|trace)_"
)


class AuditLog:
    """Gathers entries and stores them, many at a time, in a thread of its own until `close`. Thread-safe.

    What is the same within a second is one entry with a count, so that nobody floods the record.
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
        """Store what was noted. Where that fails it is kept for the next time."""
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
        except Exception:  # it is tried again; nobody is kept from working meanwhile
            logger.exception("the audit log could not be stored")


@dataclass(frozen=True, slots=True)
class ReadAudit:
    """The newest first. Raises PermissionDenied."""

    entries: AuditRepository
    flush: Callable[[], None]  # so that what has just happened is there

    def __call__(
        self, wanted: AuditFilter, *, actor: Actor, limit: int, before: int | None = None
    ) -> Sequence[StoredAuditEntry]:
        require_administrator(actor)
        self.flush()
        return self.entries.list(wanted, limit=limit, before=before)


def _log_refused_logins(entries: Sequence[AuditEntry]) -> None:
    """For whoever watches the log; without the name, for which people take their password at times."""
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
