"""Listing and describing datasets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flight_core.application.access.rights import get_seen, list_seen, require
from flight_core.application.datasets.find_version import FindVersion
from flight_core.application.ports.storage import ColumnStatistics, TableStore
from flight_core.domain.access import Actor, Scope
from flight_core.domain.dataset import Dataset, DatasetName, DatasetVersion
from flight_core.domain.repositories.datasets import DatasetRepository
from flight_core.domain.repositories.profiles import ProfileRepository
from flight_core.domain.versions import VersionName


@dataclass(frozen=True, slots=True)
class ListDatasets:
    """The datasets that the actor sees, ordered by name."""

    datasets: DatasetRepository

    def __call__(self, *, actor: Actor) -> Sequence[Dataset]:
        require(actor, Scope.READ)
        return list_seen(self.datasets, actor)


@dataclass(frozen=True, slots=True)
class GetDataset:
    """One dataset. Raises DatasetNotFound."""

    datasets: DatasetRepository

    def __call__(self, name: DatasetName, *, actor: Actor) -> Dataset:
        require(actor, Scope.READ)
        return get_seen(self.datasets, name, actor)


@dataclass(frozen=True, slots=True)
class DatasetDescription:
    """The details of one version, and the list of all versions."""

    dataset: Dataset
    version: DatasetVersion  # the one described: rows, bytes, schema
    columns: Sequence[ColumnStatistics]  # of that version, in order
    distinct: Mapping[str, int]  # estimates by column; empty unless the version has a profile
    versions: Sequence[DatasetVersion]  # newest first


@dataclass(frozen=True, slots=True)
class DescribeDataset:
    """Columns, statistics and history of a dataset.

    `at` None: the current version.

    Raises:
        DatasetNotFound
        and as `FindVersion`.
    """

    datasets: DatasetRepository
    store: TableStore
    find: FindVersion
    profiles: ProfileRepository

    def __call__(
        self, name: DatasetName, *, actor: Actor, at: VersionName | None = None
    ) -> DatasetDescription:
        require(actor, Scope.READ)
        dataset = get_seen(self.datasets, name, actor)
        version = self.find(dataset, at)
        columns = self.store.statistics(version.ref)
        distinct = {known.name: known.distinct for known in self.profiles.find(version.ref) or ()}
        return DatasetDescription(dataset, version, columns, distinct, self.store.history(dataset.id))
