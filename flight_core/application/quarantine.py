"""Rejected rows: on their way with the commit of the good ones, and then in a dataset of their own.

The rows that a job rejects travel in the folder of its commit, so that whoever runs the job again
after a crash finds exactly those, and puts them into the quarantine once.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from flight_core.application.catalog import OpenWrite
from flight_core.application.ports.storage import TableStore
from flight_core.domain.access import Actor
from flight_core.domain.contract import rejects_of
from flight_core.domain.dataset import DatasetVersion, WriteMode
from flight_core.domain.ingestion import Ingestion


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Keeps rejected rows. Each call is harmless to repeat. Raises as `OpenWrite` and `StagedWrite`."""

    open_write: OpenWrite
    store: TableStore

    def settle(self, ingestion: Ingestion, version: DatasetVersion) -> None:
        """Keep what the commit of `version` carries, if it carries something."""
        carried = self.store.attachment(version.ref)
        if carried is not None:
            self._keep(ingestion, carried, ingestion.id)
            carried.unlink(missing_ok=True)

    def refuse(self, ingestion: Ingestion, rejects: Path) -> None:
        """Keep what a job rejected that is to commit nothing."""
        self._keep(ingestion, rejects, f"{ingestion.id}/refused")

    def _keep(self, ingestion: Ingestion, rejects: Path, job_id: str) -> None:
        write = self.open_write(
            rejects_of(ingestion.request.dataset),
            None,
            WriteMode.APPEND,
            actor=Actor(ingestion.actor),
            source=f"ingestion {ingestion.id}",
            job_id=job_id,
        )
        with write:
            if not write.committed:
                write.staged.adopt([placed(rejects, write.staged.folder)])
            write.commit()


def placed(file: Path, folder: Path) -> Path:
    """Put a parsed file where storage can take it, so that a lost race for the commit can be re-run."""
    target = folder / file.name
    try:
        os.link(file, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(file, target)
    return target
