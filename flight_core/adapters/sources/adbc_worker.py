"""The reading process: `python -P -m flight_core.adapters.sources.adbc_worker`.

Drivers are native code from many authors. A crash only affects this process. See `row_worker`.
"""

import importlib
from collections.abc import Iterator
from typing import Any

import adbc_driver_manager.dbapi as adbc
import pyarrow as pa
import pyarrow.flight as fl

from flight_core.adapters.sources.row_worker import run

UNAVAILABLE, MOVED = "unavailable", "moved"  # kinds of failures; all others are ""

_BATCH_ROWS = 1 << 16
_AWAY = frozenset({"IO", "TIMEOUT"})


class _Moved(Exception):
    """The rows are on another server."""


def _readers(cursor: Any, sql: str, *, parts: bool) -> Iterator[Any]:
    """The readers of the result's parts. A statement without a result has one reader without columns."""
    if not parts:
        cursor.execute(sql)
        yield cursor.fetch_record_batch()
        return
    found, schema = cursor.adbc_execute_partitions(sql)
    if not found:
        yield pa.RecordBatchReader.from_batches(schema or pa.schema([]), [])
    for part in found:
        cursor.adbc_read_partition(_stay(part))
        yield cursor.fetch_record_batch()


def _stay(part: bytes) -> bytes:
    """The same part of a Flight SQL result without locations, so that the driver follows none."""
    info = fl.FlightInfo.deserialize(part)
    endpoints = []
    for endpoint in info.endpoints:
        uris = [location.uri.decode() for location in endpoint.locations]
        if uris and not any(uri.startswith("arrow-flight-reuse-connection:") for uri in uris):
            raise _Moved(uris[0])
        endpoints.append(fl.FlightEndpoint(endpoint.ticket, []))
    return bytes(fl.FlightInfo(info.schema, info.descriptor, endpoints, -1, -1).serialize())


def _stream(request: dict[str, Any], out: Any) -> None:
    """Nothing is closed, since the process ends, and some drivers hang or crash when they are closed."""
    driver = importlib.import_module(f"adbc_driver_{request['driver']}")
    connection = adbc.connect(driver=driver._driver_path(), db_kwargs=request["options"], autocommit=True)
    cursor = connection.cursor()
    writer: Any = None
    for reader in _readers(cursor, request["sql"], parts=request["parts"]):
        if writer is None:
            writer = pa.ipc.new_stream(pa.PythonFile(out, mode="w"), reader.schema)
            out.flush()
        for batch in reader:
            for start in range(0, batch.num_rows, _BATCH_ROWS):
                writer.write_batch(batch.slice(start, _BATCH_ROWS))
                out.flush()
    writer.close()
    out.flush()


def _failure(error: BaseException) -> dict[str, str]:
    status = getattr(error, "status_code", None)
    kind = MOVED if isinstance(error, _Moved) else UNAVAILABLE if getattr(status, "name", "") in _AWAY else ""
    return {"kind": kind, "text": str(error) or type(error).__name__}


if __name__ == "__main__":
    run(_stream, _failure)
