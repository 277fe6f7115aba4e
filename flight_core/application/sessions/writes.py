"""Bulk loads in a session."""

from dataclasses import dataclass

import pyarrow as pa

from flight_core.application.access.rights import require, require_unguarded
from flight_core.application.queries.cancellation import Cancellation
from flight_core.application.queries.log import QueryLog
from flight_core.application.sessions.session import DOOR, ClientSession, SessionTransaction, Started
from flight_core.application.writes.changes import AS_USUAL, ChangeDataset
from flight_core.application.writes.rows import NewRows
from flight_core.domain.access import Actor, Scope
from flight_core.domain.dataset import LAKE, LAKE_SCHEMA, DatasetName, WriteRule
from flight_core.domain.errors import InvalidOption, InvalidRequest
from flight_core.domain.query import LoadMode, TableTarget


@dataclass(frozen=True, slots=True)
class LoadInSession:
    """Load an Arrow stream into an own table or a dataset; returns the number of rows.

    The batches must be valid. Raises as `Session.load` and `ChangeDataset`.
    """

    change_dataset: ChangeDataset
    log: QueryLog

    def __call__(
        self,
        transaction: SessionTransaction,
        target: TableTarget,
        rows: NewRows,
        mode: LoadMode,
        rule: WriteRule = AS_USUAL,
        *,
        actor: Actor,
        started: Started,
    ) -> int:
        require(actor, Scope.WRITE)
        if not len(rows.schema):
            raise InvalidRequest("the data has no columns; a table needs at least one")
        record = self.log.record(f"LOAD {target.table}", actor=actor, door=DOOR)
        cancellation = Cancellation()
        started(cancellation.request)
        with self.log.running(record, cancellation.request):
            if _names_dataset(target, transaction.session):
                name = DatasetName(target.table)
                with transaction.connections.use(transaction.handle) as connection:
                    record.rows = self.change_dataset.load(
                        connection, name, rows, mode, rule, actor=actor, cancellation=cancellation
                    )
            else:
                require_unguarded(actor)
                if rule.mode.needs_keys:
                    raise InvalidOption(f"the mode '{rule.mode}' is for datasets; name the schema 'datasets'")
                batches = cancellation.heeded(rows.batches)
                reader = pa.RecordBatchReader.from_batches(rows.schema, batches)
                lake = self.change_dataset.datasets.lake_state()
                with transaction.connections.use(transaction.handle) as connection:
                    record.rows = connection.load(target, reader, mode, lake, cancellation)
        return record.rows


def _names_dataset(target: TableTarget, session: ClientSession) -> bool:
    if target.temporary:
        return False
    catalog, schema = target.catalog, target.schema
    if catalog is None and schema is None:
        home = session.connections.home
        options = home.options() if home and not home.pristine else {}
        catalog, schema = options.get("catalog"), options.get("schema")  # type: ignore[assignment]
    if catalog is None:
        return schema is not None and schema.lower() == LAKE_SCHEMA
    return catalog.lower() == LAKE and (schema or LAKE_SCHEMA).lower() == LAKE_SCHEMA
