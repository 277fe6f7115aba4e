"""SQL over the datasets of this server."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from flight_core.adapters.sources.fields import fields_of
from flight_core.application.ports.sources import Rows
from flight_core.application.queries.reads import OpenQuery, PlanQuery
from flight_core.domain.access import LOCAL, Actor
from flight_core.domain.dataset import AddedRows, DatasetName, VersionRef
from flight_core.domain.errors import InvalidSource, QueryNotFound
from flight_core.domain.ingestion import SourceSpec
from flight_core.domain.query import Parameters, Pins, Statement, datasets_of

_DOOR = "ingestion"


@dataclass(frozen=True, slots=True)
class SqlSource:
    """See `RowSource`. Fields: `sql`, a single read, and its `params`.

    It reads the versions that are current when the run starts, and takes one of the server's streams.
    """

    plan_query: PlanQuery
    open_query: OpenQuery

    def check(self, spec: SourceSpec, *, actor: Actor) -> frozenset[DatasetName]:
        return datasets_of(self.plan_query(_statement(spec), actor=actor).pins)

    def open(self, spec: SourceSpec, *, actor: Actor, run_id: str) -> Rows:
        return self.open_query(_statement(spec), actor=actor, door=_DOOR, query_id=run_id)

    def cancel(self, run_id: str) -> None:
        with suppress(QueryNotFound):  # not started yet: the caller repeats the call
            self.open_query.log.cancel(run_id, actor=LOCAL)


@dataclass(frozen=True, slots=True)
class DerivedSource(SqlSource):
    """The same with the field `pins`: the versions to read, as dataset id and number by name."""

    def open(self, spec: SourceSpec, *, actor: Actor, run_id: str) -> Rows:
        pins = pins_of(spec.fields["pins"])
        statement = _statement(spec, "pins")
        return self.open_query(statement, actor=actor, door=_DOOR, pins=pins, query_id=run_id)


def pins_of(given: Any) -> Pins:
    """The pins in a run's spec: dataset id and version by name, and a third value for `AddedRows.since`."""
    return {name: AddedRows(*ref) if len(ref) > 2 else VersionRef(*ref) for name, ref in given.items()}


def _statement(spec: SourceSpec, *more: str) -> Statement:
    match fields_of(spec, "sql", "params", *more):
        case {"sql": str(sql), **rest} if sql.strip():
            return Statement(sql, parameters_of(rest.get("params", ())))
    raise InvalidSource(f"a source of kind '{spec.kind}' needs 'sql': one statement that reads")


def parameters_of(given: object) -> Parameters:
    """
    Raises:
        InvalidSource: it is neither a list nor an object.
    """
    if isinstance(given, Mapping):
        return {str(name): value for name, value in given.items()}
    if isinstance(given, Sequence) and not isinstance(given, str | bytes):
        return tuple(given)
    raise InvalidSource("'params' has to be a list, for ? and $1, or an object, for $name")
