"""The audit log: who asked for what, from where, and whether it was allowed."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from flight_core.domain.access import Origin


class Decision(StrEnum):
    ALLOWED = "allowed"
    REFUSED = "refused"  # the caller is not authenticated, or not permitted
    FAILED = "failed"  # allowed, but failed for another reason


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One call of a use case, named by `action`.

    `subject` is the id or name of what the call is about (a statement, a job, a token), `datasets` are the
    names involved, and `code` is the error code of a failure. Never contains a secret or the text of a
    statement. Entries that differ only in time and count are equal.
    """

    at: datetime = field(compare=False)
    actor: str
    origin: Origin
    action: str
    decision: Decision
    subject: str = ""
    datasets: tuple[str, ...] = ()
    code: str = ""
    count: int = field(default=1, compare=False)  # equal calls within a second share an entry


@dataclass(frozen=True, slots=True)
class StoredAuditEntry:
    seq: int
    entry: AuditEntry


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """None matches everything. Dataset names are compared ignoring case."""

    actor: str | None = None
    action: str | None = None
    decision: Decision | None = None
    dataset: str | None = None
    since: datetime | None = None
