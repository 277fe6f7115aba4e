"""The file of rejected rows. Every quarantine has these columns, whatever its dataset looks like:

source            string               what the row was read from
row               int64, nullable      its number there, from 1
rules             list<string>         what it broke: `price.ge`, or the name of a rule
raw               map<string, string>  its values as they were read
job               string               the ingestion
contract_version  int64
rejected_at       timestamp[us, UTC]
committed         bool                 whether the job committed its good rows
"""

import threading
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

_FIELDS: list[tuple[str, Any]] = [
    ("source", pa.string()),
    ("row", pa.int64()),
    ("rules", pa.list_(pa.field("element", pa.string()))),
    ("raw", pa.map_(pa.string(), pa.string())),
    ("job", pa.string()),
    ("contract_version", pa.int64()),
    ("rejected_at", pa.timestamp("us", "UTC")),
    ("committed", pa.bool_()),
]
REJECTS_SCHEMA = pa.schema(_FIELDS)

_GROUP_ROWS = 20_000
_GROUP_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class RejectsNote:
    """What all rejected rows of a job have in common."""

    job: str
    contract_version: int
    rejected_at: datetime


class RejectsFile:
    """Writes rejected rows to a Parquet file, which is created with the first one. Thread-safe."""

    def __init__(self, path: Path, note: RejectsNote) -> None:
        self._path = path
        self.note = note
        self._lock = threading.Lock()
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.RecordBatch] = []

    def write(self, rows: pl.DataFrame) -> None:
        """`rows` has the columns source, row, job and rules, and one for each column of the data, as text."""
        batch = self._batch(rows)
        with self._lock:
            self._waiting.append(batch)
            rows_waiting = sum(each.num_rows for each in self._waiting)
            if rows_waiting >= _GROUP_ROWS or sum(each.nbytes for each in self._waiting) >= _GROUP_BYTES:
                self._flush()

    def close(self) -> None:
        with self._lock:
            if self._waiting:
                self._flush()
            writer, self._writer = self._writer, None
            if writer is not None:
                writer.close()

    def _flush(self) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._path, REJECTS_SCHEMA, compression="zstd", store_schema=False
            )
        waiting, self._waiting = self._waiting, []
        self._writer.write_table(pa.Table.from_batches(waiting))

    def _batch(self, rows: pl.DataFrame) -> pa.RecordBatch:
        source, row, job, rules, *values = rows.get_columns()
        note = self.note
        columns = [
            source.to_arrow().cast(pa.string()),
            row.to_arrow(),
            rules.to_arrow().cast(REJECTS_SCHEMA.field("rules").type),
            _as_map(values, rows.height),
            job.to_arrow().cast(pa.string()),
            pa.repeat(pa.scalar(note.contract_version, pa.int64()), rows.height),
            pa.repeat(pa.scalar(note.rejected_at, pa.timestamp("us", "UTC")), rows.height),
            pa.repeat(pa.scalar(value=True), rows.height),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=REJECTS_SCHEMA)


def _as_map(columns: list[pl.Series], rows: int) -> Any:
    width = len(columns)
    texts = pl.DataFrame(columns)
    items = texts.select(pl.concat_list(pl.all()).explode().alias("items"))["items"].to_arrow()
    keys = pa.array([column.name for column in columns] * rows, pa.string())
    offsets = pa.array(range(0, width * (rows + 1), width), pa.int32())
    make: Any = pa.MapArray.from_arrays  # the stubs do not know these arguments
    return make(offsets, keys, items.cast(pa.string()))


def refused(path: Path) -> None:
    """Mark all rows of the file as those of a job that committed nothing."""
    draft = path.with_suffix(".draft")
    with (
        pq.ParquetFile(path) as file,
        pq.ParquetWriter(draft, REJECTS_SCHEMA, compression="zstd", store_schema=False) as out,
    ):
        for batch in file.iter_batches(_GROUP_ROWS):
            columns = dict(zip(batch.schema.names, batch.columns, strict=True))
            columns["committed"] = pa.repeat(pa.scalar(value=False), batch.num_rows)
            out.write_table(pa.table(columns, schema=REJECTS_SCHEMA))
    draft.replace(path)
