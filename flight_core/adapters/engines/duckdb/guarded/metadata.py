"""What those who may only read can see of the catalog: the datasets that are theirs, and nothing else."""

import pyarrow as pa
import pyarrow.compute as pc

from flight_core.application.ports.metadata import Metadata, TableFilter, TableName
from flight_core.domain.dataset import LAKE, LAKE_SCHEMA, LakeState, dataset_not_found


class GuardedMetadata:
    """Implements `Metadata` over another one, of which it lets through the datasets of `lake`."""

    def __init__(self, whole: Metadata, lake: LakeState) -> None:
        self._whole = whole
        self._lake = lake

    def catalogs(self) -> pa.Table:
        return _where(self._whole.catalogs(), catalog_name=LAKE)

    def schemas(self, catalog: str | None, pattern: str | None) -> pa.Table:
        return _where(self._whole.schemas(catalog, pattern), catalog_name=LAKE, db_schema_name=LAKE_SCHEMA)

    def tables(self, wanted: TableFilter) -> pa.Table:
        tables = _where(self._whole.tables(wanted), catalog_name=LAKE, db_schema_name=LAKE_SCHEMA)
        known = pa.array(list(self._lake.datasets), pa.string())
        return tables.filter(pc.is_in(pc.utf8_lower(tables["table_name"]), known))

    def table_schema(self, table: TableName) -> pa.Schema:
        if table.catalog != LAKE or table.table.lower() not in self._lake.datasets:
            raise dataset_not_found(table.table, self._lake.datasets)
        return self._whole.table_schema(table)

    def primary_keys(self, table: TableName) -> pa.Table:
        return self._whole.primary_keys(table).slice(0, 0)  # only tables of users have keys

    def foreign_keys(self) -> pa.Table:
        return self._whole.foreign_keys().slice(0, 0)


def _where(table: pa.Table, **values: str) -> pa.Table:
    for column, value in values.items():
        table = table.filter(pc.field(column) == value)
    return table
