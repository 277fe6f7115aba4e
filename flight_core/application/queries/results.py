"""Answering reads from the result cache."""

import hashlib
import sys
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa

from flight_core.application.ports.engine import Query
from flight_core.domain.arrow import ipc_stream
from flight_core.domain.errors import Cancelled
from flight_core.domain.query import Pins, Statement

# Types whose `repr` is exact.
_EXACT = (type(None), bool, int, float, str, bytes, Decimal, date, datetime, time, timedelta, UUID)


def result_key(statement: Statement, query: Query) -> str | None:
    """The key of a result in the cache: a digest of the statement, its parameters and options, and the
    versions that it reads. Equal keys mean equal results.

    None: the result may be different each time, or depends on more than datasets.
    """
    if query.fingerprint is None or not query.pins:
        return None
    parameters = _exact(statement.parameters)
    if parameters is None:
        return None
    pins = sorted((name, repr(ref)) for name, ref in query.pins.items())  # `AddedRows` are told apart
    rows = (statement.row_limit, statement.row_offset, statement.part, statement.window)
    options = (*rows, statement.narrow_decimals)
    return hashlib.sha256(repr((query.fingerprint, parameters, options, pins)).encode()).hexdigest()


def _exact(value: object) -> str | None:
    """A text that is equal only for equal values of the same type; None for types without one."""
    if isinstance(value, pa.Scalar):
        return f"arrow:{_ipc(value)!r}"
    if type(value) in _EXACT:
        return f"{type(value).__name__}:{value!r}"
    if isinstance(value, Mapping):
        items = [(_exact(key), _exact(item)) for key, item in value.items()]
        return None if any(None in item for item in items) else f"map{items!r}"
    if isinstance(value, list | tuple):
        texts = [_exact(item) for item in value]
        return None if None in texts else f"list{texts!r}"
    return None


def _ipc(scalar: Any) -> bytes:
    column: Any = pa.repeat(scalar, 1)
    return ipc_stream(pa.RecordBatch.from_arrays([column], ["value"])).to_pybytes()


class StoredQuery:
    """Implements `Query`: a cached result, or `limit` rows of it from `offset` on."""

    def __init__(
        self, result: pa.RecordBatchReader, pins: Pins, *, offset: int = 0, limit: int | None = None
    ) -> None:
        self._result: pa.RecordBatchReader | None = result
        self._rows = range(offset, sys.maxsize if limit is None else offset + limit)
        self._cancelled = False
        self.schema = result.schema
        self.pins = pins
        self.fingerprint = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        start = 0
        while start < self._rows.stop:
            result = self._result
            if self._cancelled or result is None:
                raise Cancelled("the query was cancelled")
            try:
                batch = result.read_next_batch()
            except StopIteration:
                return
            first, last = max(self._rows.start - start, 0), min(self._rows.stop - start, batch.num_rows)
            start += batch.num_rows
            if first < last:
                yield batch.slice(first, last - first)

    def progress(self) -> None:
        """See `Measured`. Always None, since nothing is computed."""

    def cancel(self) -> None:
        self._cancelled = True

    def close(self) -> None:
        self._result = None
