"""How many rows a record batch of a result has. DuckDB wants to know before it makes the first one."""

from collections.abc import Iterable

import pyarrow as pa

from flight_core.application.ports.storage import TableFiles

_VECTOR = 2048  # rows of a vector in DuckDB; batches consist of whole vectors
_MAX_ROWS = 65_536
_SHORT = 24  # bytes of a text and its offset, as a rule
_COMPRESSED = 3  # times as small as texts are in memory, as a rule


def rows_per_batch(schema: pa.Schema, batch_bytes: int, value_bytes: int = _SHORT) -> int:
    """The number of rows for a record batch of about `batch_bytes`: whole vectors, at most 65,536 rows.

    `value_bytes` is what a value takes whose size varies.
    """
    row_bytes = max(sum(_bytes(field.type, value_bytes) for field in schema), 1)
    return min(max(int(batch_bytes / row_bytes) // _VECTOR, 1) * _VECTOR, _MAX_ROWS)


def value_bytes(read: Iterable[TableFiles]) -> int:
    """What a value of varying size takes in results from these files: where their rows are large, such values
    are."""
    return max((_value_bytes(files) for files in read), default=_SHORT)


def _value_bytes(files: TableFiles) -> int:
    varying = sum(_fixed_bytes(field.type) is None for field in files.schema)
    row_bytes = _COMPRESSED * sum(files.size_bytes) // max(sum(files.row_counts), 1)
    return max(row_bytes // max(varying, 1), _SHORT)


def _bytes(type_: pa.DataType, value_bytes: int) -> float:
    fixed = _fixed_bytes(type_)
    if fixed is not None:
        return fixed
    return max(sum(_bytes(type_.field(i).type, value_bytes) for i in range(type_.num_fields)), value_bytes)


def _fixed_bytes(type_: pa.DataType) -> float | None:
    """None: values of this type differ in size, or are nested."""
    try:
        return None if type_.num_fields else type_.bit_width / 8
    except ValueError:
        return None
