"""Parameters on their way into DuckDB, without losing anything of an Arrow value.

Plain values travel as they are. Types that Python has no exact form for (nanoseconds, intervals,
nested types, a NULL that has a type) are stored by DuckDB itself, from Arrow into variables of the
connection, and the statement's placeholders become look-ups of those.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from flight_core.adapters.engines.duckdb.loading import readable, registered
from flight_core.adapters.engines.duckdb.statements import byte_tokens
from flight_core.adapters.engines.duckdb.types import duckdb_type, is_readable
from flight_core.domain.errors import InvalidParameters
from flight_core.domain.query import Parameters, parameter_items

_VARIABLE = "__skein_parameter_"
_TABLE = "__skein_parameters"

_AS_TEXT = (pa.types.is_time, pa.types.is_decimal)
_AS_PYTHON = (
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_fixed_size_binary,
)
_BEYOND = "out of range"  # what Arrow writes for times it has no text for
_PYTHON_DATES = range(-719_162, 2_932_897)  # days since 1970: the years 1 to 9999

Bound = list[object] | dict[str, object] | None


@dataclass(frozen=True, slots=True)
class Runnable:
    """A text and what goes into its placeholders. `variables` are to be reset when it has run."""

    sql: str
    parameters: Bound
    variables: tuple[str, ...] = ()
    names: tuple[str, ...] = ()  # of the parameters in the variables

    def column_name(self, name: str) -> str:
        """A result column's name as it is without variables: `$1`, not how we look it up."""
        for variable, parameter in zip(self.variables, self.names, strict=True):
            name = name.replace(_look_up(variable), f"${parameter}")
        return name


def runnable(
    cursor: duckdb.DuckDBPyConnection, sql: str, parameters: Parameters, *, typed_nulls: bool = True
) -> Runnable:
    """`sql` with its parameters, to be run on `cursor`.

    `typed_nulls` costs time and makes a difference only where a NULL's type shows in a result.

    Raises:
        InvalidParameters: a value is missing or too many.
        UnsupportedType: DuckDB has no type for a value.
    """
    if not parameters:
        return Runnable(sql, None)
    plain = plain_values(parameters, typed_nulls=typed_nulls)
    if plain is not None:
        return Runnable(sql, plain)
    items = dict(parameter_items(parameters))
    variables = {name: f"{_VARIABLE}{number}" for number, name in enumerate(items)}
    text = with_expressions(sql, {name: _look_up(place) for name, place in variables.items()})
    for name, value in items.items():
        _store(cursor, variables[name], value)
    return Runnable(text, None, tuple(variables.values()), tuple(variables))


def plain_values(parameters: Parameters, *, typed_nulls: bool = False) -> Bound:
    """As DuckDB's Python API takes them; None where it has no exact form for one of them."""
    values = parameters.values() if isinstance(parameters, Mapping) else parameters
    if not all(_is_plain(value, typed_nulls=typed_nulls) for value in values):
        return None
    if isinstance(parameters, Mapping):
        return {name: _value(value) for name, value in parameters.items()}
    return [_value(value) for value in parameters]


def _look_up(variable: str) -> str:
    return f"getvariable('{variable}')"


def forget(cursor: duckdb.DuckDBPyConnection, made: Runnable) -> None:
    for variable in made.variables:
        cursor.execute(f"RESET VARIABLE {variable}")


def placeholder_names(sql: str) -> list[str]:
    """The distinct parameters of a statement in the order they appear; positions count from 1."""
    names: dict[str, None] = {}
    for _, _, name in _placeholders(sql):
        names.setdefault(name)
    return sorted(names, key=int) if all(name.isdigit() for name in names) else list(names)


def untyped(names: Sequence[str]) -> pa.Schema:
    """Parameters whose types are for whoever binds them."""
    return pa.schema([pa.field(name, pa.null()) for name in names])


def nulls(names: Sequence[str]) -> Parameters:
    """A value for each, to find out what a statement returns."""
    if all(name.isdigit() for name in names):
        return (None,) * len(names)
    return dict.fromkeys(names)


def _is_plain(value: object, *, typed_nulls: bool) -> bool:
    """Whether DuckDB's Python values hold it exactly."""
    if not isinstance(value, pa.Scalar) or pa.types.is_null(value.type):
        return True
    if not value.is_valid:
        return not typed_nulls
    if value.type == pa.time64("ns") or not is_readable(value.type):
        return False
    if pa.types.is_date32(value.type):
        return pc.cast(value, pa.int32()).as_py() in _PYTHON_DATES
    if isinstance(value.type, pa.TimestampType):
        return value.type.tz is None and _BEYOND not in _text(value)
    return any(is_one(value.type) for is_one in (*_AS_PYTHON, *_AS_TEXT))


def _value(value: object) -> object:
    if not isinstance(value, pa.Scalar):
        return value
    if not value.is_valid:
        return None
    as_text = any(is_one(value.type) for is_one in (*_AS_TEXT, pa.types.is_timestamp))
    exact = _text(value) if as_text else value.as_py()
    return duckdb.Value(exact, duckdb.type(duckdb_type(value.type)))


def _text(value: "pa.Scalar[Any]") -> str:
    return str(pc.cast(value, pa.string()).as_py())


def _store(cursor: duckdb.DuckDBPyConnection, variable: str, value: Any) -> None:
    scalar: Any = value if isinstance(value, pa.Scalar) else pa.scalar(value)
    array: pa.Array[Any] = pa.repeat(scalar, 1)
    with registered(cursor, _TABLE, readable(pa.table([array], ["value"]))):
        cursor.execute(f"SET VARIABLE {variable} = (SELECT value FROM {_TABLE})")


def with_expressions(sql: str, expressions: Mapping[str, str]) -> str:
    """`sql` with an expression in the place of each parameter.

    Raises:
        InvalidParameters: the names differ.
    """
    pieces, position, encoded = [], 0, sql.encode()
    found = set()
    for start, end, name in _placeholders(sql):
        if name not in expressions:
            raise InvalidParameters(f"there is no value for the parameter '{name[:64]}'")
        found.add(name)
        pieces += [encoded[position:start], expressions[name].encode()]
        position = end
    if unused := expressions.keys() - found:
        raise InvalidParameters(
            f"the statement has {len(found)} parameters and got {len(expressions)} values;"
            f" no use for '{min(unused)[:64]}'"
        )
    return b"".join([*pieces, encoded[position:]]).decode()


def _placeholders(sql: str) -> list[tuple[int, int, str]]:
    """First byte, end and name of every `?`, `?1`, `$1` and `$name`."""
    if "?" not in sql and "$" not in sql:
        return []
    found = []
    tokens = byte_tokens(sql)
    count = 0
    for index, (start, text, kind) in enumerate(tokens):
        if kind != "operator" or not (mark := re.match(r"[?$]", text)):
            continue
        following = tokens[index + 1] if index + 1 < len(tokens) else (0, "", "")
        name = re.match(r"\w+", following[1]) if following[0] == start + 1 else None
        if name:
            found.append((start, following[0] + len(name.group().encode()), name.group()))
        elif mark.group() == "?":
            count += 1
            found.append((start, start + 1, str(count)))
    return found
