"""The versions of a dataset: history, tags, retention, and restoring one."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from flight_core.application.access.rights import get_seen, require
from flight_core.application.datasets.find_version import FindVersion
from flight_core.application.derived.refuse import refuse_derived
from flight_core.application.ports.clock import Clock
from flight_core.application.ports.storage import TableStore
from flight_core.application.writes.open_write import Publish
from flight_core.domain.access import Actor, Scope
from flight_core.domain.dataset import Dataset, DatasetName, DatasetVersion
from flight_core.domain.events import EventKind, dataset_event
from flight_core.domain.repositories.datasets import DatasetRepository
from flight_core.domain.repositories.derivations import DerivationRepository
from flight_core.domain.repositories.versions import VersionRepository
from flight_core.domain.versions import RetentionPolicy, Tag, TagName, VersionName


class VersionState(StrEnum):
    KEPT = "kept"
    EXPIRED = "expired"  # cannot be read any more, except by reads and tickets from before
    DELETED = "deleted"  # the files that only it needed are deleted, too


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    version: DatasetVersion
    state: VersionState
    tags: Sequence[TagName]


@dataclass(frozen=True, slots=True)
class ReadHistory:
    """The history of a dataset, newest first: at most `limit` versions, all older than `before`."""

    datasets: DatasetRepository
    store: TableStore
    versions: VersionRepository

    def __call__(
        self, name: DatasetName, *, actor: Actor, before: int | None = None, limit: int | None = None
    ) -> Sequence[HistoryEntry]:
        require(actor, Scope.READ)
        return self.of(get_seen(self.datasets, name, actor), before=before, limit=limit)

    def of(
        self, dataset: Dataset, *, before: int | None = None, limit: int | None = None
    ) -> Sequence[HistoryEntry]:
        tags: dict[int, list[TagName]] = {}
        for tag in self.versions.tags(dataset.id):
            tags.setdefault(tag.version, []).append(tag.name)
        deleted = self.store.vacuumed(dataset.id)
        found = [
            version
            for version in self.store.history(dataset.id)
            if before is None or version.ref.version < before
        ]
        return [self._entry(version, dataset, tags, deleted) for version in found[:limit]]

    @staticmethod
    def _entry(
        version: DatasetVersion,
        dataset: Dataset,
        tags: Mapping[int, list[TagName]],
        deleted: Collection[int],
    ) -> HistoryEntry:
        number = version.ref.version
        state = VersionState.KEPT
        if number in deleted:
            state = VersionState.DELETED
        elif number < dataset.first_kept and number not in tags:
            state = VersionState.EXPIRED
        return HistoryEntry(version, state, tags.get(number, []))


@dataclass(frozen=True, slots=True)
class RestoreVersion:
    """Make an older version current again, as a new version of the same files.

    `expected` is the version that must be current, so that no newer write is undone unnoticed.
    If the version is current already nothing happens.

    Raises:
        CommitConflict: the current version is not `expected`.
        DatasetDerived
        and as `FindVersion`.
    """

    datasets: DatasetRepository
    store: TableStore
    find: FindVersion
    publish: Publish
    derivations: DerivationRepository

    def __call__(
        self,
        name: DatasetName,
        at: VersionName,
        *,
        actor: Actor,
        message: str = "",
        expected: int | None = None,
    ) -> DatasetVersion:
        require(actor, Scope.WRITE)
        dataset = get_seen(self.datasets, name, actor)
        refuse_derived(self.derivations, name)
        version = self.find(dataset, at)
        if version.ref == dataset.current.ref:
            return version
        info = {"actor": actor.name, "source": f"version {version.ref.version}", "mode": "restore"}
        restored = self.store.restore(
            version.ref, expected=expected, info=info | ({"message": message} if message else {})
        )
        self.publish(dataset.name, restored)
        return restored


@dataclass(frozen=True, slots=True)
class ListTags:
    datasets: DatasetRepository
    versions: VersionRepository

    def __call__(self, name: DatasetName, *, actor: Actor) -> Sequence[Tag]:
        """Ordered by name."""
        require(actor, Scope.READ)
        return self.versions.tags(get_seen(self.datasets, name, actor).id)


@dataclass(frozen=True, slots=True)
class TagVersion:
    """Tag a version, or move the tag to it. Tagged versions do not expire.

    Raises as `FindVersion` and `VersionRepository.put_tag`.
    """

    datasets: DatasetRepository
    versions: VersionRepository
    find: FindVersion
    clock: Clock

    def __call__(
        self,
        name: DatasetName,
        tag: TagName,
        at: VersionName | None = None,
        *,
        actor: Actor,
        message: str = "",
    ) -> Tag:
        require(actor, Scope.WRITE)
        dataset = get_seen(self.datasets, name, actor)
        version = self.find(dataset, at).ref.version
        made = Tag(tag, version, self.clock(), actor.name, message)
        event = dataset_event(
            EventKind.DATASET_TAGGED,
            dataset.name,
            made.tagged_at,
            actor=actor.name,
            tag=tag.value,
            version=version,
        )
        self.versions.put_tag(dataset.id, made, event)
        return made


@dataclass(frozen=True, slots=True)
class RemoveTag:
    """Remove a tag. The version expires if only the tag kept it. Raises TagNotFound."""

    datasets: DatasetRepository
    versions: VersionRepository
    clock: Clock

    def __call__(self, name: DatasetName, tag: TagName, *, actor: Actor) -> None:
        require(actor, Scope.WRITE)
        dataset = get_seen(self.datasets, name, actor)
        event = dataset_event(
            EventKind.DATASET_UNTAGGED, dataset.name, self.clock(), actor=actor.name, tag=tag.value
        )
        self.versions.remove_tag(dataset.id, tag, event)


@dataclass(frozen=True, slots=True)
class Retention:
    policy: RetentionPolicy
    own: bool  # False: it is the default for all datasets


@dataclass(frozen=True, slots=True)
class GetRetention:
    datasets: DatasetRepository
    versions: VersionRepository
    default: RetentionPolicy

    def __call__(self, name: DatasetName, *, actor: Actor) -> Retention:
        require(actor, Scope.READ)
        own = self.versions.retention(get_seen(self.datasets, name, actor).id)
        return Retention(own or self.default, own is not None)


@dataclass(frozen=True, slots=True)
class SetRetention:
    """Set the retention policy of a dataset; None: the default. Expired versions do not come back."""

    datasets: DatasetRepository
    versions: VersionRepository
    clock: Clock

    def __call__(self, name: DatasetName, policy: RetentionPolicy | None, *, actor: Actor) -> None:
        require(actor, Scope.READ)
        require(actor, Scope.WRITE)
        dataset = get_seen(self.datasets, name, actor)
        rules = {"keep_versions": policy.keep_versions, "keep_s": policy.keep_s} if policy else {}
        event = dataset_event(
            EventKind.DATASET_RETENTION_SET, dataset.name, self.clock(), actor=actor.name, **rules
        )
        self.versions.set_retention(dataset.id, policy, event)
