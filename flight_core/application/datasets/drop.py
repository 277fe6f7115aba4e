"""Dropping datasets, and deleting what is left of them."""

from dataclasses import dataclass
from datetime import timedelta

from flight_core.application.access.rights import get_seen, require
from flight_core.application.ports.clock import Clock
from flight_core.application.ports.storage import TableStore
from flight_core.domain.access import Actor, Scope
from flight_core.domain.dataset import Dataset, DatasetName
from flight_core.domain.events import Event, EventKind
from flight_core.domain.repositories.datasets import DatasetRepository


@dataclass(frozen=True, slots=True)
class DropDataset:
    """Forget a dataset's name. Its files stay until `SweepOrphans`, for those who are reading them.

    Raises:
        DatasetNotFound
        CommitConflict: it has changed since it was `seen`.
    """

    datasets: DatasetRepository
    clock: Clock

    def __call__(self, name: DatasetName, *, actor: Actor, seen: Dataset | None = None) -> Dataset:
        require(actor, Scope.WRITE)
        dataset = get_seen(self.datasets, name, actor)
        data = {"dataset": str(dataset.name), "version": dataset.version, "actor": actor.name}
        event = Event(EventKind.DATASET_DROPPED, str(dataset.name), data, self.clock())
        return self.datasets.drop(name, event, seen=seen)


@dataclass(frozen=True, slots=True)
class SweepOrphans:
    """Delete the files of datasets dropped, and of writes abandoned, more than `grace` ago.

    The grace lets those who read a dropped dataset finish. Folders that the catalog has never
    heard of are left alone: it may be the catalog that was lost.
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
