"""Idempotency keys: a request that is sent again with the same key has no second effect."""

import hashlib
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, Self

from flight_core.domain.access import Actor
from flight_core.domain.errors import InvalidOption

_VALUE = re.compile(r"[\x20-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """`fingerprint` is a digest of the request and of the actor's rights, to notice a key that comes with
    another request, or with rights that may not suffice for it."""

    KEPT: ClassVar[timedelta] = timedelta(hours=24)

    actor: str
    value: str
    fingerprint: str

    @classmethod
    def of(cls, value: str, asked: bytes, *, actor: Actor) -> Self:
        """
        Raises:
            InvalidOption: the value is not a valid key.
        """
        if not _VALUE.fullmatch(value):
            raise InvalidOption(
                f"{value[:40]!r} is not an idempotency key: use 1 to 255 printable ASCII characters, a UUID"
                " say"
            )
        rights = f"{sorted(actor.scopes)} {sorted(actor.datasets)}\n".encode()
        return cls(actor.name, value, hashlib.sha256(rights + asked).hexdigest())
