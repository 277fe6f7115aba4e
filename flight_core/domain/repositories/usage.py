"""Repository of usage statistics."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from flight_core.domain.usage import Usage, Use


class UsageRepository(Protocol):
    """How often each actor has read each dataset (by id)."""

    def add(self, uses: Mapping[tuple[str, str], Use]) -> None:
        """Add to the counts, by dataset id and actor. Several processes may do so at the same time."""

    def of(self, dataset_id: str) -> Sequence[Use]:
        """One entry for each actor."""

    def totals(self) -> Mapping[str, Usage]:
        """The totals of all datasets that were ever read, by id."""
