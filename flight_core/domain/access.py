"""Who is asking."""

from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    READ = "read"
    WRITE = "write"  # create, append to, replace and drop datasets; DDL and DML
    ADMIN = "admin"  # see and cancel other people's work


ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class Actor:
    """An identity that was checked at a door. `name` is safe to log."""

    name: str
    scopes: frozenset[Scope] = ALL_SCOPES

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes


LOCAL = Actor("local")
