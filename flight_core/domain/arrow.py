"""Helpers for Arrow types that pyarrow lacks."""

from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.types as pat

pc: Any = pyarrow.compute  # the stubs do not know the result types of compute functions


def is_number(type: pa.DataType) -> bool:
    return pat.is_integer(type) or pat.is_floating(type) or pat.is_decimal(type)


def time_text(times: Any, type: pa.DataType) -> Any:
    """Times of day as strings of `type`. Arrow cannot format 24:00:00, which is valid in SQL."""
    texts = times.cast(type)
    start = pa.scalar(0, times.type).cast(type).as_py()
    return pc.if_else(pc.starts_with(texts, "<"), pa.scalar(f"24{start[2:]}", type), texts)
