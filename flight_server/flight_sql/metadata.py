"""The metadata commands: what there is to query, and what the server's SQL can do.

Clients compare these schemas exactly, nullability included.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl
from google.protobuf.message import Message

from flight_core.application.ports.metadata import Metadata, TableFilter, TableName
from flight_server.auth import Call
from flight_server.flight_sql import keys, type_info
from flight_server.flight_sql.answers import own_ticket
from flight_server.flight_sql.use_cases import FlightSqlUseCases, session_of
from flight_server.streams import Streams
from schemas.flight_sql.envelope import given
from schemas.flight_sql.sql_pb2 import CommandGetDbSchemas, CommandGetTables

TABLE_TYPES = ("LOCAL TEMPORARY", "TABLE", "VIEW")

# DuckDB's own name; many tools know no tables but those of the type TABLE.
_ALIASES = {"BASE TABLE": "TABLE"}


def _text(name: str, *, nullable: bool = True) -> "pa.Field[Any]":
    return pa.field(name, pa.utf8(), nullable=nullable)


CATALOGS = pa.schema([_text("catalog_name", nullable=False)])
DB_SCHEMAS = pa.schema([_text("catalog_name"), _text("db_schema_name", nullable=False)])
TABLES = pa.schema(
    [
        _text("catalog_name"),
        _text("db_schema_name"),
        _text("table_name", nullable=False),
        _text("table_type", nullable=False),
    ]
)
TABLES_WITH_SCHEMA = TABLES.append(pa.field("table_schema", pa.binary(), nullable=False))
TABLE_TYPES_SCHEMA = pa.schema([_text("table_type", nullable=False)])


@dataclass(frozen=True, slots=True)
class Command:
    """`rows` need not have the exact types and nullability of `schema`, only its columns."""

    schema: Callable[[Any], pa.Schema]
    rows: Callable[[Metadata, Any], pa.Table]


class MetadataCommands:
    def __init__(self, use_cases: FlightSqlUseCases, streams: Streams) -> None:
        self._use_cases = use_cases
        self._streams = streams

    def get_flight_info(self, call: Call, command: Message, descriptor: fl.FlightDescriptor) -> fl.FlightInfo:
        return own_ticket(command, self.get_schema(call, command), descriptor)

    def get_schema(self, call: Call, command: Message) -> pa.Schema:
        return _command(command).schema(command)

    def do_get(self, call: Call, command: Message) -> fl.FlightDataStream:
        session = session_of(call, self._use_cases.sessions)
        kind = _command(command)
        rows = kind.rows(self._use_cases.catalog(session, actor=call.actor), command)
        return self._streams.table(call, exactly(rows, kind.schema(command)))


def exactly(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The same rows under `schema`, nullability included."""
    columns = [rows.column(field.name).cast(field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _schemas(metadata: Metadata, command: CommandGetDbSchemas) -> pa.Table:
    return metadata.schemas(given(command, "catalog"), given(command, "db_schema_filter_pattern"))


def _tables(metadata: Metadata, command: CommandGetTables) -> pa.Table:
    wanted = TableFilter(
        given(command, "catalog"),
        given(command, "db_schema_filter_pattern"),
        given(command, "table_name_filter_pattern"),
        [_ALIASES.get(name.upper(), name.upper()) for name in command.table_types],
    )
    found = metadata.tables(wanted)
    if not command.include_schema:
        return found
    rows = found.select(["catalog_name", "db_schema_name", "table_name"]).to_pylist()
    names = [TableName(*row.values()) for row in rows]
    schemas = metadata.table_schemas(names)
    told = [pa.schema([_described(field, name) for field in schemas.get(name, ())]) for name in names]
    return found.append_column(
        "table_schema", pa.array([schema.serialize().to_pybytes() for schema in told], pa.binary())
    )


def _described(field: "pa.Field[Any]", table: TableName) -> "pa.Field[Any]":
    known = dict(field.metadata or {})
    about: dict[str, str | None] = {
        "CATALOG_NAME": table.catalog,
        "SCHEMA_NAME": table.schema,
        "DB_SCHEMA_NAME": table.schema,
        "TABLE_NAME": table.table,
        "IS_AUTO_INCREMENT": "0",
        "IS_CASE_SENSITIVE": "1" if pa.types.is_string(field.type) else "0",
        "IS_READ_ONLY": "0",
        "IS_SEARCHABLE": "1",
    }
    for key in ("type_name", "precision", "scale", "remarks"):
        value = known.pop(key.encode(), None)
        about[key.upper()] = None if value is None else value.decode()
    told: dict[bytes | str, bytes | str] = dict(known.items())
    told.update({f"ARROW:FLIGHT:SQL:{key}": value for key, value in about.items() if value is not None})
    return field.with_metadata(told)


def _command(message: Message) -> Command:
    return COMMANDS[type(message).DESCRIPTOR.name]


def _table_types(metadata: Metadata, command: Message) -> pa.Table:
    return pa.table({"table_type": TABLE_TYPES})


COMMANDS: dict[str, Command] = {
    "CommandGetCatalogs": Command(lambda _: CATALOGS, lambda metadata, _: metadata.catalogs()),
    "CommandGetDbSchemas": Command(lambda _: DB_SCHEMAS, _schemas),
    "CommandGetTables": Command(
        lambda command: TABLES_WITH_SCHEMA if command.include_schema else TABLES, _tables
    ),
    "CommandGetTableTypes": Command(lambda _: TABLE_TYPES_SCHEMA, _table_types),
    "CommandGetPrimaryKeys": Command(lambda _: keys.PRIMARY_KEYS, keys.primary_keys),
    "CommandGetExportedKeys": Command(lambda _: keys.FOREIGN_KEYS, keys.exported_keys),
    "CommandGetImportedKeys": Command(lambda _: keys.FOREIGN_KEYS, keys.imported_keys),
    "CommandGetCrossReference": Command(lambda _: keys.FOREIGN_KEYS, keys.cross_reference),
    "CommandGetXdbcTypeInfo": Command(
        lambda _: type_info.SCHEMA,
        lambda _, command: type_info.type_info(command.data_type if command.HasField("data_type") else None),
    ),
}
