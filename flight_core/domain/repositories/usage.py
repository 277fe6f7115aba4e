"""How much datasets are asked for."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from flight_core.domain.usage import Usage, Use


class UsageRepository(Protocol):
    """Which identities have read which dataset (by id), and how often."""

    def add(self, uses: Mapping[tuple[str, str], Use]) -> None:
        """Count more, by dataset and identity. Several processes may add at once."""

    def of(self, dataset_id: str) -> Sequence[Use]:
        """Each identity once."""

    def totals(self) -> Mapping[str, Usage]:
        """Of every dataset that was ever read."""
