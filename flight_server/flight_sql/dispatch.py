"""Which part of Flight SQL answers what: tables of message types and action names."""

from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl
from google.protobuf.message import Message

from flight_core.domain.errors import InvalidCommand, Unsupported
from flight_server.auth import Call
from flight_server.flight_sql.actions import actions
from flight_server.flight_sql.answers import Answers
from flight_server.flight_sql.cancel import Cancel
from flight_server.flight_sql.ingest import Ingest
from flight_server.flight_sql.metadata import COMMANDS, MetadataCommands
from flight_server.flight_sql.prepared import PreparedStatements
from flight_server.flight_sql.session_options import SessionOptions
from flight_server.flight_sql.sql_info import SqlInfo
from flight_server.flight_sql.statements import Statements
from flight_server.flight_sql.substrait import refuse
from flight_server.flight_sql.transactions import Transactions
from flight_server.flight_sql.use_cases import FlightSqlUseCases
from flight_server.options import FlightOptions
from flight_server.streams import Streams
from flight_server.tickets import TicketOffice
from schemas.flight_sql import envelope

# Each table maps the name of a message to what takes a call and that message.
Handlers = dict[str, Callable[..., Any]]


class FlightSql:
    def __init__(self, use_cases: FlightSqlUseCases, options: FlightOptions) -> None:
        streams = Streams(options)
        tickets = TicketOffice(options)
        answers = Answers(tickets, use_cases.split, options.ticket_ttl_s)
        statements = Statements(use_cases, answers, streams)
        prepared = PreparedStatements(use_cases, answers)
        transactions = Transactions(use_cases)
        sql_info = SqlInfo(use_cases, streams, options.version)
        metadata = MetadataCommands(use_cases, streams)
        self._infos: Handlers = {
            "CommandStatementQuery": statements.get_flight_info,
            "CommandPreparedStatementQuery": prepared.get_flight_info,
            "CommandStatementSubstraitPlan": refuse,
            "CommandGetSqlInfo": sql_info.get_flight_info,
            **dict.fromkeys(COMMANDS, metadata.get_flight_info),
        }
        self._schemas: Handlers = {
            "CommandStatementQuery": statements.get_schema,
            "CommandPreparedStatementQuery": prepared.get_schema,
            "CommandStatementSubstraitPlan": refuse,
            "CommandGetSqlInfo": sql_info.get_schema,
            **dict.fromkeys(COMMANDS, metadata.get_schema),
        }
        self._gets: Handlers = {
            "TicketStatementQuery": statements.do_get,
            "CommandGetSqlInfo": sql_info.do_get,
            **dict.fromkeys(COMMANDS, metadata.do_get),
        }
        self._puts: Handlers = {
            "CommandStatementUpdate": statements.do_put,
            "CommandStatementIngest": Ingest(use_cases).do_put,
            "CommandStatementSubstraitPlan": refuse,
            "CommandPreparedStatementQuery": prepared.bind,
            "CommandPreparedStatementUpdate": prepared.update,
        }
        self._actions = actions(
            prepared,
            transactions,
            Cancel(use_cases, tickets, options.ticket_ttl_s),
            SessionOptions(use_cases),
        )

    def parse(self, data: bytes) -> Message | None:
        """The message in `data`; None if it is not of Flight SQL at all.

        Raises:
            InvalidCommand: it claims to be and is not.
        """
        try:
            return envelope.unpack(data)
        except envelope.MalformedMessage as error:
            raise InvalidCommand(str(error)) from None

    def get_flight_info(self, call: Call, message: Message, descriptor: fl.FlightDescriptor) -> fl.FlightInfo:
        info: fl.FlightInfo = _handler(self._infos, message, "GetFlightInfo")(call, message, descriptor)
        return info

    def get_schema(self, call: Call, message: Message) -> pa.Schema:
        schema: pa.Schema = _handler(self._schemas, message, "GetSchema")(call, message)
        return schema

    def do_get(self, call: Call, message: Message) -> fl.FlightDataStream:
        stream: fl.FlightDataStream = _handler(self._gets, message, "DoGet")(call, message)
        return stream

    def do_put(
        self,
        call: Call,
        message: Message,
        reader: fl.MetadataRecordBatchReader,
        writer: fl.FlightMetadataWriter,
    ) -> None:
        _handler(self._puts, message, "DoPut")(call, message, reader, writer)

    def actions(self) -> list[tuple[str, str]]:
        return [(name, action.description) for name, action in self._actions.items()]

    def has_action(self, name: str) -> bool:
        return name in self._actions

    def do_action(self, call: Call, action: fl.Action) -> Iterable[bytes]:
        known = self._actions[action.type]
        return known.run(call, action.body.to_pybytes())


def _handler(handlers: Handlers, message: Message, rpc: str) -> Callable[..., Any]:
    name = type(message).DESCRIPTOR.name
    handler = handlers.get(name)
    if handler is None:
        raise Unsupported(f"{name} is not answered by {rpc}")
    return handler
