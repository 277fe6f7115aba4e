"""Committing staged files as a new version: one rename, one log entry.

A log entry is only written for the version that directly follows the one that was checked. If another
commit was faster, the new version is checked and the entry is written after that one.

We write log entries ourselves: deltalake's writers can leave a table that deltalake then refuses to open,
when a replacement adds timestamps without a time zone to a table that had none, or inside a map (seen in
1.6.6). deltalake reads our entries, and makes the checkpoints.
"""

import json
import logging
import os
import random
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, Schema
from deltalake.exceptions import DeltaError

from flight_core.adapters.storage.changes import Change
from flight_core.adapters.storage.log import NOTE, Commit, CommitLog, LiveFile, log_file
from flight_core.adapters.storage.parquet import DataFile, sync
from flight_core.adapters.storage.staged import StagedFiles
from flight_core.adapters.storage.statistics import delta_statistics, summarize
from flight_core.application.ports.clock import Clock
from flight_core.domain.dataset import DatasetVersion
from flight_core.domain.errors import CommitConflict
from flight_core.domain.system_errors import system_errors

logger = logging.getLogger(__name__)

Action = dict[str, Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ATTEMPTS = 40
_MAX_BACKOFF_S = 0.25
_CHECKPOINT_INTERVAL = 100
_FEATURES = ["timestampNtz"]
_PROTOCOL = {
    "minReaderVersion": 3,
    "minWriterVersion": 7,
    "readerFeatures": _FEATURES,
    "writerFeatures": _FEATURES,
}
# Delta's names for our operations; all others are a WRITE.
_OPERATIONS = {
    "create": "CREATE TABLE",
    "compact": "OPTIMIZE",
    "restore": "RESTORE",
    "upsert": "MERGE",
    "delete": "DELETE",
    "update": "UPDATE",
    "merge": "MERGE",
}
_CONFIGURATION = {"delta.enableExpiredLogCleanup": "false"}


class Committing:
    """One commit to the table in the folder `table`."""

    def __init__(
        self, log: CommitLog, table: Path, change: Change, staged: StagedFiles, *, clock: Clock
    ) -> None:
        self._log = log
        self._table = table
        self._change = change
        self._staged = staged
        self._clock = clock
        self._files = table / staged.write_id
        self._folder = staged.folder  # where the new files are: becomes `_files` with the rename
        self._new_files: Sequence[DataFile] = ()
        self._additions: dict[str, Action] = {}  # the `add` actions of the new files, by file name

    def prepare(self) -> None:
        """Do the slow part of the work, without a lock; `run` only repeats what other commits invalidate."""
        commits = self._commits()
        if self._done(commits) is None:
            live = self._log.files(commits[-1].version.ref) if commits else ()
            self._change.check(commits[-1].version if commits else None, live)
            self._change.prepare(live, self._folder)

    def run(self) -> DatasetVersion:
        """Raises as `StagedWrite.commit`."""
        commit: Commit | None = None
        try:
            commit = self._retry()
            return commit.version
        finally:
            done = commit or self._done(self._commits())
            if done is None or done.write_id != self._staged.write_id:
                shutil.rmtree(self._files, ignore_errors=True)

    def _retry(self) -> Commit:
        for attempt in range(_ATTEMPTS):
            commits = self._commits()
            if (done := self._done(commits)) is not None:
                return done
            base = commits[-1].version if commits else None
            live = self._log.files(base.ref) if base else ()
            self._check_base(base)
            self._change.check(base, live)
            added = self._added(live)
            if added:
                self._move()
            if self._write_entry(base, live, added):
                _checkpoint(self._table, len(commits))
                return self._commits()[len(commits)]
            longest_s = min(_MAX_BACKOFF_S, 0.005 * 2**attempt)
            time.sleep(random.uniform(0, longest_s))  # noqa: S311 - no secret depends on it
        raise CommitConflict("others kept committing to the dataset; try again")

    def _commits(self) -> Sequence[Commit]:
        return self._log.commits(self._table.name)

    def _done(self, commits: Sequence[Commit]) -> Commit | None:
        """The commit of this write, or an earlier one by the same job."""
        for commit in reversed(commits):
            if commit.write_id == self._staged.write_id:
                return commit
            if commit.job_id is not None and commit.job_id == self._staged.job_id:
                return commit
        return None

    def _check_base(self, base: DatasetVersion | None) -> None:
        expected = self._staged.base_version
        if expected is not None and expected != (-1 if base is None else base.ref.version):
            raise CommitConflict("somebody else committed to the dataset meanwhile; try again")

    def _added(self, live: Sequence[LiveFile]) -> Mapping[str, Action]:
        """The `add` action of each new file, by path."""
        self._new_files = [*self._staged.files, *self._change.prepare(live, self._folder)]
        return dict(self._addition(file) for file in self._new_files)

    def _addition(self, file: DataFile) -> tuple[str, Action]:
        name = file.path.name
        path = f"{self._staged.write_id}/{name}"
        if name not in self._additions:
            here = self._folder / name
            self._additions[name] = {
                "path": path,
                "partitionValues": {},
                "size": file.size_bytes,
                "modificationTime": int(here.stat().st_mtime * 1000),
                "dataChange": not self._change.keeps_rows,
                "stats": delta_statistics(summarize(here, self._staged.schema), file.nan_columns),
            }
        return path, self._additions[name]

    def _move(self) -> None:
        """Move the files to where the log entry says they are, and sync that to disk."""
        with system_errors():
            sync(self._folder)
            if self._folder != self._files:
                self._folder.touch()  # sweeps go by the time of the last change
                self._folder.rename(self._files)
                self._folder = self._files
                sync(self._table)

    def _write_entry(
        self, base: DatasetVersion | None, live: Sequence[LiveFile], added: Mapping[str, Action]
    ) -> bool:
        """Write the entry after `base`; False if another commit has written one."""
        moment_ms = _milliseconds(self._clock())
        if base is not None:  # timestamps must grow, so that each moment has exactly one version
            moment_ms = max(moment_ms, _milliseconds(base.committed_at) + 1)
        lines = [json.dumps(action) for action in self._actions(base, live, added, moment_ms)]
        draft = self._staged.folder.parent / "entry.json"
        entry = log_file(self._table, 0 if base is None else base.ref.version + 1)
        with system_errors():
            draft.write_text("\n".join(lines), encoding="utf-8")
            sync(draft)
            entry.parent.mkdir(exist_ok=True)
            try:
                os.link(draft, entry)  # atomic, and never overwrites an entry
            except FileExistsError:
                return False
            sync(entry.parent)
        return True

    def _actions(
        self,
        base: DatasetVersion | None,
        live: Sequence[LiveFile],
        added: Mapping[str, Action],
        moment_ms: int,
    ) -> Iterator[Action]:
        before = {file.path: file for file in live}
        arranged = self._change.arrange(live, [LiveFile.of(action) for action in added.values()])
        kept = {file.path for file in arranged}
        gone = [file for file in live if file.path not in kept]
        new = [file for file in arranged if file.path not in before]
        yield {"commitInfo": self._info(base, arranged, new, gone, moment_ms)}
        if base is None:
            yield {"protocol": _PROTOCOL}
        columns = self._staged.schema if base is None else self._change.new_columns
        if columns is not None:
            yield {"metaData": self._metadata(columns, moment_ms)}
        for file in gone:
            yield {"remove": self._removed(file, moment_ms)}
        back = [file.path for file in new if file.path not in added]
        additions = {**added, **(self._log.additions(self._table.name, back) if back else {})}
        for file in new:
            yield {"add": additions[file.path]}
        if self._staged.job_id is not None:
            yield {"txn": {"appId": self._staged.job_id, "version": 1, "lastUpdated": moment_ms}}

    def _removed(self, file: LiveFile, moment_ms: int) -> Action:
        return {
            "path": file.path,
            "deletionTimestamp": moment_ms,
            "dataChange": not self._change.keeps_rows,
        }

    def _info(
        self,
        base: DatasetVersion | None,
        arranged: Sequence[LiveFile],
        new: Sequence[LiveFile],
        gone: Sequence[LiveFile],
        moment_ms: int,
    ) -> Action:
        staged = self._staged
        changed, moved = not self._change.keeps_rows, self._change.moved_rows
        operation = "create" if base is None else self._change.operation
        note = {
            "operation": operation,
            "row_count": sum(file.row_count for file in arranged),
            "size_bytes": sum(file.size_bytes for file in arranged),
            "added_rows": sum(file.row_count for file in new) - moved if changed else 0,
            "removed_rows": sum(file.row_count for file in gone) - moved if changed else 0,
            "added_bytes": sum(file.size_bytes for file in new),
            "write_id": staged.write_id,
            "job_id": staged.job_id,
            "nan_columns": sorted(staged.nan_columns.union(*(file.nan_columns for file in self._new_files))),
            "info": dict(staged.info),
        }
        if list(arranged[len(arranged) - len(new) :]) != list(new):  # the new files do not come last
            note["order"] = [file.path for file in arranged]
        return {
            "timestamp": moment_ms,
            "operation": _OPERATIONS.get(operation, "WRITE"),
            "operationParameters": {"mode": "Append" if changed and not gone else "Overwrite"},
            "isBlindAppend": operation == "append",
            NOTE: note,
        }

    def _metadata(self, columns: pa.Schema, moment_ms: int) -> Action:
        return {
            "id": self._table.name,
            "format": {"provider": "parquet", "options": {}},
            "schemaString": Schema.from_arrow(columns).to_json(),
            "partitionColumns": [],
            "configuration": _CONFIGURATION,
            "createdTime": moment_ms,
        }


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _checkpoint(table: Path, version: int) -> None:
    """Write a checkpoint from time to time, so that other readers need not read all entries."""
    if version % _CHECKPOINT_INTERVAL == 0 and version > 0:
        try:
            DeltaTable(table, version=version).create_checkpoint()
        except (DeltaError, OSError):
            logger.exception("a checkpoint was not written", extra={"dataset_id": table.name})
