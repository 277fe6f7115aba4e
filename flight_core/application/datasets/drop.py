"""Dropping datasets, and deleting their files later."""

from dataclasses import dataclass
from datetime import timedelta

from flight_core.application.access.rights import get_seen, require
from flight_core.application.ports.clock import Clock
from flight_core.application.ports.storage import TableStore
from flight_core.domain.access import Actor, Scope
from flight_core.domain.dataset import Dataset, DatasetName
from flight_core.domain.events import EventKind, dataset_event
from flight_core.domain.repositories.datasets import DatasetRepository


@dataclass(frozen=True, slots=True)
class DropDataset:
    """Remove a dataset from the catalog. Its files stay until `SweepOrphans`, for open reads.

    Raises:
        DatasetNotFound
        CommitConflict: the dataset has changed since it was `seen`.
    """

    datasets: DatasetRepository
    clock: Clock

    def __call__(self, name: DatasetName, *, actor: Actor, seen: Dataset | None = None) -> Dataset:
        require(actor, Scope.WRITE)
        dataset = get_seen(self.datasets, name, actor)
        event = dataset_event(
            EventKind.DATASET_DROPPED, dataset.name, self.clock(), version=dataset.version, actor=actor.name
        )
        return self.datasets.drop(name, event, seen=seen)


@dataclass(frozen=True, slots=True)
class SweepOrphans:
    """Delete the files of datasets that were dropped, and of writes that were abandoned, more than `grace`
    ago.

    Reads of a dropped dataset can finish within that time. Folders that the catalog does not know are left
    alone: it may be the catalog that was lost.
    """

    datasets: DatasetRepository
    store: TableStore
    clock: Clock
    grace: timedelta = timedelta(hours=24)

    def __call__(self) -> None:
        horizon = self.clock() - self.grace
        for dataset_id in self.datasets.dropped(before=horizon):
            self.store.delete(dataset_id)
        self.store.sweep(before=horizon)
