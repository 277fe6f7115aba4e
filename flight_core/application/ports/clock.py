"""Time and identity, so that tests can hold them still."""

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import uuid4

Clock = Callable[[], datetime]
NewId = Callable[[], str]


def utc_now() -> datetime:
    return datetime.now(UTC)


def new_id() -> str:
    """32 hexadecimal digits, random."""
    return uuid4().hex
