"""What a statement is, before it runs."""

from dataclasses import dataclass

from flight_core.application.access.rights import require
from flight_core.application.queries.reader import Reader
from flight_core.domain.access import Actor, Scope
from flight_core.domain.query import Statement, StatementInfo, StatementKind


@dataclass(frozen=True, slots=True)
class InspectStatement:
    """What a statement is and returns, without running it. Raises as `QueryEngine.inspect`."""

    reader: Reader

    def __call__(self, statement: Statement, *, actor: Actor) -> StatementInfo:
        require(actor, Scope.READ)
        return self.reader.inspect(statement, actor=actor)


@dataclass(frozen=True, slots=True)
class ClassifyStatement:
    """How a statement has to be handled. Cheap. Raises as `QueryEngine.classify`."""

    reader: Reader

    def __call__(self, sql: str, *, actor: Actor) -> StatementKind:
        require(actor, Scope.READ)
        return self.reader.classify(sql, actor=actor)
