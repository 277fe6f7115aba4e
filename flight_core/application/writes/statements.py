"""Running statements that change something: at once, and exactly once."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from flight_core.application.access.rights import require, require_unguarded
from flight_core.application.ports.engine import QueryEngine
from flight_core.application.queries.admission import Admission
from flight_core.application.queries.cancellation import Cancellation
from flight_core.application.queries.log import QueryLog
from flight_core.application.writes.changes import ChangeDataset
from flight_core.domain.access import Actor, Scope
from flight_core.domain.query import Outcome, QueryState, Statement


@dataclass(frozen=True, slots=True)
class RunStatement:
    """Run any statement in a session of its own and keep its (small) result.

    `started` is told how to cancel it, before it waits for a slot. Raises as `ChangeDataset.run`, and
    TooManyStreams when no slot comes free.
    """

    engine: QueryEngine
    admission: Admission
    log: QueryLog
    change_dataset: ChangeDataset

    def __call__(
        self,
        statement: Statement,
        *,
        actor: Actor,
        started: Callable[[Callable[[], None]], None],
        query_id: str | None = None,
    ) -> Outcome:
        require(actor, Scope.READ)
        require(actor, Scope.WRITE)
        require_unguarded(actor)
        cancellation = Cancellation()
        record = self.log.record(statement.sql, actor=actor, door=actor.origin.door, query_id=query_id)
        with self.log.until_open(record, cancellation.request):
            started(cancellation.request)
            with self.admission.slot(cancellation.check), closing(self.engine.open_session()) as session:
                record.state = QueryState.RUNNING
                self.log.measure(record, session)
                outcome = self.change_dataset.run(session, statement, actor=actor, cancellation=cancellation)
            record.pins = outcome.pins
            record.rows = outcome.table.num_rows
            record.size_bytes = outcome.table.nbytes
        self.log.end(record, QueryState.SUCCEEDED, None)
        return outcome
