"""Versioned tables of Parquet files."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from flight_core.domain.dataset import DatasetVersion, VersionRef, WriteRule


@dataclass(frozen=True, slots=True)
class TableFiles:
    """The files that make up one version, and the schema they are to be read with.

    Files of older versions may lack columns that were added later, or hold narrower types; where they are
    `alike`, each holds exactly the columns of the schema.
    """

    ref: VersionRef
    uris: tuple[str, ...]
    schema: pa.Schema
    row_counts: tuple[int, ...]  # per file
    size_bytes: tuple[int, ...]  # per file
    alike: bool = False


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Files that no version needs, and the folders of abandoned writes."""

    files: int = 0
    size_bytes: int = 0

    def __add__(self, other: "Leftovers") -> "Leftovers":
        return Leftovers(self.files + other.files, self.size_bytes + other.size_bytes)


# Called with the number of items (rows, files) that were just done; what it raises stops the work.
OnStep = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class ColumnStatistics:
    """From Parquet statistics where they are exact, else None."""

    name: str
    type: str
    nullable: bool
    null_count: int | None
    minimum: object | None
    maximum: object | None
    size_bytes: int  # compressed


class StagedWrite(Protocol):
    """New files of one dataset that no reader sees yet. `close` without `commit` deletes them."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows, cast to the storage types. The batch has been validated.

        Raises:
            LossyType, SchemaMismatch, UnsupportedType, OutOfDisk.
        """

    @property
    def folder(self) -> Path:
        """Where other programs may put Parquet files of their own, for `adopt`."""

    def adopt(self, files: Sequence[Path], *, nan_columns: frozenset[str] | None = None) -> None:
        """Take finished Parquet files in `folder` as they are.

        `nan_columns` are those that may hold a NaN; None: that has to be found out.

        Raises:
            UnreadableData, SchemaMismatch, LossyType: types the store cannot hold exactly.
        """

    def attach(self, file: Path) -> None:
        """Let a file travel with the commit, without being part of the table; at most one."""

    def remove(self, ref: VersionRef, rows: Iterable[pa.RecordBatch]) -> int:
        """Leave rows of that version out of the next one; how many they are.

        Each row once, in batches of `file`, the position in the version's `TableFiles`, and `row`, the
        number in that file, both from 0. For the modes UPDATE and DELETE.
        """

    @property
    def row_count(self) -> int:
        """Of the new rows."""

    def commit(
        self,
        *,
        job_id: str | None = None,
        info: Mapping[str, str] | None = None,
        base_version: int | None = None,
        on_rows: OnStep = lambda _: None,
    ) -> DatasetVersion:
        """Make the staged files a new version; atomic.

        With `base_version` only on top of that version (-1: of none); with None on top of any.

        `on_rows` is called while rows that stay are written again. What it raises ends the commit.

        With `job_id`, a second commit under the same id returns the first one's version and changes nothing.

        Raises:
            DatasetExists: mode CREATE and the table has a version already.
            SchemaMismatch: appended columns do not fit the table's.
            InvalidKeys: mode UPSERT, and new rows without a key, or with the same.
            CommitConflict: somebody else committed and the two cannot be merged, or it must not be.
            OutOfDisk
        """

    def close(self) -> None: ...


class RowWriter(Protocol):
    """Writes batches as Parquet files of the storage types into a folder of the caller's. For one thread."""

    def write(self, batch: pa.RecordBatch) -> None:
        """
        Raises:
            LossyType: a value cannot be held exactly.
            OutOfDisk
        """

    def finish(self) -> Sequence[Path]:
        """The files, in order: one at least, since it tells the columns."""

    def close(self) -> None:
        """Let go of a file that is not finished. Idempotent."""


class RowStore(Protocol):
    """What turns rows into files that `StagedWrite.adopt` takes as they are. Thread-safe."""

    def open_rows(self, folder: Path, schema: pa.Schema, *, allow_lossy: bool = False) -> RowWriter:
        """
        Raises:
            LossyType, UnsupportedType, SchemaMismatch: rows of that schema cannot be stored.
        """


class RowFinder(Protocol):
    """Looks for rows in Parquet files by the values of some columns. NULL equals NULL. Thread-safe.

    `schema` is what the files are read as: they may lack columns of it, or have narrower types.
    """

    def same_keys(
        self, files: Sequence[Path], wanted: Sequence[Path], schema: pa.Schema, keys: Sequence[str]
    ) -> Iterable[pa.RecordBatch]:
        """The rows of `files` that have the same keys as a row of `wanted`: see `StagedWrite.remove`.

        Raises:
            OutOfMemory, OutOfDisk, UnreadableData
        """

    def check_keys(self, files: Sequence[Path], schema: pa.Schema, keys: Sequence[str]) -> None:
        """
        Raises:
            InvalidKeys: a key is NULL in some row, or two rows have the same keys.
        """


class VersionFiles(Protocol):
    """As much of a `TableStore` as it takes to read from it. Thread-safe."""

    def files(self, ref: VersionRef) -> TableFiles:
        """Cached: versions never change. Of `AddedRows`, only the files with these.

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
        """Begin a write. `schema` None: the first batch or file decides.

        Raises:
            SchemaMismatch, InvalidKeys: a key is not a column that can be one.
            LossyType, UnsupportedType, SchemaMismatch: at once where the schema tells.
        """

    def latest(self, dataset_id: str) -> DatasetVersion | None:
        """What storage holds, published in the catalog or not; None if there is no table."""

    def history(self, dataset_id: str) -> Sequence[DatasetVersion]:
        """Newest first."""

    def committed_by(self, dataset_id: str, job_id: str) -> DatasetVersion | None:
        """The version that `job_id` committed, if it did."""

    def scan(self, ref: VersionRef) -> Iterator[pa.RecordBatch]:
        """All rows of a version, in bounded memory.

        Raises:
            VersionNotFound
        """

    def attachment(self, ref: VersionRef) -> Path | None:
        """The file that travelled with the commit of the version, while it is there. The caller may
        delete it."""

    def statistics(self, ref: VersionRef) -> Sequence[ColumnStatistics]:
        """One entry a column, in order."""

    def small_files(self, ref: VersionRef) -> int:
        """How many files `compact` would put together."""

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
        """Put the rows of small files into few large ones, or those of all files with `everything`: a new
        version with the same rows in the same order, and whatever was appended meanwhile. None: there is
        nothing to do.

        `rows` are those of `ref` in another order, which the new version is to have.

        Raises:
            CommitConflict: rows of `ref` were replaced meanwhile.
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
        """Make a new version of the files and columns of an older one; nothing is copied.

        Raises:
            VersionNotFound, VersionExpired
            CommitConflict: `expected` is not the newest version any more.
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
        """Delete the files that only the versions `expired` need (and those of earlier calls), and
        abandoned writes whose last sign of life is older than `before`; what that was.

        The expired versions cannot be read from then on. With `dry_run` nothing changes.
        """

    def vacuumed(self, dataset_id: str) -> Collection[int]:
        """The versions whose files were given up."""

    def delete(self, dataset_id: str) -> None:
        """Remove the table and its files. Missing tables are fine."""

    def sweep(self, *, before: datetime) -> None:
        """Delete what abandoned writes have left behind, where the last sign of life is older than that."""
