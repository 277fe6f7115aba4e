"""Usage statistics: how often datasets are queried."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Use:
    """The queries of one actor that read a dataset."""

    actor: str
    queries: int
    last_at: datetime

    def plus(self, other: "Use") -> "Use":
        return Use(self.actor, self.queries + other.queries, max(self.last_at, other.last_at))


@dataclass(frozen=True, slots=True)
class Usage:
    """The queries of all actors that read a dataset."""

    queries: int = 0
    identities: int = 0
    last_at: datetime | None = None


def usage_of(uses: Iterable[Use]) -> Usage:
    """The total of `uses`, which must have each actor once."""
    known = list(uses)
    return Usage(
        sum(use.queries for use in known), len(known), max((use.last_at for use in known), default=None)
    )
