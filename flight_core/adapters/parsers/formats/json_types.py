"""The types of JSON fields: the narrowest that holds all values exactly, otherwise text."""

import json
from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any

import polars as pl

from flight_core.adapters.parsers.column_types.floats import WHOLE
from flight_core.adapters.parsers.formats.json_records import WrittenFloat, as_written

MAX_DEPTH = 32  # Parquet readers give up not far beyond

_INT64 = range(-(1 << 63), 1 << 63)
_WHOLE = range(1 - WHOLE, WHOLE)
_LONG = pl.UInt64()  # stands for integers of 64 bits that a float would round
_MAX_SHAPES = 10_000

# What values look like: a type for scalars, ("list", shapes), ("record", ((key, shape), ...)).
Shape = pl.DataType | tuple[str, tuple[Any, ...]]


class TooDeep(Exception):
    """The value is nested more deeply than a column can be."""


def merged(left: pl.DataType, right: pl.DataType) -> pl.DataType:
    """The type for a field that is `left` in some records and `right` in others."""
    if left == right or right == pl.Null:
        return left
    if left == pl.Null:
        return right
    if isinstance(left, pl.List) and isinstance(right, pl.List):
        return pl.List(merged(instance(left.inner), instance(right.inner)))
    if isinstance(left, pl.Struct) and isinstance(right, pl.Struct):
        return pl.Struct(merged_fields(fields_of(left), fields_of(right)))
    if {left, right} <= {pl.Int64(), pl.Float64()}:
        return pl.Float64()
    if {left, right} <= {pl.Int64(), _LONG}:
        return _LONG
    return pl.String()


def merged_fields(
    left: Mapping[str, pl.DataType], right: Mapping[str, pl.DataType]
) -> dict[str, pl.DataType]:
    """The fields of both, in order of appearance."""
    both = dict(left)
    for name, type in right.items():
        both[name] = merged(both[name], type) if name in both else type
    return both


def storable(type: pl.DataType, depth: int = MAX_DEPTH) -> pl.DataType:
    """`type` without what a table cannot hold: no type at all, no fields, more than 64 bits.

    Raises:
        TooDeep
    """
    if depth == 0:
        raise TooDeep
    if isinstance(type, pl.List):
        return pl.List(storable(instance(type.inner), depth - 1))
    if isinstance(type, pl.Struct) and type.fields:
        return pl.Struct({name: storable(field, depth - 1) for name, field in fields_of(type).items()})
    if type in (pl.Int64(), pl.Float64(), pl.Boolean()):
        return type
    if type == _LONG:
        return pl.Int64()
    return pl.String()


def conformed(value: Any, type: pl.DataType) -> Any:
    """`value` as JSON of that type. If that is text, values that are not text become JSON text."""
    if value is None:
        return None
    if isinstance(type, pl.List):
        return [conformed(element, instance(type.inner)) for element in value]
    if isinstance(type, pl.Struct):
        return {name: conformed(value.get(name), field) for name, field in fields_of(type).items()}
    if type == pl.String and isinstance(value, WrittenFloat):
        return as_written(value)
    if type == pl.String and not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return value


def types_of(records: Iterable[Mapping[str, Any]]) -> dict[str, pl.DataType]:
    """The types of all fields of all records. Raises TooDeep."""
    types: dict[str, pl.DataType] = {}
    shapes: set[Shape] = set()
    for record in records:
        shapes.add(_shape(record, MAX_DEPTH))
        if len(shapes) > _MAX_SHAPES:
            types, shapes = _with_shapes(types, shapes), set()
    return _with_shapes(types, shapes)


def _with_shapes(types: dict[str, pl.DataType], shapes: Iterable[Shape]) -> dict[str, pl.DataType]:
    for shape in shapes:
        record = _type(shape)
        if isinstance(record, pl.Struct):
            types = merged_fields(types, fields_of(record))
    return types


def _shape(value: Any, depth: int) -> Shape:
    if depth == 0:
        raise TooDeep
    if isinstance(value, dict):
        return ("record", tuple((key, _shape(item, depth - 1)) for key, item in value.items()))
    if isinstance(value, list):
        return ("list", tuple(dict.fromkeys(_shape(item, depth - 1) for item in value)))
    if type(value) is int and value not in _WHOLE:
        return _LONG if value in _INT64 else pl.Int128()
    return _SCALARS[type(value)]


_SCALARS: Mapping[type, pl.DataType] = {
    bool: pl.Boolean(),
    int: pl.Int64(),
    float: pl.Float64(),
    WrittenFloat: pl.Float64(),
    str: pl.String(),
    type(None): pl.Null(),
}


def _type(shape: Shape) -> pl.DataType:
    if isinstance(shape, pl.DataType):
        return shape
    kind, parts = shape
    if kind == "list":
        unknown: pl.DataType = pl.Null()
        return pl.List(reduce(merged, map(_type, parts), unknown))
    return pl.Struct({key: _type(part) for key, part in parts})


def fields_of(type: pl.Struct) -> dict[str, pl.DataType]:
    return {field.name: instance(field.dtype) for field in type.fields}


def instance(type: Any) -> pl.DataType:
    """Normalize a type: Polars also accepts classes for types without parameters."""
    found: pl.DataType = type() if isinstance(type, pl.datatypes.DataTypeClass) else type
    return found
