"""Removing rows from files, by rewriting the files without them.

Files that lose no rows are left as they are. One file or more with the remaining rows replace a file.
"""

import os
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute

from flight_core.adapters.storage.fitting import Fit
from flight_core.adapters.storage.log import LiveFile
from flight_core.adapters.storage.parquet import DataFile, ParquetSource, PartWriter
from flight_core.adapters.storage.staged import RowGroupBuffer
from flight_core.adapters.storage.statistics import may_share_values, summarize, summarize_all
from flight_core.adapters.storage.types import AnyArray
from flight_core.application.ports.storage import OnStep, RowFinder
from flight_core.domain.errors import CommitConflict
from flight_core.domain.system_errors import system_errors

pc: Any = pyarrow.compute  # the stubs lack functions

_PROGRESS_S = 0.1

# The sorted row numbers of each file, by its path below the table's folder.
RowNumbers = Mapping[str, AnyArray]


class RowSelection(Protocol):
    """Which rows are to be removed."""

    def of(self, files: Sequence[LiveFile], new: Path) -> RowNumbers:
        """The selected rows of `files`. `new` is the folder with the new rows."""

    def check(self, live: Sequence[LiveFile]) -> None:
        """
        Raises:
            CommitConflict: the selection does not fit these files.
        """


class RowsByKey:
    """The rows that have the same key as a new row."""

    def __init__(
        self, finder: RowFinder, table: Path, schema: pa.Schema, keys: Sequence[str], new: Sequence[DataFile]
    ) -> None:
        self._finder = finder
        self._table = table
        self._schema = schema
        self._keys = keys
        self._new = [file.path.name for file in new if file.row_count]

    def of(self, files: Sequence[LiveFile], new: Path) -> RowNumbers:
        wanted = [new / name for name in self._new]
        columns = pa.schema([self._schema.field(key) for key in self._keys])
        there = summarize_all(wanted, columns)
        near = [
            file for file in files if may_share_values(summarize(self._table / file.path, columns), there)
        ]
        if not near or not wanted:
            return {}
        paths = [self._table / file.path for file in near]
        found = self._finder.same_keys(paths, wanted, self._schema, self._keys)
        return by_path(found, [file.path for file in near])

    def check(self, live: Sequence[LiveFile]) -> None:
        """Any files will do: all of them are searched."""


class RowsByNumber:
    """Rows that were found in an earlier version. Rows added since are kept."""

    def __init__(self, rows: RowNumbers) -> None:
        self._rows = rows

    def of(self, files: Sequence[LiveFile], new: Path) -> RowNumbers:
        return {file.path: self._rows[file.path] for file in files if file.path in self._rows}

    def check(self, live: Sequence[LiveFile]) -> None:
        if self._rows.keys() - {file.path for file in live}:
            raise CommitConflict("somebody else rewrote the same rows meanwhile; try again")


def by_path(batches: Iterable[pa.RecordBatch], paths: Sequence[str]) -> RowNumbers:
    """Groups the rows of batches with the columns `file`, an index into `paths`, and `row`."""
    chunks: dict[str, list[AnyArray]] = {}
    for batch in batches:
        files, rows = batch.column(0), batch.column(1).cast(pa.uint32())
        for file in pc.unique(files).to_pylist():
            chunks.setdefault(paths[file], []).append(rows.filter(pc.equal(files, file)))
    return {path: pa.concat_arrays(found).sort() for path, found in chunks.items()}


class RewrittenFiles:
    """Copies of files without the selected rows: only of those files that lose some."""

    def __init__(self, table: Path, schema: pa.Schema, selection: RowSelection, on_rows: OnStep) -> None:
        self._table = table
        self._schema = schema
        self._selection = selection
        self._on_rows = on_rows
        self._seen: set[str] = set()
        self._made: dict[str, Sequence[DataFile]] = {}  # by the path of the original
        self._numbers = 0

    def update(self, live: Sequence[LiveFile], folder: Path) -> None:
        """Rewrite what the files `live` need. Copies from an earlier call stay if their original is among
        them.

        `folder` is where the files with new rows are; the copies are written there, too.
        """
        there = {file.path for file in live}
        for path in self._made.keys() - there:
            for made in self._made.pop(path):
                (folder / made.path.name).unlink(missing_ok=True)
        unseen = [file for file in live if file.path not in self._seen]
        rows_of = self._selection.of(unseen, folder)
        self._seen.update(file.path for file in unseen)
        self._make_all([file for file in unseen if file.path in rows_of], rows_of, folder)

    def check(self, live: Sequence[LiveFile]) -> None:
        self._selection.check(live)

    @property
    def names(self) -> Mapping[str, Sequence[str]]:
        """The file names of the copies, by the path of the original."""
        return {path: [file.path.name for file in files] for path, files in self._made.items()}

    @property
    def files(self) -> Sequence[DataFile]:
        return [file for files in self._made.values() for file in files]

    def _make_all(self, files: Sequence[LiveFile], rows_of: RowNumbers, folder: Path) -> None:
        """Rewrite the files on all cores. What `on_rows` raises stops all of them."""
        if not files:
            return
        with system_errors():
            folder.mkdir(exist_ok=True)
        steps: SimpleQueue[int] = SimpleQueue()
        stopped = threading.Event()

        def step(rows: int) -> None:
            steps.put(rows)
            if stopped.is_set():
                raise CancelledError

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            pending: set[Future[None]] = set()
            try:
                for file in files:
                    prefix = f"kept-{self._numbers:04}-"
                    self._numbers += 1
                    pending.add(pool.submit(self._make, file, rows_of[file.path], folder, prefix, step))
                while pending:
                    done, pending = wait(pending, timeout=_PROGRESS_S, return_when=FIRST_COMPLETED)
                    for made in done:
                        made.result()
                    self._on_rows(sum(steps.get() for _ in range(steps.qsize())))
            except BaseException:
                stopped.set()
                pool.shutdown(cancel_futures=True)
                raise

    def _make(self, file: LiveFile, rows: AnyArray, folder: Path, prefix: str, on_rows: OnStep) -> None:
        self._made[file.path] = []
        if len(rows) == file.row_count:
            return
        writer = PartWriter(folder, self._schema, prefix=prefix)
        groups = RowGroupBuffer()
        try:
            with ParquetSource(self._table / file.path) as source:
                fit = Fit(source.schema, self._schema, allow_lossy=False)
                for batch in _without(source.batches(), rows):
                    on_rows(batch.num_rows)
                    for group in groups.add(fit(batch)):
                        writer.write(group)
            if (rest := groups.drain()) is not None:
                writer.write(rest)
            self._made[file.path] = writer.close()
        finally:
            writer.abandon()


def _without(batches: Iterable[pa.RecordBatch], rows: AnyArray) -> Iterator[pa.RecordBatch]:
    """The batches without the rows of these numbers, which must be sorted."""
    start = first = 0
    number: Callable[[Any], int] = lambda value: value.as_py()  # noqa: E731
    for batch in batches:
        stop = start + batch.num_rows
        end = bisect_left(rows, stop, lo=first, key=number)
        if end > first:
            numbers = pa.arange(start, stop).cast(pa.uint32())  # type: ignore[attr-defined]
            batch = batch.filter(pc.invert(pc.is_in(numbers, value_set=rows.slice(first, end - first))))
        yield batch
        start, first = stop, end
