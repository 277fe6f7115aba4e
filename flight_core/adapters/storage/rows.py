"""Writing rows as Parquet files in the storage types, independent of any table."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from flight_core.adapters.storage.fitting import Fit
from flight_core.adapters.storage.parquet import PartWriter
from flight_core.adapters.storage.staged import RowGroupBuffer, pieces
from flight_core.adapters.storage.types import stored_schema


class ParquetRows:
    """See `RowWriter`."""

    def __init__(self, folder: Path, schema: pa.Schema, *, allow_lossy: bool) -> None:
        stored = stored_schema(schema, allow_lossy=allow_lossy)
        self._fit = Fit(schema, stored, allow_lossy=allow_lossy)
        self._groups = RowGroupBuffer()
        self._writer = PartWriter(folder, stored)

    def write(self, batch: pa.RecordBatch) -> None:
        for piece in pieces(batch):
            for group in self._groups.add(self._fit(piece)):
                self._writer.write(group)

    def finish(self) -> Sequence[Path]:
        if (rest := self._groups.drain()) is not None:
            self._writer.write(rest)
        return [file.path for file in self._writer.close(at_least_one=True)]

    def close(self) -> None:
        self._writer.abandon()
