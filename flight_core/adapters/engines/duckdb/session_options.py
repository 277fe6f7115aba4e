"""The settings a client may change for its own session, under one name each."""

from collections.abc import Mapping

import duckdb

from flight_core.adapters.engines.duckdb.loading import here
from flight_core.adapters.engines.duckdb.types import identifier, literal
from flight_core.domain.dataset import LAKE, LAKE_SCHEMA
from flight_core.domain.errors import InvalidOption
from flight_core.infrastructure.duckdb_pool import DATASETS, SEARCH_PATH, VERSIONS, WORKSPACE_SCHEMA

_SETTINGS: dict[str, type] = {
    "TimeZone": str,
    "Calendar": str,
    "default_collation": str,
    "default_null_order": str,
    "default_order": str,
    "ieee_floating_point_ops": bool,
    "integer_division": bool,
    "order_by_non_integer_literal": bool,
    "preserve_insertion_order": bool,
    "scalar_subquery_error_on_multiple_rows": bool,
}
NAMES = ("catalog", "schema", *_SETTINGS)
_BY_KEY = {name.lower(): name for name in NAMES}


def read(connection: duckdb.DuckDBPyConnection) -> Mapping[str, object]:
    settings = ", ".join(f"current_setting({literal(name)})" for name in _SETTINGS)
    catalog, schema = here(connection)
    (values,) = connection.execute(f"SELECT {settings}").fetchall()
    return {"catalog": catalog, "schema": schema, **dict(zip(_SETTINGS, values, strict=True))}


def write(connection: duckdb.DuckDBPyConnection, name: str, value: object) -> None:
    """`value` None: back to the default.

    Raises:
        InvalidOption
    """
    option = _BY_KEY.get(name.lower())
    if option is None:
        raise InvalidOption(
            f"'{name[:60]}' is not a session option; known: {', '.join(NAMES)}", reason="name"
        )
    try:
        if value is None:
            _reset(connection, option)
        elif option in ("catalog", "schema"):
            _use(connection, option, _checked(option, value, str))
        else:
            _set(connection, option, value)
    except duckdb.Error:
        raise InvalidOption(f"'{str(value)[:60]}' is not a valid {option}", reason="value") from None
    keep_lake_in_sight(connection)


def keep_lake_in_sight(connection: duckdb.DuckDBPyConnection) -> None:
    """USE replaces the search path; datasets stay visible by name all the same.

    `USE lake` and `USE datasets` lead to the datasets, whatever the current catalog; RESET to where it began.
    """
    ((path,),) = connection.execute("SELECT current_setting('search_path')").fetchall()
    schemas = connection.execute(
        "SELECT database_name || '.' || schema_name FROM duckdb_schemas()"
    ).fetchall()
    elsewhere = {schema for (schema,) in schemas}
    places = [
        DATASETS
        if place == f"{LAKE}.main" or (place.endswith(f".{LAKE_SCHEMA}") and place not in elsewhere)
        else place
        for place in (path or SEARCH_PATH).split(",")
    ]
    places += [place for place in (DATASETS, VERSIONS) if place not in places]
    connection.execute(f"SET search_path={literal(','.join(places))}")


def _reset(connection: duckdb.DuckDBPyConnection, option: str) -> None:
    if option in ("catalog", "schema"):
        connection.execute(f"SET SESSION search_path={literal(SEARCH_PATH)}")
    else:
        connection.execute(f"RESET SESSION {option}")


def _set(connection: duckdb.DuckDBPyConnection, option: str, value: object) -> None:
    checked = _checked(option, value, _SETTINGS[option])
    text = str(checked).lower() if isinstance(checked, bool) else literal(str(checked))
    connection.execute(f"SET SESSION {option}={text}")


def _checked(option: str, value: object, type_: type) -> object:
    if type_ is bool and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, type_):
        wanted = "true or false" if type_ is bool else "text"
        raise InvalidOption(f"the session option '{option}' takes {wanted}", reason="value")
    return value


def _use(connection: duckdb.DuckDBPyConnection, option: str, value: object) -> None:
    """A catalog opens at its main schema; a schema is looked for in the current catalog, then in the lake."""
    name = str(value)
    if option == "catalog":
        schema = LAKE_SCHEMA if name.lower() == LAKE else WORKSPACE_SCHEMA
        connection.execute(f"USE {identifier(name)}.{identifier(schema)}")
        return
    catalog, _ = here(connection)
    try:
        connection.execute(f"USE {identifier(catalog)}.{identifier(name)}")
    except duckdb.CatalogException:
        connection.execute(f"USE {identifier(LAKE)}.{identifier(name)}")
