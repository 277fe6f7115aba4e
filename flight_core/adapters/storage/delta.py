"""Datasets as Delta tables of Parquet files on a local file system.

    lake/<dataset id>/_delta_log/                the commits: what exists
    lake/<dataset id>/<write id>/*.parquet       the files of one commit
    lake/<dataset id>/_staging/<write id>/       a write that has not been committed

A commit renames the folder of its files and then writes one log entry. Files and entry are synced
to disk before anybody is told.
"""

import re
import shutil
import threading
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path
from uuid import uuid4

import pyarrow as pa

from flight_core.adapters.storage.commit import Committing
from flight_core.adapters.storage.log import CommitLog
from flight_core.adapters.storage.staged import DeltaStagedWrite, StagedFiles
from flight_core.adapters.storage.statistics import column_statistics, summarize
from flight_core.application.ports.clock import Clock, utc_now
from flight_core.application.ports.storage import ColumnStatistics, StagedWrite, TableFiles
from flight_core.domain.dataset import DatasetVersion, VersionRef, WriteMode
from flight_core.domain.errors import VersionNotFound

_STAGING = "_staging"
_WRITE_ID = re.compile(r"[0-9a-f]{32}")  # other folders are not ours
_LOCKS = 64


class DeltaTableStore:
    """See `TableStore`. Any number of processes may share `root`."""

    def __init__(self, root: Path, *, clock: Clock = utc_now) -> None:
        self._root = root
        self._clock = clock
        self._log = CommitLog(root)
        # Fairness within this process only; between processes the Delta log decides.
        self._locks = [threading.Lock() for _ in range(_LOCKS)]
        self._files = lru_cache(maxsize=64)(self._load_files)
        self._summary = lru_cache(maxsize=4096)(summarize)

    def stage(
        self, dataset_id: str, schema: pa.Schema | None, mode: WriteMode, *, allow_lossy: bool = False
    ) -> StagedWrite:
        latest = self.latest(dataset_id) if mode is WriteMode.APPEND else None
        write = DeltaStagedWrite(
            self._root / dataset_id / _STAGING / uuid4().hex,
            table_schema=None if latest is None else latest.schema,
            allow_lossy=allow_lossy,
            commit=partial(self._commit, dataset_id, mode),
        )
        if schema is not None:
            write.expect(schema)
        write.open()
        return write

    def files(self, ref: VersionRef) -> TableFiles:
        return self._files(ref)

    def latest(self, dataset_id: str) -> DatasetVersion | None:
        commits = self._log.commits(dataset_id)
        return commits[-1].version if commits else None

    def history(self, dataset_id: str) -> Sequence[DatasetVersion]:
        return [commit.version for commit in reversed(self._log.commits(dataset_id))]

    def version_at(self, dataset_id: str, moment: datetime) -> int:
        for version in self.history(dataset_id):
            if version.committed_at <= moment:
                return version.ref.version
        raise VersionNotFound(f"the dataset had no version yet at {moment.isoformat()}; ask for a later one")

    def committed_by(self, dataset_id: str, job_id: str) -> DatasetVersion | None:
        commits = reversed(self._log.commits(dataset_id))
        return next((commit.version for commit in commits if commit.job_id == job_id), None)

    def statistics(self, ref: VersionRef) -> Sequence[ColumnStatistics]:
        files = self.files(ref)
        summaries = (self._summary(Path(uri), files.schema) for uri in files.uris)
        return column_statistics(files.schema, summaries, self._nan_columns(ref))

    def delete(self, dataset_id: str) -> None:
        shutil.rmtree(self._root / dataset_id, ignore_errors=True)
        self._log.forget(dataset_id)
        self._files.cache_clear()

    def sweep(self, *, before: datetime) -> None:
        for folder in _subfolders(self._root):
            for abandoned in _subfolders(folder / _STAGING):
                if _last_change(abandoned) < before.timestamp():
                    shutil.rmtree(abandoned, ignore_errors=True)
            self._sweep_uncommitted(folder, before)

    def _sweep_uncommitted(self, folder: Path, before: datetime) -> None:
        """Folders of files whose writer died between the rename and the log entry."""
        old = [
            part
            for part in _subfolders(folder)
            if _WRITE_ID.fullmatch(part.name) and part.stat().st_mtime < before.timestamp()
        ]
        if old:  # looked at before the log: what is committed meanwhile is in the log
            committed = {commit.write_id for commit in self._log.commits(folder.name)}
            for part in old:
                if part.name not in committed:
                    shutil.rmtree(part, ignore_errors=True)

    def _load_files(self, ref: VersionRef) -> TableFiles:
        commits = self._log.commits(ref.dataset_id)
        if not 0 <= ref.version < len(commits):
            raise VersionNotFound(f"version {ref.version} does not exist", version=ref.version)
        folder = self._root / ref.dataset_id
        files = self._log.files(ref)
        return TableFiles(
            ref=ref,
            uris=tuple(f"{folder}/{file.path}" for file in files),
            schema=commits[ref.version].version.schema,
            row_counts=tuple(file.row_count for file in files),
            size_bytes=tuple(file.size_bytes for file in files),
        )

    def _nan_columns(self, ref: VersionRef) -> frozenset[str]:
        found: frozenset[str] = frozenset()
        for commit in reversed(self._log.commits(ref.dataset_id)[: ref.version + 1]):
            found |= commit.nan_columns
            if commit.version.operation in ("create", "replace"):
                break
        return found

    def _commit(self, dataset_id: str, mode: WriteMode, staged: StagedFiles) -> DatasetVersion:
        with self._locks[hash(dataset_id) % _LOCKS]:
            table = self._root / dataset_id
            return Committing(self._log, table, mode, staged, clock=self._clock).run()


def _subfolders(folder: Path) -> Sequence[Path]:
    return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []


def _last_change(folder: Path) -> float:
    """When anything in the folder changed last, in seconds since 1970."""
    return max(path.stat().st_mtime for path in [folder, *folder.rglob("*")])
