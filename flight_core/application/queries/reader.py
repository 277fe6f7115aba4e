"""Reads, each with the engine and the part of the lake that its actor may use."""

from dataclasses import dataclass
from functools import partial
from typing import Protocol

import pyarrow as pa

from flight_core.application.ports.engine import GuardedEngine, Principal, Query, QueryEngine
from flight_core.application.ports.metadata import Metadata
from flight_core.domain.access import Actor
from flight_core.domain.dataset import LakeState
from flight_core.domain.query import Pins, Statement, StatementInfo, StatementKind
from flight_core.domain.repositories.datasets import DatasetRepository


class SystemTables(Protocol):
    def __call__(self, table: str, *, actor: Actor) -> pa.Table:
        """As much of one of `SYSTEM_TABLES` as the actor may know."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Plans reads. Those of guarded actors run in isolated processes, see `GuardedEngine`.

    Raises as `QueryEngine.plan`.
    """

    datasets: DatasetRepository
    engine: QueryEngine
    guarded: GuardedEngine
    system_tables: SystemTables

    def lake(self, actor: Actor) -> LakeState:
        """The part of the lake that the actor sees."""
        return actor.view_of(self.datasets.lake_state())

    def plan(self, statement: Statement, *, actor: Actor, pins: Pins | None = None) -> Query:
        lake = self.lake(actor)
        if actor.guarded:
            return self.guarded.plan(statement, lake, principal=self._principal(actor), pins=pins)
        return self.engine.plan(statement, lake, pins=pins)

    def inspect(self, statement: Statement, *, actor: Actor) -> StatementInfo:
        lake = self.lake(actor)
        if actor.guarded:
            return self.guarded.inspect(statement, lake, principal=self._principal(actor))
        return self.engine.inspect(statement, lake)

    def classify(self, sql: str, *, actor: Actor) -> StatementKind:
        """See `QueryEngine.classify`. All statements of guarded actors count as reads: planning refuses any
        others."""
        return StatementKind.READ if actor.guarded else self.engine.classify(sql)

    def metadata(self, *, actor: Actor) -> Metadata:
        lake = self.lake(actor)
        whole = self.engine.metadata(self.datasets.lake_state())
        return self.guarded.metadata(whole, lake) if actor.guarded else whole

    def _principal(self, actor: Actor) -> Principal:
        return Principal(actor.name, actor.limits.memory_bytes, partial(self.system_tables, actor=actor))
