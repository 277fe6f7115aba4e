"""How much datasets are asked for."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Use:
    """The queries of one identity that read one dataset."""

    actor: str
    queries: int
    last_at: datetime

    def plus(self, other: "Use") -> "Use":
        return Use(self.actor, self.queries + other.queries, max(self.last_at, other.last_at))


@dataclass(frozen=True, slots=True)
class Usage:
    """The queries of all identities that read one dataset."""

    queries: int = 0
    identities: int = 0
    last_at: datetime | None = None


def usage_of(uses: Iterable[Use]) -> Usage:
    """`uses` has each identity once."""
    known = list(uses)
    return Usage(
        sum(use.queries for use in known), len(known), max((use.last_at for use in known), default=None)
    )
