"""The status of derived datasets."""

from collections.abc import Sequence
from dataclasses import dataclass

from flight_core.application.access.rights import require
from flight_core.domain.access import Actor, Scope
from flight_core.domain.dataset import Dataset, DatasetName
from flight_core.domain.derivation import Derivation, is_stale
from flight_core.domain.errors import DerivationNotFound, IngestionNotFound
from flight_core.domain.ingestion import Ingestion
from flight_core.domain.lineage import Input, from_info
from flight_core.domain.query import Pins
from flight_core.domain.repositories.datasets import DatasetRepository
from flight_core.domain.repositories.derivations import DerivationRepository
from flight_core.domain.repositories.ingestions import IngestionRepository


@dataclass(frozen=True, slots=True)
class DerivationStatus:
    """`used` are the versions that the target was made from, `current` are the current versions of the
    inputs.

    `missing` are inputs that do not exist. `stale`: the inputs have changed since the latest run.
    """

    derivation: Derivation
    target: Dataset | None
    used: Sequence[Input]
    current: Pins
    missing: Sequence[DatasetName]
    stale: bool
    run: Ingestion | None


@dataclass(frozen=True, slots=True)
class InspectDerivations:
    """The status of derived datasets, ordered by name; only that of `target` if it is given.

    Raises:
        DerivationNotFound
    """

    derivations: DerivationRepository
    datasets: DatasetRepository
    ingestions: IngestionRepository

    def __call__(self, target: DatasetName | None = None, *, actor: Actor) -> Sequence[DerivationStatus]:
        require(actor, Scope.READ)
        if target is None:
            found = [each for each in self.derivations.list() if _seen(each, actor)]
        else:
            one = self.derivations.find(target)
            if one is None or not _seen(one, actor):
                raise derivation_not_found(target)
            found = [one]
        current = current_versions(self.datasets)
        return [self._status(each, current) for each in found]

    def _status(self, derivation: Derivation, current: Pins) -> DerivationStatus:
        target = self.datasets.find(derivation.target)
        return DerivationStatus(
            derivation=derivation,
            target=target,
            used=() if target is None else from_info(target.current.commit_info),
            current={key: ref for key, ref in current.items() if key in derivation.input_keys},
            missing=sorted(name for name in derivation.inputs if name.key not in current),
            stale=is_stale(derivation, current),
            run=run_of(derivation, self.ingestions),
        )


def _seen(derivation: Derivation, actor: Actor) -> bool:
    """Whether the actor sees the target and all datasets that it reads."""
    return all(map(actor.sees, (derivation.target, *derivation.reads)))


def run_of(derivation: Derivation, ingestions: IngestionRepository) -> Ingestion | None:
    try:
        return None if derivation.run is None else ingestions.get(derivation.run)
    except IngestionNotFound:  # long ago
        return None


def current_versions(datasets: DatasetRepository) -> Pins:
    return {key: entry.ref for key, entry in datasets.lake_state().datasets.items()}


def derivation_not_found(target: DatasetName) -> DerivationNotFound:
    return DerivationNotFound(
        f"dataset '{target}' is not derived; say what makes it with `skein derive {target}`",
        name=target.value,
    )
