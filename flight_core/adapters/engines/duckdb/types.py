"""Mapping types between Arrow and DuckDB."""

import threading
from typing import Any

import duckdb
import pyarrow as pa

from flight_core.domain.arrow import MAX_PRECISION
from flight_core.domain.errors import UnsupportedType
from flight_core.domain.query import quoted

identifier = quoted

_NAMES: tuple[tuple[pa.DataType, str], ...] = (
    (pa.bool_(), "BOOLEAN"),
    (pa.int8(), "TINYINT"),
    (pa.int16(), "SMALLINT"),
    (pa.int32(), "INTEGER"),
    (pa.int64(), "BIGINT"),
    (pa.uint8(), "UTINYINT"),
    (pa.uint16(), "USMALLINT"),
    (pa.uint32(), "UINTEGER"),
    (pa.uint64(), "UBIGINT"),
    (pa.float16(), "FLOAT"),
    (pa.float32(), "FLOAT"),
    (pa.float64(), "DOUBLE"),
    (pa.utf8(), "VARCHAR"),
    (pa.large_utf8(), "VARCHAR"),
    (pa.string_view(), "VARCHAR"),
    (pa.binary(), "BLOB"),
    (pa.large_binary(), "BLOB"),
    (pa.binary_view(), "BLOB"),
    (pa.date32(), "DATE"),
    (pa.date64(), "DATE"),
    (pa.time32("s"), "TIME"),
    (pa.time32("ms"), "TIME"),
    (pa.time64("us"), "TIME"),
    (pa.time64("ns"), "TIME_NS"),
    (pa.timestamp("s"), "TIMESTAMP_S"),
    (pa.timestamp("ms"), "TIMESTAMP_MS"),
    (pa.timestamp("us"), "TIMESTAMP"),
    (pa.timestamp("ns"), "TIMESTAMP_NS"),
    (pa.month_day_nano_interval(), "INTERVAL"),
    (pa.null(), '"NULL"'),
)
_BY_TYPE = dict(_NAMES)


def duckdb_type(type_: pa.DataType) -> str:
    """The DuckDB type that can hold all values of an Arrow type.

    Raises:
        UnsupportedType: there is none.
    """
    name = _BY_TYPE.get(type_)
    if name:
        return name
    if pa.types.is_timestamp(type_):
        return "TIMESTAMP WITH TIME ZONE"
    if pa.types.is_duration(type_):
        return "INTERVAL"
    if pa.types.is_decimal(type_) and type_.precision <= MAX_PRECISION:
        return f"DECIMAL({type_.precision},{type_.scale})"
    if pa.types.is_dictionary(type_):
        return duckdb_type(type_.value_type)
    if pa.types.is_fixed_size_binary(type_):
        return "BLOB"
    return _nested(type_)


def _nested(type_: pa.DataType) -> str:
    if pa.types.is_fixed_size_list(type_):
        return f"{duckdb_type(type_.value_type)}[{type_.list_size}]"
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        return f"{duckdb_type(type_.value_type)}[]"
    if pa.types.is_map(type_):
        return f"MAP({duckdb_type(type_.key_type)}, {duckdb_type(type_.item_type)})"
    if pa.types.is_struct(type_):
        fields = ", ".join(f"{identifier(field.name)} {duckdb_type(field.type)}" for field in type_.fields)
        return f"STRUCT({fields})"
    raise UnsupportedType(f"values of the Arrow type {type_} cannot be used in SQL; cast them first")


def readable_type(type_: pa.DataType, what: str) -> pa.DataType:
    """The type as which DuckDB reads Arrow data: the same, or one that holds the same values.

    `what` has the type, for the message.

    Raises:
        UnsupportedType: DuckDB would misread it, fail over it, or make a table that nobody can read.
    """
    if type_ == pa.float16():
        return pa.float32()
    if pa.types.is_decimal(type_):
        scale = max(type_.scale, 0)
        precision = max(type_.precision + scale - type_.scale, scale)
        if precision <= MAX_PRECISION:
            return type_ if is_readable(type_) else pa.decimal128(precision, scale)
    if not is_readable(type_):
        raise UnsupportedType(f"{what} has the Arrow type {type_}, which SQL cannot hold; cast it first")
    return type_


def is_readable(type_: pa.DataType) -> bool:
    """Whether DuckDB reads Arrow data of this type as what it is."""
    if isinstance(type_, pa.BaseExtensionType):
        return is_readable(type_.storage_type)
    if pa.types.is_decimal(type_):
        return 0 <= type_.scale <= type_.precision <= MAX_PRECISION and not pa.types.is_decimal256(type_)
    if pa.types.is_dictionary(type_):
        return is_readable(type_.value_type)
    if pa.types.is_run_end_encoded(type_):
        return is_readable(type_.value_type) and not pa.types.is_dictionary(type_.value_type)
    if pa.types.is_union(type_) and (type_.mode == "dense" or not type_.num_fields):
        return False
    if pa.types.is_fixed_size_list(type_) and not type_.list_size:
        return False
    inner = (type_.field(i).type for i in range(type_.num_fields))
    return type_ != pa.float16() and all(map(is_readable, inner))


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


class ArrowFields:
    """DuckDB's own mapping of types to Arrow, cached. Thread-safe.

    With it the result schema of a query is known without running it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, pa.Field[Any]] = {}

    def schema(self, relation: duckdb.DuckDBPyRelation, cursor: duckdb.DuckDBPyConnection) -> pa.Schema:
        columns = zip(relation.columns, relation.types, strict=True)
        return pa.schema([self.field(name, str(type_), cursor) for name, type_ in columns])

    def field(self, name: str, type_: str, cursor: duckdb.DuckDBPyConnection) -> "pa.Field[Any]":
        """The Arrow field for a column of the SQL type `type_`."""
        return self._field(type_, cursor).with_name(name)

    def _field(self, type_: str, cursor: duckdb.DuckDBPyConnection) -> "pa.Field[Any]":
        known = self._known.get(type_)
        if known is not None:
            return known
        reader = cursor.sql(f"SELECT CAST(NULL AS {type_}) AS x").to_arrow_reader(1)
        field: pa.Field[Any] = reader.schema.field(0)
        reader.read_all()
        if "TIME ZONE" not in type_:  # that one depends on the session
            with self._lock:
                self._known[type_] = field
        return field
