"""Finding floats that may differ from the numbers that were written."""

from collections.abc import Iterator
from typing import Any

import polars as pl

WHOLE = 1 << 53  # beyond this floats skip whole numbers
_WHOLE_32 = 1 << 24  # and those of 32 bits


def watched(frame: pl.LazyFrame) -> pl.LazyFrame:
    """`frame`, which fails with InvalidOperationError when it runs where a float was perhaps an integer
    that it rounds, or a number beyond all floats."""
    schema = frame.collect_schema()
    columns = [name for name, type in schema.items() if _holds_floats(type)]

    def checked(batch: pl.DataFrame) -> pl.DataFrame:
        for name in columns:
            if any(map(_may_round, _floats(batch[name]))):
                raise pl.exceptions.InvalidOperationError(f"column '{name}' may be rounded")
        return batch

    if not columns:
        return frame
    return frame.map_batches(checked, streamable=True, schema=schema, validate_output_schema=False)


def is_whole(text: pl.Expr) -> pl.Expr:
    """Whether the numbers are written as integers."""
    return ~text.str.contains("[.eEnN]")


def beyond_floats(text: pl.Expr, value: pl.Expr) -> pl.Expr:
    """Whether `value`, parsed from `text`, is infinite although the text is a number."""
    return value.is_infinite() & ~text.str.contains("[nN]")


def rounded(text: pl.Expr, value: pl.Expr) -> pl.Expr:
    """Whether `value`, parsed from `text`, is a float that differs from the integer in the text."""
    whole = value.cast(pl.Int128, strict=False)
    return is_whole(text) & text.cast(pl.Int128, strict=False).ne_missing(whole)


def _holds_floats(type: Any) -> bool:
    if type == pl.List:
        return _holds_floats(type.inner)
    if type == pl.Struct:
        return any(_holds_floats(field.dtype) for field in type.fields)
    return bool(type.is_float())


def _floats(values: pl.Series) -> Iterator[pl.Series]:
    """All floats, including those in lists and structs."""
    if isinstance(values.dtype, pl.List):
        yield from _floats(values.explode())
    elif isinstance(values.dtype, pl.Struct):
        for field in values.dtype.fields:
            yield from _floats(values.struct.field(field.name))
    elif values.dtype.is_float():
        yield values


def _may_round(floats: pl.Series) -> bool:
    limit = _WHOLE_32 if floats.dtype == pl.Float32 else WHOLE
    return any(abs(end) >= limit for end in (floats.min(), floats.max()) if isinstance(end, float))
