"""Repository of the names of the users' own tables."""

from typing import Protocol


class OwnTableRepository(Protocol):
    """The names of the users' own tables in lower case, for processes that do not have these tables."""

    def replace(self, names: frozenset[str]) -> None: ...

    def has(self, name: str) -> bool:
        """Whether there is such a table, ignoring case."""
