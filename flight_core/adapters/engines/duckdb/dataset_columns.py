"""The columns of datasets, as statements that change them name and fill them."""

from collections.abc import Sequence
from typing import TypeAlias

import duckdb
from duckdb.sqltypes import DuckDBPyType

from flight_core.adapters.engines.duckdb.parameters import placeholder_names, with_expressions
from flight_core.adapters.engines.duckdb.types import identifier
from flight_core.domain.dataset import LAKE, LAKE_SCHEMA, DatasetName
from flight_core.domain.errors import InvalidSql

# The view in which statements look for rows to replace: the dataset as it is, and where each row is.
PLACED = "temp.main.__skein_placed"

Column: TypeAlias = tuple[str, DuckDBPyType]


def columns_of(connection: duckdb.DuckDBPyConnection, dataset: DatasetName) -> list[Column]:
    table = connection.sql(f"FROM {LAKE}.{LAKE_SCHEMA}.{identifier(dataset.value)}")
    return list(zip(table.columns, table.types, strict=True))


def columns_given(connection: duckdb.DuckDBPyConnection, sql: str) -> list[str]:
    """By a SELECT, whatever its parameters are."""
    return connection.sql(with_expressions(sql, dict.fromkeys(placeholder_names(sql), "NULL"))).columns


def columns_named(
    dataset: DatasetName, columns: Sequence[Column], wanted: Sequence[str] | None
) -> list[Column]:
    """Those of `columns` that are `wanted`, ignoring case; None: all of them.

    Raises:
        InvalidSql: the dataset has no such column, or one is named twice.
    """
    known = {column[0].lower(): column for column in columns}
    keys = [*known] if wanted is None else [name.lower() for name in wanted]
    for key in keys:
        if key not in known:
            raise InvalidSql(f"dataset '{dataset}' has no column '{key[:100]}'")
        if keys.count(key) > 1:
            raise InvalidSql(f"the column '{key[:100]}' is named twice; name it once")
    return [known[key] for key in keys]


def casts(columns: Sequence[Column]) -> str:
    """As INSERT and UPDATE cast values."""
    return ", ".join(f"CAST({identifier(name)} AS {type_}) AS {identifier(name)}" for name, type_ in columns)
