"""Writing and reading the store's Parquet files.

In measurements row groups of 61,440 rows scanned fastest, and they keep open streams cheap; the number of row
groups in a file hardly matters for scans.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flight_core.domain.errors import UnreadableData
from flight_core.domain.system_errors import system_errors

GROUP_ROWS = 61_440
DICTIONARY_BYTES = 64 << 10  # for a column chunk; larger dictionaries make files larger and scans slower
PAGE_BYTES = 64 << 10  # encoded; a search by key decodes only the pages that hold its rows
GROUP_BYTES = 12 << 20  # in memory; row groups of wide rows have fewer rows
FILE_GROUPS = 32  # larger files would make changes of single rows slow: they rewrite whole files
FILE_BYTES = 512 << 20
SMALL_ROWS = 8 * GROUP_ROWS  # scans would be noticeably faster if files with fewer rows,
SMALL_BYTES = 64 << 20  # and of less bytes, were merged


@dataclass(frozen=True, slots=True)
class DataFile:
    """A finished file. `nan_columns` have a NaN, which the bounds in the footer do not include."""

    path: Path
    row_count: int
    size_bytes: int
    nan_columns: frozenset[str]


class PartWriter:
    """Writes batches as row groups into numbered files in a folder; starts a new file when one is full."""

    def __init__(self, folder: Path, schema: pa.Schema, *, first: int = 0, prefix: str = "") -> None:
        self._folder = folder
        self._schema = schema
        self._first = first
        self._prefix = prefix
        self._writer: pq.ParquetWriter | None = None
        self._path = folder
        self._groups = 0
        self._rows = 0
        self._nan_columns: set[str] = set()
        self._files: list[DataFile] = []

    def write(self, batch: pa.RecordBatch) -> None:
        """Write the batch as one row group.

        Raises:
            OutOfDisk
        """
        with system_errors():
            if self._writer is None:
                self._open()
            assert self._writer is not None
            self._writer.write_batch(batch, row_group_size=max(batch.num_rows, 1))
            self._groups += 1
            self._rows += batch.num_rows
            self._nan_columns |= nan_columns(batch)
            if self._is_full():
                self._finish()

    def close(self, *, at_least_one: bool = False) -> Sequence[DataFile]:
        """The finished files, synced to disk."""
        with system_errors():
            if at_least_one and self._writer is None and not self._files:
                self._open()
            self._finish()
        return self._files

    def abandon(self) -> None:
        """Close an unfinished file."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            with suppress(OSError):
                writer.close()

    def _is_full(self) -> bool:
        """Never while it counts as small, or it would be compacted again and again."""
        size_bytes = self._path.stat().st_size
        if self._groups >= FILE_GROUPS and (self._rows >= SMALL_ROWS or size_bytes >= SMALL_BYTES):
            return True
        return size_bytes >= FILE_BYTES

    def _open(self) -> None:
        self._path = self._folder / (self._prefix + file_name(self._first + len(self._files)))
        self._groups = self._rows = 0
        self._nan_columns = set()
        self._writer = pq.ParquetWriter(
            self._path,
            self._schema,
            compression="zstd",
            store_schema=False,
            store_decimal_as_integer=True,
            dictionary_pagesize_limit=DICTIONARY_BYTES,
            data_page_size=PAGE_BYTES,
        )

    def _finish(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()
            self._files.append(finished(self._path, self._rows, frozenset(self._nan_columns)))


def file_name(number: int) -> str:
    return f"{number:05}.parquet"


def finished(path: Path, row_count: int, nan_columns: frozenset[str]) -> DataFile:
    """Sync a complete file to disk."""
    sync(path)
    return DataFile(path, row_count, path.stat().st_size, nan_columns)


class ParquetSource:
    """A Parquet file to read, possibly written by another program. A context manager.

    Raises:
        UnreadableData: on construction and on reading; names the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._readable():
            self._file = pq.ParquetFile(path)
            self.schema: pa.Schema = self._file.schema_arrow
            footer = self._file.metadata
            self.row_count: int = footer.num_rows
            groups = [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]
            self._batch_rows = min(max(groups, default=0) or GROUP_ROWS, GROUP_ROWS)

    def batches(self, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """As large as the row groups, up to GROUP_ROWS."""
        with self._readable():
            yield from self._file.iter_batches(self._batch_rows, columns=columns)

    def nan_columns(self) -> frozenset[str]:
        """The columns with a NaN. Reads all floating-point columns."""
        floats = [field.name for field in self.schema if pa.types.is_floating(field.type)]
        found: set[str] = set()
        if floats:
            for batch in self.batches(floats):
                found |= nan_columns(batch)
        return frozenset(found)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise UnreadableData(
                f"'{self.path.name}' is not a readable Parquet file; it may be truncated or damaged",
                file=self.path.name,
            ) from error


def nan_columns(batch: pa.RecordBatch) -> set[str]:
    return {
        field.name
        for field, column in zip(batch.schema, batch.columns, strict=True)
        if pa.types.is_floating(field.type) and pc.any(pc.is_nan(column)).as_py()
    }


def sync(path: Path) -> None:
    """fsync a file or folder, so that it survives a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
