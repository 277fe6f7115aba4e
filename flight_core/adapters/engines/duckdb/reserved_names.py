"""The names that statements of a session must leave alone: those of datasets and of system tables."""

import duckdb

from flight_core.adapters.engines.duckdb.instance import Instance
from flight_core.adapters.engines.duckdb.loading import Place, here, resolve
from flight_core.adapters.engines.duckdb.statements import ParsedStatement, TableName
from flight_core.adapters.engines.duckdb.targets import Target, in_lake, in_system, target
from flight_core.domain.dataset import LAKE
from flight_core.domain.errors import DatasetExists, StatementNotAllowed
from flight_core.domain.query import TableTarget
from flight_core.domain.system import SYSTEM
from flight_core.infrastructure.duckdb_pool import LAKE_VERSIONS, WORKSPACE, WORKSPACE_SCHEMA

_OWN_TABLE = """
    SELECT 1 FROM information_schema.tables WHERE system.main.lower(table_name) = system.main.lower($1)
      AND (table_catalog, table_schema)
        IN (('temp', 'main'), (system.main.current_database(), system.main.current_schema()))
"""

_UPSERT = (
    "write the changed rows with the mode 'upsert', which replaces rows by key: by bulk ingest, DoPut or"
    " POST /api/v1/ingestions"
)
_ALONE = "send it as a statement of its own, not with PREPARE and not within another one"
_HOW = {
    "insert": f"{_ALONE}; or {_UPSERT}",
    "alter": "rows that are written with the schema policy 'add' or 'widen' bring new columns and types",
    "comment": "describe datasets and their columns with `skein edit`",
    "create": "datasets are tables; make anything else in the workspace",
    "create table": _ALONE,
    "drop": "DROP TABLE drops a dataset",
    "drop table": _ALONE,
}


class ReservedNames:
    """As one connection sees them, whose USE and temporary tables decide what a name means."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, instance: Instance) -> None:
        self._connection = connection
        self._instance = instance

    def check(self, parsed: ParsedStatement) -> None:
        """
        Raises:
            StatementNotAllowed: it would change a dataset or a system table.
            DatasetExists: what it makes would hide one.
        """
        changed = target(parsed)
        if changed is None or changed.temporary:
            return
        if in_system(changed.name, self._here()):
            raise _system_stays()
        if (changed.verb, changed.kind) in (("create", "table"), ("create", "view")):
            new = changed.name
            self._refuse_to_hide(TableTarget(new.name, new.schema or None, new.catalog or None))
        if self.is_dataset(changed):
            raise _dataset_stays(changed)

    def check_load(self, target: TableTarget, *, create: bool) -> Place:
        """Where the rows go. Raises as `check`."""
        place = resolve(self._connection, target)
        if place[0].lower() in (LAKE, LAKE_VERSIONS):
            raise StatementNotAllowed(f"'{target.table[:140]}' would be a dataset; those are not loaded here")
        if in_system(TableName(*place), self._here()):
            raise _system_stays()
        if create:
            self._refuse_to_hide(target)
        return place

    def is_dataset(self, changed: Target) -> bool:
        """Whether a statement is aimed at a dataset. A new table is one only if its name says so."""
        if in_lake(changed.name, self._here()):
            return True
        if changed.verb == "create" or not self._instance.means_dataset(changed.name):
            return False
        return not self._connection.execute(_OWN_TABLE, [changed.name.name]).fetchall()

    def _refuse_to_hide(self, target: TableTarget) -> None:
        """A table of a dataset's name would be found instead of it, by everybody."""
        name, place = target.table, resolve(self._connection, target)
        if place[:2] == (WORKSPACE, WORKSPACE_SCHEMA) and self._instance.views.has(name):
            raise DatasetExists(
                f"there is a dataset '{name}', which a table of that name would hide;"
                f" choose another name, or write to the dataset as datasets.{name}",
                name=name,
            )

    def _here(self) -> TableName:
        """Catalog and schema of names that say neither."""
        return TableName(*here(self._connection), "")


def _dataset_stays(changed: Target) -> StatementNotAllowed:
    name = changed.name.name or changed.name.schema
    how = _HOW.get(f"{changed.verb} {changed.kind}") or _HOW.get(changed.verb, _ALONE)
    return StatementNotAllowed(
        f"'{name[:140]}' belongs to the datasets, where {changed.verb.upper()} does not work like this; {how}"
    )


def _system_stays() -> StatementNotAllowed:
    return StatementNotAllowed(
        f"the name '{SYSTEM}' stands for what the server knows, which SQL only reads; choose another schema"
    )
