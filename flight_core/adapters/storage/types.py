"""Storage types: which type a column of any Arrow type is stored as.

A type is stored as it is, or as the next wider type that holds every value, or as text that SQL can cast back
exactly. Other types are refused. `docs/reference/types.md` has the table for users.
"""

from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
import pyarrow.types as pat

from flight_core.domain.arrow import MAX_PRECISION
from flight_core.domain.errors import LossyType, SchemaMismatch, UnsupportedType

# Any pyarrow DataType, Field or Array: the stubs know attributes of the particular classes only.
AnyType = Any
AnyField = Any
AnyArray = Any

SOURCE_TYPE = b"skein.source_type"
TEXT = pa.string()

_AS_IT_IS = (
    pa.bool_(),
    pa.int8(),
    pa.int16(),
    pa.int32(),
    pa.int64(),
    pa.float32(),
    pa.float64(),
    pa.string(),
    pa.binary(),
    pa.date32(),
)
_FIXED: dict[AnyType, AnyType] = {
    **{type: type for type in _AS_IT_IS},
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
    pa.float16(): pa.float32(),
    pa.date64(): pa.date32(),
    pa.null(): TEXT,
    pa.large_string(): pa.string(),
    pa.string_view(): pa.string(),
    pa.large_binary(): pa.binary(),
    pa.binary_view(): pa.binary(),
    pa.month_day_nano_interval(): TEXT,
}


def stored_schema(schema: pa.Schema, *, allow_lossy: bool = False) -> pa.Schema:
    """The storage schema for rows of `schema`; every column is nullable.

    Raises:
        SchemaMismatch: there are no columns, a name is empty, or two names differ only in case.
        UnsupportedType, LossyType: naming the column.
    """
    check_names(schema.names, "the data")
    return pa.schema([_stored_field(field, allow_lossy=allow_lossy) for field in schema])


def check_names(names: list[str], where: str) -> None:
    """Every column needs a name that is unique in SQL, which ignores case.

    Raises:
        SchemaMismatch
    """
    if not names:
        raise SchemaMismatch(f"{where} has no columns; a table needs one at least")
    if "" in names:
        raise SchemaMismatch(f"column {names.index('') + 1} of {where} has no name; name it")
    if twins := _twins(names):
        listed = ", ".join(f"'{name}'" for name in twins)
        raise SchemaMismatch(
            f"{where} has columns of the same name: {listed}; SQL ignores case, rename them", columns=twins
        )


def stored_type(type: AnyType, column: str, *, allow_lossy: bool = False) -> AnyType:
    """The storage type of `type`; `column` is for error messages.

    Raises:
        UnsupportedType, LossyType: naming the column.
    """
    if type in _FIXED:
        return _FIXED[type]
    for matches, mapping in _PARAMETRIC:
        if matches(type):
            return mapping(type, column, allow_lossy)
    raise UnsupportedType(
        f"column '{column}' has type {type}, which cannot be stored; cast it or leave it out",
        column=column,
        type=str(type),
    )


def is_extension(type: AnyType) -> bool:
    return isinstance(type, pa.BaseExtensionType)


def is_list(type: AnyType) -> bool:
    return (
        pat.is_list(type)
        or pat.is_large_list(type)
        or pat.is_fixed_size_list(type)
        or pat.is_list_view(type)
        or pat.is_large_list_view(type)
    )


def _twins(names: Iterable[str]) -> list[str]:
    """The names that are not unique if case is ignored, in order."""
    names = list(names)
    keys = [name.lower() for name in names]
    return [name for name, key in zip(names, keys, strict=True) if keys.count(key) > 1]


def _stored_field(field: AnyField, *, allow_lossy: bool) -> AnyField:
    type = stored_type(field.type, field.name, allow_lossy=allow_lossy)
    stored = pa.field(field.name, type)
    if type == field.type:
        return stored
    return stored.with_metadata({SOURCE_TYPE: str(field.type).encode()})


def _decimal(type: AnyType, column: str, allow_lossy: bool) -> AnyType:
    """Delta requires 0 <= scale <= precision <= 38."""
    scale = max(type.scale, 0)
    precision = max(type.precision + scale - type.scale, scale)
    if precision <= MAX_PRECISION:
        return pa.decimal128(precision, scale)
    if not allow_lossy:
        raise LossyType(
            f"column '{column}' has type {type} and decimals are stored with at most {MAX_PRECISION} digits;"
            " cast it, or allow lossy types",
            column=column,
            type=str(type),
        )
    return pa.decimal128(MAX_PRECISION, max(0, scale - (precision - MAX_PRECISION)))


def _struct(type: AnyType, column: str, allow_lossy: bool) -> AnyType:
    if type.num_fields == 0:
        raise UnsupportedType(f"column '{column}' is a struct without fields; leave it out", column=column)
    check_names([field.name for field in type], f"column '{column}'")
    return pa.struct(
        [
            pa.field(field.name, stored_type(field.type, f"{column}.{field.name}", allow_lossy=allow_lossy))
            for field in type
        ]
    )


def _list(type: AnyType, column: str, allow_lossy: bool) -> AnyType:
    element = stored_type(type.value_type, f"{column}[]", allow_lossy=allow_lossy)
    return pa.list_(pa.field("element", element))


def _map(type: AnyType, column: str, allow_lossy: bool) -> AnyType:
    return pa.map_(
        stored_type(type.key_type, f"{column} (key)", allow_lossy=allow_lossy),
        stored_type(type.item_type, f"{column} (value)", allow_lossy=allow_lossy),
    )


def _values(type: AnyType, column: str, allow_lossy: bool) -> AnyType:
    return stored_type(type.value_type, column, allow_lossy=allow_lossy)


def _storage(type: AnyType, column: str, allow_lossy: bool) -> AnyType:
    return stored_type(type.storage_type, column, allow_lossy=allow_lossy)


_Mapping = Callable[[AnyType, str, bool], AnyType]
_PARAMETRIC: tuple[tuple[Callable[[AnyType], bool], _Mapping], ...] = (
    (is_extension, _storage),
    (pat.is_timestamp, lambda have, *_: pa.timestamp("us", None if have.tz is None else "UTC")),
    (pat.is_time, lambda *_: TEXT),
    (pat.is_duration, lambda *_: TEXT),
    (pat.is_decimal, _decimal),
    (pat.is_fixed_size_binary, lambda *_: pa.binary()),
    (pat.is_dictionary, _values),
    (pat.is_run_end_encoded, _values),
    (pat.is_struct, _struct),
    (pat.is_map, _map),
    (is_list, _list),
)
