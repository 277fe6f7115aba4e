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

import json
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal

import pyarrow as pa

from control_api.scalar_text import TEXT, Array, Scalar, all_true, any_true, constant, joined, pc, scalar_text
from flight_core.domain.arrow import is_text
from flight_core.domain.errors import UnsupportedType

_MAX_SAFE_INTEGER = 2**53 - 1
_CONTROL = "".join(map(chr, range(32)))


def json_rows(batch: pa.RecordBatch, names: Sequence[str], *, separator: str) -> Array:
    """Each row as a JSON object, with `separator` after it. `names` are unique, one a column."""
    members = [json_text(column) for column in batch.columns]
    return _objects(names, members, ending="}" + separator)


def json_text(values: Array) -> Array:
    """The JSON text of each value, `null` where it is null."""
    return pc.fill_null(_json(values), constant("null"))


def plain_text(values: Array) -> Array:
    """As in JSON, but without quotes around what is a string there; nulls stay null."""
    if pa.types.is_dictionary(values.type):
        return plain_text(values.dictionary).take(values.indices)
    if isinstance(values.type, pa.BaseExtensionType):
        return plain_text(values.storage)
    scalar = scalar_text(values)
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
    if (scalar := scalar_text(values)) is None:
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
    return _quoted(_escaped(text) if is_text(type) else text)


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
        return _where_valid(values, pa.repeat(constant("{}"), len(values)))
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
    return _bracketed("{", _joined_lists(values, joined([keys, items], separator=":"), start), "}")


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
    return _where_valid(values, pc.binary_join(lists, constant(",")))


def _objects(names: Sequence[str], members: Sequence[Array], *, ending: str) -> Array:
    parts: list[Array | Scalar] = []
    for name, member in zip(names, members, strict=True):
        parts += [constant(("," if parts else "{") + json.dumps(name, ensure_ascii=False) + ":"), member]
    return joined([*parts, constant(ending)])


def _escaped(text: Array) -> Array:
    """With escapes for what JSON strings may not hold."""
    if not any_true(pc.match_substring_regex(text, r'["\\\x00-\x1f]')):
        return text
    text = _replaced(text, '\\"')
    return _replaced(text, _CONTROL) if any_true(pc.match_substring_regex(text, r"[\x00-\x1f]")) else text


def _replaced(text: Array, characters: str) -> Array:
    for character in characters:
        text = pc.replace_substring(text, character, json.dumps(character)[1:-1])
    return text


def _quoted_unless(fine: Array, text: Array) -> Array:
    return text if all_true(fine) else pc.if_else(fine, text, _quoted(text))


def _quoted(text: Array) -> Array:
    return _bracketed('"', text, '"')


def _bracketed(opening: str, text: Array, closing: str) -> Array:
    return joined([constant(opening), text, constant(closing)])


def _where_valid(values: Array, text: Array) -> Array:
    return text if values.null_count == 0 else pc.if_else(values.is_valid(), text, pa.scalar(None, TEXT))
