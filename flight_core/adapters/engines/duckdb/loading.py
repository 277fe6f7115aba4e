"""Bulk loads: an Arrow stream into one of the users' tables."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import duckdb
import pyarrow as pa

from flight_core.adapters.engines.duckdb.types import identifier, readable_type
from flight_core.domain.errors import FlightCoreError, TableExists, TableNotFound
from flight_core.domain.query import IfExists, LoadMode, TableTarget

_STREAM = "__skein_stream"
_TEMPORARY = ("temp", "main")
_FIND = """
    SELECT 1 FROM information_schema.tables WHERE system.main.lower(table_catalog) = system.main.lower($1)
      AND system.main.lower(table_schema) = system.main.lower($2)
      AND system.main.lower(table_name) = system.main.lower($3)
"""

Place = tuple[str, str, str]


def here(connection: duckdb.DuckDBPyConnection) -> tuple[str, str]:
    """Catalog and schema of names that say neither. Like all SQL that statements of users wait for, it says
    `system.main`: their macros may have the names of functions."""
    ((catalog, schema),) = connection.execute(
        "SELECT system.main.current_database(), system.main.current_schema()"
    ).fetchall()
    return catalog, schema


def resolve(connection: duckdb.DuckDBPyConnection, target: TableTarget) -> Place:
    """Catalog, schema and table, with the session's own where the target leaves them out."""
    if target.temporary:
        return (*_TEMPORARY, target.table)
    catalog, schema = here(connection)
    if target.catalog and not target.schema:
        schema = "main"
    return target.catalog or catalog, target.schema or schema, target.table


def load(
    connection: duckdb.DuckDBPyConnection, place: Place, batches: pa.RecordBatchReader, mode: LoadMode
) -> int:
    """Within the transaction that is open.

    Raises:
        TableExists, TableNotFound, UnsupportedType
        duckdb.Error: values or columns do not fit the table.
    """
    source = _Source(batches)
    statement = _statement(connection, place, mode)
    with registered(connection, _STREAM, source.reader()), source.own_failures():
        ((count,),) = connection.execute(statement).fetchall()
    return int(count)


@contextmanager
def registered(connection: duckdb.DuckDBPyConnection, name: str, data: object) -> Iterator[None]:
    """Arrow data as a table, within the block."""
    connection.register(name, data)
    try:
        yield
    finally:
        with suppress(duckdb.TransactionException):  # a failed transaction took the name with it
            connection.unregister(name)


def _statement(connection: duckdb.DuckDBPyConnection, place: Place, mode: LoadMode) -> str:
    name, shown = ".".join(map(identifier, place)), ".".join(place)[:200]
    temporary = place[:2] == _TEMPORARY
    new = f"TEMP TABLE {identifier(place[2])}" if temporary else f"TABLE {name}"
    if not connection.execute(_FIND, place).fetchall():
        if not mode.create:
            raise TableNotFound(f"table '{shown}' does not exist; create it, or ask for it to be created")
        return f"CREATE {new} AS SELECT * FROM {_STREAM}"
    match mode.if_exists:
        case IfExists.APPEND:
            return f"INSERT INTO {name} BY NAME SELECT * FROM {_STREAM}"
        case IfExists.REPLACE:
            return f"CREATE OR REPLACE {new} AS SELECT * FROM {_STREAM}"
        case IfExists.FAIL:
            raise TableExists(f"table '{shown}' exists already; append to it or replace it")


class _Source:
    """The batches as DuckDB reads them. What they raise is kept, to come out as it was."""

    def __init__(self, batches: pa.RecordBatchReader) -> None:
        self._batches = batches
        self._failure: FlightCoreError | None = None

    def reader(self) -> pa.RecordBatchReader:
        schema = pa.schema(
            field.with_type(readable_type(field.type, f"column '{field.name}'"))
            for field in self._batches.schema
        )
        return pa.RecordBatchReader.from_batches(schema, self._read(schema))

    @contextmanager
    def own_failures(self) -> Iterator[None]:
        try:
            yield
        except duckdb.Error:
            if self._failure is not None:
                raise self._failure from None
            raise

    def _read(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self._batches:
                yield batch if batch.schema == schema else batch.cast(schema)
        except FlightCoreError as failure:
            self._failure = failure
            raise


def readable(parameters: pa.Table) -> pa.Table:
    """Rows of parameters as DuckDB reads them.

    Raises:
        UnsupportedType
    """
    fields = [field.with_type(readable_type(field.type, "a parameter")) for field in parameters.schema]
    return parameters.cast(pa.schema(fields))
