"""The metadata for actors who may only read: their datasets, and the system tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flight_core.application.ports.metadata import Metadata, TableFilter, TableName
from flight_core.domain.dataset import LAKE, LAKE_SCHEMA, LakeState
from flight_core.domain.system import SYSTEM


class GuardedMetadata:
    """Implements `Metadata` by filtering another one: only the datasets of `lake` and the system tables."""

    def __init__(self, whole: Metadata, lake: LakeState) -> None:
        self._whole = whole
        self._lake = lake

    def catalogs(self) -> pa.Table:
        found = self._whole.catalogs()
        return found.filter(pc.is_in(found["catalog_name"], pa.array([LAKE, SYSTEM])))

    def schemas(self, catalog: str | None, pattern: str | None) -> pa.Table:
        return _in_sight(self._whole.schemas(catalog, pattern))

    def tables(self, wanted: TableFilter) -> pa.Table:
        known: Any = pa.array(list(self._lake.datasets), pa.string())
        is_known = pc.utf8_lower(pc.field("table_name")).isin(known)
        return _in_sight(self._whole.tables(wanted)).filter(is_known | (pc.field("catalog_name") == SYSTEM))

    def table_schemas(self, tables: Sequence[TableName]) -> Mapping[TableName, pa.Schema]:
        return self._whole.table_schemas([table for table in tables if self._is_in_sight(table)])

    def _is_in_sight(self, table: TableName) -> bool:
        is_dataset = table.catalog == LAKE and table.table.lower() in self._lake.datasets
        return is_dataset or table.catalog == SYSTEM

    def primary_keys(self, table: TableName) -> pa.Table:
        return self._whole.primary_keys(table).slice(0, 0)  # only tables of users have keys

    def foreign_keys(self) -> pa.Table:
        return self._whole.foreign_keys().slice(0, 0)


def _in_sight(table: pa.Table) -> pa.Table:
    lake = (pc.field("catalog_name") == LAKE) & (pc.field("db_schema_name") == LAKE_SCHEMA)
    return table.filter(lake | (pc.field("catalog_name") == SYSTEM))
