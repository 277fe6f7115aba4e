"""Serializing query parameters for tickets and other processes, as one row of an Arrow IPC stream."""

import json
from collections.abc import Mapping
from typing import Any, cast

import pyarrow as pa

from flight_core.domain.arrow import ipc_stream
from flight_core.domain.errors import InvalidParameters
from flight_core.domain.query import Parameters, parameter_items

Metadata = dict[bytes | str, bytes | str]

# Field metadata with the original kind of a value; without it, the value was a Python object.
_KIND = b"skein"
_SCALAR: Metadata = {_KIND: b"scalar"}
_JSON: Metadata = {_KIND: b"json"}  # as text, since Arrow has no lists of mixed types and no larger integers
_NAMED: Metadata = {_KIND: b"named"}  # of the schema: the parameters have names


def pack(parameters: Parameters) -> bytes:
    """An Arrow IPC stream; empty where there are no parameters.

    Raises:
        InvalidParameters: a value has no Arrow type.
    """
    if not parameters:
        return b""
    named = isinstance(parameters, Mapping)
    columns = [_column(name, value) for name, value in parameter_items(parameters)]
    schema = pa.schema([field for field, _ in columns], metadata=_NAMED if named else None)
    return ipc_stream(pa.record_batch([array for _, array in columns], schema=schema)).to_pybytes()


def unpack(data: bytes | memoryview) -> Parameters:
    """The inverse of `pack`. Only for trusted bytes: from a sealed ticket, or another process of ours."""
    if not data:
        return ()
    batch = pa.ipc.open_stream(pa.py_buffer(data)).read_next_batch()
    values = {field.name: _value(field, batch.column(i)[0]) for i, field in enumerate(batch.schema)}
    return values if (batch.schema.metadata or {}) == _NAMED else tuple(values.values())


def _column(name: str, value: object) -> "tuple[pa.Field[Any], pa.Array[Any]]":
    array: pa.Array[Any]
    metadata: Metadata | None = None
    try:
        if isinstance(value, pa.Scalar):
            array, metadata = pa.repeat(cast(Any, value), 1), _SCALAR
        elif (text := _json(value)) is not None:
            array, metadata = pa.array([text]), _JSON
        else:
            array = pa.array([value])
        return pa.field(name, array.type, metadata=metadata), array
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        raise InvalidParameters(
            f"parameter '{name[:64]}' cannot be sent: {str(error)[:200]};"
            " use plain values, or text and a CAST in the SQL"
        ) from None


def _json(value: object) -> str | None:
    """The value as JSON; None if that is not possible."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except TypeError:
        return None


def _value(field: "pa.Field[Any]", scalar: "pa.Scalar[Any]") -> object:
    match (field.metadata or {}).get(_KIND):
        case b"scalar":
            return scalar
        case b"json":
            return json.loads(str(scalar))
        case _:
            return scalar.as_py()
