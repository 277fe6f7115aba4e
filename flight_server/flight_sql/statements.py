"""Statements sent as text: a SELECT is planned and its ticket handed out, anything else runs at once.

Clients send everything through GetFlightInfo and often never fetch what is no result to them, so
this is where DDL and DML run, exactly once.
"""

import pyarrow as pa
import pyarrow.flight as fl

from flight_core.application.sessions.session import BoundStatement, SessionTransaction
from flight_core.domain.query import Statement
from flight_server.auth import Call
from flight_server.flight_sql.answers import Answers, answer_update, changed_rows
from flight_server.flight_sql.partitions import wanted_endpoints
from flight_server.flight_sql.use_cases import FlightSqlUseCases, session_holding, session_of
from flight_server.streams import Streams
from schemas.flight_sql.sql_pb2 import CommandStatementQuery, CommandStatementUpdate, TicketStatementQuery


class Statements:
    def __init__(self, use_cases: FlightSqlUseCases, answers: Answers, streams: Streams) -> None:
        self._use_cases = use_cases
        self._answers = answers
        self._streams = streams

    def get_flight_info(
        self, call: Call, command: CommandStatementQuery, descriptor: fl.FlightDescriptor
    ) -> fl.FlightInfo:
        session = session_of(call, self._use_cases.sessions)
        answer = self._use_cases.answer(
            SessionTransaction(session, command.transaction_id),
            BoundStatement(command.query),
            actor=call.actor,
            started=call.scope.on_cancel,
        )
        return self._answers.info(descriptor, session, answer, wanted_endpoints(call, session))

    def get_schema(self, call: Call, command: CommandStatementQuery) -> pa.Schema:
        session = session_of(call, self._use_cases.sessions)
        transaction = SessionTransaction(session, command.transaction_id)
        info = self._use_cases.inspect(transaction, Statement(command.query), actor=call.actor)
        return info.schema or pa.schema([])

    def do_get(self, call: Call, ticket: TicketStatementQuery) -> fl.FlightDataStream:
        session = session_holding(ticket.statement_handle, call, self._use_cases.sessions)
        held = session.held(ticket.statement_handle)
        if isinstance(held, pa.Table):
            return self._streams.table(call, held)
        return self._streams.query(call, self._use_cases.read(held, actor=call.actor))

    def do_put(
        self,
        call: Call,
        command: CommandStatementUpdate,
        reader: fl.MetadataRecordBatchReader,
        writer: fl.FlightMetadataWriter,
    ) -> None:
        # The reader is left alone: some clients send no schema, and reading one would fail.
        session = session_of(call, self._use_cases.sessions)
        result = self._use_cases.answer.run(
            SessionTransaction(session, command.transaction_id),
            BoundStatement(command.query),
            actor=call.actor,
            started=call.scope.on_cancel,
        )
        answer_update(writer, changed_rows(result.outcome))
