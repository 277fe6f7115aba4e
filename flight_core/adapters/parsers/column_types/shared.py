"""The types of columns that several columnar files share."""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from itertools import chain
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.types as pat

from flight_core.adapters.parsers.alignment import common_columns
from flight_core.adapters.parsers.options import Columns
from flight_core.domain.arrow import MAX_PRECISION
from flight_core.domain.errors import SchemaMismatch, UnreadableData

_UNITS = ("s", "ms", "us", "ns")

# The type that holds the values of both; None if there is none.
Common = Callable[[pa.DataType, pa.DataType], pa.DataType | None]


def common_schema(labels: Sequence[str], schemas: Sequence[pa.Schema], wanted: Columns) -> pa.Schema:
    """The columns of the table, each with the type that all files share, else that of the first with any.

    Raises:
        UnreadableData, SchemaMismatch
    """
    for label, schema in zip(labels, schemas, strict=True):
        if not schema.names:
            raise UnreadableData(f"{label} has no columns")
        twins = sorted({name for name in schema.names if schema.names.count(name) > 1})
        if twins:
            raise SchemaMismatch(f"{label} has two columns named '{twins[0]}'", column=twins[0])
    common_columns(labels, [schema.names for schema in schemas], wanted)
    fields: dict[str, pa.Field[Any]] = {}
    for schema in schemas:
        for field in schema:
            known = fields.setdefault(field.name, field)
            fields[field.name] = known.with_type(shared(known.type, field.type) or known.type)
    return pa.schema(list(fields.values()))


def check_types(labels: Sequence[str], schemas: Sequence[pa.Schema], common: Common) -> None:
    """
    Raises:
        SchemaMismatch: a column has types of which `common`, `shared` or `widened`, makes none.
    """
    first: dict[str, tuple[pa.DataType, str]] = {}
    found: dict[str, pa.DataType] = {}
    for label, schema in zip(labels, schemas, strict=True):
        for field in schema:
            if not pat.is_null(field.type):
                first.setdefault(field.name, (field.type, label))
            together = common(found.get(field.name, field.type), field.type)
            if together is None:
                type, before = first[field.name]
                raise SchemaMismatch(
                    f"column '{field.name}' is {field.type} in {label} and {type} in {before};"
                    " ingest them one by one",
                    column=field.name,
                )
            found[field.name] = together


def shared(one: Any, other: Any) -> pa.DataType | None:
    """The type that holds the values of both as they are: nulls fit anything, and decimals a wider one."""
    if pat.is_null(other) or _usual(one) == _usual(other):
        return one  # type: ignore[no-any-return]
    if pat.is_null(one):
        return other  # type: ignore[no-any-return]
    if not (pat.is_decimal(one) and pat.is_decimal(other)):
        return None
    wide: Any = _wider_decimal(one, other)
    return wide if wide.precision <= MAX_PRECISION else None


def widened(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Likewise of numbers of different widths, and times of different units; some type of that kind."""
    if pat.is_timestamp(one) and pat.is_timestamp(other):
        return one if one.tz == other.tz else None
    if pat.is_uint64(one) or pat.is_uint64(other):
        alike = pat.is_unsigned_integer(one) and pat.is_unsigned_integer(other)
    else:
        alike = any(is_kind(one) and is_kind(other) for is_kind in (_is_number, pat.is_duration))
    return one if alike else shared(one, other)


def _wider_decimal(one: Any, other: Any) -> pa.DataType:
    scale = max(one.scale, other.scale)
    return pa.decimal256(max(one.precision - one.scale, other.precision - other.scale) + scale, scale)


def _usual(type: Any) -> pa.DataType:
    """Of types that only differ in the size of their offsets, the one with the smallest."""
    if pat.is_large_string(type):
        return pa.string()
    if pat.is_large_binary(type):
        return pa.binary()
    if pat.is_list(type) or pat.is_large_list(type):
        return pa.list_(_usual(type.value_type))
    if pat.is_struct(type):
        return pa.struct([(field.name, _usual(field.type)) for field in type])
    return type  # type: ignore[no-any-return]


def _is_number(type: pa.DataType) -> bool:
    return pat.is_integer(type) or pat.is_floating(type)


def polars_types(schemas: Sequence[pa.Schema]) -> Mapping[str, pl.DataType]:
    """Of columns that are not alike in all files, where Polars would lose something: it takes the coarsest
    unit of times, and floats without a look at the integers; or where it refuses: decimals."""
    types: dict[str, list[Any]] = {}
    for field in chain.from_iterable(schemas):
        if not pat.is_null(field.type):
            types.setdefault(field.name, []).append(field.type)
    return {
        name: shared
        for name, found in types.items()
        if len(set(found)) > 1 and (shared := _polars_type(found)) is not None
    }


def _polars_type(types: Sequence[Any]) -> pl.DataType | None:
    if any(map(pat.is_int64, types)) and any(map(pat.is_floating, types)):
        return pl.Float64()
    if all(map(pat.is_decimal, types)):
        wide: Any = reduce(_wider_decimal, types)
        return pl.Decimal(wide.precision, wide.scale)
    if not all(pat.is_timestamp(type) or pat.is_duration(type) for type in types):
        return None
    unit = max((type.unit for type in types), key=_UNITS.index)
    return pl.Datetime(unit, types[0].tz) if pat.is_timestamp(types[0]) else pl.Duration(unit)
