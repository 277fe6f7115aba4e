"""Uploads: files that a client sends in one or more parts, to be ingested once they are complete."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Upload:
    """`offset` is the number of bytes received. `size_bytes` is None until the total is known."""

    id: str
    actor: str
    name: str  # for error messages
    created_at: datetime
    updated_at: datetime  # when bytes last arrived
    offset: int = 0
    size_bytes: int | None = None
    complete: bool = False
