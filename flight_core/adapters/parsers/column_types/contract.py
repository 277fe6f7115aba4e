"""The types in contracts, and lossless conversions of other types to these."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any

import polars as pl

from flight_core.adapters.parsers.column_types.floats import beyond_floats, rounded
from flight_core.adapters.parsers.column_types.inference import NULL_WORDS
from flight_core.domain.arrow import MAX_PRECISION
from flight_core.domain.errors import InvalidContract

_SIMPLE: Mapping[str, pl.DataType] = {
    "bool": pl.Boolean(),
    "int8": pl.Int8(),
    "int16": pl.Int16(),
    "int32": pl.Int32(),
    "int64": pl.Int64(),
    "uint8": pl.UInt8(),
    "uint16": pl.UInt16(),
    "uint32": pl.UInt32(),
    "uint64": pl.UInt64(),
    "float": pl.Float32(),
    "float32": pl.Float32(),
    "double": pl.Float64(),
    "float64": pl.Float64(),
    "string": pl.String(),
    "large_string": pl.String(),
    "date": pl.Date(),
    "date32": pl.Date(),
    "date32[day]": pl.Date(),
    "timestamp": pl.Datetime("us"),
    "timestamp[us]": pl.Datetime("us"),
    "timestamp[us, tz=UTC]": pl.Datetime("us", "UTC"),
}
_DECIMAL = re.compile(r"decimal(?:128)?\((\d{1,2}), ?(\d{1,2})\)")
_FLOAT_DIGITS = 15  # that floats keep
_DATE_BYTES = len("2026-01-31")
_MOMENT_FORMATS = (
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d",
)
_ZONED_FORMATS = (
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M%#z",
    "%Y-%m-%dT%H:%M%#z",
)


def type_of(name: str) -> pl.DataType:
    """
    Raises:
        InvalidContract: it is not the name of a type that a contract knows.
    """
    if name in _SIMPLE:
        return _SIMPLE[name]
    if (match := _DECIMAL.fullmatch(name)) is not None:
        precision, scale = int(match[1]), int(match[2])
        if 0 < precision <= MAX_PRECISION and scale <= precision:
            return pl.Decimal(precision, scale)
    raise InvalidContract(
        f"'{name[:60]}' is not a type of contracts; use one of {', '.join(_SIMPLE)} or decimal128(10, 2)",
        type=name[:60],
    )


def value_of(value: object, type: pl.DataType, where: str) -> Any:
    """A bound, default or member of an enum as a Python value that goes with a column of `type`.

    Raises:
        InvalidContract: it is none.
    """
    try:
        found = _value_of(value, type)
    except (TypeError, ValueError, InvalidOperation, OverflowError):
        found = None
    if found is None:
        raise InvalidContract(f"{where} is {value!r:.60}, which is no {type}", value=str(value)[:60])
    return found


def _value_of(value: object, type: pl.DataType) -> Any:
    """The value; None, ValueError or InvalidOperation if it is none of the type."""
    if isinstance(value, bool) or type == pl.Boolean:
        return value if isinstance(value, bool) and type == pl.Boolean else None
    if type.is_numeric():
        return _number_of(value, type)
    return _value_of_text(value, type) if isinstance(value, str) else None


def _number_of(value: object, type: pl.DataType) -> int | float | Decimal | None:
    if isinstance(type, pl.Decimal):
        decimal = Decimal(str(value))
        return decimal if decimal.is_finite() else None
    if not isinstance(value, int | float):
        return None
    if type.is_float():
        return float(value)
    return int(str(value)) if int(str(value)) == value else None


def _value_of_text(text: str, type: pl.DataType) -> date | str | None:
    if type == pl.Date:
        return date.fromisoformat(text)
    if not isinstance(type, pl.Datetime):
        return text
    moment = datetime.fromisoformat(text)
    if (moment.tzinfo is None) != (type.time_zone is None):
        return None
    return moment.astimezone(UTC) if moment.tzinfo else moment


def check_format(format: str) -> None:
    """
    Raises:
        ValueError: nothing is a date or a timestamp by it.
    """
    try:
        pl.select(pl.lit("x").str.to_datetime(format, strict=False))
    except pl.exceptions.PolarsError as error:
        reason = str(error).partition("\n")[0].partition(": ")[2] or "it is none of strftime"
        raise ValueError(f"nothing can be read by the format {format!r:.60}: {reason}") from None


@dataclass(frozen=True, slots=True)
class Coercion:
    """How a column becomes one of the contract's type: `typed` is null where `raw` is not if that fails.

    `quick` is as `typed`, and does not try as hard: it may be null where that is not.
    """

    raw: pl.Expr
    typed: pl.Expr
    quick: pl.Expr | None = None

    @property
    def failed(self) -> pl.Expr:
        return self.typed.is_null() & self.raw.is_not_null()


def coercion(column: str, source: pl.DataType, target: pl.DataType, format: str | None) -> Coercion | None:
    """The conversion between two types; None if no value of one is a value of the other."""
    raw = pl.col(column)
    if source == target:
        return Coercion(raw, raw)
    if source == pl.Null:
        return Coercion(raw, raw.cast(target))
    if source.is_(pl.Categorical) or source.is_(pl.Enum):
        return _from_text(raw.cast(pl.String), target, format)
    if source == pl.String:
        return _from_text(raw, target, format)
    if source.is_nested() or source == pl.Binary or not _related(source, target):
        return None
    if isinstance(source, pl.Datetime) and isinstance(target, pl.Datetime):
        return Coercion(raw, _moment_as(raw, source, target))
    typed = raw.cast(target, strict=False)
    if target == pl.String:
        return Coercion(raw, typed)
    if source.is_float() and isinstance(target, pl.Decimal) and target.precision > _FLOAT_DIGITS:
        return Coercion(raw, _decimal_of_float(raw, target))
    return Coercion(raw, pl.when(typed.cast(source, strict=False) == raw).then(typed))


def _decimal_of_float(raw: pl.Expr, target: pl.Decimal) -> pl.Expr:
    """A whole number, or the shortest that is read as the float: 0.07 is no 0.07000000000000001024."""
    text = raw.cast(pl.String)
    exponent = text.str.extract(r"e-(\d+)$").cast(pl.Int64).fill_null(0)
    exact = _places(text.str.replace(r"e.*$", "")).cast(pl.Int64) + exponent <= target.scale
    whole = pl.when(raw == raw.floor()).then(raw).cast(pl.Int128, strict=False).cast(target, strict=False)
    return pl.coalesce(whole, pl.when(exact).then(text).cast(target, strict=False))


def _places(text: pl.Expr) -> pl.Expr:
    """How many digits come after the point of a number, without zeros at its end."""
    return text.str.extract(r"\.(\d*)$").str.strip_chars_end("0").str.len_bytes().fill_null(0)


def _related(source: pl.DataType, target: pl.DataType) -> bool:
    if target == pl.String:
        return True
    if target.is_temporal() or source.is_temporal():
        return target.is_temporal() and source.is_temporal()
    return True  # numbers and booleans


def _moment_as(raw: pl.Expr, source: pl.Datetime, target: pl.Datetime) -> pl.Expr:
    """Timestamps in UTC, which is the default for those without a time zone."""
    in_utc = raw.dt.replace_time_zone("UTC") if source.time_zone is None else raw.dt.convert_time_zone("UTC")
    typed = in_utc.dt.cast_time_unit("us")
    exact = pl.when(typed.dt.cast_time_unit(source.time_unit) == in_utc).then(typed)
    return exact if target.time_zone else exact.dt.replace_time_zone(None)


def _from_text(raw: pl.Expr, target: pl.DataType, format: str | None) -> Coercion:
    if target == pl.String:
        return Coercion(raw, raw)
    text = raw.str.strip_chars(" \t")
    given = pl.when(~text.is_in(NULL_WORDS)).then(text)  # none of these words parses
    return Coercion(given, _parsed(text, target, format), quick=_parsed(raw, target, format))


def _parsed(text: pl.Expr, target: pl.DataType, format: str | None) -> pl.Expr:
    if target == pl.Boolean:
        word = text.str.to_lowercase()
        return pl.when((word == "true") | (word == "false")).then(word == "true")
    if target == pl.Date:
        if format is not None:
            return text.str.to_date(format, strict=False)
        exact = pl.when(text.str.len_bytes() == _DATE_BYTES).then(text)
        return exact.str.to_date("%Y-%m-%d", strict=False, cache=False)  # its cache is slower than parsing
    if isinstance(target, pl.Datetime):
        return _parsed_moment(text, target, format)
    if isinstance(target, pl.Decimal):
        exact = pl.when(
            (_places(text) <= target.scale) & text.str.contains(r"^[+-]?(\d+\.?\d*|\.\d+)$")
        ).then(text)
        return exact.cast(target, strict=False)
    value = text.cast(target, strict=False)
    if not target.is_float():
        return value
    return pl.when(~beyond_floats(text, value) & ~rounded(text, value)).then(value)


def _parsed_moment(text: pl.Expr, target: pl.Datetime, format: str | None) -> pl.Expr:
    plain = pl.when(~text.str.contains(r"\.\d{7}")).then(text)  # finer than a microsecond
    formats = (format,) if format else (*_MOMENT_FORMATS, *(_ZONED_FORMATS if target.time_zone else ()))
    read = partial(_read_moments, formats)
    moment = plain.map_batches(read, return_dtype=pl.Datetime("us", "UTC"), is_elementwise=True)
    return moment if target.time_zone else moment.dt.replace_time_zone(None)


def _read_moments(formats: Sequence[str], text: pl.Series) -> pl.Series:
    """Parse each value by the first format that fits, in UTC. Most columns have a single one, and are parsed
    once."""
    moments = _in_utc(text, formats[0])
    for format in formats[1:]:
        if moments.null_count() == text.null_count():
            break
        moments = moments.zip_with(moments.is_not_null(), _in_utc(text, format))
    return moments


def _in_utc(text: pl.Series, format: str) -> pl.Series:
    moments = text.str.to_datetime(format, strict=False, time_unit="us")
    return moments if moments.dtype.time_zone else moments.dt.replace_time_zone("UTC")  # type: ignore[attr-defined]
