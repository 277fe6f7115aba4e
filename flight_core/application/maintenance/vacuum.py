"""Vacuum: deleting the files of expired versions. It blocks, and can be cancelled at any moment."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from flight_core.application.access.rights import get_seen, require
from flight_core.application.maintenance.open_reads import DEAD_AFTER
from flight_core.application.maintenance.runs import (
    MaintenanceOutcome,
    MaintenanceRunner,
    StepCounter,
    TellStep,
    say_nothing,
    stoppable,
)
from flight_core.application.ports.clock import Clock
from flight_core.application.ports.sources import Report
from flight_core.application.ports.storage import Leftovers, TableStore
from flight_core.application.queries.cancellation import Cancellation
from flight_core.domain.access import Actor, Scope
from flight_core.domain.dataset import Dataset, DatasetName
from flight_core.domain.events import EventKind, dataset_event
from flight_core.domain.job import Maintenance, Phase, Progress
from flight_core.domain.repositories.datasets import DatasetRepository
from flight_core.domain.repositories.open_reads import OpenReadRepository
from flight_core.domain.repositories.versions import VersionRepository
from flight_core.domain.versions import RetentionPolicy


@dataclass(frozen=True, slots=True)
class VacuumOptions:
    """The files of an expired version stay for `grace`, which is longer than tickets are valid. `default` is
    the retention policy of datasets without one of their own."""

    grace: timedelta = timedelta(hours=24, minutes=1)
    orphan_grace: timedelta = timedelta(hours=24)
    default: RetentionPolicy = field(default_factory=RetentionPolicy)


@dataclass(frozen=True, slots=True)
class Vacuumed:
    """What a vacuum did, or would do after a dry run.

    `expired` versions have expired in this run, the files of `deleted` ones were deleted, and `waiting` ones
    have expired but may still be read.
    """

    expired: Sequence[int]
    deleted: Sequence[int]
    removed: Leftovers
    waiting: Sequence[int]


@dataclass(frozen=True, slots=True)
class VacuumDataset:
    """Apply the retention policy, then delete the files that no kept version, open read or valid ticket
    needs. Safe to repeat, and to cancel at any moment.

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
        report: TellStep = say_nothing,
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
            on_file=StepCounter(None, report, cancellation or Cancellation()),
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
        event = dataset_event(
            EventKind.DATASET_EXPIRED,
            dataset.name,
            now,
            actor=actor.name,
            first_kept=first,
            versions=len(gone),
        )
        return self.versions.expire(dataset.id, before=first, event=event)

    def _sorted(self, dataset: Dataset, now: datetime) -> tuple[Sequence[int], dict[int, datetime]]:
        """The expired versions that no read can be using, and when each of the others expired."""
        horizon = self.open_reads.horizon(dataset.id, alive_since=now - DEAD_AFTER)
        deadline = min(now, horizon or now) - self.options.grace
        expired = self.versions.expired(dataset.id)
        due = sorted(number for number, at in expired.items() if at < deadline)
        return due, {number: at for number, at in expired.items() if at >= deadline}


@dataclass(frozen=True)
class RunVacuum(MaintenanceRunner):
    """See `Runner`."""

    vacuum: VacuumDataset

    async def __call__(self, job: Maintenance, _folder: Path, report: Report) -> MaintenanceOutcome:
        """Raises as `VacuumDataset`."""
        return await stoppable(partial(self._vacuum, job), lambda _: Progress(Phase.VACUUMING), report)

    def _vacuum(self, job: Maintenance, tell: TellStep, stop: Cancellation) -> MaintenanceOutcome:
        done = self.vacuum(job.dataset, actor=Actor(job.actor), report=tell, cancellation=stop, **job.options)
        return MaintenanceOutcome(
            result={
                "expired_versions": len(done.expired),
                "deleted_versions": len(done.deleted),
                "deleted_files": done.removed.files,
                "freed_bytes": done.removed.size_bytes,
            }
        )
