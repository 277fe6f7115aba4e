"""Staged writes: new Parquet files that are not part of a table yet."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa

from flight_core.adapters.storage.evolution import evolved, key_columns
from flight_core.adapters.storage.fitting import Fit
from flight_core.adapters.storage.parquet import (
    GROUP_BYTES,
    GROUP_ROWS,
    DataFile,
    ParquetSource,
    PartWriter,
    file_name,
    finished,
    sync,
)
from flight_core.adapters.storage.types import stored_schema
from flight_core.application.ports.storage import OnStep
from flight_core.domain.dataset import DatasetVersion, VersionRef, WriteRule
from flight_core.domain.errors import SchemaMismatch
from flight_core.domain.system_errors import system_errors

ATTACHMENT = "_attachment"


@dataclass(frozen=True, slots=True)
class StagedFiles:
    """Finished files in a folder of their own, all of `schema`, and what to record in their commit."""

    write_id: str
    folder: Path
    schema: pa.Schema
    files: Sequence[DataFile]
    job_id: str | None
    info: Mapping[str, str]
    nan_columns: frozenset[str]
    base_version: int | None = None
    old_schema: pa.Schema | None = None  # of the table that the rows were converted for
    keys: Sequence[str] = ()
    removed: "Removed | None" = None


@dataclass(frozen=True, slots=True)
class Removed:
    """Rows of a version that the commit deletes."""

    ref: VersionRef
    batches: Sequence[pa.RecordBatch]  # see `StagedWrite.remove`


CommitFiles = Callable[[StagedFiles, OnStep], DatasetVersion]


class DeltaStagedWrite:
    """See `StagedWrite`. Not thread-safe.

    `table_schema` is the schema of the table that rows are added to; None if they make up a new one.
    """

    def __init__(
        self,
        folder: Path,
        *,
        table_schema: pa.Schema | None,
        commit: CommitFiles,
        rule: WriteRule = WriteRule(),  # noqa: B008 - it never changes
    ) -> None:
        self._folder = folder
        self._finished = folder / "files"
        self._table_schema = self._target = table_schema
        self._rule = rule
        self._settled = False  # whether the columns of the next version are known
        self._keys: Sequence[str] = ()
        self._removed: Removed | None = None
        self._commit = commit
        self._fits: dict[pa.Schema, Fit] = {}
        self._groups = RowGroupBuffer()
        self._writer: PartWriter | None = None
        self._files: list[DataFile] = []
        self._row_count = 0

    @property
    def folder(self) -> Path:
        return self._folder

    @property
    def row_count(self) -> int:
        return self._row_count

    def expect(self, schema: pa.Schema) -> None:
        """Raises as `TableStore.stage` if rows of that schema cannot be stored."""
        self._fit(schema)

    def open(self) -> None:
        with system_errors():
            self._finished.mkdir(parents=True)

    def write(self, batch: pa.RecordBatch) -> None:
        fit = self._fit(batch.schema)
        for piece in pieces(batch):
            for group in self._groups.add(fit(piece)):
                self._part_writer().write(group)
        self._row_count += batch.num_rows

    def adopt(self, files: Sequence[Path], *, nan_columns: frozenset[str] | None = None) -> None:
        if files and not self._settled:
            self._settle(_common_schema(files))
        for path in files:
            with ParquetSource(path) as source:
                if self._fit(source.schema).changes_nothing:
                    self._take(source, source.nan_columns() if nan_columns is None else nan_columns)
                else:
                    for batch in source.batches():
                        self.write(batch)

    def remove(self, ref: VersionRef, rows: Iterable[pa.RecordBatch]) -> int:
        self._removed = Removed(ref, list(rows))
        return sum(batch.num_rows for batch in self._removed.batches)

    def attach(self, file: Path) -> None:
        with system_errors():
            target = self._finished / ATTACHMENT
            shutil.copyfile(file, target)
            sync(target)

    def commit(
        self,
        *,
        job_id: str | None = None,
        info: Mapping[str, str] | None = None,
        base_version: int | None = None,
        on_rows: OnStep = lambda _: None,
    ) -> DatasetVersion:
        if self._target is None:
            raise SchemaMismatch("there is nothing to write: the data has no columns")
        self._finish_writing()
        if self._table_schema is None and not self._files:  # readers need a file to learn the columns from
            self._files += PartWriter(self._finished, self._target).close(at_least_one=True)
        return self._commit(
            StagedFiles(
                write_id=self._folder.name,
                folder=self._finished,
                schema=self._target,
                files=self._files,
                job_id=job_id,
                info=info or MappingProxyType({}),
                nan_columns=frozenset(name for file in self._files for name in file.nan_columns),
                base_version=base_version,
                old_schema=self._table_schema,
                keys=self._keys,
                removed=self._removed,
            ),
            on_rows,
        )

    def finish_files(self) -> int:
        """Finish the current file, so that the next row starts a new one; the number of files so far."""
        self._finish_writing()
        return len(self._files)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.abandon()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _fit(self, schema: pa.Schema) -> Fit:
        fit = self._fits.get(schema)
        if fit is None:
            if not self._settled:
                self._settle(schema)
            assert self._target is not None
            fit = self._fits[schema] = Fit(schema, self._target, allow_lossy=self._rule.allow_lossy)
        return fit

    def _settle(self, rows: pa.Schema) -> None:
        """Decide on the columns of the next version, from those of the first rows."""
        if self._target is None:
            self._target = stored_schema(rows, allow_lossy=self._rule.allow_lossy)
        else:
            policy = self._rule.schema_policy
            self._target = evolved(self._target, rows, policy, allow_lossy=self._rule.allow_lossy)
        self._keys = key_columns(self._rule.keys, rows, self._table_schema or self._target)
        self._settled = True

    def _part_writer(self) -> PartWriter:
        if self._writer is None:
            assert self._target is not None
            self._writer = PartWriter(self._finished, self._target, first=len(self._files))
        return self._writer

    def _finish_writing(self) -> None:
        if (rest := self._groups.drain()) is not None:
            self._part_writer().write(rest)
        if self._writer is not None:
            self._files += self._writer.close()
            self._writer = None

    def _take(self, source: ParquetSource, nan_columns: frozenset[str]) -> None:
        """Move the file into the write unchanged, after the rows so far."""
        self._finish_writing()
        target = self._finished / file_name(len(self._files))
        with system_errors():
            source.path.rename(target)
            self._files.append(finished(target, source.row_count, nan_columns))
        self._row_count += source.row_count


def _common_schema(files: Sequence[Path]) -> pa.Schema:
    """The columns of all files together. A column that is all null in one file has its type in another."""
    schemas = []
    for path in files:
        with ParquetSource(path) as source:
            schemas.append(source.schema)
    try:
        return pa.unify_schemas(schemas)
    except pa.ArrowException:  # the first file that does not fit is reported when it is read
        return schemas[0]


class RowGroupBuffer:
    """Collects small batches into full row groups."""

    def __init__(self) -> None:
        self._batches: list[pa.RecordBatch] = []
        self._rows = 0
        self._size_bytes = 0

    def add(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Add the rows; yields the row groups that are complete."""
        start = 0
        while start < batch.num_rows:
            part = batch.slice(start, GROUP_ROWS - self._rows)
            start += part.num_rows
            self._batches.append(part)
            self._rows += part.num_rows
            self._size_bytes += part.nbytes
            if self._rows == GROUP_ROWS or self._size_bytes >= GROUP_BYTES:
                group = self.drain()
                assert group is not None
                yield group

    def drain(self) -> pa.RecordBatch | None:
        batches, self._batches = self._batches, []
        self._rows = self._size_bytes = 0
        return _concat(batches) if batches else None


def _concat(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    batch: pa.RecordBatch = pa.concat_batches(batches)  # type: ignore[attr-defined]  # missing in the stubs
    return batch


def pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Slices of the batch of at most GROUP_BYTES, or of a single row."""
    rows = batch.num_rows
    if rows and batch.nbytes > GROUP_BYTES:
        rows = max(1, rows * GROUP_BYTES // batch.nbytes)
    for start in range(0, batch.num_rows, max(rows, 1)):
        yield batch.slice(start, rows)
