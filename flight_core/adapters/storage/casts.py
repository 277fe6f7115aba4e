"""Casting Arrow arrays to the storage types. Information is only lost where that is allowed."""

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.types as pat

from flight_core.adapters.storage.types import TEXT, AnyArray, AnyType, is_extension, is_list, stored_type
from flight_core.domain.arrow import time_text
from flight_core.domain.errors import LossyType, UnsupportedType

pc: Any = pyarrow.compute  # the stubs lack functions and mixed arguments

_VIEWS = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
_WIDEST_DECIMAL = "decimal128(38, "
_US_PER_S = 1_000_000
_US_PER_MINUTE = 60 * _US_PER_S
_US_PER_HOUR = 60 * _US_PER_MINUTE


def cast(array: AnyArray, want: AnyType, column: str, *, allow_lossy: bool) -> AnyArray:
    """Cast `array` to `want`, which is the storage type of its type or a wider one (see `fitting`).

    Raises:
        LossyType: a value cannot be stored exactly; with `allow_lossy`, it cannot be stored at all.
        UnsupportedType: Arrow cannot decode the values.
    """
    try:
        return _cast(array, want, column, allow_lossy)
    except pa.ArrowInvalid as error:
        raise LossyType(
            f"column '{column}' of type {array.type} cannot be stored as {want}: {_reason(error)};"
            " cast it before, or allow lossy types where that helps",
            column=column,
            type=str(array.type),
        ) from None
    except pa.ArrowNotImplementedError:
        raise UnsupportedType(
            f"column '{column}' has type {array.type}, which cannot be decoded; cast it before",
            column=column,
            type=str(array.type),
        ) from None


def _reason(error: pa.ArrowInvalid) -> str:
    return str(error).splitlines()[0][:200]


def _cast(array: AnyArray, want: AnyType, column: str, allow_lossy: bool) -> AnyArray:
    have = array.type
    if have == want and not (pat.is_nested(have) and _WIDEST_DECIMAL in str(have)):
        return _within_38_digits(array)
    if pat.is_null(have):
        return pa.nulls(len(array), want)
    if is_extension(have):
        return _cast(array.storage, want, column, allow_lossy)
    if pat.is_dictionary(have):
        return _cast(_decoded(array), want, column, allow_lossy)
    if pat.is_run_end_encoded(have):
        return _cast(pc.run_end_decode(array), want, column, allow_lossy)
    if pat.is_nested(have):
        return _cast_nested(array, want, column, allow_lossy)
    return _cast_flat(array, want, column, allow_lossy)


def _within_38_digits(array: AnyArray) -> AnyArray:
    """DuckDB exports a HUGEINT of 39 digits as a DECIMAL(38), too, and cannot read that back."""
    if str(array.type).startswith(_WIDEST_DECIMAL):
        most = pa.scalar(Decimal((0, (9,) * 38, -array.type.scale)), array.type)
        if pc.any(pc.or_(pc.greater(array, most), pc.less(array, pc.negate(most)))).as_py():
            raise pa.ArrowInvalid("a value has more than 38 digits")
    return array


def _decoded(array: AnyArray) -> AnyArray:
    """Decode a dictionary. pyarrow cannot decode one of views, which is how Polars exports categories."""
    values = array.dictionary
    if values.type in _VIEWS:
        array = pa.DictionaryArray.from_arrays(array.indices, values.cast(_VIEWS[values.type]))
    return array.dictionary_decode()


def _cast_flat(array: AnyArray, want: AnyType, column: str, allow_lossy: bool) -> AnyArray:
    have = array.type
    if pat.is_timestamp(have):
        return _microseconds(array, want, allow_lossy)
    if pat.is_duration(have):
        return _clock(array.cast(pa.duration("us"), safe=not allow_lossy or have.unit != "ns"))
    if have == pa.month_day_nano_interval():
        return _interval(array, allow_lossy)
    if pat.is_time(have):
        return time_text(array, TEXT)
    if allow_lossy:
        array = _shortened(array, column)
    return array.cast(want)


def _cast_nested(array: AnyArray, want: AnyType, column: str, allow_lossy: bool) -> AnyArray:
    if pat.is_struct(array.type):
        return _cast_struct(array, want, column, allow_lossy)
    if is_list(array.type):
        offsets, values = _unpack(array)
        values = _cast(values, want.value_type, f"{column}[]", allow_lossy)
        return pa.ListArray.from_arrays(offsets, values, type=want, mask=array.is_null())
    entries = pa.struct([array.type.key_field, array.type.item_field])
    offsets, values = _unpack(array.cast(pa.list_(entries)))
    keys = _cast(values.field(0), want.key_type, f"{column} (key)", allow_lossy)
    items = _cast(values.field(1), want.item_type, f"{column} (value)", allow_lossy)
    return pa.MapArray.from_arrays(offsets, keys, items, type=want, mask=array.is_null())


