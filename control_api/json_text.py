"""Arrow values as JSON text, a column at a time.

Every value keeps its exact meaning in a client whose numbers are doubles:

- integers are numbers up to 2^53 - 1 in size, strings beyond; decimals with a scale are strings
- NaN, Infinity and -Infinity are strings; other floats have the shortest digits that read back
- dates, times and timestamps are ISO 8601 strings, with `Z` where the type has a time zone;
  infinite ones are "infinity" and "-infinity"; intervals are ISO 8601 durations
- binary values are base64 strings
- lists are arrays, structs objects, maps objects with their keys as text, unions objects with
  the one member that is set
"""

import base64
import json
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute

from flight_core.domain.arrow import time_text
from flight_core.domain.errors import UnsupportedType

# Arrays of any type: the stubs do not follow what compute functions make of them.
Array = Any
Scalar = Any
pc: Any = pyarrow.compute

TEXT = pa.large_string()
_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # a second

_MAX_SAFE_INTEGER = 2**53 - 1
_CONTROL = "".join(map(chr, range(32)))


def json_rows(batch: pa.RecordBatch, names: Sequence[str], *, separator: str) -> Array:
    """Each row as a JSON object, with `separator` after it. `names` are unique, one a column."""
    members = [json_text(column) for column in batch.columns]
    return _objects(names, members, ending="}" + separator)


def json_text(values: Array) -> Array:
    """The JSON text of each value, `null` where it is null."""
    return pc.fill_null(_json(values), _text("null"))


def plain_text(values: Array) -> Array:
    """As in JSON, but without quotes around what is a string there; nulls stay null."""
    if pa.types.is_dictionary(values.type):
        return plain_text(values.dictionary).take(values.indices)
    if isinstance(values.type, pa.BaseExtensionType):
        return plain_text(values.storage)
    scalar = _scalar_text(values)
    return _json(values) if scalar is None else scalar


def unique(names: Iterable[str]) -> list[str]:
    """The names, with `_1`, `_2`, ... added to those that came before."""
    seen: set[str] = set()
    result: list[str] = []
    for name in names:
        candidate, number = name, 0
        while candidate in seen:
            number += 1
            candidate = f"{name}_{number}"
        seen.add(candidate)
        result.append(candidate)
    return result


def _json(values: Array) -> Array:
    """The JSON text of each value; null where the value is."""
    if (nested := _nested(values.type)) is not None:
        return nested(values)
    if (scalar := _scalar_text(values)) is None:
        raise UnsupportedType(f"the type {values.type} has no form as text; cast it, or ask for Arrow")
    return _marked(values, scalar)


def _marked(values: Array, text: Array) -> Array:
    """With quotes around what is not a JSON number or boolean."""
    type = values.type
    if pa.types.is_boolean(type) or pa.types.is_null(type):
        return text
    if pa.types.is_floating(type):
        return _quoted_unless(pc.is_finite(values), text)
    if _is_integer(type):
        return _quoted_unless(_is_safe(values), text) if _may_be_unsafe(type) else text
    return _quoted(_escaped(text) if _is_string(type) else text)


def _scalar_text(values: Array) -> Array | None:
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
    if _all(pc.is_finite(values)):
        return text
    for arrow, ours in (("nan", "NaN"), ("inf", "Infinity"), ("-inf", "-Infinity")):
        text = pc.if_else(pc.equal(text, arrow), _text(ours), text)
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
        text = _joined([text, _text("Z")])
    return _with_infinity(text, ticks, 2**63 - 1)


def _calendar(values: Array, numbers: Array, *, per_day: int) -> Array:
    """As Arrow writes them. It knows the years to 32767 only; the calendar repeats every 400 of them."""
    text = values.cast(TEXT)
    if not _any(pc.starts_with(text, "<")):
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
        if _any(matches):
            text = pc.if_else(matches, _text(name), text)
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


def _is_integer(type: pa.DataType) -> bool:
    """Decimals without a scale are how 128-bit integers travel."""
    return pa.types.is_integer(type) or (pa.types.is_decimal(type) and type.scale == 0)


def _may_be_unsafe(type: pa.DataType) -> bool:
    return type.precision > 15 if pa.types.is_decimal(type) else type.bit_width > 32


def _is_safe(values: Array) -> Array:
    small = pc.less_equal(values, _number(_MAX_SAFE_INTEGER, values.type))
    if pa.types.is_unsigned_integer(values.type):
        return small
    return pc.and_(small, pc.greater_equal(values, _number(-_MAX_SAFE_INTEGER, values.type)))


def _number(value: int, type: pa.DataType) -> Scalar:
    return pa.scalar(Decimal(value) if pa.types.is_decimal(type) else value, type)


def _is_string(type: pa.DataType) -> bool:
    return pa.types.is_string(type) or pa.types.is_large_string(type) or pa.types.is_string_view(type)


def _is_binary(type: pa.DataType) -> bool:
    return (
        pa.types.is_binary(type)
        or pa.types.is_large_binary(type)
        or pa.types.is_fixed_size_binary(type)
        or pa.types.is_binary_view(type)
    )


