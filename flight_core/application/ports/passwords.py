"""Password hashing."""

from typing import Protocol


class PasswordHasher(Protocol):
    """Deliberately slow: each call takes tens of milliseconds and megabytes of memory. Thread-safe."""

    def hash(self, password: str) -> str:
        """A salted hash, different each time, with everything that `verify` needs."""

    def verify(self, hash: str, password: str) -> bool: ...
