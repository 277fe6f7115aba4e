"""DoAction: small requests and answers in JSON."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from flight_core.application.datasets.describe import DatasetDescription
from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import InvalidCommand
from flight_core.domain.query import QueryRecord
from flight_server.auth import Call
from flight_server.commands import parse, version_name
from flight_server.options import FlightOptions, FlightUseCases
from schemas import flight as wire

Request = TypeVar("Request", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class _Action(Generic[Request]):
    description: str
    request: type[Request]
    run: Callable[[Call, Request], Iterable[BaseModel]]


class Actions:
    """Every action by its name."""

    def __init__(self, use_cases: FlightUseCases, options: FlightOptions) -> None:
        self._use_cases = use_cases
        self._version = options.version
        self._actions: dict[str, _Action[Any]] = {
            "health": _Action("Tell that the server answers. Body: empty.", wire.Empty, self._health),
            "cancel": _Action('Stop a query. Body: {"query_id"}.', wire.QueryReference, self._cancel),
            "list_queries": _Action(
                "Queries that run or ended lately, newest first, one result each. Body: empty.",
                wire.Empty,
                self._list_queries,
            ),
            "describe_dataset": _Action(
                'Columns, statistics and versions. Body: {"dataset", "version"?}.',
                wire.DescribeRequest,
                self._describe,
            ),
            "drop_dataset": _Action(
                'Forget a dataset. Body: {"dataset"}.', wire.DatasetReference, self._drop
            ),
        }

    def listed(self) -> list[tuple[str, str]]:
        return [(name, action.description) for name, action in self._actions.items()]

    def run(self, call: Call, name: str, body: bytes) -> Iterable[bytes]:
        """The results as JSON.

        Raises:
            InvalidCommand: unknown name, or a body that does not fit; else as the use case.
        """
        action = self._actions.get(name)
        if action is None:
            raise InvalidCommand(f"'{name[:60]}' is no action; there are {', '.join(self._actions)}")
        for result in action.run(call, parse(action.request, body)):
            yield result.model_dump_json().encode()

    def _health(self, call: Call, request: wire.Empty) -> Iterable[BaseModel]:
        yield wire.Health(version=self._version)

    def _cancel(self, call: Call, request: wire.QueryReference) -> Iterable[BaseModel]:
        cancelled = self._use_cases.cancel_query(request.query_id, actor=call.actor)
        yield wire.Cancellation(query_id=request.query_id, cancelled=cancelled)

    def _list_queries(self, call: Call, request: wire.Empty) -> Iterable[BaseModel]:
        for record in self._use_cases.queries.list():
            if call.actor.oversees(record.actor, record.rights):
                yield _query_status(record)

    def _describe(self, call: Call, request: wire.DescribeRequest) -> Iterable[BaseModel]:
        at = version_name(request.version)
        yield _description(
            self._use_cases.describe_dataset(DatasetName(request.dataset), actor=call.actor, at=at)
        )

    def _drop(self, call: Call, request: wire.DatasetReference) -> Iterable[BaseModel]:
        dataset = self._use_cases.drop_dataset(DatasetName(request.dataset), actor=call.actor)
        yield wire.Dropped(dataset=str(dataset.name), version=dataset.version)


def _query_status(record: QueryRecord) -> wire.QueryStatus:
    return wire.QueryStatus(
        query_id=record.query_id,
        sql=record.sql,
        actor=record.actor,
        door=record.door,
        state=record.state,
        created_at=record.created_at,
        finished_at=record.finished_at,
        rows=record.rows,
        size_bytes=record.size_bytes,
        error=record.error,
    )


def _description(described: DatasetDescription) -> wire.DatasetDescription:
    dataset, version = described.dataset, described.version
    return wire.DatasetDescription(
        dataset=str(dataset.name),
        description=dataset.description,
        tags=list(dataset.tags),
        created_at=dataset.created_at,
        version=version.ref.version,
        rows=version.row_count,
        size_bytes=version.size_bytes,
        columns=[
            wire.ColumnDescription(
                name=column.name,
                type=column.type,
                nullable=column.nullable,
                null_count=column.null_count,
                minimum=None if column.minimum is None else str(column.minimum),
                maximum=None if column.maximum is None else str(column.maximum),
                size_bytes=column.size_bytes,
            )
            for column in described.columns
        ],
        versions=[
            wire.VersionStatus(
                version=past.ref.version,
                rows=past.row_count,
                size_bytes=past.size_bytes,
                committed_at=past.committed_at,
                operation=past.operation,
            )
            for past in described.versions
        ],
    )
