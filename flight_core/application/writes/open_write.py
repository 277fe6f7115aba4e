"""A write to a dataset: opened, committed, published.

A version exists once storage has committed it; the catalog follows and tells everybody. Where a
process died between the two, the next write or `Reconcile` publishes what storage has.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType, TracebackType
from typing import Self

import pyarrow as pa

from flight_core.application.access.rights import require, require_granted
from flight_core.application.derived.refuse import refuse_derived
from flight_core.application.ports.clock import Clock, NewId
from flight_core.application.ports.storage import OnStep, StagedWrite, TableStore
from flight_core.application.writes.conflicts import Turns
from flight_core.domain.access import Actor, Scope
from flight_core.domain.contract import is_rejects
from flight_core.domain.dataset import (
    Dataset,
    DatasetName,
    DatasetVersion,
    VersionRef,
    WriteMode,
    WriteRule,
    dataset_exists,
)
from flight_core.domain.errors import TableExists
from flight_core.domain.events import EventKind, dataset_event
from flight_core.domain.lineage import as_info
from flight_core.domain.query import NO_PINS, PLACE_COLUMNS, Pins
from flight_core.domain.repositories.datasets import DatasetRepository
from flight_core.domain.repositories.derivations import DerivationRepository

_MAX_CONDITION = 1000  # characters that the history tells
_PLACES = pa.schema([(name, pa.uint32()) for name in PLACE_COLUMNS])


@dataclass(frozen=True, slots=True)
class Replaced:
    """Rows of a version that give way to the ones that are written.

    `places`, where they are, is complete once the new ones have been read. The history tells the `condition`
    by which they were found. `columns` are those whose values change. With `expected` nothing may have been
    committed since that version.
    """

    ref: VersionRef
    condition: str
    columns: tuple[str, ...] = ()
    expected: int | None = None
    places: list[pa.RecordBatch] = field(default_factory=list)

    def without_places(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """New rows, which come with PLACE_COLUMNS of the old ones; NULL: of none."""
        for batch in batches:
            places = batch.select([*PLACE_COLUMNS])
            self.places.append(places.filter(places.column(0).is_valid()).cast(_PLACES))
            yield batch.drop_columns([*PLACE_COLUMNS])


@dataclass(frozen=True, slots=True)
class Publish:
    """Tell the catalog, and through it everybody, about a version that storage has committed.

    Repeating it is harmless. Raises as `DatasetRepository.publish`.
    """

    datasets: DatasetRepository
    clock: Clock

    def __call__(self, name: DatasetName, version: DatasetVersion) -> Dataset:
        event = dataset_event(
            EventKind.DATASET_COMMITTED,
            name,
            self.clock(),
            version=version.ref.version,
            rows=version.row_count,
            added_rows=version.added_rows,
            operation=version.operation,
            size_bytes=version.size_bytes,
        )
        return self.datasets.publish(name, version, event)


class DatasetWrite:
    """New rows on their way into a dataset: put them into `staged`, then `commit`.

    Use it with `with`: leaving without a commit deletes what was staged. `committed` is what the
    job committed in an earlier attempt that died before it could say so: stage nothing then, `commit`
    returns that version.
    """

    def __init__(
        self,
        name: DatasetName,
        dataset_id: str,
        staged: StagedWrite,
        *,
        publish: Publish,
        info: Mapping[str, str],
        job_id: str | None,
        committed: DatasetVersion | None,
        replaced: Replaced | None = None,
        turns: Turns,
    ) -> None:
        self.name = name
        self.dataset_id = dataset_id
        self.staged = staged
        self.committed = committed
        self._publish = publish
        self._info = info
        self._job_id = job_id
        self._replaced = replaced
        self._turns = turns

    def commit(
        self,
        info: Mapping[str, str] = MappingProxyType({}),
        *,
        base_version: int | None = None,
        on_rows: OnStep = lambda _: None,
    ) -> DatasetVersion:
        """Make the staged rows a version that everybody sees; `info` is what history tells besides.

        Raises as `StagedWrite.commit`, and CommitConflict when the dataset was dropped meanwhile."""
        if self._replaced is not None:
            self.staged.remove(self._replaced.ref, self._replaced.places)
            base_version = self._replaced.expected
        with self._turns.of(self.name):
            version = self.committed or self.staged.commit(
                job_id=self._job_id, info={**self._info, **info}, base_version=base_version, on_rows=on_rows
            )
            self._publish(self.name, version)
        return version

    def close(self) -> None:
        self.staged.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class OpenWrite:
    """Begin a write to a dataset, new or not.

    The name is bound to a dataset id before anything is written, so writers that race for a new name
    meet in one table and its log decides between them.

    `schema` None: the first batch or file decides. `source` tells the history where the rows came from,
    `inputs` which versions they were made from, `message` why. Rows that are `replaced` go by the
    same commit.
    One `job_id` commits at most once, however often it is attempted. A derived dataset is written by
    the run of its derivation.

    Raises:
        DatasetDerived: the job is no such run.
        DatasetExists: mode CREATE, and it does.
        TableExists: the dataset would be new, and a table of the users' has its name.
        PermissionDenied: the name is none of the actor's.
        LossyType, UnsupportedType, SchemaMismatch: see `TableStore.stage`.
    """

    datasets: DatasetRepository
    store: TableStore
    publish: Publish
    new_id: NewId
    derivations: DerivationRepository | None = None
    has_own_table: Callable[[str], bool] = lambda _: False  # see `QueryEngine`
    turns: Turns = field(default_factory=Turns)

    def __call__(
        self,
        name: DatasetName,
        schema: pa.Schema | None,
        rule: WriteRule,
        *,
        actor: Actor,
        source: str = "",
        inputs: Pins = NO_PINS,
        message: str = "",
        job_id: str | None = None,
        replaced: Replaced | None = None,
    ) -> DatasetWrite:
        require(actor, Scope.WRITE)
        require_granted(name, actor)
        dataset_id = self.datasets.reserve(name, self.new_id())
        found = self.datasets.find(name)
        found = _catch_up(name, dataset_id, found, store=self.store, publish=self.publish) or found
        committed = self.store.committed_by(dataset_id, job_id) if job_id else None
        if committed is None:
            self._refuse(name, found, rule, job_id)
        where = "" if replaced is None else replaced.condition[:_MAX_CONDITION]
        told = {"keys": ", ".join(rule.keys), "message": message, "where": where}
        return DatasetWrite(
            name if found is None else found.name,
            dataset_id,
            self.store.stage(dataset_id, schema, rule),
            publish=self.publish,
            info={
                "actor": actor.name,
                "source": source,
                "mode": str(rule.mode),
                **as_info(inputs),
                **{key: value for key, value in told.items() if value},
            },
            job_id=job_id,
            committed=committed,
            replaced=replaced,
            turns=self.turns,
        )

    def _refuse(self, name: DatasetName, found: Dataset | None, rule: WriteRule, job_id: str | None) -> None:
        """What cannot be written to, unless the job has done so already."""
        if self.derivations is not None:
            refuse_derived(self.derivations, name, job_id=job_id)
        if found is None and not is_rejects(name) and self.has_own_table(name.value):
            raise TableExists(
                f"there is a table '{name}', which would be found instead of a dataset of that name; drop or"
                " rename it, or choose another name",
                name=name.value,
            )
        if found is not None and rule.mode is WriteMode.CREATE:
            raise dataset_exists(found.name)


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Publish the versions that storage has and the catalog lacks; the number of them.

    Run it at start-up: a process may have died between the two.
    """

    datasets: DatasetRepository
    store: TableStore
    publish: Publish

    def __call__(self) -> int:
        known: list[tuple[DatasetName, str, Dataset | None]] = [
            (dataset.name, dataset.id, dataset) for dataset in self.datasets.list()
        ]
        known += [(name, dataset_id, None) for name, dataset_id in self.datasets.reservations()]
        published = [
            _catch_up(name, dataset_id, dataset, store=self.store, publish=self.publish)
            for name, dataset_id, dataset in known
        ]
        return sum(dataset is not None for dataset in published)


def _catch_up(
    name: DatasetName, dataset_id: str, dataset: Dataset | None, *, store: TableStore, publish: Publish
) -> Dataset | None:
    """Publish what storage has, if the catalog is behind; None if it is not."""
    latest = store.latest(dataset_id)
    if latest is None or (dataset is not None and dataset.version >= latest.ref.version):
        return None
    return publish(name, latest)
