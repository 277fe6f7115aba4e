"""Primary keys, and foreign keys as seen from either table."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flight_core.application.ports.metadata import Metadata, TableName
from schemas.flight_sql.envelope import given
from schemas.flight_sql.sql_pb2 import (
    CommandGetCrossReference,
    CommandGetExportedKeys,
    CommandGetImportedKeys,
    CommandGetPrimaryKeys,
)

_NO_ACTION = 3  # DuckDB has no ON UPDATE and no ON DELETE


def _field(name: str, type_: pa.DataType, *, nullable: bool = False) -> "pa.Field[Any]":
    return pa.field(name, type_, nullable=nullable)


def _name(name: str) -> "pa.Field[Any]":
    return pa.field(name, pa.utf8())


PRIMARY_KEYS = pa.schema(
    [
        _name("catalog_name"),
        _name("db_schema_name"),
        _field("table_name", pa.utf8()),
        _field("column_name", pa.utf8()),
        _field("key_sequence", pa.int32()),
        _name("key_name"),
    ]
)
FOREIGN_KEYS = pa.schema(
    [
        _name("pk_catalog_name"),
        _name("pk_db_schema_name"),
        _field("pk_table_name", pa.utf8()),
        _field("pk_column_name", pa.utf8()),
        _name("fk_catalog_name"),
        _name("fk_db_schema_name"),
        _field("fk_table_name", pa.utf8()),
        _field("fk_column_name", pa.utf8()),
        _field("key_sequence", pa.int32()),
        _name("fk_key_name"),
        _name("pk_key_name"),
        _field("update_rule", pa.uint8()),
        _field("delete_rule", pa.uint8()),
    ]
)

Wanted = Mapping[str, str | None]


def primary_keys(metadata: Metadata, command: CommandGetPrimaryKeys) -> pa.Table:
    table = TableName(given(command, "catalog"), given(command, "db_schema"), command.table)
    found = metadata.primary_keys(table)
    order = ("catalog_name", "db_schema_name", "table_name", "key_name", "key_sequence")
    return found.sort_by([(name, "ascending") for name in order])


def exported_keys(metadata: Metadata, command: CommandGetExportedKeys) -> pa.Table:
    return _foreign_keys(metadata, _side("pk", command), order_by="fk")


def imported_keys(metadata: Metadata, command: CommandGetImportedKeys) -> pa.Table:
    return _foreign_keys(metadata, _side("fk", command), order_by="pk")


def cross_reference(metadata: Metadata, command: CommandGetCrossReference) -> pa.Table:
    wanted = {
        "pk_catalog_name": given(command, "pk_catalog"),
        "pk_db_schema_name": given(command, "pk_db_schema"),
        "pk_table_name": command.pk_table,
        "fk_catalog_name": given(command, "fk_catalog"),
        "fk_db_schema_name": given(command, "fk_db_schema"),
        "fk_table_name": command.fk_table,
    }
    return _foreign_keys(metadata, wanted, order_by="fk")


def _side(side: str, command: CommandGetExportedKeys | CommandGetImportedKeys) -> Wanted:
    return {
        f"{side}_catalog_name": given(command, "catalog"),
        f"{side}_db_schema_name": given(command, "db_schema"),
        f"{side}_table_name": command.table,
    }


def _foreign_keys(metadata: Metadata, wanted: Wanted, *, order_by: str) -> pa.Table:
    found = metadata.foreign_keys()
    for name, value in wanted.items():
        if value is not None:
            found = found.filter(pc.equal(found.column(name), pa.scalar(value)))
    names: Sequence[str] = ("catalog_name", "db_schema_name", "table_name", "key_name")
    order = [f"{order_by}_{name}" for name in names] + ["key_sequence"]
    found = found.sort_by([(name, "ascending") for name in order])
    rules = pa.repeat(pa.scalar(_NO_ACTION, pa.uint8()), found.num_rows)
    return found.append_column("update_rule", rules).append_column("delete_rule", rules)
