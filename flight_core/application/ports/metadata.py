"""What there is to query, as the metadata commands of SQL protocols ask for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class SqlVocabulary:
    """The SQL an engine speaks. Words and names are sorted.

    `casts` tells for each type name the type names that CAST can turn it into.
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
    """Plain names match exactly, patterns as in LIKE with a backslash as the escape; None matches all."""

    catalog: str | None = None
    schema_pattern: str | None = None
    table_pattern: str | None = None
    types: Sequence[str] = ()  # none: all


@dataclass(frozen=True, slots=True)
class TableName:
    catalog: str | None
    schema: str | None
    table: str


class Metadata(Protocol):
    """Datasets and the users' own tables; an engine's internals are left out. Thread-safe.

    The columns of the answers are utf8 where nothing else is said.
    """

    def catalogs(self) -> pa.Table:
        """catalog_name, ordered."""

    def schemas(self, catalog: str | None, pattern: str | None) -> pa.Table:
        """catalog_name, db_schema_name, ordered. The filters are those of `TableFilter`."""

    def tables(self, wanted: TableFilter) -> pa.Table:
        """catalog_name, db_schema_name, table_name, table_type, ordered by all four."""

    def table_schemas(self, tables: Sequence[TableName]) -> Mapping[TableName, pa.Schema]:
        """As queries of the whole tables would return them, with nullability and, as metadata of the fields,
        type_name, precision, scale, remarks where they are known. Without those that have gone, or are views
        of something that has."""

    def primary_keys(self, table: TableName) -> pa.Table:
        """catalog_name, db_schema_name, table_name, column_name, key_sequence (int32, from 1), key_name;
        ordered."""

    def foreign_keys(self) -> pa.Table:
        """Of all tables, one row a column: pk_catalog_name, pk_db_schema_name, pk_table_name, pk_column_name,
        the same with fk_, key_sequence (int32, from 1), fk_key_name, pk_key_name."""
