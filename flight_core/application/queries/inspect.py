"""Inspecting statements without running them."""

from dataclasses import dataclass

from flight_core.application.access.rights import require
from flight_core.application.queries.reader import Reader
from flight_core.domain.access import Actor, Scope
from flight_core.domain.query import Statement, StatementInfo, StatementKind


@dataclass(frozen=True, slots=True)
class InspectStatement:
    """The kind, result schema and parameters of a statement. Raises as `QueryEngine.inspect`."""

    reader: Reader

    def __call__(self, statement: Statement, *, actor: Actor) -> StatementInfo:
        require(actor, Scope.READ)
        return self.reader.inspect(statement, actor=actor)


@dataclass(frozen=True, slots=True)
class ClassifyStatement:
    """How a statement has to be executed. Cheap. Raises as `QueryEngine.classify`."""

    reader: Reader

    def __call__(self, sql: str, *, actor: Actor) -> StatementKind:
        require(actor, Scope.READ)
        return self.reader.classify(sql, actor=actor)
