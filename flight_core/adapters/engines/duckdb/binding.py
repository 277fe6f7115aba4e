"""Binding a read: what it will return is known from here on, and nothing has run."""

import re
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from flight_core.adapters.engines.duckdb.parameters import Runnable, runnable
from flight_core.adapters.engines.duckdb.statements import ParsedStatement
from flight_core.adapters.engines.duckdb.types import ArrowFields, identifier
from flight_core.domain.query import Pins, Statement

_ALL_ROWS = 2**63 - 1
_UNSIGNED = re.compile(r"(?<!['\"\w])UHUGEINT(?!['\"\w])")  # the type, not a name in quotes
_LINE = re.compile(r"\nLINE (\d+): ")


@dataclass(frozen=True, slots=True)
class Bound:
    """A read that DuckDB has bound: lazy until its relation is read."""

    relation: duckdb.DuckDBPyRelation
    schema: pa.Schema
    pins: Pins
    runnable: Runnable


def bind(
    cursor: duckdb.DuckDBPyConnection,
    parsed: ParsedStatement,
    statement: Statement,
    pins: Pins,
    fields: ArrowFields,
) -> Bound:
    """Bind `parsed`, the one statement of `statement`, on `cursor` as it stands.

    Raises:
        duckdb.Error, InvalidParameters, UnsupportedType
    """
    made = runnable(cursor, parsed.sql, statement.parameters)
    relation = _relation(cursor, made)
    if statement.is_window and parsed.tree is not None:
        rows = _ALL_ROWS if statement.row_limit is None else statement.row_limit
        relation = relation.limit(rows, statement.row_offset)
    names = [made.column_name(name) for name in relation.columns]
    columns = [_signed(f"#{place}", str(type_)) for place, type_ in enumerate(relation.types, start=1)]
    if names != relation.columns or any(not column.startswith("#") for column in columns):
        named = (f"{column} AS {identifier(name)}" for column, name in zip(columns, names, strict=True))
        relation = relation.project(", ".join(named))
    return Bound(relation, fields.schema(relation, cursor), pins, made)


def _signed(column: str, type_: str) -> str:
    """DuckDB exports the upper half of UHUGEINT as negative numbers; as HUGEINT it is refused."""
    signed = _UNSIGNED.sub("HUGEINT", type_)
    return column if signed == type_ else f"CAST({column} AS {signed})"


def _relation(cursor: duckdb.DuckDBPyConnection, made: Runnable) -> duckdb.DuckDBPyRelation:
    """The bound statement. `sql` does not tell where it found a mistake, EXPLAIN of the same text does."""
    try:
        return cursor.sql(made.sql, params=made.parameters)
    except (duckdb.BinderException, duckdb.CatalogException) as error:
        raise _located(error, cursor, made) from None


def _located(error: duckdb.Error, cursor: duckdb.DuckDBPyConnection, made: Runnable) -> duckdb.Error:
    try:
        cursor.execute(f"EXPLAIN\n{made.sql}", made.parameters)
    except duckdb.Error as same:
        return type(error)(_LINE.sub(lambda line: f"\nLINE {int(line.group(1)) - 1}: ", str(same)))
    return error
