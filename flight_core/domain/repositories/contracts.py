"""Contracts."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from flight_core.domain.contract import Contract, StoredContract
from flight_core.domain.dataset import DatasetName


class ContractRepository(Protocol):
    """By the dataset's name, whether there is such a dataset or not."""

    def find(self, name: DatasetName, version: int | None = None) -> StoredContract | None:
        """The contract in force, or the one of that version; None if there is none."""

    def list(self) -> Sequence[StoredContract]:
        """All that are in force, ordered by name."""

    def put(self, name: DatasetName, contract: Contract, *, actor: str, at: datetime) -> StoredContract:
        """Store it as the next version, with an event. The same contract again changes nothing."""

    def withdraw(self, name: DatasetName, *, actor: str, at: datetime) -> None:
        """From now on there is no contract.

        Raises:
            ContractNotFound: there was none.
        """
