"""What there is to query, from DuckDB's own catalog. Internals stay out of sight."""

from collections.abc import Callable
from typing import Any

import duckdb
import pyarrow as pa

from flight_core.adapters.engines.duckdb.types import ArrowFields, identifier
from flight_core.application.ports.metadata import TableFilter, TableName
from flight_core.domain.dataset import LAKE, LakeState

# Runs a piece of work on a connection that sees what the caller may see.
Work = Callable[[duckdb.DuckDBPyConnection], Any]
Use = Callable[[Work], Any]

_INTERNAL = "('memory', 'system')"
_TABLES = f"""
    SELECT table_catalog AS catalog_name, table_schema AS db_schema_name, table_name,
           CASE WHEN table_catalog = '{LAKE}' OR table_type = 'BASE TABLE' THEN 'TABLE' ELSE table_type END
               AS table_type
    FROM information_schema.tables
    WHERE table_catalog NOT IN {_INTERNAL}
"""
_SCHEMAS = f"""
    SELECT catalog_name, schema_name AS db_schema_name FROM information_schema.schemata
    WHERE catalog_name NOT IN {_INTERNAL} AND NOT (catalog_name = '{LAKE}' AND schema_name = 'main')
      AND (catalog_name <> 'temp' OR EXISTS (FROM ({_TABLES}) WHERE catalog_name = 'temp'))
"""
_KEYS = """
    SELECT database_name AS catalog_name, schema_name AS db_schema_name, table_name, constraint_name,
           constraint_type, constraint_column_names AS columns, referenced_table, referenced_column_names
    FROM duckdb_constraints()
"""
_PRIMARY = f"""
    SELECT catalog_name, db_schema_name, table_name, unnest(columns) AS column_name,
           CAST(unnest(range(1, len(columns) + 1)) AS INTEGER) AS key_sequence, constraint_name AS key_name
    FROM ({_KEYS})
    WHERE constraint_type = 'PRIMARY KEY' AND catalog_name = coalesce($catalog, catalog_name)
      AND db_schema_name = coalesce($schema, db_schema_name) AND table_name = $table
    ORDER BY ALL
"""
_FOREIGN = f"""
    WITH keys AS ({_KEYS})
    SELECT f.catalog_name AS pk_catalog_name, f.db_schema_name AS pk_db_schema_name,
           f.referenced_table AS pk_table_name, unnest(f.referenced_column_names) AS pk_column_name,
           f.catalog_name AS fk_catalog_name, f.db_schema_name AS fk_db_schema_name,
           f.table_name AS fk_table_name, unnest(f.columns) AS fk_column_name,
           CAST(unnest(range(1, len(f.columns) + 1)) AS INTEGER) AS key_sequence,
           f.constraint_name AS fk_key_name, p.constraint_name AS pk_key_name
    FROM keys AS f LEFT JOIN keys AS p
      ON p.catalog_name = f.catalog_name AND p.db_schema_name = f.db_schema_name
     AND p.table_name = f.referenced_table AND p.columns = f.referenced_column_names
     AND p.constraint_type IN ('PRIMARY KEY', 'UNIQUE')
    WHERE f.constraint_type = 'FOREIGN KEY'
"""
_COLUMNS = """
    SELECT data_type, is_nullable, CASE WHEN numeric_precision_radix = 10 THEN numeric_precision END,
           CASE WHEN numeric_precision_radix = 10 THEN numeric_scale END, comment
    FROM duckdb_columns() WHERE database_name = $1 AND schema_name = $2 AND table_name = $3
    ORDER BY column_index
"""


class DuckDbMetadata:
    """Implements `Metadata`."""

    def __init__(self, use: Use, lake: LakeState, fields: ArrowFields) -> None:
        self._use = use
        self._lake = lake
        self._fields = fields

    def catalogs(self) -> pa.Table:
        return self._rows(f"SELECT DISTINCT catalog_name FROM ({_SCHEMAS}) ORDER BY ALL", {})

    def schemas(self, catalog: str | None, pattern: str | None) -> pa.Table:
        sql = f"""
            FROM ({_SCHEMAS}) WHERE catalog_name = coalesce($catalog, catalog_name)
              AND db_schema_name LIKE coalesce($pattern, '%') ESCAPE '\\' ORDER BY ALL
        """
        return self._rows(sql, {"catalog": catalog, "pattern": pattern})

    def tables(self, wanted: TableFilter) -> pa.Table:
        sql = f"""
            FROM ({_TABLES}) WHERE catalog_name = coalesce($catalog, catalog_name)
              AND db_schema_name LIKE coalesce($schema, '%') ESCAPE '\\'
              AND table_name LIKE coalesce($table, '%') ESCAPE '\\'
              AND (len($types) = 0 OR table_type IN (SELECT unnest($types))) ORDER BY ALL
        """
        filters: dict[str, object] = {
            "catalog": wanted.catalog,
            "schema": wanted.schema_pattern,
            "table": wanted.table_pattern,
            "types": duckdb.Value(list(wanted.types), duckdb.type("VARCHAR[]")),
        }
        return self._rows(sql, filters)

    def table_schema(self, table: TableName) -> pa.Schema:
        def look(connection: duckdb.DuckDBPyConnection) -> pa.Schema:
            parts = [table.catalog or "", table.schema or "", table.table]
            relation = connection.sql(f"FROM {'.'.join(map(identifier, parts))}")
            columns = connection.execute(_COLUMNS, parts).fetchall()
            schema = self._fields.schema(relation, connection)
            return pa.schema([_described(field, *rest) for field, rest in zip(schema, columns, strict=True)])

        schema: pa.Schema = self._use(look)
        entry = self._lake.datasets.get(table.table.lower()) if table.catalog == LAKE else None
        if entry is None:
            return schema
        described = entry.column_descriptions
        return pa.schema([_with(field, remarks=described.get(field.name)) for field in schema])

    def primary_keys(self, table: TableName) -> pa.Table:
        filters: dict[str, object] = {"catalog": table.catalog, "schema": table.schema, "table": table.table}
        return self._rows(_PRIMARY, filters)

    def foreign_keys(self) -> pa.Table:
        return self._rows(_FOREIGN, {})

    def _rows(self, sql: str, parameters: dict[str, object]) -> pa.Table:
        table: pa.Table = self._use(
            lambda connection: connection.sql(sql, params=parameters or None).to_arrow_table()
        )
        return table


def _described(
    field: "pa.Field[Any]",
    data_type: str,
    is_nullable: bool,
    precision: int | None,
    scale: int | None,
    comment: str | None,
) -> "pa.Field[Any]":
    told = _with(field, type_name=data_type, precision=precision, scale=scale, remarks=comment)
    return told.with_nullable(is_nullable)


def _with(field: "pa.Field[Any]", **about: object) -> "pa.Field[Any]":
    """Its metadata, and what is known `about` it."""
    metadata: dict[bytes | str, bytes | str] = dict((field.metadata or {}).items())
    metadata.update({key: str(value) for key, value in about.items() if value is not None})
    return field.with_metadata(metadata)
