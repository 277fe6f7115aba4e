"""Making staged files a version: one rename, one log entry.

The entry is written for exactly the version after the one looked at; when somebody else was
faster, the commit looks again. So what is checked is what the entry is written onto.

The entries are ours rather than deltalake's: its writers bring a table into a state that it then
refuses to open, when a replacement adds timestamps without a zone to a table that had none, or
hides them in a map (seen in 1.6.6). It reads what is written here, and makes the checkpoints.
"""

import json
import logging
import os
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from deltalake import DeltaTable, Schema
from deltalake.exceptions import DeltaError

from flight_core.adapters.storage.log import Commit, CommitLog, CommitNote, log_file
from flight_core.adapters.storage.parquet import disk_errors, sync
from flight_core.adapters.storage.staged import StagedFiles
from flight_core.adapters.storage.statistics import delta_statistics, summarize
from flight_core.application.ports.clock import Clock
from flight_core.domain.dataset import DatasetVersion, WriteMode
from flight_core.domain.errors import CommitConflict, DatasetExists

logger = logging.getLogger(__name__)

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
_CONFIGURATION = {"delta.enableExpiredLogCleanup": "false"}


class Committing:
    """One commit to the table in the folder `table`."""

    def __init__(
        self, log: CommitLog, table: Path, mode: WriteMode, staged: StagedFiles, *, clock: Clock
    ) -> None:
        self._log = log
        self._table = table
        self._mode = mode
        self._staged = staged
        self._clock = clock
        self._files = table / staged.write_id

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
        added: Sequence[dict[str, Any]] | None = None
        for attempt in range(_ATTEMPTS):
            commits = self._commits()
            if (done := self._done(commits)) is not None:
                return done
            base = commits[-1].version if commits else None
            self._check(base)
            if added is None:
                added = self._move()
            if self._write_entry(base, added):
                _checkpoint(self._table, len(commits))
                return self._commits()[len(commits)]
            longest_s = min(_MAX_BACKOFF_S, 0.005 * 2**attempt)
            time.sleep(random.uniform(0, longest_s))  # noqa: S311 - no secret depends on it
        raise CommitConflict("others kept committing to the dataset; try again")

    def _commits(self) -> Sequence[Commit]:
        return self._log.commits(self._table.name)

    def _done(self, commits: Sequence[Commit]) -> Commit | None:
        """This write's commit, or one that the same job made before."""
        for commit in reversed(commits):
            if commit.write_id == self._staged.write_id:
                return commit
            if commit.job_id is not None and commit.job_id == self._staged.job_id:
                return commit
        return None

    def _check(self, base: DatasetVersion | None) -> None:
        if base is None:
            return
        if self._mode is WriteMode.CREATE:
            raise DatasetExists(
                "somebody else created the dataset meanwhile; append to it, or choose another name"
            )
        if self._mode is WriteMode.APPEND and not base.schema.equals(self._staged.schema):
            raise CommitConflict("somebody else changed the columns of the dataset meanwhile; try again")

    def _move(self) -> Sequence[dict[str, Any]]:
        """Bring the files to where the log entry will say they are; what it will say of them."""
        staged = self._staged
        added = [
            {
                "path": f"{staged.write_id}/{file.path.name}",
                "partitionValues": {},
                "size": file.size_bytes,
                "modificationTime": int(file.path.stat().st_mtime * 1000),
                "dataChange": True,
                "stats": delta_statistics(summarize(file.path, staged.schema), file.nan_columns),
            }
            for file in staged.files
        ]
        with disk_errors():
            sync(staged.folder)
            staged.folder.touch()  # a sweep looks at the age
            staged.folder.rename(self._files)
            sync(self._table)
        return added

    def _write_entry(self, base: DatasetVersion | None, added: Sequence[dict[str, Any]]) -> bool:
        """Write the entry after `base`; False if there is one by now."""
        moment_ms = _milliseconds(self._clock())
        if base is not None:  # so that the version of a moment is one and the same for everybody
            moment_ms = max(moment_ms, _milliseconds(base.committed_at) + 1)
        lines = [json.dumps(action) for action in self._actions(base, added, moment_ms)]
        draft = self._staged.folder.parent / "entry.json"
        entry = log_file(self._table, 0 if base is None else base.ref.version + 1)
        with disk_errors():
            draft.write_text("\n".join(lines), encoding="utf-8")
            sync(draft)
            entry.parent.mkdir(exist_ok=True)
            try:
                os.link(draft, entry)  # all of it or nothing, and never over another
            except FileExistsError:
                return False
            sync(entry.parent)
        return True

    def _actions(
        self, base: DatasetVersion | None, added: Sequence[dict[str, Any]], moment_ms: int
    ) -> Iterator[dict[str, Any]]:
        yield {"commitInfo": self._info(base, moment_ms)}
        if base is None:
            yield {"protocol": _PROTOCOL}
        if base is None or self._mode is WriteMode.REPLACE:
            yield {"metaData": self._metadata(moment_ms)}
        if base is not None and self._mode is WriteMode.REPLACE:
            for file in self._log.files(base.ref):
                yield {"remove": {"path": file.path, "deletionTimestamp": moment_ms, "dataChange": True}}
        for action in added:
            yield {"add": action}
        if self._staged.job_id is not None:
            yield {"txn": {"appId": self._staged.job_id, "version": 1, "lastUpdated": moment_ms}}

    def _info(self, base: DatasetVersion | None, moment_ms: int) -> dict[str, Any]:
        staged = self._staged
        kept = base if self._mode is WriteMode.APPEND else None
        rows = sum(file.row_count for file in staged.files)
        note = CommitNote(
            operation=_operation(base, self._mode),
            row_count=rows + (kept.row_count if kept else 0),
            size_bytes=sum(file.size_bytes for file in staged.files) + (kept.size_bytes if kept else 0),
            added_rows=rows,
            write_id=staged.write_id,
            job_id=staged.job_id,
            nan_columns=sorted({name for file in staged.files for name in file.nan_columns}),
            info=staged.info,
        )
        return {
            "timestamp": moment_ms,
            "operation": "CREATE TABLE" if base is None else "WRITE",
            "operationParameters": {"mode": "Overwrite" if self._mode is WriteMode.REPLACE else "Append"},
            "isBlindAppend": base is not None and self._mode is WriteMode.APPEND,
            **note.metadata(),
        }

    def _metadata(self, moment_ms: int) -> dict[str, Any]:
        return {
            "id": self._table.name,
            "format": {"provider": "parquet", "options": {}},
            "schemaString": Schema.from_arrow(self._staged.schema).to_json(),
            "partitionColumns": [],
            "configuration": _CONFIGURATION,
            "createdTime": moment_ms,
        }


def _operation(base: DatasetVersion | None, mode: WriteMode) -> str:
    if base is None:
        return "create"
    return "replace" if mode is WriteMode.REPLACE else "append"


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _checkpoint(table: Path, version: int) -> None:
    """Spare readers the entries so far, now and then. They manage without."""
    if version % _CHECKPOINT_INTERVAL == 0 and version > 0:
        try:
            DeltaTable(table, version=version).create_checkpoint()
        except (DeltaError, OSError):
            logger.exception("a checkpoint was not written", extra={"dataset_id": table.name})