def _cast_struct(array: AnyArray, want: AnyType, column: str, allow_lossy: bool) -> AnyArray:
    positions = {field.name.lower(): index for index, field in enumerate(array.type)}
    children = []
    for field in want:
        position = positions.get(field.name.lower())
        if position is None:
            children.append(pa.nulls(len(array), field.type))
        else:
            path = f"{column}.{field.name}"
            children.append(_cast(array.field(position), field.type, path, allow_lossy))
    return pa.StructArray.from_arrays(children, fields=list(want), mask=array.is_null())


def _unpack(array: AnyArray) -> tuple[AnyArray, AnyArray]:
    """Offsets that start at 0, and the values, for every kind of list array and slices of them."""
    lengths = pc.fill_null(pc.list_value_length(array).cast(pa.int32()), 0)
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum_checked(lengths)])
    return offsets, pc.list_flatten(array)


def _microseconds(array: AnyArray, want: AnyType, allow_lossy: bool) -> AnyArray:
    if allow_lossy and array.type.unit == "ns":
        ns = array.cast(pa.int64())
        us = pc.divide(ns, 1000)  # rounds towards zero: up, for moments before 1970
        late = pc.greater(pc.multiply(us, 1000), ns)
        return pc.subtract(us, late.cast(pa.int64())).cast(want)
    # The time zone only says how an instant is displayed; dropping it avoids failures on unknown zones.
    instants = array.cast(pa.timestamp(array.type.unit, want.tz))
    return instants.cast(want)


def _shortened(array: AnyArray, column: str) -> AnyArray:
    """Drop the digits, or the time of day, that do not fit into the storage type."""
    have = array.type
    if have == pa.date64():
        return pc.floor_temporal(array, unit="day")
    if pat.is_decimal(have):
        scale = stored_type(have, column, allow_lossy=True).scale
        return pc.round(array, ndigits=scale, round_mode="towards_zero") if scale < have.scale else array
    return array


def _clock(durations: AnyArray) -> AnyArray:
    """As text: `[-]HH:MM:SS.ffffff`, with any number of hours."""
    us = durations.cast(pa.int64())
    sign = pc.if_else(pc.less(us, 0), "-", "")
    hours, rest = _divmod(us, _US_PER_HOUR)
    minutes, rest = _divmod(rest, _US_PER_MINUTE)
    seconds, fraction = _divmod(rest, _US_PER_S)
    clock = pc.binary_join_element_wise(_digits(hours, 2), _digits(minutes, 2), _digits(seconds, 2), ":")
    return pc.binary_join_element_wise(sign, clock, ".", _digits(fraction, 6), "")


def _divmod(values: AnyArray, divisor: int) -> tuple[AnyArray, AnyArray]:
    """Both parts have the sign of the value."""
    quotient = pc.divide(values, divisor)
    return quotient, pc.subtract(values, pc.multiply(quotient, divisor))


def _digits(values: AnyArray, width: int) -> AnyArray:
    return pc.utf8_lpad(pc.abs(values).cast(TEXT), width, "0")


def _interval(array: AnyArray, allow_lossy: bool) -> AnyArray:
    """As text: `M months D days [-]HH:MM:SS.ffffff`."""
    months, days, nanoseconds = _month_day_nano(array)
    clock = _clock(nanoseconds.cast(pa.duration("ns")).cast(pa.duration("us"), safe=not allow_lossy))
    return pc.binary_join_element_wise(months.cast(TEXT), " months ", days.cast(TEXT), " days ", clock, "")


def _month_day_nano(array: AnyArray) -> tuple[AnyArray, ...]:
    """The months, days and nanoseconds of each value, which Arrow stores as int32, int32 and int64."""
    values = array.buffers()[1]
    end = array.offset + len(array)
    halves = pa.Array.from_buffers(pa.int32(), 4 * end, [None, values])
    words = pa.Array.from_buffers(pa.int64(), 2 * end, [None, values])
    narrow = pa.FixedSizeListArray.from_arrays(halves, 4).slice(array.offset)
    wide = pa.FixedSizeListArray.from_arrays(words, 2).slice(array.offset)
    parts = (pc.list_element(narrow, 0), pc.list_element(narrow, 1), pc.list_element(wide, 1))
    return tuple(pc.if_else(array.is_valid(), part, None) for part in parts)
