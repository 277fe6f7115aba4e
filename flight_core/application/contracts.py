"""Contracts of datasets: set, read, withdrawn, and made ready for a job to check its rows by."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from flight_core.application.ports.clock import Clock
from flight_core.application.ports.parsing import Check, Parser
from flight_core.application.ports.storage import TableStore
from flight_core.application.queries import require
from flight_core.domain.access import Actor, Scope
from flight_core.domain.contract import Contract, StoredContract, refuse_rejects
from flight_core.domain.dataset import DatasetName, DatasetVersion, WriteMode
from flight_core.domain.errors import ContractNotFound
from flight_core.domain.ingestion import Ingestion
from flight_core.domain.repositories import ContractRepository, DatasetRepository


@dataclass(frozen=True, slots=True)
class SetContract:
    """From the next ingestion on, rows are held against this contract. The dataset need not exist yet.

    Raises:
        InvalidContract
        InvalidDatasetName: rejected rows have no contract.
    """

    contracts: ContractRepository
    parser: Parser
    clock: Clock

    def __call__(self, name: DatasetName, contract: Contract, *, actor: Actor) -> StoredContract:
        require(actor, Scope.WRITE)
        refuse_rejects(name)
        self.parser.check_contract(contract)
        return self.contracts.put(name, contract, actor=actor.name, at=self.clock())


@dataclass(frozen=True, slots=True)
class GetContract:
    """The contract in force, or the one of that version; raises ContractNotFound."""

    contracts: ContractRepository

    def __call__(self, name: DatasetName, *, actor: Actor, version: int | None = None) -> StoredContract:
        require(actor, Scope.READ)
        stored = self.contracts.find(name, version)
        if stored is None:
            what = "no contract" if version is None else f"no contract of version {version}"
            raise ContractNotFound(
                f"dataset '{name}' has {what}; set one, or have one proposed from the data", name=name.value
            )
        return stored


@dataclass(frozen=True, slots=True)
class WithdrawContract:
    """Rows are not checked any more; what was rejected stays. Raises ContractNotFound."""

    contracts: ContractRepository
    clock: Clock

    def __call__(self, name: DatasetName, *, actor: Actor) -> None:
        require(actor, Scope.WRITE)
        self.contracts.withdraw(name, actor=actor.name, at=self.clock())


@dataclass(frozen=True, slots=True)
class PreparedCheck:
    """`base_version` is the version that the check counts on, -1: there is none; None: any will do."""

    check: Check | None
    base_version: int | None = None


@dataclass(frozen=True, slots=True)
class PrepareCheck:
    """What the rows of a job are to be held against; nothing where there is no contract."""

    contracts: ContractRepository
    datasets: DatasetRepository
    store: TableStore
    clock: Clock

    def __call__(self, ingestion: Ingestion) -> PreparedCheck:
        request = ingestion.request
        stored = self.contracts.find(request.dataset)
        if stored is None:
            return PreparedCheck(None)
        stays = self._stays(request.dataset) if request.mode is WriteMode.APPEND else None
        unique = bool(stored.contract.unique)
        check = Check(
            contract=stored,
            job_id=ingestion.id,
            at=self.clock(),
            newest=self.newest(stored.contract, stays),
            present=self._files(stays) if stays and unique else (),
        )
        if not (unique and request.mode is WriteMode.APPEND):
            return PreparedCheck(check)
        return PreparedCheck(check, -1 if stays is None else stays.ref.version)

    def newest(self, contract: Contract, version: DatasetVersion | None) -> datetime | None:
        """The latest value of the freshness column; None where the files do not tell."""
        if version is None or contract.freshness is None or contract.freshness.column is None:
            return None
        wanted = contract.freshness.column.lower()
        for column in self.store.statistics(version.ref):
            if column.name.lower() == wanted:
                return moment_of(column.maximum)
        return None

    def _stays(self, name: DatasetName) -> DatasetVersion | None:
        dataset = self.datasets.find(name)
        return None if dataset is None else self.store.latest(dataset.id)

    def _files(self, version: DatasetVersion) -> tuple[Path, ...]:
        uris: Sequence[str] = self.store.files(version.ref).uris
        return tuple(map(Path, uris))


def moment_of(value: object) -> datetime | None:
    """A date is its first moment; a moment without a zone is taken to be in UTC."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return None
