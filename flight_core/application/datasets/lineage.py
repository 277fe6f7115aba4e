"""Tracing lineage: what a version was made from, and what was made from it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from flight_core.application.access.rights import get_seen, list_seen, require
from flight_core.application.datasets.find_version import FindVersion
from flight_core.application.ports.storage import TableStore
from flight_core.domain.access import Actor, Scope
from flight_core.domain.dataset import DatasetName, DatasetVersion, VersionRef
from flight_core.domain.lineage import Input, from_info
from flight_core.domain.repositories.datasets import DatasetRepository
from flight_core.domain.versions import VersionName

MAX_NODES = 10_000

# Operations after which the version still has rows of the one before.
_ADDING = frozenset({"append", "upsert", "update", "delete", "merge", "replace_partitions", "compact"})


Kind = Literal["input", "previous"]


class Direction(StrEnum):
    UP = "up"  # what it was made from
    DOWN = "down"  # what was made from it


@dataclass(frozen=True, slots=True)
class LineageNode:
    """`version` is None if the dataset was dropped; `name` is then the one it had."""

    name: DatasetName
    ref: VersionRef
    version: DatasetVersion | None


@dataclass(frozen=True, slots=True)
class LineageEdge:
    source: VersionRef
    target: VersionRef
    kind: Kind


@dataclass(frozen=True, slots=True)
class Lineage:
    nodes: tuple[LineageNode, ...]
    edges: tuple[LineageEdge, ...]
    truncated: bool


def parents(version: DatasetVersion, name: DatasetName, actor: Actor) -> Iterable[tuple[Input, Kind]]:
    """What a version of the dataset was made from, as far as the actor may see it."""
    for each in from_info(version.commit_info):
        if actor.sees(each.name):
            yield each, "input"
    ref = version.ref
    if version.operation in _ADDING and ref.version > 0:
        yield Input(name, VersionRef(ref.dataset_id, ref.version - 1)), "previous"


@dataclass(frozen=True, slots=True)
class TraceLineage:
    """The graph of versions from which a version was made, or that were made from it, up to `depth` steps
    away; the nearest come first.

    Raises:
        DatasetNotFound, VersionNotFound, PermissionDenied.
    """

    datasets: DatasetRepository
    store: TableStore
    find: FindVersion

    def __call__(
        self,
        name: DatasetName,
        at: VersionName | None = None,
        *,
        actor: Actor,
        depth: int = 10,
        direction: Direction = Direction.UP,
    ) -> Lineage:
        require(actor, Scope.READ)
        dataset = get_seen(self.datasets, name, actor)
        start = self.find(dataset, at).ref
        known = _Known(self.datasets, self.store, actor)
        steps = known.above if direction is Direction.UP else known.below
        found: dict[VersionRef, None] = {start: None}
        edges: dict[LineageEdge, None] = {}
        layer, truncated = [start], False
        for distance in range(depth + 1):
            following: dict[VersionRef, None] = {}
            for ref in layer:
                for edge in steps(ref):
                    other = edge.source if direction is Direction.UP else edge.target
                    if other not in found and (distance == depth or len(found) >= MAX_NODES):
                        truncated = True
                        continue
                    edges[edge] = None
                    if other not in found:
                        found[other] = following[other] = None
            layer = list(following)
        return Lineage(tuple(known.node(ref) for ref in found), tuple(edges), truncated)


class _Known:
    """The versions of all datasets that the actor sees, loaded on demand."""

    def __init__(self, datasets: DatasetRepository, store: TableStore, actor: Actor) -> None:
        self._store = store
        self._actor = actor
        self._names = {each.id: each.name for each in list_seen(datasets, actor)}
        self._versions: dict[str, Mapping[int, DatasetVersion]] = {}
        self._below: dict[VersionRef, list[LineageEdge]] | None = None

    def node(self, ref: VersionRef) -> LineageNode:
        return LineageNode(self._name(ref), ref, self._version(ref))

    def above(self, ref: VersionRef) -> Iterable[LineageEdge]:
        version = self._version(ref)
        if version is None:
            return
        for parent, kind in parents(version, self._name(ref), self._actor):
            self._names.setdefault(parent.ref.dataset_id, parent.name)
            yield LineageEdge(parent.ref, ref, kind)

    def below(self, ref: VersionRef) -> Iterable[LineageEdge]:
        if self._below is None:
            self._below = {}
            for dataset_id in list(self._names):
                for number in self._history(dataset_id):
                    for edge in self.above(VersionRef(dataset_id, number)):
                        self._below.setdefault(edge.source, []).append(edge)
        return self._below.get(ref, ())

    def _name(self, ref: VersionRef) -> DatasetName:
        return self._names.get(ref.dataset_id, DatasetName("dropped"))

    def _version(self, ref: VersionRef) -> DatasetVersion | None:
        return self._history(ref.dataset_id).get(ref.version)

    def _history(self, dataset_id: str) -> Mapping[int, DatasetVersion]:
        if dataset_id not in self._versions:
            history = self._store.history(dataset_id)
            self._versions[dataset_id] = {version.ref.version: version for version in history}
        return self._versions[dataset_id]
