"""The store of versioned tables, as Parquet files."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from flight_core.domain.dataset import DatasetVersion, VersionRef, WriteRule


@dataclass(frozen=True, slots=True)
class TableFiles:
    """The files of a version, and the schema to read them with.

    Older files may lack columns that were added later, or have narrower types. If the files are `alike`, each
    has exactly the columns of the schema.
    """

    ref: VersionRef
    uris: tuple[str, ...]
    schema: pa.Schema
    row_counts: tuple[int, ...]  # per file
    size_bytes: tuple[int, ...]  # per file
    alike: bool = False


@dataclass(frozen=True, slots=True)
class Leftovers:
    """The number and size of files that a vacuum deletes."""

    files: int = 0
    size_bytes: int = 0

    def __add__(self, other: "Leftovers") -> "Leftovers":
        return Leftovers(self.files + other.files, self.size_bytes + other.size_bytes)


# Called with the number of items (rows, files) that were just processed. What it raises stops the work.
OnStep = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class ColumnStatistics:
    """Statistics of a column from Parquet footers; values that are not exact are None."""

    name: str
    type: str
    nullable: bool
    null_count: int | None
    minimum: object | None
    maximum: object | None
    size_bytes: int  # compressed


class StagedWrite(Protocol):
    """A write to a dataset that is not visible to readers yet. `close` without `commit` discards it."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows, cast to the storage types. The batch must be valid.

        Raises:
            LossyType, SchemaMismatch, UnsupportedType, OutOfDisk.
        """

    @property
    def folder(self) -> Path:
        """The folder for Parquet files that are to be passed to `adopt`."""

    def adopt(self, files: Sequence[Path], *, nan_columns: frozenset[str] | None = None) -> None:
        """Add finished Parquet files in `folder`, without rewriting them if possible.

        `nan_columns` are the columns that may contain a NaN; None: the files are searched for them.

        Raises:
            UnreadableData, SchemaMismatch
            LossyType: a type cannot be stored exactly.
        """

    def attach(self, file: Path) -> None:
        """Store a copy of a file with the commit, without making it a part of the table; at most one."""

    def remove(self, ref: VersionRef, rows: Iterable[pa.RecordBatch]) -> int:
        """Delete these rows of the version `ref` with the commit; returns their number. For mode APPEND.

        The batches have the columns `file` (the index in the version's `TableFiles`) and `row` (the row
        number in that file), both from 0. No row may occur twice. For the modes UPDATE and DELETE.
        """

    @property
    def row_count(self) -> int:
        """The number of new rows."""

    def commit(
        self,
        *,
        job_id: str | None = None,
        info: Mapping[str, str] | None = None,
        base_version: int | None = None,
        on_rows: OnStep = lambda _: None,
    ) -> DatasetVersion:
        """Commit the staged files as a new version, atomically.

        With `base_version` only if that is the newest version (-1: there is none yet); None allows any.

        `on_rows` is called while remaining rows are copied to new files. What it raises aborts the commit.

        A second commit with the same `job_id` returns the version of the first one, and changes nothing.

        Raises:
            DatasetExists: the mode is CREATE and the table exists.
            SchemaMismatch: appended columns do not fit those of the table.
            InvalidKeys: the mode is UPSERT, and the keys of the new rows are not unique, or NULL.
            CommitConflict: another commit was first, and the two cannot be combined.
            OutOfDisk
        """

    def close(self) -> None: ...


class RowWriter(Protocol):
    """Writes record batches as Parquet files with the storage types. Not thread-safe."""

    def write(self, batch: pa.RecordBatch) -> None:
        """
        Raises:
            LossyType: a value cannot be stored exactly.
            OutOfDisk
        """

    def finish(self) -> Sequence[Path]:
        """The files, in order. There is at least one, which has the columns."""

    def close(self) -> None:
        """Close an unfinished file. Idempotent."""


class RowStore(Protocol):
    """Writes rows to files that `StagedWrite.adopt` can add without rewriting them. Thread-safe."""

    def open_rows(self, folder: Path, schema: pa.Schema, *, allow_lossy: bool = False) -> RowWriter:
        """
        Raises:
            LossyType, UnsupportedType, SchemaMismatch: rows of that schema cannot be stored.
        """


class RowFinder(Protocol):
    """Finds rows in Parquet files by the values of key columns. NULL equals NULL. Thread-safe.

    The files are read with `schema`: they may lack some of its columns, or have narrower types.
    """

    def same_keys(
        self, files: Sequence[Path], wanted: Sequence[Path], schema: pa.Schema, keys: Sequence[str]
    ) -> Iterable[pa.RecordBatch]:
        """The rows of `files` with the same keys as a row of `wanted`, in the form of `StagedWrite.remove`.

        Raises:
            OutOfMemory, OutOfDisk, UnreadableData
        """

    def check_keys(self, files: Sequence[Path], schema: pa.Schema, keys: Sequence[str]) -> None:
        """
        Raises:
            InvalidKeys: a key is NULL, or two rows have the same keys.
        """


class VersionFiles(Protocol):
    """The part of `TableStore` that is needed for reading. Thread-safe."""

    def files(self, ref: VersionRef) -> TableFiles:
        """The files of a version; for `AddedRows` only the files with these rows. Cached.

        Raises:
            VersionNotFound
            VersionExpired: its files were deleted by `vacuum`.
        """

    def version_at(self, dataset_id: str, moment: datetime) -> int:
        """The version that was current at `moment`.

        Raises:
            VersionNotFound: there was none yet.
        """


class TableStore(VersionFiles, Protocol):
    """Thread-safe. A table is named by its dataset id."""

    def stage(self, dataset_id: str, schema: pa.Schema | None, rule: WriteRule) -> StagedWrite:
        """Begin a write. If `schema` is None, the first batch or file decides on the columns.

        Raises:
            SchemaMismatch, InvalidKeys: a key is not a column, or one that cannot be a key.
            LossyType, UnsupportedType, SchemaMismatch: rows of that schema cannot be stored.
        """

    def latest(self, dataset_id: str) -> DatasetVersion | None:
        """The newest version in storage, even if the catalog does not have it yet; None without a table."""

    def history(self, dataset_id: str) -> Sequence[DatasetVersion]:
        """Newest first."""

    def committed_by(self, dataset_id: str, job_id: str) -> DatasetVersion | None:
        """The version that the job committed; None if there is none."""

    def scan(self, ref: VersionRef) -> Iterator[pa.RecordBatch]:
        """All rows of a version, in bounded memory.

        Raises:
            VersionNotFound
        """

    def attachment(self, ref: VersionRef) -> Path | None:
        """The file that was attached to the commit of the version, if it still exists. The caller may delete
        it."""

    def statistics(self, ref: VersionRef) -> Sequence[ColumnStatistics]:
        """The statistics of each column, in order."""

    def small_files(self, ref: VersionRef) -> int:
        """The number of files that `compact` would merge."""

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
        """Merge small files, or all files with `everything`, into few large ones. The new version has the
        same rows in the same order, followed by rows that were appended meanwhile. None: there is nothing to
        do.

        If given, `rows` are the rows of `ref` in the order that the new version should have.

        Raises:
            CommitConflict: rows of `ref` were rewritten meanwhile.
            OutOfDisk
        """

    def restore(
        self,
        ref: VersionRef,
        *,
        expected: int | None = None,
        job_id: str | None = None,
        info: Mapping[str, str] | None = None,
    ) -> DatasetVersion:
        """Commit a new version with the files and columns of an older one; no data is copied.

        Raises:
            VersionNotFound, VersionExpired
            CommitConflict: `expected` is given and not the newest version.
        """

    def vacuum(
        self,
        dataset_id: str,
        expired: Collection[int],
        *,
        before: datetime,
        dry_run: bool = False,
        on_file: OnStep = lambda _: None,
    ) -> Leftovers:
        """Delete the files that only the versions `expired` (and those of earlier calls) need, and abandoned
        writes that have not changed since `before`; returns what was deleted.

        The expired versions cannot be read any more. With `dry_run` nothing is changed.
        """

    def vacuumed(self, dataset_id: str) -> Collection[int]:
        """The versions whose files were deleted by `vacuum`."""

    def delete(self, dataset_id: str) -> None:
        """Delete the table and its files, if it exists."""

    def sweep(self, *, before: datetime) -> None:
        """Delete the files of abandoned writes that have not changed since `before`."""
