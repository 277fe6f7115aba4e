"""Making staged files a version: one rename, one log entry.

The entry is written for exactly the version after the one looked at; when somebody else was
faster, the commit looks again. So what is checked is what the entry is written onto.
"""

import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from deltalake import CommitProperties, PostCommitHookProperties, Schema, Transaction
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, create_table_with_add_actions

from flight_core.adapters.storage.log import Commit, CommitLog, CommitNote, log_file, open_table
from flight_core.adapters.storage.parquet import DataFile, disk_errors, sync
from flight_core.adapters.storage.staged import StagedFiles
from flight_core.adapters.storage.statistics import delta_statistics, summarize
from flight_core.domain.dataset import DatasetVersion, WriteMode
from flight_core.domain.errors import CommitConflict, DatasetExists, DependencyFailed, OutOfDisk

_ATTEMPTS = 40
_MAX_BACKOFF_S = 0.25
_CONFIGURATION = {"delta.enableExpiredLogCleanup": "false"}
_HOOKS = PostCommitHookProperties(cleanup_expired_logs=False)


def commit_files(log: CommitLog, table: Path, mode: WriteMode, staged: StagedFiles) -> DatasetVersion:
    """Commit to the table in that folder. Raises as `StagedWrite.commit`."""
    return _Committing(log, table, mode, staged).run()


class _Committing:
    def __init__(self, log: CommitLog, table: Path, mode: WriteMode, staged: StagedFiles) -> None:
        self._log = log
        self._table = table
        self._mode = mode
        self._staged = staged
        self._files = table / staged.write_id

    def run(self) -> DatasetVersion:
        commit: Commit | None = None
        try:
            commit = self._retry()
            return commit.version
        finally:
            done = commit or self._done(self._commits())
            if done is None or done.write_id != self._staged.write_id:
                shutil.rmtree(self._files, ignore_errors=True)

    def _retry(self) -> Commit:
        actions: Sequence[AddAction] | None = None
        for attempt in range(_ATTEMPTS):
            commits = self._commits()
            if (done := self._done(commits)) is not None:
                return done
            base = commits[-1].version if commits else None
            self._check(base)
            if actions is None:
                actions = self._move()
            self._try(base, actions)
            if (done := self._done(self._commits())) is not None:
                self._sync_log(done.version.ref.version)
                return done
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

    def _move(self) -> Sequence[AddAction]:
        """Bring the files to where the log entry will say they are."""
        staged = self._staged
        statistics = [
            delta_statistics(summarize(file.path, staged.schema), file.nan_columns) for file in staged.files
        ]
        with disk_errors():
            sync(staged.folder)
            staged.folder.touch()  # a sweep looks at the age
            staged.folder.rename(self._files)
            sync(self._table)
        return [
            _add_action(f"{staged.write_id}/{file.path.name}", file, stats)
            for file, stats in zip(staged.files, statistics, strict=True)
        ]

    def _try(self, base: DatasetVersion | None, actions: Sequence[AddAction]) -> None:
        """Write the entry after `base`, unless there is one by now."""
        number = 0 if base is None else base.ref.version + 1
        try:
            with disk_errors():
                self._write_entry(base, actions)
        except DeltaError as error:
            if "No space left" in str(error):
                raise OutOfDisk("the disk that holds the lake is full; make room and try again") from error
            if not log_file(self._table, number).exists():
                raise DependencyFailed("the dataset's log could not be written; try again") from error

    def _write_entry(self, base: DatasetVersion | None, actions: Sequence[AddAction]) -> None:
        schema = Schema.from_arrow(self._staged.schema)
        properties = self._properties(base)
        if base is None:
            create_table_with_add_actions(
                str(self._table),
                schema,
                list(actions),
                mode="error",
                configuration=_CONFIGURATION,
                commit_properties=properties,
                post_commithook_properties=_HOOKS,
            )
            return
        table = open_table(self._table, base.ref.version)
        assert table is not None
        table.create_write_transaction(
            [*actions],
            "overwrite" if self._mode is WriteMode.REPLACE else "append",
            schema,
            commit_properties=properties,
            post_commithook_properties=_HOOKS,
        )

    def _properties(self, base: DatasetVersion | None) -> CommitProperties:
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
            nan_columns=sorted(frozenset().union(*(file.nan_columns for file in staged.files))),
            info=staged.info,
        )
        return CommitProperties(
            custom_metadata=note.metadata(),
            max_commit_retries=0,
            app_transactions=[Transaction(staged.job_id, 1)] if staged.job_id else None,
        )

    def _sync_log(self, number: int) -> None:
        entry = log_file(self._table, number)
        with disk_errors():
            sync(entry)
            sync(entry.parent)


def _operation(base: DatasetVersion | None, mode: WriteMode) -> str:
    if base is None:
        return "create"
    return "replace" if mode is WriteMode.REPLACE else "append"


def _add_action(path: str, file: DataFile, statistics: str) -> AddAction:
    moment_ms = int(time.time() * 1000)
    return AddAction(path, file.size_bytes, {}, moment_ms, True, statistics)
