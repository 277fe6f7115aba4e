"""Uploads: files that a client sends in one or more parts, to be ingested once they are complete."""

from dataclasses import dataclass
from datetime import datetime

from flight_core.domain.access import NO_RIGHTS, Rights


@dataclass(frozen=True, slots=True)
class Upload:
    """`offset` is the number of bytes received. `size_bytes` is None until the total is known.
    `rights` are those of whoever began it; nobody with less may use it."""

    id: str
    actor: str
    name: str  # for error messages
    created_at: datetime
    updated_at: datetime  # when bytes last arrived
    offset: int = 0
    size_bytes: int | None = None
    complete: bool = False
    rights: Rights = NO_RIGHTS
