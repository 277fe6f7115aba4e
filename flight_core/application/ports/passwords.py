"""Passwords, as they are kept."""

from typing import Protocol


class PasswordHasher(Protocol):
    """Slow on purpose: tens of milliseconds and megabytes a call. Thread-safe."""

    def hash(self, password: str) -> str:
        """Different each time; holds all that `verify` needs."""

    def verify(self, hash: str, password: str) -> bool: ...
