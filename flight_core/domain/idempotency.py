"""Names that clients give to requests, so that sending one again does nothing again."""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, Protocol, Self

from flight_core.domain.errors import InvalidOption

_VALUE = re.compile(r"[\x20-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """`fingerprint` is the same for requests that ask for the same."""

    KEPT: ClassVar[timedelta] = timedelta(hours=24)

    actor: str
    value: str
    fingerprint: str

    @classmethod
    def of(cls, value: str, asked: bytes, *, actor: str) -> Self:
        """
        Raises:
            InvalidOption: the value is no key.
        """
        if not _VALUE.fullmatch(value):
            raise InvalidOption(
                f"{value[:40]!r} is not an idempotency key: use 1 to 255 printable ASCII characters, a UUID"
                " say"
            )
        return cls(actor, value, hashlib.sha256(asked).hexdigest())


class IdempotencyRepository(Protocol):
    """Which request made what. Keys are forgotten after `IdempotencyKey.KEPT`."""

    def claim(self, key: IdempotencyKey, at: datetime) -> str | None:
        """Take the key for a request that is about to be carried out; where it has been carried out before,
        what it made.

        Raises:
            IdempotencyKeyReused: it came with another request.
            IdempotencyKeyPending: it is being carried out, or the server died over it.
        """

    def settle(self, key: IdempotencyKey, resource: str) -> None:
        """The request has been carried out, and made this."""

    def release(self, key: IdempotencyKey) -> None:
        """The request has failed, and made nothing."""
