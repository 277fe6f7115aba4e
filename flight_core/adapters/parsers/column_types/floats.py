"""Floats: where they may be other numbers than those that were written."""

from collections.abc import Iterator, Mapping
from math import inf
from typing import Any

import polars as pl

WHOLE = 1 << 53  # beyond this floats skip whole numbers


def watched(frame: pl.LazyFrame, given: Mapping[str, pl.DataType]) -> pl.LazyFrame:
    """`frame`, which fails with InvalidOperationError when it runs where a float was perhaps an integer
    that it rounds, or a number beyond all floats. Columns that are given as floats may round."""
    schema = frame.collect_schema()
    limits = {
        name: inf if (wanted := given.get(name)) is not None and wanted.is_float() else WHOLE
        for name, type in schema.items()
        if _holds_floats(type)
    }

    def checked(batch: pl.DataFrame) -> pl.DataFrame:
        for name, limit in limits.items():
            if any(_reaches(floats, limit) for floats in _floats(batch[name])):
                raise pl.exceptions.InvalidOperationError(f"column '{name}' holds numbers from {limit} on")
        return batch

    if not limits:
        return frame
    return frame.map_batches(checked, streamable=True, schema=schema, validate_output_schema=False)


def beyond_floats(text: pl.Expr, value: pl.Expr) -> pl.Expr:
    """Where `value`, read from `text`, is infinite, and the text is a number."""
    return value.is_infinite() & ~text.str.contains("[nN]")


def _holds_floats(type: Any) -> bool:
    if type == pl.List:
        return _holds_floats(type.inner)
    if type == pl.Struct:
        return any(_holds_floats(field.dtype) for field in type.fields)
    return bool(type.is_float())


def _floats(values: pl.Series) -> Iterator[pl.Series]:
    """Those inside of lists and structs, too."""
    if isinstance(values.dtype, pl.List):
        yield from _floats(values.explode())
    elif isinstance(values.dtype, pl.Struct):
        for field in values.dtype.fields:
            yield from _floats(values.struct.field(field.name))
    elif values.dtype.is_float():
        yield values


def _reaches(floats: pl.Series, limit: float) -> bool:
    return any(abs(end) >= limit for end in (floats.min(), floats.max()) if isinstance(end, float))
