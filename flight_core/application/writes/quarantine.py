"""The quarantine: datasets of rejected rows.

Rejected rows are attached to the commit of the good ones, and then appended to the quarantine. So after a
crash the next attempt of the job finds exactly these rows, and appends them once.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flight_core.application.ports.storage import TableStore
from flight_core.application.writes.conflicts import despite_conflicts
from flight_core.application.writes.open_write import OpenWrite
from flight_core.domain.access import Actor
from flight_core.domain.contract import REJECTS_KIND, rejects_of
from flight_core.domain.dataset import DatasetName, DatasetVersion, VersionRef, WriteMode, WriteRule
from flight_core.domain.ingestion import WRITE_ID_PREFIX, Ingestion

_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Stores rejected rows. All calls are safe to repeat. Raises as `OpenWrite` and `StagedWrite`."""

    open_write: OpenWrite
    store: TableStore

    def settle(self, ingestion: Ingestion, version: DatasetVersion) -> None:
        """Store the rows that are attached to the commit of `version`, if there are any."""
        carried = self.store.attachment(version.ref)
        if ingestion.request.source.kind == REJECTS_KIND:
            self._replace(ingestion, carried)
        elif carried is not None:
            self._keep(ingestion.dataset, carried, ingestion.id, actor=ingestion.actor)
        if carried is not None:
            carried.unlink(missing_ok=True)

    def refuse(self, ingestion: Ingestion, rejects: Path) -> None:
        """Store the rejected rows of a job that commits nothing."""
        self._keep(ingestion.dataset, rejects, ingestion.id, "/refused", actor=ingestion.actor)

    def recover(self) -> None:
        """Keep what commits carry of clients' rows, whose process died before it could.

        Run it where they are written, before any are.
        """
        for dataset in self.open_write.datasets.list():
            for version in self.store.history(dataset.id):
                write_id = version.job_id or ""
                if not write_id.startswith(WRITE_ID_PREFIX):
                    continue
                carried = self.store.attachment(version.ref)
                if carried is not None:
                    self._keep(dataset.name, carried, write_id, actor=version.commit_info["actor"])
                    carried.unlink(missing_ok=True)

    def _replace(self, ingestion: Ingestion, still_bad: Path | None) -> None:
        """Replace the replayed rows by those that are still rejected. Rows that were added meanwhile stay."""
        fields = ingestion.request.source.fields
        replayed = VersionRef(str(fields["dataset_id"]), int(str(fields["version"])))
        despite_conflicts(lambda: self._replace_once(ingestion, replayed, still_bad), attempts=_ATTEMPTS)

    def _replace_once(self, ingestion: Ingestion, replayed: VersionRef, still_bad: Path | None) -> None:
        latest = self.store.latest(replayed.dataset_id)
        if latest is None:
            return
        write = self.open_write(
            rejects_of(ingestion.request.dataset),
            latest.schema,
            WriteRule(WriteMode.REPLACE),
            actor=Actor(ingestion.actor),
            source=f"ingestion {ingestion.id}",
            job_id=ingestion.id,
        )
        with write:
            if write.dataset_id != replayed.dataset_id:
                return  # it was dropped, and what was in it
            if not write.committed:
                jobs = self._committed_jobs(replayed)
                for batch in self.store.scan(latest.ref):
                    write.staged.write(_without(batch, jobs))
                if still_bad is not None:
                    write.staged.adopt([placed(still_bad, write.staged.folder)])
            write.commit(base_version=latest.ref.version)

    def _committed_jobs(self, replayed: VersionRef) -> "pa.Array[Any]":
        """The jobs whose rows were replayed: all rows of a job, since it rejects them in a single commit."""
        jobs: pa.Array[Any] = pa.array([], pa.string())
        for batch in self.store.scan(replayed):
            found = batch.filter(batch.column("committed")).column("job")
            jobs = pc.unique(pa.concat_arrays([jobs, found]))
        return jobs

    def _keep(self, name: DatasetName, rejects: Path, job_id: str, step: str = "", *, actor: str) -> None:
        write = self.open_write(
            rejects_of(name),
            None,
            WriteRule(WriteMode.APPEND),
            actor=Actor(actor),
            source=f"ingestion {job_id}",
            job_id=job_id + step,
        )
        with write:
            if not write.committed:
                write.staged.adopt([placed(rejects, write.staged.folder)])
            write.commit()


def _without(batch: pa.RecordBatch, jobs: "pa.Array[Any]") -> pa.RecordBatch:
    """The rows of other jobs, and of jobs that committed nothing."""
    replayed = pc.and_(pc.is_in(batch.column("job"), value_set=jobs), batch.column("committed"))
    return batch.filter(pc.invert(replayed))


def placed(file: Path, folder: Path) -> Path:
    """Link a parsed file into the folder of the write. The original stays, for another attempt to commit."""
    target = folder / file.name
    try:
        os.link(file, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(file, target)
    return target
