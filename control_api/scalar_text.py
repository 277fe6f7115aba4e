"""Arrow values of types without children as text, a column at a time; `json_text` tells the rules."""

import base64
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute

from flight_core.domain.arrow import is_binary, is_text, time_text

# Arrays of any type: the stubs do not follow what compute functions make of them.
Array = Any
Scalar = Any
pc: Any = pyarrow.compute

TEXT = pa.large_string()
_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # a second


def scalar_text(values: Array) -> Array | None:
    """The text of each value of a type without children; None for the other types."""
    type = values.type
    if pa.types.is_null(type):
        return pa.nulls(len(values), TEXT)
    for is_one, render in _SCALARS:
        if is_one(type):
            return render(values)
    return None


def _cast(values: Array) -> Array:
    return values.cast(TEXT)


def _floats(values: Array) -> Array:
    text = values.cast(TEXT)
    if all_true(pc.is_finite(values)):
        return text
    for arrow, ours in (("nan", "NaN"), ("inf", "Infinity"), ("-inf", "-Infinity")):
        text = pc.if_else(pc.equal(text, arrow), constant(ours), text)
    return text


def _dates(values: Array) -> Array:
    days = values.cast(pa.int32())
    return _with_infinity(_calendar(values, days, per_day=1), days, 2**31 - 1)


def _timestamps(values: Array) -> Array:
    wall = values.cast(pa.timestamp(values.type.unit))  # in UTC
    ticks = wall.cast(pa.int64())
    text = _calendar(wall, ticks, per_day=86_400 * _TICKS[values.type.unit])
    text = pc.replace_substring(text, " ", "T", max_replacements=1)
    if values.type.tz is not None:
        text = joined([text, constant("Z")])
    return _with_infinity(text, ticks, 2**63 - 1)


def _calendar(values: Array, numbers: Array, *, per_day: int) -> Array:
    """As Arrow writes them. It knows the years to 32767 only; the calendar repeats every 400 of them."""
    text = values.cast(TEXT)
    if not any_true(pc.starts_with(text, "<")):
        return text
    cycle = 146_097 * per_day
    counts = numbers.to_pylist()
    near = pa.array([None if count is None else count % cycle for count in counts], values.type)
    texts = [
        text and _year(int(text[:4]) + count // cycle * 400) + text[4:]
        for text, count in zip(near.cast(TEXT).to_pylist(), counts, strict=True)
    ]
    return pa.array(texts, TEXT)


def _year(year: int) -> str:
    return f"{year:05d}" if year < 0 else f"{year:04d}"


def _with_infinity(text: Array, numbers: Array, infinity: int) -> Array:
    for number, name in ((infinity, "infinity"), (-infinity, "-infinity")):
        matches = pc.equal(numbers, number)
        if any_true(matches):
            text = pc.if_else(matches, constant(name), text)
    return text


def _intervals(values: Array) -> Array:
    texts = [value and _iso_duration(*value) for value in values.to_pylist()]
    return pa.array(texts, TEXT)


def _durations(values: Array) -> Array:
    per_unit = 10**9 // _TICKS[values.type.unit]
    counts = values.cast(pa.int64()).to_pylist()
    texts = [None if count is None else _iso_duration(0, 0, count * per_unit) for count in counts]
    return pa.array(texts, TEXT)


def _iso_duration(months: int, days: int, nanoseconds: int) -> str:
    """ISO 8601 with a sign on each part, as PostgreSQL writes it."""
    sign = "-" if nanoseconds < 0 else ""
    seconds, fraction = divmod(abs(nanoseconds), 10**9)
    date = (f"{months}M" if months else "") + (f"{days}D" if days else "")
    time = f"T{sign}{seconds}{f'.{fraction:09}'.rstrip('0') if fraction else ''}S" if nanoseconds else ""
    return f"P{date}{time}" if date or time else "PT0S"


def _base64(values: Array) -> Array:
    texts = [None if value is None else base64.b64encode(value).decode() for value in values.to_pylist()]
    return pa.array(texts, TEXT)


_SCALARS: list[tuple[Callable[[pa.DataType], bool], Callable[[Array], Array]]] = [
    (pa.types.is_boolean, _cast),
    (pa.types.is_integer, _cast),
    (pa.types.is_floating, _floats),
    (pa.types.is_decimal, _cast),
    (is_text, _cast),
    (pa.types.is_timestamp, _timestamps),
    (pa.types.is_date32, _dates),
    (pa.types.is_date64, _cast),
    (pa.types.is_time, lambda values: time_text(values, TEXT)),
    (pa.types.is_interval, _intervals),
    (pa.types.is_duration, _durations),
    (is_binary, _base64),
]


def joined(parts: Sequence[Array | Scalar], *, separator: str = "") -> Array:
    return pc.binary_join_element_wise(*parts, constant(separator))


def constant(value: str) -> Scalar:
    return pa.scalar(value, TEXT)


def any_true(flags: Array) -> bool:
    return bool(pc.any(flags, min_count=0).as_py())


def all_true(flags: Array) -> bool:
    """Nulls do not count."""
    return bool(pc.all(flags, min_count=0).as_py())
