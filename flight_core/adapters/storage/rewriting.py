"""Leaving rows out of files: the others are written again, new rows come after them.

Only files that lose rows are touched. What survives of a file takes its place, in one file or more.
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
from flight_core.adapters.storage.parquet import DataFile, ParquetSource, PartWriter, disk_errors
from flight_core.adapters.storage.staged import Gathering
from flight_core.adapters.storage.statistics import may_share_values, summarize, summarize_all
from flight_core.adapters.storage.types import AnyArray
from flight_core.application.ports.storage import OnStep, RowFinder
from flight_core.domain.errors import CommitConflict

pc: Any = pyarrow.compute  # the stubs lack functions

_LOOK_S = 0.1

# Per file, by its path below the table's folder: the sorted numbers of rows.
RowNumbers = Mapping[str, AnyArray]


class Doomed(Protocol):
    """Which rows have to go."""

    def of(self, files: Sequence[LiveFile], new: Path) -> RowNumbers:
        """Those of `files`. `new` is the folder with the new rows."""

    def check(self, live: Sequence[LiveFile]) -> None:
        """
        Raises:
            CommitConflict: they cannot go from these files.
        """


class ByKey:
    """The rows that have the key of a new one."""

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
        """Whatever is there, it is looked through."""


class ByNumber:
    """Rows that were found before, in one version; those added since have nothing to fear."""

    def __init__(self, rows: RowNumbers) -> None:
        self._rows = rows

    def of(self, files: Sequence[LiveFile], new: Path) -> RowNumbers:
        return {file.path: self._rows[file.path] for file in files if file.path in self._rows}

    def check(self, live: Sequence[LiveFile]) -> None:
        if self._rows.keys() - {file.path for file in live}:
            raise CommitConflict("somebody else rewrote the same rows meanwhile; try again")


def by_path(batches: Iterable[pa.RecordBatch], paths: Sequence[str]) -> RowNumbers:
    """Of batches with the columns `file`, a position in `paths`, and `row`."""
    chunks: dict[str, list[AnyArray]] = {}
    for batch in batches:
        files, rows = batch.column(0), batch.column(1).cast(pa.uint32())
        for file in pc.unique(files).to_pylist():
            chunks.setdefault(paths[file], []).append(rows.filter(pc.equal(files, file)))
    return {path: pa.concat_arrays(found).sort() for path, found in chunks.items()}


class Survivors:
    """Files without the rows that have to go, written once for each file that loses some."""

    def __init__(self, table: Path, schema: pa.Schema, doomed: Doomed, on_rows: OnStep) -> None:
        self._table = table
        self._schema = schema
        self._doomed = doomed
        self._on_rows = on_rows
        self._seen: set[str] = set()
        self._made: dict[str, Sequence[DataFile]] = {}  # by the path of the file before
        self._removed: dict[str, int] = {}
        self._numbers = 0

    def bring_to(self, live: Sequence[LiveFile], folder: Path) -> None:
        """Make those of the files of another version: what was made for files that it shares stays.

        `folder` is where the new files are; what is made goes there, too.
        """
        there = {file.path for file in live}
        for path in self._made.keys() - there:
            for made in self._made.pop(path):
                (folder / made.path.name).unlink(missing_ok=True)
            del self._removed[path]
        unseen = [file for file in live if file.path not in self._seen]
        rows_of = self._doomed.of(unseen, folder)
        self._seen.update(file.path for file in unseen)
        self._make_all([file for file in unseen if file.path in rows_of], rows_of, folder)

    def check(self, live: Sequence[LiveFile]) -> None:
        self._doomed.check(live)

    @property
    def names(self) -> Mapping[str, Sequence[str]]:
        """Of the files that are there instead of others, by the paths of those."""
        return {path: [file.path.name for file in files] for path, files in self._made.items()}

    @property
    def files(self) -> Sequence[DataFile]:
        return [file for files in self._made.values() for file in files]

    @property
    def removed_rows(self) -> int:
        return sum(self._removed.values())

    def _make_all(self, files: Sequence[LiveFile], rows_of: RowNumbers, folder: Path) -> None:
        """On all cores; what `on_rows` raises here ends all of it."""
        if not files:
            return
        with disk_errors():
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
                    done, pending = wait(pending, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
                    for made in done:
                        made.result()
                    self._on_rows(sum(steps.get() for _ in range(steps.qsize())))
            except BaseException:
                stopped.set()
                pool.shutdown(cancel_futures=True)
                raise

    def _make(self, file: LiveFile, rows: AnyArray, folder: Path, prefix: str, on_rows: OnStep) -> None:
        self._removed[file.path] = len(rows)
        self._made[file.path] = []
        if len(rows) == file.row_count:
            return
        writer = PartWriter(folder, self._schema, prefix=prefix)
        gathering = Gathering()
        try:
            with ParquetSource(self._table / file.path) as source:
                fit = Fit(source.schema, self._schema, allow_lossy=False)
                for batch in _without(source.batches(), rows):
                    on_rows(batch.num_rows)
                    for group in gathering.add(fit(batch)):
                        writer.write(group)
            if (rest := gathering.drain()) is not None:
                writer.write(rest)
            self._made[file.path] = writer.close()
        finally:
            writer.abandon()


def _without(batches: Iterable[pa.RecordBatch], rows: AnyArray) -> Iterator[pa.RecordBatch]:
    """The batches without the rows of these numbers, which are sorted."""
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
