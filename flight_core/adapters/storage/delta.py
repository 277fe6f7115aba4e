"""Datasets as Delta tables of Parquet files on a local file system.

    lake/<dataset id>/_delta_log/                the commits: what exists
    lake/<dataset id>/<write id>/*.parquet       the files of one commit
    lake/<dataset id>/_staging/<write id>/       a write that has not been committed

A commit renames the folder of its files and then writes one log entry. Both are synced to disk before the
commit is reported as successful.
"""

import shutil
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path
from uuid import uuid4

import pyarrow as pa

from flight_core.adapters.storage.changes import Change, Compacted, Restored, Rewritten, Run, Written
from flight_core.adapters.storage.commit import Committing
from flight_core.adapters.storage.compaction import rewrite, runs_to_compact
from flight_core.adapters.storage.fitting import Fit
from flight_core.adapters.storage.leftovers import VacuumedVersions
from flight_core.adapters.storage.log import CommitLog
from flight_core.adapters.storage.parquet import ParquetSource
from flight_core.adapters.storage.rewriting import RewrittenFiles, RowsByKey, RowsByNumber, by_path
from flight_core.adapters.storage.rows import ParquetRows
from flight_core.adapters.storage.staged import ATTACHMENT, DeltaStagedWrite, StagedFiles
from flight_core.adapters.storage.statistics import column_statistics, summarize
from flight_core.adapters.storage.vacuum import STAGING, Vacuum
from flight_core.application.ports.clock import Clock, utc_now
from flight_core.application.ports.storage import (
    ColumnStatistics,
    Leftovers,
    OnStep,
    RowFinder,
    RowWriter,
    StagedWrite,
    TableFiles,
)
from flight_core.domain.dataset import (
    AddedRows,
    DatasetVersion,
    VersionRef,
    WriteMode,
    WriteRule,
)
from flight_core.domain.errors import Unsupported, VersionExpired, VersionNotFound

_LOCKS = 64


