"""Finding a version by number, time or tag."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from flight_core.application.ports.storage import TableStore
from flight_core.domain.dataset import Dataset, DatasetVersion, require_kept
from flight_core.domain.errors import VersionNotFound
from flight_core.domain.repositories.versions import VersionRepository
from flight_core.domain.versions import TagName, VersionName, tag_not_found


@dataclass(frozen=True, slots=True)
class FindVersion:
    """The version of a dataset with that name; the current one for None.

    Raises:
        VersionNotFound, TagNotFound, VersionExpired
    """

    store: TableStore
    versions: VersionRepository

    def __call__(self, dataset: Dataset, at: VersionName | None) -> DatasetVersion:
        if at is None:
            return dataset.current
        tags = {tag.name.key: tag.version for tag in self.versions.tags(dataset.id)}
        number = self._number(dataset, at, tags)
        for version in self.store.history(dataset.id):
            if version.ref.version == number:
                require_kept(dataset.name, number, dataset.first_kept, tags.values())
                return version
        raise VersionNotFound(
            f"dataset '{dataset.name}' has no version {number}; the newest is {dataset.version}",
            name=str(dataset.name),
            version=number,
        )

    def _number(self, dataset: Dataset, at: VersionName, tags: Mapping[str, int]) -> int:
        match at:
            case int():
                return at
            case datetime():
                return self.store.version_at(dataset.id, at)
            case TagName():
                if at.key not in tags:
                    raise tag_not_found(dataset.name, at, tags)
                return tags[at.key]
