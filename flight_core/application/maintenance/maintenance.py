"""Keeping tables fast and small: compaction and vacuum. Both block, and can be stopped at any moment."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pyarrow as pa

from flight_core.application.access.rights import get_seen, require
from flight_core.application.datasets.catalog import Publish
from flight_core.application.maintenance.open_reads import DEAD_AFTER, OpenReads
from flight_core.application.ports.clock import Clock
from flight_core.application.ports.engine import QueryEngine
from flight_core.application.ports.storage import Leftovers, TableStore
from flight_core.application.queries.cancellation import Cancellation
from flight_core.domain.access import Actor, Scope
from flight_core.domain.dataset import Dataset, DatasetName, DatasetVersion
from flight_core.domain.errors import InvalidRequest
from flight_core.domain.events import Event, EventKind
from flight_core.domain.query import Statement, quoted
from flight_core.domain.repositories import DatasetRepository, OpenReadRepository, VersionRepository
from flight_core.domain.versions import RetentionPolicy


@dataclass(frozen=True, slots=True)
class Step:
    """How far a piece of maintenance has come, in rows or files; `total` None: unknown."""

    done: int
    total: int | None = None


Report = Callable[[Step], None]


def say_nothing(_step: Step) -> None: ...


@dataclass(frozen=True, slots=True)
class CompactDataset:
    """Put the rows of small files into few large ones, as a new version with the same rows; the current
    version where there is nothing to do.

    The order of rows stays, unless `sort_by` names columns to sort by, nulls last: filters on them then
    skip most of the table. `everything` rewrites large files, too. What is appended meanwhile comes
    after the rows that were there. One `job_id` commits at most once.

    Raises:
        CommitConflict: rows were replaced meanwhile.
        InvalidRequest: the dataset has no such column to sort by.
        Cancelled, OutOfDisk
    """

    datasets: DatasetRepository
    store: TableStore
    engine: QueryEngine
    publish: Publish
    reads: OpenReads

    def __call__(
        self,
        name: DatasetName,
        *,
        actor: Actor,
        sort_by: Sequence[str] = (),
        everything: bool = False,
        message: str = "",
        job_id: str | None = None,
        report: Report = say_nothing,
        cancellation: Cancellation | None = None,
    ) -> DatasetVersion:
        require(actor, Scope.WRITE)
        dataset = get_seen(self.datasets, name, actor)
        committed = self.store.committed_by(dataset.id, job_id) if job_id else None
        if committed is None:
            stop = cancellation or Cancellation()
            info = {"actor": actor.name, "mode": "compact", "sort_by": ", ".join(sort_by), "message": message}
            info = {key: value for key, value in info.items() if value}
            with self.reads.holding(dataset.id):
                committed = self.store.compact(
                    dataset.current.ref,
                    _Counter(dataset.current.row_count, report, stop),
                    everything=everything,
                    rows=self._sorted(dataset, sort_by, stop) if sort_by else None,
                    job_id=job_id,
                    info=info,
                )
        if committed is None:
            return dataset.current
        self.publish(dataset.name, committed)
        return committed

    def _sorted(
        self, dataset: Dataset, sort_by: Sequence[str], stop: Cancellation
    ) -> Iterator[pa.RecordBatch]:
        known = {column.lower() for column in dataset.current.schema.names}
        for column in sort_by:
            if column.lower() not in known:
                raise InvalidRequest(
                    f"dataset '{dataset.name}' has no column '{column[:100]}' to sort by", column=column[:100]
                )
        order = ", ".join(f"{quoted(column)} NULLS LAST" for column in sort_by)
        table = quoted(f"{dataset.name}@v{dataset.version}")
        statement = Statement(f"SELECT * FROM datasets.{table} ORDER BY {order}")
        return self._rows(statement, stop)

    def _rows(self, statement: Statement, stop: Cancellation) -> Iterator[pa.RecordBatch]:
        with (
            closing(self.engine.plan(statement, self.datasets.lake_state())) as query,
            stop.interrupting(query.cancel),
        ):
            yield from query


class _Counter:
    """Counts steps, tells of them, and stops where that was asked for."""

    def __init__(self, total: int | None, report: Report, stop: Cancellation) -> None:
        self._step = Step(0, total)
        self._report = report
        self._stop = stop

    def __call__(self, more: int) -> None:
        self._stop.check()
        self._step = replace(self._step, done=self._step.done + more)
        self._report(self._step)


@dataclass(frozen=True, slots=True)
class VacuumOptions:
    """A version's files stay for `grace` after it has expired: longer than any ticket that names it is
    good. `default`: for datasets without a policy of their own."""

    grace: timedelta = timedelta(hours=24, minutes=1)
    orphan_grace: timedelta = timedelta(hours=24)
    default: RetentionPolicy = field(default_factory=RetentionPolicy)


@dataclass(frozen=True, slots=True)
class Vacuumed:
    """`expired` versions cannot be asked for since now; the files of `deleted` ones are gone. `waiting` ones
    have expired and may be read still.

    After a dry run: what would be so.
    """

    expired: Sequence[int]
    deleted: Sequence[int]
    removed: Leftovers
    waiting: Sequence[int]


@dataclass(frozen=True, slots=True)
class VacuumDataset:
    """Apply the retention policy, then delete the files that neither a kept version, nor an open read, nor a
    ticket that is still good needs. Safe to repeat, and to stop at any moment.

    Raises:
        DatasetNotFound, Cancelled
    """

    datasets: DatasetRepository
    store: TableStore
    versions: VersionRepository
    open_reads: OpenReadRepository
    clock: Clock
    options: VacuumOptions = field(default_factory=VacuumOptions)

    def __call__(
        self,
        name: DatasetName,
        *,
        actor: Actor,
        dry_run: bool = False,
        report: Report = say_nothing,
        cancellation: Cancellation | None = None,
    ) -> Vacuumed:
        require(actor, Scope.WRITE)
        dataset = get_seen(self.datasets, name, actor)
        now = self.clock()
        newly = self._expire(dataset, actor, now, dry_run=dry_run)
        due, waiting = self._sorted(dataset, now)
        removed = self.store.vacuum(
            dataset.id,
            due,
            before=now - self.options.orphan_grace,
            dry_run=dry_run,
            on_file=_Counter(None, report, cancellation or Cancellation()),
        )
        if not dry_run:
            self.versions.forget_expired(dataset.id, due)
        since = dict.fromkeys(newly, now) | waiting if dry_run else waiting
        return Vacuumed(expired=newly, deleted=due, removed=removed, waiting=sorted(since))

    def _expire(self, dataset: Dataset, actor: Actor, now: datetime, *, dry_run: bool) -> Sequence[int]:
        policy = self.versions.retention(dataset.id) or self.options.default
        first = min(policy.first_kept(self.store.history(dataset.id), now), dataset.version)
        tagged = {tag.version for tag in self.versions.tags(dataset.id)}
        gone = [number for number in range(dataset.first_kept, first) if number not in tagged]
        if dry_run or not first > dataset.first_kept:
            return gone
        data = {
            "dataset": str(dataset.name),
            "actor": actor.name,
            "first_kept": first,
            "versions": len(gone),
        }
        event = Event(EventKind.DATASET_EXPIRED, str(dataset.name), data, now)
        return self.versions.expire(dataset.id, before=first, event=event)

    def _sorted(self, dataset: Dataset, now: datetime) -> tuple[Sequence[int], dict[int, datetime]]:
        """The expired versions that nobody can be reading, and since when the others have expired."""
        horizon = self.open_reads.horizon(dataset.id, alive_since=now - DEAD_AFTER)
        deadline = min(now, horizon or now) - self.options.grace
        expired = self.versions.expired(dataset.id)
        due = sorted(number for number, at in expired.items() if at < deadline)
        return due, {number: at for number, at in expired.items() if at >= deadline}


@dataclass(frozen=True, slots=True)
class MaintenanceDue:
    compact: bool
    vacuum: bool


@dataclass(frozen=True, slots=True)
class MaintenanceOptions:
    """`compact_files`: how many small files are too many; `vacuum_every` None: never by itself."""

    compact_files: int | None = 100
    vacuum_every: timedelta | None = timedelta(days=1)


def due(
    options: MaintenanceOptions, *, small_files: int, last_vacuum_at: datetime | None, now: datetime
) -> MaintenanceDue:
    """What a dataset needs now. `small_files` as `TableStore.small_files` counts them; `last_vacuum_at` None:
    never vacuumed."""
    return MaintenanceDue(
        compact=options.compact_files is not None and small_files >= options.compact_files,
        vacuum=options.vacuum_every is not None
        and (last_vacuum_at is None or now - last_vacuum_at >= options.vacuum_every),
    )
