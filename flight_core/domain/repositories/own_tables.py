"""The names that the users' own tables take."""

from typing import Protocol


class OwnTableRepository(Protocol):
    """The names that the users' own tables take, in lower case: for processes that do not have these."""

    def replace(self, names: frozenset[str]) -> None: ...

    def has(self, name: str) -> bool:
        """Compared without case."""
