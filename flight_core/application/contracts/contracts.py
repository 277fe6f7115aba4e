"""Setting, reading, describing and withdrawing contracts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from flight_core.application.access.rights import require, require_granted
from flight_core.application.contracts.prepare import PrepareCheck
from flight_core.application.ports.clock import Clock
from flight_core.application.ports.parsing import Parser
from flight_core.domain.access import Actor, Scope
from flight_core.domain.contract import Contract, StoredContract, refuse_rejects, rejects_of
from flight_core.domain.dataset import Dataset, DatasetName
from flight_core.domain.errors import ContractNotFound
from flight_core.domain.repositories.contracts import ContractRepository


@dataclass(frozen=True, slots=True)
class SetContract:
    """Set the contract that rows are checked against from now on. The dataset need not exist yet.

    Raises:
        InvalidContract
        InvalidDatasetName: it is a quarantine, which has no contract.
    """

    contracts: ContractRepository
    parser: Parser
    clock: Clock

    def __call__(self, name: DatasetName, contract: Contract, *, actor: Actor) -> StoredContract:
        require(actor, Scope.READ)
        require(actor, Scope.WRITE)
        require_granted(name, actor)
        refuse_rejects(name)
        self.parser.check_contract(contract)
        return self.contracts.put(name, contract, actor=actor.name, at=self.clock())


@dataclass(frozen=True, slots=True)
class GetContract:
    """The current contract, or that version of it; raises ContractNotFound."""

    contracts: ContractRepository

    def __call__(self, name: DatasetName, *, actor: Actor, version: int | None = None) -> StoredContract:
        require(actor, Scope.READ)
        stored = self.contracts.find(name, version) if actor.sees(name) else None
        if stored is None:
            what = "no contract" if version is None else f"no contract of version {version}"
            raise ContractNotFound(
                f"dataset '{name}' has {what}; set one, or have one proposed from the data", name=name.value
            )
        return stored


@dataclass(frozen=True, slots=True)
class ListContracts:
    """The current contracts of datasets that the actor sees, ordered by name."""

    contracts: ContractRepository

    def __call__(self, *, actor: Actor) -> Sequence[StoredContract]:
        require(actor, Scope.READ)
        return [stored for stored in self.contracts.list() if actor.sees(stored.dataset)]


@dataclass(frozen=True, slots=True)
class WithdrawContract:
    """Remove the contract. Rows that were rejected stay in the quarantine. Raises ContractNotFound."""

    contracts: ContractRepository
    clock: Clock

    def __call__(self, name: DatasetName, *, actor: Actor) -> None:
        require(actor, Scope.WRITE)
        require_granted(name, actor)
        self.contracts.withdraw(name, actor=actor.name, at=self.clock())


@dataclass(frozen=True, slots=True)
class ContractStanding:
    """`newest` and `age_s` are None if the age of the data is unknown, `rejects` if no rows were rejected."""

    stored: StoredContract
    newest: datetime | None
    age_s: float | None
    rejects: Dataset | None


@dataclass(frozen=True, slots=True)
class DescribeContract:
    """The contract, the age of the data, and the quarantine. Raises as `GetContract`."""

    get_contract: GetContract
    prepare: PrepareCheck
    clock: Clock

    def __call__(self, name: DatasetName, *, actor: Actor, version: int | None = None) -> ContractStanding:
        stored = self.get_contract(name, actor=actor, version=version)
        dataset = self.prepare.datasets.find(name)
        freshness = stored.contract.freshness
        newest = None
        if dataset is not None and freshness is not None:
            newest = (
                dataset.current.committed_at
                if freshness.column is None
                else self.prepare.newest(stored.contract, dataset.current)
            )
        age_s = None if newest is None else (self.clock() - newest).total_seconds()
        return ContractStanding(stored, newest, age_s, self.prepare.datasets.find(rejects_of(name)))
