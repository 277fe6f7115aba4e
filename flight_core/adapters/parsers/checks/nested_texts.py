"""Binary and nested values as text in the quarantine, and back, with nothing lost.

Bytes are base64. Nested values are JSON, in an object with the one member `value`. Maps are lists of objects
with `key` and `value` in there: keys may be of any type.
"""

import base64
import json
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from functools import partial
from typing import Any

import polars as pl

from flight_core.adapters.parsers.column_types.contract import Coercion


def as_text(values: pl.Series) -> pl.Series:
    """Values of any type as text, which can be converted back."""
    if not values.dtype.is_nested() and values.dtype != pl.Binary:
        return values.cast(pl.String)
    if values.dtype == pl.Binary:
        return values.bin.encode("base64")
    values = values.cast(_listed(values.dtype))
    if not _is_json(values):
        told = [
            None if value is None else json.dumps({"value": value}, default=_plain)
            for value in values.to_list()
        ]
        return pl.Series(values.name, told, dtype=pl.String)
    wrapped = pl.DataFrame({"value": values}).to_struct(values.name).struct.json_encode()
    return wrapped.zip_with(values.is_not_null(), pl.Series([None], dtype=pl.String)).alias(values.name)


def restoring(column: str, type: pl.DataType) -> Coercion | None:
    """The conversion of such texts to `type`; None if that is neither binary nor nested."""
    if type != pl.Binary and not type.is_nested():
        return None
    raw = pl.col(column)
    return Coercion(
        raw, raw.map_batches(partial(from_text, type=type), return_dtype=type, is_elementwise=True)
    )


def from_text(texts: pl.Series, type: pl.DataType) -> pl.Series:
    """The value of the text; null if it is not a text of the type."""
    if type == pl.Binary:
        return texts.str.decode("base64", strict=False)
    if _listed(type) != type:
        return from_text(texts, _listed(type)).cast(type)
    try:
        values = texts.str.json_decode(pl.Struct({"value": type})).struct.field("value").alias(texts.name)
        if as_text(values).equals(texts, null_equal=True):
            return values
    except pl.exceptions.PolarsError:
        pass
    return pl.Series(texts.name, [_read(text, type) for text in texts], dtype=type, strict=False)


def _listed(type: Any) -> Any:
    """The type with lists of entries instead of maps."""
    if isinstance(type, pl.Map):
        return pl.List(pl.Struct({"key": _listed(type.key), "value": _listed(type.value)}))
    if isinstance(type, pl.List):
        return pl.List(_listed(type.inner))
    if isinstance(type, pl.Struct):
        return pl.Struct({field.name: _listed(field.dtype) for field in type.fields})
    return type


def _is_json(values: pl.Series) -> bool:
    """Whether all values can be written as JSON, which excludes bytes and NaN."""
    type = values.dtype
    if type.is_float():
        return values.is_finite().all()
    if isinstance(type, pl.List | pl.Array):
        return _is_json(values.explode())
    if isinstance(type, pl.Struct):
        return all(_is_json(values.struct.field(field.name)) for field in type.fields)
    return type != pl.Binary


def _plain(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, date | time):  # and moments
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(type(value).__name__)


def _read(text: str | None, type: pl.DataType) -> Any:
    try:
        return None if text is None else _value(json.loads(text)["value"], type)
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError):
        return None


def _value(value: Any, type: Any) -> Any:
    if value is None:
        return None
    if isinstance(type, pl.List | pl.Array):
        return [_value(each, type.inner) for each in value]
    if isinstance(type, pl.Struct):
        return {field.name: _value(value[field.name], field.dtype) for field in type.fields}
    if type.is_numeric() and type != pl.Decimal:
        return _of(value, int if type.is_integer() else (int, float))
    return _READERS[type.base_type()](value)


def _of(value: Any, kinds: Any) -> Any:
    """Raises TypeError."""
    if (isinstance(value, bool) and kinds is not bool) or not isinstance(value, kinds):
        raise TypeError
    return value


_READERS: Mapping[Any, Any] = {
    pl.Boolean: partial(_of, kinds=bool),
    pl.String: partial(_of, kinds=str),
    pl.Binary: partial(base64.b64decode, validate=True),
    pl.Date: date.fromisoformat,
    pl.Datetime: datetime.fromisoformat,
    pl.Time: time.fromisoformat,
    pl.Decimal: Decimal,
}
