"""Running queries over a single version."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from flight_core.application.queries.admission import patiently
from flight_core.application.queries.cancellation import Cancellation
from flight_core.application.queries.reads import OpenQuery
from flight_core.application.queries.running import RunningQuery
from flight_core.domain.access import Actor, Scope
from flight_core.domain.dataset import DatasetName, DatasetVersion
from flight_core.domain.query import OWN_DOOR, Statement, quoted

_READER = "skein/profile"


@dataclass(frozen=True, slots=True)
class VersionQueries:
    """Runs queries over one version of a dataset, as an actor that sees nothing else."""

    name: DatasetName
    version: DatasetVersion
    open_query: OpenQuery
    stop: Cancellation
    patient: bool = False

    @property
    def table(self) -> str:
        return f"datasets.{quoted(self.name.value)}"

    def rows(self, sql: str) -> list[dict[str, Any]]:
        with self._opened(Statement(sql)) as query, self.stop.interrupting(query.cancel):
            return pa.Table.from_batches(list(query), query.schema).to_pylist()

    def _opened(self, statement: Statement) -> RunningQuery:
        reader = Actor(_READER, frozenset({Scope.READ}), (self.name.key,))
        pins = {self.name.key: self.version.ref}
        opening = partial(self.open_query, statement, actor=reader, door=OWN_DOOR, pins=pins)
        return patiently(opening, self.stop.check) if self.patient else opening()
