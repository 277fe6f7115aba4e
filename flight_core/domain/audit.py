"""Who asked for what, from where, and how it was decided."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from flight_core.domain.access import Origin


class Decision(StrEnum):
    ALLOWED = "allowed"
    REFUSED = "refused"  # the caller is not known, or may not do it
    FAILED = "failed"  # allowed, and then something else was wrong


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """`action` is the name of a use case. `subject` is the id or name of what it is about: of a statement,
    a job, a token; `datasets` are the names touched. `code` is that of the failure. Never holds a secret,
    nor the text of a statement. Equal entries tell of the same thing, whenever and however often it happened.
    """

    at: datetime = field(compare=False)
    actor: str
    origin: Origin
    action: str
    decision: Decision
    subject: str = ""
    datasets: tuple[str, ...] = ()
    code: str = ""
    count: int = field(default=1, compare=False)  # how often the same happened within a moment


@dataclass(frozen=True, slots=True)
class StoredAuditEntry:
    seq: int
    entry: AuditEntry


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """None lets everything through. Names of datasets are compared without case."""

    actor: str | None = None
    action: str | None = None
    decision: Decision | None = None
    dataset: str | None = None
    since: datetime | None = None
