"""Compaction: merging small files. It blocks, and can be cancelled at any moment."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pyarrow as pa

from flight_core.application.access.rights import get_seen, require
from flight_core.application.maintenance.open_reads import OpenReads
from flight_core.application.maintenance.runs import (
    MaintenanceOutcome,
    MaintenanceRunner,
    Step,
    StepCounter,
    TellStep,
    say_nothing,
    stoppable,
)
from flight_core.application.ports.engine import QueryEngine
from flight_core.application.ports.sources import Report
from flight_core.application.ports.storage import TableStore
from flight_core.application.queries.cancellation import Cancellation
from flight_core.application.writes.conflicts import despite_conflicts
from flight_core.application.writes.open_write import Publish
from flight_core.domain.access import Actor, Scope
from flight_core.domain.dataset import Dataset, DatasetName, DatasetVersion
from flight_core.domain.errors import InvalidRequest
from flight_core.domain.job import Maintenance, Phase, Progress
from flight_core.domain.query import Statement, quoted
from flight_core.domain.repositories.datasets import DatasetRepository

_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class CompactDataset:
    """Merge small files into few large ones, as a new version with the same rows. Returns the current version
    if there is nothing to do.

    The order of rows is kept, unless `sort_by` names columns to sort by (nulls last), so that filters on
    these skip most of the table. `everything` rewrites large files, too. Rows that are appended meanwhile
    come last. A `job_id` commits at most once.

    Raises:
        CommitConflict: rows were rewritten meanwhile.
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
        report: TellStep = say_nothing,
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
                    StepCounter(dataset.current.row_count, report, stop),
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
        require_columns(dataset, sort_by)
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


def require_columns(dataset: Dataset, sort_by: Sequence[str]) -> None:
    """
    Raises:
        InvalidRequest: it has no such column to sort by.
    """
    known = {column.lower() for column in dataset.current.schema.names}
    for column in sort_by:
        if column.lower() not in known:
            raise InvalidRequest(
                f"dataset '{dataset.name}' has no column '{column[:100]}' to sort by", column=column[:100]
            )


@dataclass(frozen=True)
class RunCompaction(MaintenanceRunner):
    """See `Runner`. If rows are rewritten meanwhile it starts again, a few times."""

    compact: CompactDataset
    datasets: DatasetRepository
    store: TableStore

    async def __call__(self, job: Maintenance, _folder: Path, report: Report) -> MaintenanceOutcome:
        """Raises as `CompactDataset`."""
        dataset = await anyio.to_thread.run_sync(self.datasets.get, job.dataset)
        size_bytes = dataset.current.size_bytes

        def progress(step: Step) -> Progress:
            return Progress(Phase.COMPACTING, step.share_of(size_bytes), size_bytes, step.done)

        return await stoppable(partial(self._compact, job), progress, report)

    def _compact(self, job: Maintenance, tell: TellStep, stop: Cancellation) -> MaintenanceOutcome:
        return despite_conflicts(partial(self._compact_once, job, tell, stop), attempts=_ATTEMPTS)

    def _compact_once(self, job: Maintenance, tell: TellStep, stop: Cancellation) -> MaintenanceOutcome:
        before = self.datasets.get(job.dataset)
        version = self.compact(
            job.dataset,
            actor=Actor(job.actor),
            job_id=job.id,
            report=tell,
            cancellation=stop,
            **job.options,  # validated when the job was queued
        )
        if version.ref.version == before.version:
            return MaintenanceOutcome()
        files = {"files_before": self._files(before.current), "files_after": self._files(version)}
        return MaintenanceOutcome(version, files)

    def _files(self, version: DatasetVersion) -> int:
        return len(self.store.files(version.ref).uris)

    def committed_before(self, job: Maintenance) -> MaintenanceOutcome | None:
        dataset = self.datasets.find(job.dataset)
        version = None if dataset is None else self.store.committed_by(dataset.id, job.id)
        if version is None:
            return None
        self.compact.publish(job.dataset, version)
        return MaintenanceOutcome(version, {"files_after": self._files(version)})
