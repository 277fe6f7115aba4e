"""Parameters as clients send them: rows of Arrow, columns by position."""

from typing import Any

import pyarrow as pa
import pyarrow.flight as fl

from flight_core.application.sessions.session import Bindings
from flight_core.domain.errors import InvalidParameters, LimitExceeded

MAX_BINDING_BYTES = 256 << 20


def read_bindings(reader: fl.MetadataRecordBatchReader, parameters: pa.Schema) -> Bindings:
    """The rows sent, their columns named as the statement's parameters; None if there are no columns.

    Raises:
        InvalidParameters: another number of columns than parameters, or damaged data.
        LimitExceeded: too much to be kept.
    """
    try:
        schema = reader.schema
        if not len(schema):
            return None
        _check_columns(schema, parameters)
        names = _order(schema, parameters)
        table = pa.Table.from_batches(_validated(reader), schema)
    except pa.ArrowInvalid as error:
        raise InvalidParameters(f"the parameters cannot be read: {str(error)[:300]}") from None
    columns = [_plain(table.column(name)) for name in range(table.num_columns)]
    return pa.Table.from_arrays(columns, names=names)


def _check_columns(schema: pa.Schema, parameters: pa.Schema) -> None:
    if len(schema) != len(parameters):
        raise InvalidParameters(
            f"the statement has {len(parameters)} parameters and got {len(schema)} columns"
        )


def _order(schema: pa.Schema, parameters: pa.Schema) -> list[str]:
    """By name where the columns have the parameters' names, else by position."""
    named = [name.lstrip("$:@") for name in schema.names]
    return named if set(named) == set(parameters.names) else parameters.names


def _validated(reader: fl.MetadataRecordBatchReader) -> list[pa.RecordBatch]:
    batches, size = [], 0
    for chunk in reader:
        batch = chunk.data
        if batch is None:
            continue
        _validate(batch)
        size += batch.nbytes
        if size > MAX_BINDING_BYTES:
            raise LimitExceeded(f"more than {MAX_BINDING_BYTES} bytes of parameters; send them in parts")
        batches.append(batch)
    return batches


def _validate(batch: pa.RecordBatch) -> None:
    """Lying offsets would crash whoever uses them. DuckDB's widest integers travel as decimals that have
    a digit more than Arrow allows: those are let through."""
    for column in batch.columns:
        column.validate(full=not pa.types.is_decimal(column.type))


def _plain(column: "pa.ChunkedArray[Any]") -> "pa.ChunkedArray[Any]":
    """Some clients wrap each value in a union; the values without it."""
    if not (isinstance(column.type, pa.UnionType) and column.type.mode == "dense"):
        return column
    values = [value.value if value.is_valid else None for value in column]
    types = {value.type for value in values if value is not None and value.is_valid}
    if len(types) > 1:
        raise InvalidParameters(f"a parameter has values of {len(types)} types: {sorted(map(str, types))}")
    type_ = types.pop() if types else pa.null()
    plain = [value.as_py() if value is not None else None for value in values]
    return pa.chunked_array([pa.array(plain, type_)])