_SCALARS: list[tuple[Callable[[pa.DataType], bool], Callable[[Array], Array]]] = [
    (pa.types.is_boolean, _cast),
    (pa.types.is_integer, _cast),
    (pa.types.is_floating, _floats),
    (pa.types.is_decimal, _cast),
    (_is_string, _cast),
    (pa.types.is_timestamp, _timestamps),
    (pa.types.is_date32, _dates),
    (pa.types.is_date64, _cast),
    (pa.types.is_time, lambda values: time_text(values, TEXT)),
    (pa.types.is_interval, _intervals),
    (pa.types.is_duration, _durations),
    (_is_binary, _base64),
]


def _nested(type: pa.DataType) -> Callable[[Array], Array] | None:
    if isinstance(type, pa.BaseExtensionType):
        return lambda values: _json(values.storage)
    for is_one, render in _NESTED:
        if is_one(type):
            return render
    return None


def _dictionary(values: Array) -> Array:
    return _json(values.dictionary).take(values.indices)


def _struct(values: Array) -> Array:
    names = [field.name for field in values.type]
    if not names:
        return _where_valid(values, pa.repeat(_text("{}"), len(values)))
    members = [json_text(values.field(index)) for index in range(len(names))]
    return _where_valid(values, _objects(unique(names), members, ending="}"))


def _list(values: Array) -> Array:
    first, _ = _range(values)
    items = json_text(values.values[slice(*_range(values))])
    return _bracketed("[", _joined_lists(values, items, first), "]")


def _fixed_size_list(values: Array) -> Array:
    return _list(values.cast(pa.list_(values.type.value_field)))


def _map(values: Array) -> Array:
    start, stop = _range(values)
    keys, items = _json(values.keys[start:stop]), json_text(values.items[start:stop])
    is_text = pc.starts_with(keys, '"')
    keys = pc.if_else(is_text, keys, _quoted(_escaped(keys)))
    return _bracketed("{", _joined_lists(values, _joined([keys, items], separator=":"), start), "}")


def _union(values: Array) -> Array:
    choices = [
        _objects([field.name], [json_text(values.field(index))], ending="}")
        for index, field in enumerate(values.type)
    ]
    return pc.choose(values.type_codes.cast(pa.int64()), *choices)


def _is_list(type: pa.DataType) -> bool:
    return pa.types.is_list(type) or pa.types.is_large_list(type)


def _is_sparse_union(type: pa.DataType) -> bool:
    return pa.types.is_union(type) and type.mode == "sparse"


_NESTED: list[tuple[Callable[[pa.DataType], bool], Callable[[Array], Array]]] = [
    (pa.types.is_dictionary, _dictionary),
    (pa.types.is_struct, _struct),
    (_is_list, _list),
    (pa.types.is_fixed_size_list, _fixed_size_list),
    (pa.types.is_map, _map),
    (_is_sparse_union, _union),
]


def _range(values: Array) -> tuple[int, int]:
    """Which of its items the lists of a (sliced) array hold."""
    offsets = values.offsets
    return offsets[0].as_py(), offsets[len(values)].as_py()


def _joined_lists(values: Array, items: Array, first: int) -> Array:
    """For each list the texts of its items with commas between; `items` starts with item `first`."""
    offsets = pc.subtract(values.offsets.cast(pa.int64()), first)
    lists = pa.LargeListArray.from_arrays(offsets, items)
    return _where_valid(values, pc.binary_join(lists, _text(",")))


def _objects(names: Sequence[str], members: Sequence[Array], *, ending: str) -> Array:
    parts: list[Array | Scalar] = []
    for name, member in zip(names, members, strict=True):
        parts += [_text(("," if parts else "{") + json.dumps(name, ensure_ascii=False) + ":"), member]
    return _joined([*parts, _text(ending)])


def _escaped(text: Array) -> Array:
    """With escapes for what JSON strings may not hold."""
    if not _any(pc.match_substring_regex(text, r'["\\\x00-\x1f]')):
        return text
    text = _replaced(text, '\\"')
    return _replaced(text, _CONTROL) if _any(pc.match_substring_regex(text, r"[\x00-\x1f]")) else text


def _replaced(text: Array, characters: str) -> Array:
    for character in characters:
        text = pc.replace_substring(text, character, json.dumps(character)[1:-1])
    return text


def _quoted_unless(fine: Array, text: Array) -> Array:
    return text if _all(fine) else pc.if_else(fine, text, _quoted(text))


def _quoted(text: Array) -> Array:
    return _bracketed('"', text, '"')


def _bracketed(opening: str, text: Array, closing: str) -> Array:
    return _joined([_text(opening), text, _text(closing)])


def _joined(parts: Sequence[Array | Scalar], *, separator: str = "") -> Array:
    return pc.binary_join_element_wise(*parts, _text(separator))


def _where_valid(values: Array, text: Array) -> Array:
    return text if values.null_count == 0 else pc.if_else(values.is_valid(), text, pa.scalar(None, TEXT))


def _text(value: str) -> Scalar:
    return pa.scalar(value, TEXT)


def _any(flags: Array) -> bool:
    return bool(pc.any(flags, min_count=0).as_py())


def _all(flags: Array) -> bool:
    """Nulls do not count."""
    return bool(pc.all(flags, min_count=0).as_py())
