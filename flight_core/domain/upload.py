"""An upload: bytes that a client sends in any number of parts, to be ingested when they are whole."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Upload:
    """`offset` is how many bytes have arrived. `size_bytes` is None until it is known."""

    id: str
    actor: str
    name: str  # what errors call it
    created_at: datetime
    updated_at: datetime  # when bytes last arrived
    offset: int = 0
    size_bytes: int | None = None
    complete: bool = False
