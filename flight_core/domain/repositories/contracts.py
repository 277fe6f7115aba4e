"""Repository of contracts."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from flight_core.domain.contract import Contract, StoredContract
from flight_core.domain.dataset import DatasetName


class ContractRepository(Protocol):
    """Contracts by the dataset's name. The dataset need not exist."""

    def find(self, name: DatasetName, version: int | None = None) -> StoredContract | None:
        """The current contract, or that version of it; None if there is none."""

    def list(self) -> Sequence[StoredContract]:
        """All current contracts, ordered by name."""

    def put(self, name: DatasetName, contract: Contract, *, actor: str, at: datetime) -> StoredContract:
        """Store the next version and an event, unless the contract is equal to the current one."""

    def withdraw(self, name: DatasetName, *, actor: str, at: datetime) -> None:
        """Remove the current contract. Its versions are kept.

        Raises:
            ContractNotFound: there is none.
        """
