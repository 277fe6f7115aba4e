"""Deleting rows of a dataset for which a condition holds."""

from contextlib import closing
from dataclasses import dataclass

from flight_core.application.access.rights import get_seen, require, require_unguarded
from flight_core.application.ports.engine import QueryEngine
from flight_core.application.queries.admission import Admission
from flight_core.application.queries.cancellation import Cancellation
from flight_core.application.writes.change_request import lines_up
from flight_core.application.writes.changes import ChangeDataset
from flight_core.domain.access import Actor, Scope
from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import InvalidSql
from flight_core.domain.query import Parameters, Statement, quoted


@dataclass(frozen=True, slots=True)
class DeleteRows:
    """Delete the rows of a dataset for which the SQL condition holds; how many they were.

    Where others rewrite the same rows meanwhile, it looks for them again, unless the current version has to
    be `expected`. Raises as `ChangeDataset`.

    Raises:
        DatasetNotFound
        InvalidSql: it is not one condition.
        CommitConflict: others kept rewriting the rows, or committed on top of `expected`.
    """

    engine: QueryEngine
    admission: Admission
    change_dataset: ChangeDataset

    def __call__(
        self,
        name: DatasetName,
        condition: str,
        parameters: Parameters = (),
        *,
        actor: Actor,
        cancellation: Cancellation | None = None,
        expected: int | None = None,
    ) -> int:
        dataset = get_seen(self.change_dataset.datasets, name, actor)
        require(actor, Scope.READ)  # the condition reads
        require(actor, Scope.WRITE)
        require_unguarded(actor)
        sql = f"DELETE FROM datasets.{quoted(dataset.name.value)} WHERE (\n{condition}\n)"
        cancellation = cancellation or Cancellation()
        with (
            lines_up([(line, 0) for line in range(sql.count("\n") + 1)]),
            self.admission.slot(cancellation.check),
            closing(self.engine.open_session()) as session,
        ):
            self.engine.classify(f"SELECT\n{condition}")  # fails if it closes the parenthesis around it
            outcome = self.change_dataset(
                session,
                Statement(sql, parameters),
                actor=actor,
                cancellation=cancellation,
                expected=expected,
            )
        if outcome is None or outcome.affected_rows is None:
            raise InvalidSql("the condition is not a single one; write what follows WHERE")
        return outcome.affected_rows
