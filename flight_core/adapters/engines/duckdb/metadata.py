"""Metadata from DuckDB's catalog, without internal tables."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from flight_core.adapters.engines.duckdb.types import ArrowFields, identifier
from flight_core.application.ports.metadata import TableFilter, TableName
from flight_core.domain.dataset import LAKE, LakeState

# Runs some work on a connection that sees what the caller may see.
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
    SELECT database_name, schema_name, table_name, column_name, data_type, is_nullable,
           CASE WHEN numeric_precision_radix = 10 THEN numeric_precision END,
           CASE WHEN numeric_precision_radix = 10 THEN numeric_scale END, comment
    FROM duckdb_columns() WHERE table_name IN (SELECT unnest($tables)) ORDER BY column_index
"""
# The users' views: the tables that they select from may have been changed or dropped since.
_VIEWS = f"""
    SELECT database_name, schema_name, view_name FROM duckdb_views()
    WHERE NOT internal AND database_name <> '{LAKE}'
"""


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    type: str  # in SQL
    is_nullable: bool = True
    precision: int | None = None
    scale: int | None = None
    comment: str | None = None


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

    def table_schemas(self, tables: Sequence[TableName]) -> Mapping[TableName, pa.Schema]:
        def look(connection: duckdb.DuckDBPyConnection) -> dict[TableName, pa.Schema]:
            wanted = {"tables": duckdb.Value([each.table for each in tables], duckdb.type("VARCHAR[]"))}
            columns = defaultdict[TableName, list[_Column]](list)
            for *name, column, type, nullable, precision, scale, comment in connection.execute(
                _COLUMNS, wanted
            ).fetchall():
                columns[TableName(*name)].append(_Column(column, type, nullable, precision, scale, comment))
            for view in {TableName(*name) for name in connection.execute(_VIEWS).fetchall()}:
                if view in columns:
                    columns[view] = _as_bound(connection, view, columns[view])
            return {
                table: self._schema(connection, table, columns[table]) for table in tables if columns[table]
            }

        schemas: dict[TableName, pa.Schema] = self._use(look)
        return schemas

    def _schema(
        self, connection: duckdb.DuckDBPyConnection, table: TableName, columns: Sequence[_Column]
    ) -> pa.Schema:
        entry = self._lake.datasets.get(table.table.lower()) if table.catalog == LAKE else None
        remarks = {} if entry is None else entry.column_descriptions
        return pa.schema(
            [
                _described(
                    self._fields.field(each.name, each.type, connection),
                    each,
                    remarks.get(each.name, each.comment),
                )
                for each in columns
            ]
        )

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


def _as_bound(
    connection: duckdb.DuckDBPyConnection, view: TableName, columns: Sequence[_Column]
) -> list[_Column]:
    """The current columns of a view; none if it cannot be bound."""
    parts = (view.catalog or "", view.schema or "", view.table)
    try:
        relation = connection.sql(f"FROM {'.'.join(map(identifier, parts))}")
    except duckdb.Error:
        return []
    told = {(each.name, each.type): each for each in columns}
    now = zip(relation.columns, map(str, relation.types), strict=True)
    return [told.get((name, type), _Column(name, type)) for name, type in now]


def _described(field: "pa.Field[Any]", column: _Column, remarks: str | None) -> "pa.Field[Any]":
    about = {
        "type_name": column.type,
        "precision": column.precision,
        "scale": column.scale,
        "remarks": remarks,
    }
    metadata: dict[bytes | str, bytes | str] = dict((field.metadata or {}).items())
    metadata.update({key: str(value) for key, value in about.items() if value is not None})
    return field.with_metadata(metadata).with_nullable(column.is_nullable)
