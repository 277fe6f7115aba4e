"""Metadata of catalogs, schemas and tables, as the SQL protocols ask for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class SqlVocabulary:
    """The SQL dialect of an engine. All lists are sorted.

    `casts` has, for each type name, the type names that it can be cast to.
    """

    version: str  # product and version: "duckdb v2.0.0"
    keywords: tuple[str, ...]
    numeric_functions: tuple[str, ...]
    string_functions: tuple[str, ...]
    system_functions: tuple[str, ...]
    datetime_functions: tuple[str, ...]
    casts: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class TableFilter:
    """Names match exactly, patterns as in LIKE with a backslash as the escape; None matches everything."""

    catalog: str | None = None
    schema_pattern: str | None = None
    table_pattern: str | None = None
    types: Sequence[str] = ()  # empty: all types


@dataclass(frozen=True, slots=True)
class TableName:
    catalog: str | None
    schema: str | None
    table: str


class Metadata(Protocol):
    """Metadata of datasets and the users' own tables, without the engine's internal tables. Thread-safe.

    The columns of the results are utf8 unless stated otherwise.
    """

    def catalogs(self) -> pa.Table:
        """catalog_name, ordered."""

    def schemas(self, catalog: str | None, pattern: str | None) -> pa.Table:
        """catalog_name, db_schema_name, ordered. The filters are those of `TableFilter`."""

    def tables(self, wanted: TableFilter) -> pa.Table:
        """catalog_name, db_schema_name, table_name, table_type, ordered by all four."""

    def table_schemas(self, tables: Sequence[TableName]) -> Mapping[TableName, pa.Schema]:
        """The schemas that `SELECT *` would return, with nullability, and with type_name, precision, scale
        and remarks as field metadata if they are known. Tables that were dropped, and views of such tables,
        are left out."""

    def primary_keys(self, table: TableName) -> pa.Table:
        """catalog_name, db_schema_name, table_name, column_name, key_sequence (int32, from 1), key_name;
        ordered."""

    def foreign_keys(self) -> pa.Table:
        """The foreign keys of all tables, one row per column: pk_catalog_name, pk_db_schema_name,
        pk_table_name, pk_column_name, the same with fk_, key_sequence (int32, from 1), fk_key_name,
        pk_key_name."""
