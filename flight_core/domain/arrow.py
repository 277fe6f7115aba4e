"""What pyarrow lacks: families of types, values as text, and rows as bytes."""

from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.types as pat

pc: Any = pyarrow.compute  # the stubs do not know the result types of compute functions

MAX_PRECISION = 38  # digits of a decimal that engines, tables and files all can hold


def is_number(type: pa.DataType) -> bool:
    return pat.is_integer(type) or pat.is_floating(type) or pat.is_decimal(type)


def is_text(type: pa.DataType) -> bool:
    return pat.is_string(type) or pat.is_large_string(type) or pat.is_string_view(type)


def is_binary(type: pa.DataType) -> bool:
    return (
        pat.is_binary(type)
        or pat.is_large_binary(type)
        or pat.is_binary_view(type)
        or pat.is_fixed_size_binary(type)
    )


def ipc_stream(rows: pa.Table | pa.RecordBatch) -> pa.Buffer:
    """The rows as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write(rows)
    return sink.getvalue()


def time_text(times: Any, type: pa.DataType) -> Any:
    """Times of day as strings of `type`. Arrow cannot format 24:00:00, which is valid in SQL."""
    texts = times.cast(type)
    start = pa.scalar(0, times.type).cast(type).as_py()
    return pc.if_else(pc.starts_with(texts, "<"), pa.scalar(f"24{start[2:]}", type), texts)