class DeltaTableStore:
    """See `TableStore` and `RowStore`. Any number of processes may share `root`.

    Without a `row_finder`, write modes with keys are not supported.
    """

    def __init__(self, root: Path, *, clock: Clock = utc_now, row_finder: RowFinder | None = None) -> None:
        self._root = root
        self._clock = clock
        self._row_finder = row_finder
        self._log = CommitLog(root)
        self._vacuumed = VacuumedVersions(root)
        self._vacuum = Vacuum(root, self._log, self._vacuumed)
        # Only spares commits of this process a conflict; between processes the Delta log decides.
        self._locks = [threading.Lock() for _ in range(_LOCKS)]
        self._files = lru_cache(maxsize=64)(self._load_files)
        self._summary = lru_cache(maxsize=4096)(summarize)

    def stage(self, dataset_id: str, schema: pa.Schema | None, rule: WriteRule) -> StagedWrite:
        if rule.mode.needs_keys and self._row_finder is None:
            raise Unsupported(f"this store does not know the mode '{rule.mode}'; use 'append' or 'replace'")
        alone = rule.mode in (WriteMode.CREATE, WriteMode.REPLACE)
        latest = None if alone else self.latest(dataset_id)
        write = DeltaStagedWrite(
            self._new_folder(dataset_id),
            table_schema=None if latest is None else latest.schema,
            commit=partial(self._commit, dataset_id, rule),
            rule=rule,
        )
        if schema is not None:
            write.expect(schema)
        write.open()
        return write

    def open_rows(self, folder: Path, schema: pa.Schema, *, allow_lossy: bool = False) -> RowWriter:
        return ParquetRows(folder, schema, allow_lossy=allow_lossy)

    def files(self, ref: VersionRef) -> TableFiles:
        if ref.version in self._vacuumed.of(ref.dataset_id):
            raise VersionExpired(
                f"version {ref.version} has expired, and its files are deleted; read a newer one",
                version=ref.version,
            )
        return self._added_files(ref) if isinstance(ref, AddedRows) else self._files(ref)

    def _added_files(self, ref: AddedRows) -> TableFiles:
        files = self._files(VersionRef(ref.dataset_id, ref.version))
        before = set(self.files(VersionRef(ref.dataset_id, ref.since)).uris)
        added = [place for place, uri in enumerate(files.uris) if uri not in before]
        return TableFiles(
            ref,
            tuple(files.uris[place] for place in added),
            files.schema,
            tuple(files.row_counts[place] for place in added),
            tuple(files.size_bytes[place] for place in added),
            files.alike,
        )

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

    def scan(self, ref: VersionRef) -> Iterator[pa.RecordBatch]:
        files = self.files(ref)
        for uri in files.uris:
            with ParquetSource(Path(uri)) as source:
                fit = Fit(source.schema, files.schema, allow_lossy=False)
                yield from map(fit, source.batches())

    def attachment(self, ref: VersionRef) -> Path | None:
        write_id = self._log.commits(ref.dataset_id)[ref.version].write_id
        path = self._root / ref.dataset_id / (write_id or "") / ATTACHMENT
        return path if path.exists() else None

    def statistics(self, ref: VersionRef) -> Sequence[ColumnStatistics]:
        files = self.files(ref)
        summaries = (self._summary(Path(uri), files.schema) for uri in files.uris)
        return column_statistics(files.schema, summaries, self._nan_columns(ref))

    def small_files(self, ref: VersionRef) -> int:
        return sum(map(len, runs_to_compact(self._log.files(ref))))

    def compact(
        self,
        ref: VersionRef,
        on_rows: OnStep,
        *,
        everything: bool = False,
        rows: Iterable[pa.RecordBatch] | None = None,
        job_id: str | None = None,
        info: Mapping[str, str] | None = None,
    ) -> DatasetVersion | None:
        schema = self.files(ref).schema
        live = self._log.files(ref)
        runs = runs_to_compact(live, everything=everything or rows is not None)
        if not runs:
            return None
        table = self._root / ref.dataset_id
        made: list[Run] = []
        write = DeltaStagedWrite(
            self._new_folder(ref.dataset_id),
            table_schema=schema,
            commit=lambda staged, _: self._change(ref.dataset_id, Compacted(made, schema), staged),
        )
        try:
            write.open()
            made += rewrite(write, table, runs, on_rows, rows=rows)
            return write.commit(job_id=job_id, info=info)
        finally:
            write.close()

    def restore(
        self,
        ref: VersionRef,
        *,
        expected: int | None = None,
        job_id: str | None = None,
        info: Mapping[str, str] | None = None,
    ) -> DatasetVersion:
        with self._vacuumed.locked(ref.dataset_id):  # no vacuum deletes its files meanwhile
            schema = self.files(ref).schema
            folder = self._new_folder(ref.dataset_id)
            nan_columns = self._nan_columns(ref)
            staged = StagedFiles(folder.name, folder / "files", schema, (), job_id, info or {}, nan_columns)
            folder.mkdir(parents=True)
            try:
                return self._change(ref.dataset_id, Restored(self._log.files(ref), schema, expected), staged)
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def vacuum(
        self,
        dataset_id: str,
        expired: Collection[int],
        *,
        before: datetime,
        dry_run: bool = False,
        on_file: OnStep = lambda _: None,
    ) -> Leftovers:
        return self._vacuum.run(dataset_id, expired, before=before, dry_run=dry_run, on_file=on_file)

    def vacuumed(self, dataset_id: str) -> Collection[int]:
        return self._vacuumed.of(dataset_id)

    def delete(self, dataset_id: str) -> None:
        shutil.rmtree(self._root / dataset_id, ignore_errors=True)
        self._log.forget(dataset_id)
        self._vacuumed.forget(dataset_id)
        self._files.cache_clear()

    def sweep(self, *, before: datetime) -> None:
        self._vacuum.sweep(before=before)

    def _load_files(self, ref: VersionRef) -> TableFiles:
        commits = self._log.commits(ref.dataset_id)
        if not 0 <= ref.version < len(commits):
            raise VersionNotFound(
                f"the dataset has no version {ref.version}; it has {len(commits)}, counted from 0",
                version=ref.version,
            )
        folder = self._root / ref.dataset_id
        files = self._log.files(ref)
        schema = commits[ref.version].version.schema
        same = {commit.write_id for commit in commits if commit.version.schema.equals(schema)}
        return TableFiles(
            ref=ref,
            uris=tuple(f"{folder}/{file.path}" for file in files),
            schema=schema,
            row_counts=tuple(file.row_count for file in files),
            size_bytes=tuple(file.size_bytes for file in files),
            alike=all(file.path.partition("/")[0] in same for file in files),
        )

    def _nan_columns(self, ref: VersionRef) -> frozenset[str]:
        found: frozenset[str] = frozenset()
        for commit in reversed(self._log.commits(ref.dataset_id)[: ref.version + 1]):
            found |= commit.nan_columns
            if commit.version.operation in ("create", "replace", "restore"):
                break
        return found

    def _new_folder(self, dataset_id: str) -> Path:
        return self._root / dataset_id / STAGING / uuid4().hex

    def _commit(
        self, dataset_id: str, rule: WriteRule, staged: StagedFiles, on_rows: OnStep
    ) -> DatasetVersion:
        change: Change = Written(rule.mode, staged.schema, staged.old_schema)
        table = self._root / dataset_id
        if rule.mode.needs_keys:
            assert self._row_finder is not None
            if rule.mode is WriteMode.UPSERT:
                paths = [file.path for file in staged.files]
                self._row_finder.check_keys(paths, staged.schema, staged.keys)
            by_key = RowsByKey(self._row_finder, table, staged.schema, staged.keys, staged.files)
            rewritten = RewrittenFiles(table, staged.schema, by_key, on_rows)
            change = Rewritten(rule.mode.value, staged, rewritten)
        elif staged.removed is not None:
            files = self._log.files(staged.removed.ref)
            by_number = RowsByNumber(by_path(staged.removed.batches, [file.path for file in files]))
            rewritten = RewrittenFiles(table, staged.schema, by_number, on_rows)
            change = Rewritten(rule.mode.value, staged, rewritten)
        return self._change(dataset_id, change, staged)

    def _change(self, dataset_id: str, change: Change, staged: StagedFiles) -> DatasetVersion:
        committing = Committing(self._log, self._root / dataset_id, change, staged, clock=self._clock)
        committing.prepare()
        with self._locks[hash(dataset_id) % _LOCKS]:
            return committing.run()
