"""Compaction: rewriting many small files as few large ones."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from flight_core.adapters.storage.changes import Run
from flight_core.adapters.storage.log import LiveFile
from flight_core.adapters.storage.parquet import SMALL_BYTES, SMALL_ROWS, ParquetSource
from flight_core.adapters.storage.staged import DeltaStagedWrite
from flight_core.application.ports.storage import OnStep
from flight_core.domain.errors import UnreadableData


def runs_to_compact(files: Sequence[LiveFile], *, everything: bool = False) -> Sequence[Sequence[LiveFile]]:
    """Runs of adjacent small files: merging these keeps the order of rows."""
    if everything:
        return [files] if files else []
    groups = groupby(files, key=lambda file: file.row_count < SMALL_ROWS and file.size_bytes < SMALL_BYTES)
    runs = [list(group) for small, group in groups if small]
    return [run for run in runs if len(run) > 1]


def rewrite(
    write: DeltaStagedWrite,
    table: Path,
    runs: Sequence[Sequence[LiveFile]],
    on_rows: OnStep,
    *,
    rows: Iterable[pa.RecordBatch] | None = None,
) -> Sequence[Run]:
    """Write the rows of each run to new files. If given, `rows` are written instead of those of the only run.

    Raises:
        UnreadableData: the number of rows is not that in the log.
    """
    made = []
    for run in runs:
        before = write.finish_files()
        for batch in _rows(table, run) if rows is None else rows:
            write.write(batch)
            on_rows(batch.num_rows)
        made.append(Run([file.path for file in run], write.finish_files() - before))
    expected = sum(file.row_count for run in runs for file in run)
    if write.row_count != expected:
        raise UnreadableData(f"the files hold {write.row_count:,} rows instead of {expected:,}")
    return made


def _rows(table: Path, files: Iterable[LiveFile]) -> Iterator[pa.RecordBatch]:
    for file in files:
        with ParquetSource(table / file.path) as source:
            yield from source.batches()
