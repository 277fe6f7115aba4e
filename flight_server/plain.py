"""Skein's own, plain Flight: datasets by path, SQL or JSON as a command, signed tickets."""

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.flight as fl

from flight_core.application.access.rights import require_unguarded
from flight_core.domain.dataset import Dataset
from flight_core.domain.errors import DatasetNotFound, InvalidSql, StatementNotAllowed
from flight_core.domain.query import QueryPlan, StatementInfo, StatementKind
from flight_server.actions import Actions
from flight_server.auth import DOOR, Call
from flight_server.commands import ReadCommand, parse, read_command, version_name
from flight_server.live import LiveExchanges
from flight_server.options import FlightOptions, FlightUseCases
from flight_server.streams import Streams
from flight_server.tickets import PlannedRead, TicketOffice
from flight_server.uploads import send_result, write
from schemas.flight import Criteria, InfoMetadata


class PlainFlight:
    def __init__(self, use_cases: FlightUseCases, options: FlightOptions) -> None:
        self._use_cases = use_cases
        self._tickets = TicketOffice(options)
        self._streams = Streams(options)
        self._actions = Actions(use_cases, options)
        self.exchanges = LiveExchanges(use_cases.follow_query, use_cases.queries, self._streams)

    def get_flight_info(self, call: Call, descriptor: fl.FlightDescriptor) -> fl.FlightInfo:
        """Plans a read. Any other statement is carried out now, once; its ticket holds the outcome."""
        command = read_command(descriptor)
        planned = self._planned(call, command)
        if isinstance(planned, QueryPlan):
            return self._info_of_plan(descriptor, planned, *self._known_size(call, command, planned))
        return self._carry_out(call, command, descriptor)

    def get_schema(self, call: Call, descriptor: fl.FlightDescriptor) -> pa.Schema:
        """Never runs anything. A statement that returns no rows has a schema without fields."""
        planned = self._planned(call, read_command(descriptor))
        return pa.schema([]) if planned.schema is None else planned.schema

    def do_get(self, call: Call, ticket: bytes) -> fl.FlightDataStream:
        opened = self._tickets.open(ticket)
        if not isinstance(opened, PlannedRead):
            require_unguarded(call.actor)  # as who ran the statement: nobody knows what it read
            return self._streams.table(call, opened)
        running = self._use_cases.open_query(
            opened.statement, actor=call.actor, door=DOOR, pins=opened.pins, query_id=opened.query_id
        )
        return self._streams.query(call, running)

    def do_put(
        self,
        call: Call,
        descriptor: fl.FlightDescriptor,
        reader: fl.MetadataRecordBatchReader,
        writer: fl.FlightMetadataWriter,
    ) -> None:
        result = write(call, descriptor, reader, self._use_cases.write_dataset)
        send_result(writer, result.model_dump_json(exclude_none=True).encode())

    def list_flights(self, call: Call, criteria: bytes) -> Iterator[fl.FlightInfo]:
        """One info a dataset, ordered by name."""
        prefix = parse(Criteria, criteria).prefix.lower()
        for dataset in self._use_cases.list_datasets(actor=call.actor):
            if dataset.name.key.startswith(prefix):
                yield from self._listed(call, dataset)

    def actions(self) -> list[tuple[str, str]]:
        return self._actions.listed()

    def do_action(self, call: Call, action: fl.Action) -> Iterable[bytes]:
        return self._actions.run(call, action.type, action.body.to_pybytes())

    def _planned(self, call: Call, command: ReadCommand) -> QueryPlan | StatementInfo:
        """The plan of a read, or what is known of a statement that is none. Runs neither."""
        try:
            return self._use_cases.plan_query(command.statement, actor=call.actor)
        except (StatementNotAllowed, InvalidSql):
            info = self._use_cases.inspect_statement(command.statement, actor=call.actor)
            if info.kind is StatementKind.READ:
                raise
            return info

    def _carry_out(self, call: Call, command: ReadCommand, descriptor: fl.FlightDescriptor) -> fl.FlightInfo:
        outcome = self._use_cases.run_statement(
            command.statement, actor=call.actor, started=call.scope.on_cancel
        )
        return fl.FlightInfo(
            outcome.table.schema,
            descriptor,
            [fl.FlightEndpoint(self._tickets.for_result(outcome.table), [])],
            total_records=outcome.table.num_rows,
            app_metadata=_metadata(InfoMetadata(affected_rows=outcome.affected_rows)),
        )

    def _info_of_plan(
        self, descriptor: fl.FlightDescriptor, plan: QueryPlan, rows: int, size_bytes: int
    ) -> fl.FlightInfo:
        return fl.FlightInfo(
            plan.schema,
            descriptor,
            [fl.FlightEndpoint(self._tickets.for_plan(plan), [])],
            total_records=rows if plan.cached_rows is None else plan.cached_rows,
            total_bytes=size_bytes,
            app_metadata=_metadata(
                InfoMetadata(query_id=plan.query_id, cached=plan.cached_rows is not None or None)
            ),
        )

    def _known_size(self, call: Call, command: ReadCommand, plan: QueryPlan) -> tuple[int, int]:
        """Rows and stored bytes of a dataset that is read in full; -1 where that is not known."""
        if command.dataset is None or not command.whole:
            return -1, -1
        if command.version is None:
            version = self._use_cases.get_dataset(command.dataset, actor=call.actor).current
        else:
            at = version_name(command.version)
            version = self._use_cases.describe_dataset(command.dataset, actor=call.actor, at=at).version
        planned = version.ref in plan.pins.values()  # else it was written to meanwhile
        return (version.row_count, version.size_bytes) if planned else (-1, -1)

    def _listed(self, call: Call, dataset: Dataset) -> Iterator[fl.FlightInfo]:
        descriptor = fl.FlightDescriptor.for_path(dataset.name.value)
        try:
            plan = self._use_cases.plan_query(read_command(descriptor).statement, actor=call.actor)
        except DatasetNotFound:  # dropped this very moment
            return
        yield self._info_of_plan(descriptor, plan, dataset.current.row_count, dataset.current.size_bytes)


def _metadata(metadata: InfoMetadata) -> str:
    return metadata.model_dump_json(exclude_none=True)
