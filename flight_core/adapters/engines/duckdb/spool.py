"""Keeping the rest of a result, so that its connection is free for the next statement."""

import tempfile
from io import BufferedRandom
from itertools import chain
from pathlib import Path

import pyarrow as pa

from flight_core.domain.errors import OutOfDisk
from flight_core.domain.system_errors import system_errors

MEMORY_BYTES = 64 << 20
DISK_BYTES = 20 << 30


class Spool:
    """Reads the rest of `reader`: into memory up to a limit, then into an unnamed file.

    Raises:
        OutOfDisk: on construction.
    """

    def __init__(self, reader: pa.RecordBatchReader, folder: Path) -> None:
        self._file: BufferedRandom | None = None
        self._batches: list[pa.RecordBatch] = []
        self._stored: pa.RecordBatchReader | None = None
        size_bytes = 0
        for batch in reader:
            size_bytes += batch.nbytes
            if size_bytes > MEMORY_BYTES:
                self._store(batch, reader, folder)
                break
            self._batches.append(batch)
        self._batches.reverse()

    def read_next_batch(self) -> pa.RecordBatch:
        """Raises StopIteration at the end."""
        if self._batches:
            return self._batches.pop()
        if self._stored is None:
            raise StopIteration
        return self._stored.read_next_batch()

    def close(self) -> None:
        self._batches.clear()
        self._stored = None
        if self._file is not None:
            self._file.close()

    def _store(self, first: pa.RecordBatch, reader: pa.RecordBatchReader, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed with the spool
        try:
            self._write(self._file, first, reader)
        except BaseException:
            self.close()
            raise
        self._file.seek(0)
        self._stored = pa.ipc.open_stream(self._file)

    @staticmethod
    def _write(file: BufferedRandom, first: pa.RecordBatch, reader: pa.RecordBatchReader) -> None:
        with system_errors(), pa.ipc.new_stream(file, reader.schema) as writer:
            for batch in chain([first], reader):
                writer.write_batch(batch)
                if file.tell() > DISK_BYTES:
                    raise OutOfDisk(_TOO_MUCH)


_TOO_MUCH = (
    "a result that was not read to its end had to make room for the next statement, and is too large"
    " to be kept; read results first, or use a connection for each"
)
